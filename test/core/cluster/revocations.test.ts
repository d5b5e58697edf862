/** Orders are remembered for those who were on their way in, for as long as is said, and nobody slips through what is forgotten. */
import t, { type Test } from 'tap'
import { Revocations } from '../../../lib/core/cluster/revocations.ts'

/** A clock that stands still until it is moved (ms). */
function clock (t: Test): { move: (ms: number) => void } {
  let now = 1000
  const own = performance.now.bind(performance)
  performance.now = () => now
  t.teardown(() => { performance.now = own })
  return { move: (ms) => { now += ms } }
}

t.test('whoever had arrived after so many orders is concerned by those that follow', async (t) => {
  const orders = new Revocations<string>()
  t.same(orders.after(orders.count), [])
  const counts = ['a', 'b', 'c'].map((order) => {
    const before = orders.count
    orders.add(order)
    return before
  })
  t.same(counts.map((count) => orders.after(count)), [['a', 'b', 'c'], ['b', 'c'], ['c']])
  t.same(orders.after(orders.count), [])
})

t.test('a moment is told by the orders that were given by then', async (t) => {
  const { move } = clock(t)
  const orders = new Revocations<string>()
  for (const order of ['a', 'b', 'c']) {
    orders.add(order)
    move(10)
  }
  for (const [time, count] of [[999, 0], [1000, 1], [1005, 1], [1010, 2], [1019, 2], [1020, 3], [5000, 3]] as const) t.equal(orders.countAt(time), count, String(time))
})

t.test('what is older than a minute is forgotten with the next order, and who came before it is known to be', async (t) => {
  const { move } = clock(t)
  const orders = new Revocations<number>()
  for (let n = 0; n < 5; n++) {
    orders.add(n)
    move(20_000)
  }
  t.equal(orders.after(0), undefined)
  t.equal(orders.after(1), undefined)
  t.same(orders.after(2), [2, 3, 4])
  t.equal(orders.count, 5)
  t.equal(orders.countAt(1000), -1, 'a moment before the last that is forgotten: nobody knows')
  t.equal(orders.after(orders.countAt(1000)), undefined)
  t.same(orders.after(orders.countAt(41_000)), [3, 4])
})

t.test('ten thousand are remembered, however fast they come, and adding one costs no walk through all', async (t) => {
  const orders = new Revocations<number>()
  for (let n = 0; n < 100_000; n++) orders.add(n)
  t.equal(orders.count, 100_000)
  t.equal(orders.after(89_999), undefined)
  t.equal(orders.after(90_000)?.length, 10_000)
  t.equal(orders.after(90_000)?.[0], 90_000)
  t.same(orders.after(99_999), [99_999])
})

t.test('after a loss nobody who had arrived before it is known to have missed nothing', async (t) => {
  const { move } = clock(t)
  const orders = new Revocations<string>()
  const arrived = orders.count
  orders.lose()
  t.equal(orders.after(arrived), undefined)
  const later = orders.count
  t.same(orders.after(later), [])
  orders.add('a')
  t.same(orders.after(later), ['a'])
  t.equal(orders.after(orders.countAt(999)), undefined)
  move(10)
  t.same(orders.after(orders.countAt(1005)), [])
})

t.test('against a list that forgets nothing: at random', async (t) => {
  const { move } = clock(t)
  let state = 20_260_101
  const below = (n: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * n)
  }
  let now = 1000
  const all: Array<{ order: number, at: number }> = []
  const orders = new Revocations<number>()
  for (let n = 0; n < 3000; n++) {
    const ms = below(4) === 0 ? below(9000) : below(30)
    move(ms)
    now += ms
    if (below(3) > 0) {
      orders.add(n)
      all.push({ order: n, at: now })
    }
    const since = below(all.length + 1)
    const known = orders.after(since)
    const expected = all.slice(since)
    const lost = all.findIndex(({ at }) => now - at < 60_000)
    if (known) t.same(known, expected.map(({ order }) => order)) || t.fail(`at ${n}`)
    else if (all[since] && since >= (lost === -1 ? all.length : lost)) t.fail(`forgot what is not old, at ${n}`)
    const time = now - below(70_000)
    const given = orders.after(orders.countAt(time))
    if (given) t.same(given, all.filter(({ at }) => at > time).map(({ order }) => order))
  }
})

/** What `bench` compares: real faults are found exactly, and no others, in whatever order the clients are read. */
import t from 'tap'
import { Orders, Sequence } from '../../lib/command/sequence.ts'
import { Random, seedOf } from '../random/random.ts'

const heard = (n: number, nonce = 'x') => ({ id: `1700000000000-${n}.${nonce}${n}` })
const clean = { gaps: 0, duplicates: 0, disorder: 0 }

/** Each client hears its own list; `lost` where it is told of a loss. */
function faultsOf (...clients: Array<Array<number | 'lost'>>): object {
  const orders = new Orders()
  for (const client of clients) {
    const sequence = new Sequence(orders)
    for (const n of client) {
      if (n === 'lost') sequence.lost('')
      else sequence.heard(heard(n))
    }
  }
  return orders.faults
}

t.test('who joins between two events and is read first makes no fault', async (t) => {
  t.same(faultsOf([1, 2, 'lost', 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), clean)
  t.same(faultsOf([4], [3, 4], [1, 2, 3, 4, 5]), clean)
})

t.test('what is amiss is counted, whoever is read first', async (t) => {
  const all = [1, 2, 3, 4, 5, 9, 10, 11]
  t.same(faultsOf(all, [1, 2, 4, 10]), { ...clean, gaps: 3 })
  t.same(faultsOf([1, 2, 4, 10], all), { ...clean, gaps: 3 })
  t.same(faultsOf([9, 10, 9, 10, 11], all), { ...clean, duplicates: 2 })
  t.same(faultsOf([10, 9, 9, 11], all), { ...clean, disorder: 1, duplicates: 1 })
  t.same(faultsOf([1, 3, 2, 4, 4], all), { ...clean, disorder: 1, duplicates: 1 })
})

t.test('ids are compared as numbers, each topic by itself, and of the same number in another log nothing is said', async (t) => {
  const orders = new Orders()
  const [one, two] = [new Sequence(orders), new Sequence(orders)]
  for (const id of ['1700000000000-9.a', '1700000000000-10.b', '1700000000001-0.c', '1700000000001-0.other']) one.heard({ id, topic: 'a' })
  for (const id of ['1700000000000-10.b', '1700000000001-0.other', '1700000000001-0.c']) two.heard({ id, topic: 'a' })
  for (const id of ['1600000000000-0.a', 'any', '170000000000-1.x', '1700000000000-1', `1700000000000-${'9'.repeat(16)}.x`]) one.heard({ id, topic: 'b' })
  one.heard({})
  t.same(orders.faults, clean)
  t.equal(orders.compared, 8)
})

t.test('what is forgotten: its gaps stay counted, and who is that far behind makes none', async (t) => {
  const orders = new Orders(1024)
  const [ahead, gappy, behind, twice] = Array.from({ length: 4 }, () => new Sequence(orders)) as [Sequence, Sequence, Sequence, Sequence]
  behind.heard(heard(0))
  for (let n = 0; n < 10_000; n++) {
    ahead.heard(heard(n))
    if (n % 100 !== 50) gappy.heard(heard(n))
    twice.heard(heard(n))
    if (n % 1000 === 999) twice.heard(heard(n - 500))
  }
  for (let n = 1; n < 10_000; n++) behind.heard(heard(n))
  t.same(orders.faults, { gaps: 100, duplicates: 10, disorder: 0 })
})

t.test('a server that tells of a loss after each event, or names a new topic each time, costs a bounded memory', async (t) => {
  const orders = new Orders()
  const sequence = new Sequence(orders)
  for (let n = 0; n < 5000; n += 2) {
    sequence.heard(heard(n))
    sequence.heard(heard(n + 1))
    sequence.lost('')
  }
  for (let n = 0; n < 20_000; n++) sequence.heard({ ...heard(n), topic: `t${n}` })
  t.same(orders.faults, clean)
  t.equal(orders.compared, 5000 + 9999)
})

interface Script { steps: Array<number | 'lost'>, at: number, away: boolean }
type Below = (end: number) => number

/** From `from` to `to`, with faults where `faulty`: what a client hears without being told of a loss. */
function part (below: Below, from: number, to: number, faulty: boolean, expected: typeof clean): number[] {
  const steps: number[] = []
  for (let n = from; n <= to; n++) {
    const fault = faulty ? below(12) : -1
    if (fault === 0 && n > from && n < to) {
      expected.gaps++
    } else if (fault === 1) {
      steps.push(n, n)
      expected.duplicates++
    } else if (fault === 2 && n + 1 < to) {
      steps.push(n + 1, n)
      expected.disorder++
      n++
    } else {
      steps.push(n)
    }
  }
  return steps
}

/** Joins anywhere, and is told of some losses. */
function script (below: Below, events: number, faulty: boolean, expected: typeof clean): Script {
  const steps: Script['steps'] = []
  for (let from = below(events); from < events;) {
    const to = Math.min(events - 1, from + below(events))
    steps.push(...part(below, from, to, faulty, expected), 'lost')
    from = to + 1 + below(5)
  }
  return { steps, at: 0, away: false }
}

/** Clients are read in any order, some are cut and come back later to where they were. */
function play (below: Below, faulty: boolean): { found: object, expected: object } {
  const expected = { ...clean }
  const events = 5 + below(40)
  const ids = Array.from({ length: events }, (_, n) => ({ id: `${1_700_000_000_000 + Math.floor(n / 12)}-${n % 12}.${below(1e9)}` }))
  const all: Script = { steps: [...ids.keys()], at: 0, away: false }
  const clients = [all, ...Array.from({ length: 1 + below(6) }, () => script(below, events, faulty, expected))]
  const orders = new Orders()
  const reading = clients.map((client) => ({ client, sequence: new Sequence(orders) }))
  while (reading.length > 0) {
    const at = below(reading.length)
    const { client, sequence } = reading[at]!
    if (below(8) === 0) client.away = !client.away
    for (let left = client.away ? 0 : 1 + below(6); left > 0 && client.at < client.steps.length; left--) {
      const step = client.steps[client.at++]!
      if (step === 'lost') sequence.lost('')
      else sequence.heard(ids[step]!)
    }
    if (client.at === client.steps.length) reading.splice(at, 1)
  }
  return { found: orders.faults, expected }
}

for (const faulty of [false, true]) {
  t.test(`1,000 schedules of clients that join, are cut and told of losses: ${faulty ? 'each injected fault is found' : 'no fault is found'}`, async (t) => {
    const seed = seedOf()
    const numbers = new Random(seed)
    const below: Below = (end) => numbers.int(0, end - 1)
    t.comment(`SEED=${seed}`)
    let injected = 0
    for (let n = 0; n < 1000; n++) {
      const { found, expected } = play(below, faulty)
      for (const count of Object.values(expected) as number[]) injected += count
      if (JSON.stringify(found) !== JSON.stringify(expected)) return t.same(found, expected, `schedule ${n} of SEED=${seed}`)
    }
    t.equal(injected > 1000, faulty, `${injected} faults were injected`)
  })
}

/** What is due at a moment: one timer for all, told by a clock that the test drives. */
import t, { type Test } from 'tap'
import { Deadlines, type Deadline } from '../../lib/core/deadlines.ts'
import { Random, seedOf } from '../random/random.ts'

const START = 1_700_000_000_000

/** Clocks and timers that go on when they are told to. A timer of more than 31 bits of ms runs at once, as Node's do. */
function clockwork (t: Test) {
  const clock = { at: 1000, wall: START }
  const timers: Array<{ at: number, run: () => void, on: boolean }> = []
  t.intercept(globalThis, 'setTimeout', {
    value: (run: () => void, ms: number) => {
      const timer = { at: clock.at + (ms > 2 ** 31 - 1 ? 1 : ms), run, on: true, unref () { return timer } }
      timers.push(timer)
      return timer
    }
  })
  t.intercept(globalThis, 'clearTimeout', { value: (timer?: { on: boolean }) => { if (timer) timer.on = false } })
  const errors: unknown[] = []
  const deadlines = new Deadlines((error) => errors.push(error), { wall: () => clock.wall, steady: () => clock.at })
  const next = () => timers.filter(({ on }) => on).sort((a, b) => a.at - b.at)[0]
  let woken = 0
  return {
    deadlines,
    errors,
    get woken () { return woken },
    running: () => timers.filter(({ on }) => on).length,
    setWall (wall: number): void { clock.wall = wall },
    pass (ms: number): void {
      const end = clock.at + ms
      for (let timer = next(); timer && timer.at <= end; timer = next()) {
        clock.wall += timer.at - clock.at
        clock.at = timer.at
        timer.on = false
        woken++
        timer.run()
      }
      clock.wall += end - clock.at
      clock.at = end
    }
  }
}

t.test('each is due at its moment, in order, whatever comes and goes meanwhile', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  for (let schedule = 0; schedule < 50; schedule++) {
    const { deadlines, pass, running } = clockwork(t)
    const told: number[] = []
    const model = new Map<number, { at: number, deadline: Deadline }>()
    for (let step = 0; step < 200; step++) {
      const id = step
      if (random.chance(0.6)) {
        const at = deadlines.now + random.int(0, 4999)
        model.set(id, { at, deadline: deadlines.add({ due: () => told.push(id) }, at) })
      } else if (random.chance(0.5) && model.size > 0) {
        const [gone, { deadline }] = [...model][random.int(0, model.size - 1)] as [number, { deadline: Deadline }]
        deadlines.remove(deadline)
        deadlines.remove(deadline)
        model.delete(gone)
      } else pass(random.int(0, 499))
      const due = [...model].filter(([, { at }]) => at <= deadlines.now - 2)
      for (const [one] of due) model.delete(one)
      if (!due.every(([one]) => told.includes(one))) t.fail(`due by ${deadlines.now}, and not told: ${JSON.stringify(due)}`)
      for (const one of told) model.delete(one)
      t.equal(deadlines.size, model.size)
      t.ok(running() <= 1)
    }
    pass(10_000)
    t.equal(deadlines.size, 0)
    t.equal(running(), 0, 'no timer where nothing is kept')
  }
})

t.test('a moment further away than a timer can count is due then, and not at once', async (t) => {
  const { deadlines, pass } = clockwork(t)
  let told = 0
  deadlines.add({ due: () => { told++ } }, deadlines.now + 2 ** 31 + 5)
  pass(2 ** 31)
  t.equal(told, 0)
  pass(10)
  t.equal(told, 1)
})

t.test('a wall clock that jumps makes nothing due, and keeps nothing for ever', async (t) => {
  for (const jump of [3_600_000, -3_600_000, 10 * 365 * 86_400_000, -START]) {
    const { deadlines, pass, setWall } = clockwork(t)
    let told = 0
    deadlines.add({ due: () => { told++ } }, deadlines.momentOf(START + 60_000))
    pass(1000)
    setWall(START + jump)
    pass(58_000)
    t.equal(told, 0, `by ${jump}`)
    pass(2000)
    t.equal(told, 1, `by ${jump}`)
  }
})

t.test('one that fails, adds others or takes others away harms none of the rest', async (t) => {
  const { deadlines, errors, pass } = clockwork(t)
  const told: string[] = []
  const at = deadlines.now + 100
  const victim = deadlines.add({ due: () => told.push('victim') }, at + 50)
  deadlines.add({ due: () => { throw new Error('broken') } }, at)
  deadlines.add({ due: () => { deadlines.remove(victim); deadlines.add({ due: () => told.push('added') }, at) } }, at)
  deadlines.add({ due: () => told.push('last') }, at + 1)
  pass(200)
  t.same(told.sort(), ['added', 'last'])
  t.match(errors, [{ message: 'broken' }])
})

t.test('ten thousand at one moment are told in turns', async (t) => {
  const clock = clockwork(t)
  let told = 0
  for (let i = 0; i < 10_000; i++) clock.deadlines.add({ due: () => { told++ } }, clock.deadlines.now + 10)
  clock.pass(10)
  t.ok(told > 0 && told < 1000, 'a part at once')
  clock.pass(1000)
  t.equal(told, 10_000)
  t.ok(clock.woken >= 10)
})

/** What one client holds: each topic goes when its grant has ended, the connection when the identity has, and nothing grows. */
import t, { type Test } from 'tap'
import { Deadlines } from '../../../lib/core/deadlines.ts'
import { Holding } from '../../../lib/features/grants/holding.ts'

const START = 1_800_000_000_000

function held (t: Test, grace = 0) {
  const clock = { at: 1000, wall: START }
  let wake: (() => void) | undefined
  t.intercept(globalThis, 'setTimeout', { value: (run: () => void) => { wake = run; return { unref () {} } } })
  t.intercept(globalThis, 'clearTimeout', { value: () => { wake = undefined } })
  const errors: unknown[] = []
  const deadlines = new Deadlines((error) => errors.push(error), { wall: () => clock.wall, steady: () => clock.at })
  const told: string[] = []
  const topics = new Set<string>()
  let expired = 0
  const holder = {
    closed: false,
    concerns: (topic: string) => topics.has(topic),
    lapse: (topic: string, reason: string) => { told.push(`${topic} ${reason}`); topics.delete(topic) },
    sendAway: ({ code }: { code: number }) => { told.push(String(code)); holder.closed = true }
  }
  const holding = new Holding({ deadlines, grace, expired: () => { expired++ } }, holder)
  const join = (topic: string, expiresAt?: number, info?: unknown): void => {
    topics.add(topic)
    holding.hold(topic, { ...(expiresAt !== undefined && { expiresAt }), ...(info !== undefined && { info }) })
  }
  // Its timer looks whether anything is due, as one that ran too early would.
  const pass = (ms: number): void => {
    clock.at += ms
    clock.wall += ms
    wake?.()
  }
  return { errors, holding, holder, told, topics, deadlines, join, pass, expired: () => expired }
}

t.test('topics go one by one, each when its grant and the grace are over', async (t) => {
  const { holding, told, join, pass, expired } = held(t, 10)
  join('a', START + 100)
  join('b', START + 200, { seat: 1 })
  join('c')
  t.same(['a', 'b', 'c'].map((topic) => holding.expires(topic)), [100, 200, undefined])
  t.equal(holding.firstEnd, 100)
  pass(109)
  t.same(told, [])
  t.equal(holding.expires('a'), 0)
  pass(1)
  t.same(told, ['a expired'])
  t.match(holding.grant('b'), { info: { seat: 1 } })
  pass(100)
  t.same(told, ['a expired', 'b expired'])
  t.equal(expired(), 2)
  t.equal(holding.size, 0)
})

t.test('a later end takes the place of an earlier one, and one without an end that of both', async (t) => {
  const { holding, told, join, pass, deadlines } = held(t)
  join('a', START + 100)
  join('a', START + 300)
  pass(200)
  t.same(told, [])
  join('a')
  t.equal(deadlines.size, 0)
  pass(1000)
  t.same(told, [])
  t.equal(holding.size, 0)
})

t.test('an identity that has ended ends all, unless it was extended', async (t) => {
  const { holding, holder, told, join, pass, deadlines } = held(t)
  holding.identityEnds(START + 100)
  join('a', START + 5000)
  t.equal(holding.expires('a'), 100)
  holding.identityEnds(START + 1000)
  pass(500)
  t.same(told, [])
  pass(500)
  t.same(told, ['4401'])
  holding.end()
  t.equal(holder.closed, true)
  t.equal(deadlines.size, 0)
})

t.test('topics that were joined and left leave nothing behind', async (t) => {
  const { holding, topics, join, deadlines } = held(t)
  for (let i = 0; i < 10_000; i++) {
    join(`room ${i}`, START + 60_000)
    topics.delete(`room ${i}`)
  }
  t.ok(holding.size <= 65, `${holding.size} are kept`)
  t.equal(deadlines.size, 1, 'one deadline for each client')
})

/** The memory adapter: the contract, and what is its own: a bound for all topics, and heads that grow old. */
import t, { type Test } from 'tap'
import { memory, type MemoryOptions } from '../../lib/adapters/memory.ts'
import type { Adapter, Id, Sink } from '../../lib/core/adapter.ts'
import { adapterConformance } from '../conformance/adapter.ts'

const SILENT: Sink = { event () {}, ephemeral () {}, suspect () {}, state () {} }
const ALL = { count: 10_000, bytes: 64 << 20 }
const RETENTION = { limit: 100_000, maxAge: 3_600_000_000, maxBytes: 1 << 30 }

/** A clock that stands still until it is told to go on. */
class Clock {
  readonly #real = performance.now.bind(performance)
  #ahead = 0

  constructor (t: Test) {
    t.intercept(performance, 'now', { value: () => this.#real() + this.#ahead })
  }

  forward (ms: number): void {
    this.#ahead += ms
  }
}

const clocks = new WeakMap<Test, Clock>()

async function elapse (t: Test, ms: number): Promise<void> {
  const clock = clocks.get(t) ?? new Clock(t)
  clocks.set(t, clock)
  clock.forward(ms)
}

adapterConformance('memory', () => [memory()], { elapse })

/** A started adapter, its clock, and the sweep that it would make by itself every few seconds. */
async function sweepable (t: Test, options: MemoryOptions): Promise<{ node: Adapter, clock: Clock, sweep: () => void }> {
  const sweeps: Array<() => void> = []
  const timers = t.intercept(globalThis, 'setInterval', {
    value: (run: () => void) => {
      sweeps.push(run)
      return { unref () { return this } }
    }
  })
  const node = memory(options)
  await node.start(SILENT)
  timers.restore()
  t.teardown(() => node.close())
  t.equal(sweeps.length, 1)
  return { node, clock: new Clock(t), sweep: sweeps[0] as () => void }
}

async function put (node: Adapter, topic: string, data: Uint8Array | string = 'x'): Promise<Id> {
  return (await node.publish(topic, 'said', Buffer.from(data), { retention: RETENTION, format: 'text' })).id
}

async function kept (node: Adapter, topic: string): Promise<number> {
  return (await node.read(topic, null, ALL)).events.length
}

t.test('past maxBytes the topics published to least recently lose their events, and keep their heads', async (t) => {
  const node = memory({ maxBytes: 100_000 })
  await node.start(SILENT)
  t.teardown(() => node.close())
  const heads: Id[] = []
  for (let i = 0; i < 10; i++) heads.push(await put(node, `topic/${i}`, 'x'.repeat(9000)))
  heads[0] = await put(node, 'topic/0', 'again')
  await put(node, 'topic/10', 'x'.repeat(9000))
  const counts = await Promise.all(heads.map((_, i) => kept(node, `topic/${i}`)))
  t.equal(counts[0], 2, 'a topic just published to keeps its own')
  t.equal(counts[1], 0, 'the one left alone for longest does not')
  t.equal(await kept(node, 'topic/10'), 1, 'the newest event of all is kept')
  t.ok(counts.reduce((sum, count) => sum + count, 0) > 5, 'no more is dropped than the bound asks for')
  t.same(await node.heads(heads.map((_, i) => `topic/${i}`)), heads)
  const page = await node.read('topic/1', heads[1] as Id, ALL)
  t.match(page, { linked: true, head: heads[1] }, 'who had read all of a topic has lost nothing')
  const next = await put(node, 'topic/1')
  t.match(await node.read('topic/1', heads[1] as Id, ALL), { linked: true, events: [{ id: next, prev: heads[1] }] })
})

t.test('past maxBytes a topic that is alone loses its own oldest events', async (t) => {
  const node = memory({ maxBytes: 50_000 })
  await node.start(SILENT)
  t.teardown(() => node.close())
  let last = ''
  for (let i = 0; i < 100; i++) last = await put(node, 'one', 'x'.repeat(5000))
  const page = await node.read('one', null, ALL)
  t.ok(page.events.length >= 1 && page.events.length <= 10, `${page.events.length} of 100 events are kept`)
  t.equal(page.events.at(-1)?.id, last)
  await put(node, 'one', 'x'.repeat(80_000))
  t.equal(await kept(node, 'one'), 1, 'an event larger than the bound is kept until the next')
})

t.test('a head that nobody asked about for long goes, and its topic begins anew with a genesis never used before', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { headAge: 1000 })
  const geneses = new Set<Id>()
  for (let life = 0; life < 4; life++) {
    const genesis = await node.subscribe('old', true)
    node.unsubscribe('old')
    t.notOk(geneses.has(genesis), 'a new genesis')
    const ids = [await put(node, 'old'), await put(node, 'old')]
    clock.forward(900)
    sweep()
    t.same(await node.heads(['old']), [ids[1]], 'young enough')
    t.match(await node.read('old', genesis, ALL), { linked: true })
    clock.forward(200)
    sweep()
    t.same(await node.heads(['old']), [null], 'gone')
    for (const lost of [...geneses, genesis, ...ids]) t.equal((await node.read('old', lost, ALL)).linked, false, 'no cursor of a lost log links')
    geneses.add(genesis)
  }
})

t.test('a topic with a listener never begins anew', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { headAge: 1000 })
  const genesis = await node.subscribe('heard', true)
  clock.forward(5000)
  sweep()
  const first = await put(node, 'heard')
  clock.forward(5000)
  sweep()
  t.same(await node.heads(['heard']), [first])
  const second = await put(node, 'heard')
  t.match(await node.read('heard', genesis, ALL), { linked: true, events: [{ id: first, prev: genesis }, { id: second, prev: first }] })
})

t.test('a topic that was only listened to links to its first event, whatever was swept meanwhile', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { headAge: 1000 })
  const genesis = await node.subscribe('waiting', true)
  // So many that some share whatever the adapter counts lost logs by.
  for (let i = 0; i < 5000; i++) await put(node, `passing/${i}`)
  clock.forward(2000)
  sweep()
  const first = await put(node, 'waiting')
  t.match(await node.read('waiting', genesis, ALL), { linked: true, events: [{ id: first, prev: genesis }] })
})

t.test('the sweep lets go of events past their age', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { maxBytes: 10_000 })
  const retention = { ...RETENTION, maxAge: 1000 }
  await node.publish('aging', 'said', Buffer.alloc(9000), { retention, format: 'binary' })
  clock.forward(2000)
  sweep()
  await put(node, 'other', 'x'.repeat(5000))
  await put(node, 'other', 'x'.repeat(100))
  t.equal(await kept(node, 'other'), 2, 'they do not count any more')
  t.equal(await kept(node, 'aging'), 0)
})

t.test('two adapters share nothing', async (t) => {
  const [one, other] = [memory(), memory()] as const
  for (const node of [one, other]) {
    await node.start(SILENT)
    t.teardown(() => node.close())
  }
  const genesis = await one.subscribe('same', true)
  t.not(await other.subscribe('same', true), genesis)
  const id = await put(one, 'same')
  t.match(await other.read('same', id, ALL), { linked: false, events: [] })
})

t.test('refuses bounds that are none', async (t) => {
  for (const value of [0, -1, NaN]) {
    t.throws(() => memory({ maxBytes: value }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
    t.throws(() => memory({ headAge: value }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  }
})

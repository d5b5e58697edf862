/** The memory adapter: the contract, and what is its own: a bound for all topics, and heads that grow old. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { memory, type MemoryOptions } from '../../lib/adapters/memory.ts'
import type { Adapter, EventId, KeyedStates, Sink } from '../../lib/core/adapter.ts'
import { adapterConformance } from '../helpers/suites.ts'
import { Random } from '../random/random.ts'

const SILENT: Sink = { event () {}, ephemeral () {}, suspect () {}, state () {} }
const ALL = { count: 10_000, bytes: 64 << 20 }
const RETENTION = { limit: 100_000, maxAge: 3_600_000_000, maxBytes: 1 << 30 }

interface Intercepts { intercept (target: object, name: 'now', how: { value: unknown }): unknown }

/** A clock that stands still until it is told to go on. */
class Clock {
  readonly #real = performance.now.bind(performance)
  #ahead = 0

  constructor (t: Intercepts) {
    t.intercept(performance, 'now', { value: () => this.#real() + this.#ahead })
  }

  forward (ms: number): void {
    this.#ahead += ms
  }
}

const clocks = new WeakMap<Intercepts, Clock>()

async function elapse (t: Intercepts, ms: number): Promise<void> {
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

async function put (node: Adapter, topic: string, data: Uint8Array | string = 'x'): Promise<EventId> {
  return (await node.publish(topic, 'said', Buffer.from(data), { retention: RETENTION, format: 'text' })).id
}

/** `maxAge`: ms */
async function putFor (node: Adapter, topic: string, maxAge: number): Promise<EventId> {
  const { id } = await node.publish(topic, 'said', Buffer.from('{}'), { retention: { ...RETENTION, maxAge }, format: 'json' })
  return id
}

async function kept (node: Adapter, topic: string): Promise<number> {
  return (await node.read(topic, null, ALL)).events.length
}

t.test('past maxBytes the topics published to least recently lose their events, and keep their heads', async (t) => {
  const node = memory({ maxBytes: 100_000 })
  await node.start(SILENT)
  t.teardown(() => node.close())
  const heads: EventId[] = []
  for (let i = 0; i < 10; i++) heads.push(await put(node, `topic/${i}`, 'x'.repeat(8500)))
  heads[0] = await put(node, 'topic/0', 'again')
  await put(node, 'topic/10', 'x'.repeat(8500))
  const counts = await Promise.all(heads.map((_, i) => kept(node, `topic/${i}`)))
  t.equal(counts[0], 2, 'a topic just published to keeps its own')
  t.equal(counts[1], 0, 'the one left alone for longest does not')
  t.equal(await kept(node, 'topic/10'), 1, 'the newest event of all is kept')
  t.ok(counts.reduce((sum, count) => sum + count, 0) > 5, 'no more is dropped than the bound asks for')
  t.same(await node.heads(heads.map((_, i) => `topic/${i}`)), heads)
  const page = await node.read('topic/1', heads[1] as EventId, ALL)
  t.match(page, { linked: true, head: heads[1] }, 'who had read all of a topic has lost nothing')
  const next = await put(node, 'topic/1')
  t.match(await node.read('topic/1', heads[1] as EventId, ALL), { linked: true, events: [{ id: next, prev: heads[1] }] })
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
  const geneses = new Set<EventId>()
  for (let life = 0; life < 4; life++) {
    const genesis = await node.subscribe('old', true)
    node.unsubscribe('old')
    t.notOk(geneses.has(genesis), 'a new genesis')
    const ids = [await putFor(node, 'old', 500), await putFor(node, 'old', 500)]
    clock.forward(400)
    sweep()
    t.match(await node.read('old', genesis, ALL), { linked: true })
    clock.forward(500)
    sweep()
    t.same(await node.heads(['old']), [ids[1]], 'young enough')
    t.match(await node.read('old', ids[1] as EventId, ALL), { linked: true, events: [] })
    clock.forward(200)
    sweep()
    t.same(await node.heads(['old']), [null], 'gone')
    for (const lost of [...geneses, genesis, ...ids]) t.equal((await node.read('old', lost, ALL)).linked, false, 'no cursor of a lost log links')
    geneses.add(genesis)
  }
})

t.test('a topic keeps the events that it is to keep for longer than heads, and begins anew once they are gone', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { headAge: 1000 })
  const first = await putFor(node, 'week', 5000)
  clock.forward(2000)
  sweep()
  const second = await putFor(node, 'week', 5000)
  clock.forward(2000)
  sweep()
  t.match(await node.read('week', null, ALL), { events: [{ id: first }, { id: second }] })
  t.match(await node.read('week', first, ALL), { linked: true, events: [{ id: second, prev: first }] })
  clock.forward(2000)
  sweep()
  t.match(await node.read('week', first, ALL), { linked: true, events: [{ id: second }] }, 'the first is over, the second is not')
  clock.forward(2000)
  sweep()
  t.same(await node.heads(['week']), [null])
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
  for (let i = 0; i < 5000; i++) await putFor(node, `passing/${i}`, 500)
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

/** What an adapter says that it uses. */
const bytesOf = (node: Adapter): number => (node.stats?.() as { bytes: number }).bytes

async function deduped (node: Adapter, topic: string, dedupe: string): Promise<EventId> {
  return (await node.publish(topic, 'said', Buffer.from('x'), { retention: RETENTION, format: 'text', dedupe })).id
}

t.test('under pressure first events go, then dedupe keys, then positions; a topic begins anew behind a genesis never used', async (t) => {
  const node = memory({ maxBytes: 60_000 })
  await node.start(SILENT)
  t.teardown(() => node.close())
  const genesis = await node.subscribe('old', true)
  node.unsubscribe('old')
  const id = await deduped(node, 'old', 'once')
  const seen: object[] = [{ events: true, key: true, position: true }]
  for (let i = 0; seen.length < 3 && i < 1000; i++) {
    await deduped(node, `others/${i}`, 'once')
    const [head] = await node.heads(['old'])
    const now = { events: await kept(node, 'old') > 0, key: head !== null && await deduped(node, 'old', 'once') === id, position: head !== null }
    if (JSON.stringify(now) !== JSON.stringify(seen.at(-1))) seen.push(now)
    // Asking with a key that is known appends nothing, and does not count as a use.
    if (!now.key) break
    t.ok(bytesOf(node) <= 60_000)
  }
  t.same(seen[1], { events: false, key: true, position: true }, 'its event is gone, and its key still holds')
  for (let i = 0; (await node.heads(['quiet']))[0] !== null || i === 0; i++) {
    if (i === 0) await put(node, 'quiet')
    await put(node, `more/${i}`)
    t.ok(bytesOf(node) <= 60_000)
    if (i > 1000) return t.fail('no position ever goes')
  }
  const anew = await node.subscribe('old', true)
  for (const lost of [genesis, id]) t.equal((await node.read('old', lost, ALL)).linked, false, 'who was in the log that is gone is told')
  t.not(anew, genesis)
})

t.test('a topic that is listened to keeps its position to the last; when that goes, its listeners are told at once', async (t) => {
  const suspects: string[] = []
  const node = memory({ maxBytes: 40_000 })
  await node.start({ ...SILENT, suspect: (topics) => { suspects.push(...topics) } })
  t.teardown(() => node.close())
  await node.subscribe('heard', true)
  const first = await put(node, 'heard')
  for (let i = 0; i < 300; i++) await put(node, `others/${i}`)
  t.same(await node.heads(['heard']), [first], 'the others\' go before')
  t.same(suspects, [])
  const topics = Array.from({ length: 300 }, (_, i) => `listened/${i}`)
  for (const topic of topics) {
    await node.subscribe(topic, true)
    await put(node, topic)
  }
  t.ok(bytesOf(node) <= 40_000)
  t.ok(suspects.includes('heard'))
  const page = await node.read('heard', first, ALL)
  t.match(page, { linked: false, events: [] })
  const next = await put(node, 'heard')
  t.match(await node.read('heard', page.head, ALL), { linked: true, events: [{ id: next, prev: page.head }] }, 'and go on from there')
  t.equal((await node.read('heard', first, ALL)).linked, false)
})

t.test('dedupe keys go when their time is over', async (t) => {
  const { node, clock, sweep } = await sweepable(t, {})
  const retention = { limit: 1, maxAge: 1000, maxBytes: 100 }
  const publish = async (dedupe: string): Promise<EventId> => (await node.publish('keys', 'said', Buffer.from('x'), { retention, format: 'text', dedupe })).id
  const id = await publish('a')
  const one = bytesOf(node)
  for (let i = 0; i < 50; i++) await publish(`key ${i}`)
  t.ok(bytesOf(node) > one + 50 * 100)
  t.equal(await publish('a'), id)
  clock.forward(1001)
  sweep()
  t.ok(bytesOf(node) < one, 'neither the event nor the keys are left')
  t.not(await publish('a'), id)
})

t.test('a topic remembers 10,000 dedupe keys', async (t) => {
  const node = memory()
  const ids: EventId[] = []
  for (let i = 0; i <= 10_000; i++) ids.push(await deduped(node, 'keys', `key ${i}`))
  t.equal(await deduped(node, 'keys', 'key 1'), ids[1])
  t.not(await deduped(node, 'keys', 'key 0'), ids[0])
})

t.test('whatever is let go of, no cursor links past a loss', async (t) => {
  const random = new Random(11)
  for (const maxBytes of [3000, 12_000, 100_000]) {
    const { node, clock, sweep } = await sweepable(t, { maxBytes, headAge: 5000 })
    const listened = new Set<string>()
    /** Every event of a topic; and of each position that somebody was told, how many events were before it. */
    const logs = new Map<string, { events: EventId[], places: Map<EventId, number> }>()
    const logOf = (topic: string): { events: EventId[], places: Map<EventId, number> } => {
      const log = logs.get(topic) ?? { events: [], places: new Map() }
      logs.set(topic, log)
      return log
    }
    let linked = 0
    for (let step = 0; step < 5000; step++) {
      const topic = `t/${random.int(0, 60)}`
      const log = logOf(topic)
      const turn = random.next()
      if (turn < 0.4) {
        const dedupe = random.chance(0.2) ? { dedupe: `k${step}` } : {}
        const { id } = await node.publish(topic, 'said', Buffer.alloc(random.int(0, 300)), { retention: { ...RETENTION, limit: 5 }, format: 'binary', ...dedupe })
        log.events.push(id)
        log.places.set(id, log.events.length)
      } else if (turn < 0.5) {
        const place = await node.subscribe(topic, true)
        listened.add(topic)
        const before = log.places.get(place)
        if (before !== undefined && before !== log.events.length) return t.fail(`a position is given a second time: ${place}`)
        log.places.set(place, log.events.length)
      } else if (turn < 0.6) {
        node.unsubscribe(topic)
        listened.delete(topic)
      } else if (turn < 0.97) {
        // Mostly one of the last, which may still be there.
        const places = [...log.places.keys()].slice(random.chance(0.8) ? -4 : -1000)
        const place = random.pick([...places, '0-0.unknown'])
        const page = await node.read(topic, place, ALL)
        if (!page.linked) continue
        linked++
        const wanted = log.events.slice(log.places.get(place) ?? Infinity)
        if (JSON.stringify(page.events.map(({ id }) => id)) !== JSON.stringify(wanted)) return t.same(page.events.map(({ id }) => id), wanted)
      } else if (turn < 0.99) sweep()
      else clock.forward(random.int(0, 2000))
    }
    t.ok(linked > 50, `${maxBytes} bytes: ${linked} reads were linked, and whole`)
  }
})

t.test('what it says it uses is what it uses: 150,000 topics within 32 MiB, and dedupe keys within 8', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = async (): Promise<number> => {
    for (let i = 0; i < 4; i++) {
      collect()
      await new Promise((resolve) => setImmediate(resolve))
    }
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const MiB = 1 << 20
  const cost = async (maxBytes: number, fill: (node: Adapter) => Promise<void>): Promise<number> => {
    const before = await used()
    const node = memory({ maxBytes })
    await node.start(SILENT)
    await fill(node)
    const bytes = await used() - before
    t.ok(bytesOf(node) <= maxBytes)
    await node.close()
    return bytes / MiB
  }
  const topics = await cost(32 * MiB, async (node) => { for (let i = 0; i < 150_000; i++) await put(node, `topics/${i}`, `{"n":${i}}`) })
  t.ok(topics < 40, `150,000 topics: ${topics.toFixed(1)} MiB`)
  const keys = await cost(8 * MiB, async (node) => { for (let i = 0; i < 100_000; i++) await deduped(node, `topics/${i % 10}`, `key number ${i}`) })
  t.ok(keys < 11, `10 topics with dedupe keys: ${keys.toFixed(1)} MiB`)
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

t.test('refuses bounds that are none, and options that it does not know', async (t) => {
  t.throws(() => memory({ maxByte: 1 } as MemoryOptions), { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /maxByte/ })
  for (const value of [0, -1, NaN]) {
    t.throws(() => memory({ maxBytes: value }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
    t.throws(() => memory({ headAge: value }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  }
})

const KEYED = { maxKeys: 1000, maxBytes: 1 << 30, lifetime: 3_600_000 }

async function putKey (node: Adapter, topic: string, key: string, data = 'x', keyed: Partial<typeof KEYED> = {}): Promise<EventId> {
  const bounds = { ...KEYED, ...keyed }
  return (await node.publish(topic, 'set', Buffer.from(data), { retention: RETENTION, format: 'text', key, keyed: { change: 'put', bounds } })).id
}

async function removeKey (node: Adapter, topic: string, key: string): Promise<EventId> {
  return (await node.publish(topic, 'gone', Buffer.from(''), { retention: RETENTION, format: 'text', key, keyed: { change: 'remove', bounds: KEYED } })).id
}

const keysOf = async (node: Adapter & Partial<KeyedStates>, topic: string): Promise<string[] | undefined> =>
  (await node.state?.(topic, null, 100))?.events.map(({ key }) => key)

t.test('a state counts among the bytes, and what is replaced or removed counts no more', async (t) => {
  const { node, clock, sweep } = await sweepable(t, {})
  await putKey(node, 'k', 'a', 'x'.repeat(10_000))
  const one = bytesOf(node)
  t.ok(one > 20_000, 'its event is in the log, and in the state')
  for (let i = 0; i < 5; i++) await putKey(node, 'k', 'a', 'x'.repeat(10_000))
  t.ok(bytesOf(node) - one > 5 * 10_000 && bytesOf(node) - one < 5 * 11_000, 'the log alone has grown')
  await removeKey(node, 'k', 'a')
  clock.forward(RETENTION.maxAge + 1)
  sweep()
  t.equal(bytesOf(node), 0, 'nothing is left of it')
})

t.test('past maxBytes state and log of a topic go together, and it begins anew', async (t) => {
  const node = memory({ maxBytes: 200_000 })
  const suspected: unknown[] = []
  await node.start({ ...SILENT, suspect: (topics) => { suspected.push(topics) } })
  t.teardown(() => node.close())
  const before = await putKey(node, 'old', 'a', 'x'.repeat(30_000))
  await node.subscribe('old', true)
  for (let i = 0; i < 6; i++) {
    await node.subscribe(`new/${i}`, true)
    await putKey(node, `new/${i}`, 'a', 'x'.repeat(30_000))
  }
  t.same(await keysOf(node, 'old'), [])
  const { head, events, linked } = await node.read('old', before, ALL)
  t.same([events, linked], [[], false])
  t.not(head, before)
  t.same(suspected[0], ['old'], 'its listeners are told')
  t.same(await keysOf(node, 'new/5'), ['a'])
  t.ok(bytesOf(node) <= 200_000)
})

t.test('no state outgrows the adapter: what would is refused, and what is there can change', async (t) => {
  const node = memory({ maxBytes: 100_000 })
  await node.start(SILENT)
  t.teardown(() => node.close())
  let keys = 0
  await t.rejects(async () => { for (;; keys++) await putKey(node, 'k', String(keys), 'x'.repeat(2000)) }, { code: 'FST_ERR_REALTIME_STATE_FULL' })
  t.ok(keys > 30 && keys < 45, `${keys} keys`)
  t.ok(bytesOf(node) <= 100_000, `${bytesOf(node)} bytes`)
  for (let i = 0; i < 10; i++) await putKey(node, 'k', '0', 'y'.repeat(2000))
  await removeKey(node, 'k', '0')
  await putKey(node, 'k', 'other', 'x'.repeat(2000))
  t.equal((await keysOf(node, 'k'))?.length, keys)
  t.ok(bytesOf(node) <= 100_000, `${bytesOf(node)} bytes`)
})

t.test('the sweep ends a state whose lifetime is over, and keeps one that lives on behind its events and headAge', async (t) => {
  const { node, clock, sweep } = await sweepable(t, { headAge: 1000 })
  const short = await putKey(node, 'short', 'a', 'x', { lifetime: 2000 })
  const long = await putKey(node, 'long', 'a', 'x', { lifetime: Infinity })
  clock.forward(1500)
  sweep()
  t.same([await keysOf(node, 'short'), await keysOf(node, 'long')], [['a'], ['a']])
  clock.forward(1000)
  sweep()
  t.same([await keysOf(node, 'short'), await keysOf(node, 'long')], [[], ['a']])
  t.match(await node.read('short', short, ALL), { linked: false })
  clock.forward(RETENTION.maxAge)
  sweep()
  t.equal(await kept(node, 'long'), 0)
  t.same(await keysOf(node, 'long'), ['a'])
  t.match(await node.read('long', long, ALL), { linked: true, head: long })
})

/**
 * What every adapter does (core/adapter.ts), as trials for any test runner:
 *
 *     for (const { name, run } of adapterSuite(() => [redis(url), redis(url)])) test(name, run)
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, AppendOptions, EphemeralEvent, Id, LogEvent, Sink } from '../core/adapter.ts'
import { trial, type Checks, type Trial } from './trial.ts'

/**
 * The nodes of one log, not started yet: each trial starts them, publishes on the first, listens on all, and closes them.
 * `t.teardown(end)` undoes what was made for them.
 */
export type MakeNodes = (t: Checks) => Adapter[] | Promise<Adapter[]>

export interface AdapterSuiteOptions {
  /** Lets so much of the adapter's time go by, ms. Default: it waits. */
  elapse?: (t: Checks, ms: number) => Promise<void>
}

const SHAPE = /^\d{1,16}-\d{1,10}\.[A-Za-z0-9_-]+$/
const ALL = { count: 10_000, bytes: 64 << 20 }
const RETENTION = { limit: 1000, maxAge: 60_000, maxBytes: 8 << 20 }
const OPTIONS: AppendOptions = { retention: RETENTION, format: 'json' }
const GIVE_UP_MS = 10_000

/** What an adapter has told its hub. */
class RecordingSink implements Sink {
  readonly events: Array<{ topic: string, event: LogEvent }> = []
  readonly ephemerals: Array<{ topic: string, event: EphemeralEvent }> = []
  #look: Array<() => void> = []

  event (topic: string, event: LogEvent): void {
    this.events.push({ topic, event })
    for (const look of [...this.#look]) look()
  }

  ephemeral (topic: string, event: EphemeralEvent): void {
    this.ephemerals.push({ topic, event })
    for (const look of [...this.#look]) look()
  }

  suspect (): void {}
  state (): void {}

  of (topic: string): LogEvent[] {
    return this.events.filter((one) => one.topic === topic).map(({ event }) => event)
  }

  until (what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the sink never heard of ${what}`)), GIVE_UP_MS)
      const look = (): void => {
        if (!holds()) return
        clearTimeout(timer)
        this.#look = this.#look.filter((one) => one !== look)
        resolve()
      }
      this.#look.push(look)
      look()
    })
  }

  ids (topic: string, ids: readonly Id[]): Promise<void> {
    return this.until(`${ids.length} events of ${topic}`, () => {
      const heard = new Set(this.of(topic).map(({ id }) => id))
      return ids.every((id) => heard.has(id))
    })
  }
}

interface Cluster {
  nodes: Adapter[]
  sinks: RecordingSink[]
  node: Adapter
  sink: RecordingSink
}

async function start (t: Checks, makeNodes: MakeNodes): Promise<Cluster> {
  const nodes = await makeNodes(t)
  const sinks = nodes.map(() => new RecordingSink())
  await Promise.all(nodes.map((node, i) => node.start(sinks[i] as Sink)))
  t.teardown(() => Promise.all(nodes.map((node) => node.close())))
  return { nodes, sinks, node: nodes[0] as Adapter, sink: sinks[0] as RecordingSink }
}

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (event: { data: Uint8Array }): string => Buffer.from(event.data).toString()

async function put (node: Adapter, topic: string, data: string, options: Partial<AppendOptions> = {}): Promise<Id> {
  return (await node.publish(topic, 'said', bytes(data), { ...OPTIONS, ...options })).id
}

/** One after the other. */
async function putAll (node: Adapter, topic: string, count: number, options: Partial<AppendOptions> = {}): Promise<Id[]> {
  const ids: Id[] = []
  for (let i = 0; i < count; i++) ids.push(await put(node, topic, String(i), options))
  return ids
}

/** So that others get their turns. */
async function slowly (node: Adapter, topic: string, count: number): Promise<Id[]> {
  const ids: Id[] = []
  for (let i = 0; i < count; i++) {
    ids.push(await put(node, topic, String(i)))
    if (i % 5 === 0) await sleep(0)
  }
  return ids
}

const subscribeAll = (nodes: Adapter[], topic: string): Promise<Id[]> => Promise.all(nodes.map((node) => node.subscribe(topic, true)))

/** The events in the order of their links, from `genesis`; a sink may hear them in any. */
function chained (events: readonly LogEvent[], genesis: Id): LogEvent[] {
  const byPrev = new Map(events.map((event) => [event.prev, event]))
  const chain: LogEvent[] = []
  for (let next = byPrev.get(genesis); next; next = byPrev.get(next.id)) chain.push(next)
  return chain
}

const order = (id: Id): [number, number] => id.split('.')[0]?.split('-').map(Number) as [number, number]
const rises = (before: Id, after: Id): boolean => {
  const [[ms, seq], [laterMs, laterSeq]] = [order(before), order(after)]
  return laterMs > ms || (laterMs === ms && laterSeq > seq)
}

/** The adapter suite. */
export function adapterSuite (makeNodes: MakeNodes, { elapse = async (_t, ms) => { await sleep(ms) } }: AdapterSuiteOptions = {}): Trial[] {
  const trials: Trial[] = []
  const test = (name: string, run: (t: Checks, cluster: Cluster) => Promise<void>): void => {
    trials.push(trial(name, async (t) => await run(t, await start(t, makeNodes))))
  }

  test('each event links to the one before, the first to the genesis', async (t, { nodes, node, sinks }) => {
    const heads = await subscribeAll(nodes, 'links')
    const genesis = heads[0] as Id
    t.same(new Set(heads), new Set([genesis]), 'every node is told the same genesis')
    t.match(genesis, SHAPE)
    const ids = await putAll(node, 'links', 20)
    for (const sink of sinks) {
      await sink.ids('links', ids)
      t.same(chained(sink.of('links'), genesis).map(({ id }) => id), ids, 'what is announced is one chain')
    }
    const page = await node.read('links', genesis, ALL)
    t.same(page.events.map(({ prev }) => prev), [genesis, ...ids.slice(0, -1)], 'and so is what is stored')
    t.same(page.events.map(text), ids.map((_, i) => String(i)))
  })

  test('ids have one shape, are never given twice, and rise within a topic', async (t, { nodes }) => {
    const topics = ['ids/a', 'ids/b', 'ids/c']
    const ids = (await Promise.all(topics.map(async (topic) => {
      const own: Id[] = []
      for (let i = 0; i < 60; i++) own.push(await put(nodes[i % nodes.length] as Adapter, topic, 'x'))
      t.ok(own.slice(1).every((id, i) => rises(own[i] as Id, id)), `the ids of ${topic} rise`)
      return own
    }))).flat()
    t.equal(new Set(ids).size, ids.length)
    t.same(ids.filter((id) => !SHAPE.test(id)), [])
  })

  test('an id is never below the head, even when the clock is set back', async (t, { node }) => {
    const genesis = await node.subscribe('clock', true)
    const before = await put(node, 'clock', 'before')
    const now = Date.now
    t.intercept(Date, 'now', { value: () => now() - 3_600_000 })
    const after = await putAll(node, 'clock', 3)
    const all = [before, ...after]
    t.ok(after.every((id, i) => rises(all[i] as Id, id)), all.join(' '))
    t.same((await node.read('clock', genesis, ALL)).events.map(({ id }) => id), all)
  })

  test('publishes of one node to one topic keep the order of their calls', async (t, { node, sink }) => {
    const genesis = await node.subscribe('order', true)
    const ids = await Promise.all(Array.from({ length: 200 }, (_, i) => put(node, 'order', String(i))))
    await sink.ids('order', ids)
    const chain = chained(sink.of('order'), genesis)
    t.same(chain.map(text), ids.map((_, i) => String(i)))
    t.same(chain.map(({ id }) => id), ids, 'and each call is given the id of its own event')
  })

  test('publishes of all nodes at once make one chain', async (t, { nodes, sinks }) => {
    const [genesis] = await subscribeAll(nodes, 'race') as [Id]
    const ids = (await Promise.all(nodes.map((node, n) => Promise.all(Array.from({ length: 50 }, (_, i) => put(node, 'race', `${n}:${i}`)))))).flat()
    for (const sink of sinks) {
      await sink.ids('race', ids)
      const chain = chained(sink.of('race'), genesis).map(text)
      t.equal(chain.length, ids.length, 'nothing is outside the chain')
      for (const [n] of nodes.entries()) {
        t.same(chain.filter((one) => one.startsWith(`${n}:`)), Array.from({ length: 50 }, (_, i) => `${n}:${i}`), 'each node\'s own order holds')
      }
    }
  })

  test('topics do not know each other\'s ids', async (t, { node }) => {
    const [here, there] = [await node.subscribe('apart/a', true), await node.subscribe('apart/b', true)]
    t.not(here, there, 'each log has a genesis of its own')
    const a = await put(node, 'apart/a', 'a')
    await put(node, 'apart/b', 'b')
    t.equal((await node.read('apart/b', a, ALL)).linked, false, 'an id of the other is unknown')
    t.equal((await node.read('apart/b', here, ALL)).linked, false, 'and so is its genesis')
    t.same((await node.read('apart/b', there, ALL)).events.map(text), ['b'])
  })

  test('a dedupe key appends and announces once', async (t, { nodes, node, sink }) => {
    const genesis = await node.subscribe('dedupe', true)
    const first = await put(node, 'dedupe', 'one', { dedupe: 'order-1' })
    t.equal(await put(nodes.at(-1) as Adapter, 'dedupe', 'again', { dedupe: 'order-1' }), first, 'the second call is given the first id')
    const other = await put(node, 'dedupe', 'two', { dedupe: 'order-2' })
    const together = await Promise.all(nodes.concat(nodes).map((one) => put(one, 'dedupe', 'three', { dedupe: 'order-3' })))
    t.equal(new Set(together).size, 1, 'also when they race')
    const elsewhere = await put(node, 'dedupe/other', 'one', { dedupe: 'order-1' })
    t.not(elsewhere, first, 'a key is the topic\'s own')
    const last = await put(node, 'dedupe', 'end')
    await sink.ids('dedupe', [last])
    t.same((await node.read('dedupe', genesis, ALL)).events.map(text), ['one', 'two', 'three', 'end'])
    t.same([...new Set(sink.of('dedupe').map(({ id }) => id))], [first, other, together[0], last])
  })

  test('a dedupe key is forgotten with the history\'s age', async (t, { node }) => {
    const retention = { ...RETENTION, maxAge: 300 }
    const first = await put(node, 'dedupe/age', 'one', { dedupe: 'k', retention })
    await elapse(t, 400)
    t.not(await put(node, 'dedupe/age', 'two', { dedupe: 'k', retention }), first)
  })

  test('keeps the newest `limit` events', async (t, { node }) => {
    const genesis = await node.subscribe('limit', true)
    const ids = await putAll(node, 'limit', 12, { retention: { ...RETENTION, limit: 5 } })
    const page = await node.read('limit', null, ALL)
    t.same(page.events.map(({ id }) => id), ids.slice(-5))
    t.equal((await node.read('limit', genesis, ALL)).linked, false, 'what was trimmed away cannot be linked to')
    t.equal((await node.read('limit', ids[5] as Id, ALL)).linked, false)
    const edge = await node.read('limit', ids[6] as Id, ALL)
    t.equal(edge.linked, true, 'the oldest kept still links to the last one trimmed')
    t.same(edge.events.map(({ id }) => id), ids.slice(-5))
  })

  test('keeps events for `maxAge`, and the head for longer', async (t, { node }) => {
    const retention = { ...RETENTION, maxAge: 300 }
    const [first] = await putAll(node, 'age', 3, { retention })
    await elapse(t, 400)
    const last = await put(node, 'age', 'last', { retention })
    t.same((await node.read('age', null, ALL)).events.map(text), ['last'])
    t.equal((await node.read('age', first as Id, ALL)).linked, false)
    await elapse(t, 400)
    const quiet = await node.read('age', last, ALL)
    t.match({ head: quiet.head, linked: quiet.linked }, { head: last, linked: true }, 'who has read all has lost nothing')
    const next = await put(node, 'age', 'next', { retention })
    const page = await node.read('age', last, ALL)
    t.match(page, { linked: true, head: next })
    t.same(page.events.map(({ prev }) => prev), [last])
  })

  test('a log with a lifetime is forgotten after it, its head excepted, unless it is appended to again', async (t, { node }) => {
    const genesis = await node.subscribe('lifetime', true)
    const first = await put(node, 'lifetime', 'first', { lifetime: 300 })
    t.match(await node.read('lifetime', genesis, ALL), { linked: true, events: [{ id: first }] })
    await elapse(t, 400)
    t.match(await node.read('lifetime', genesis, ALL), { linked: false, events: [], head: first }, 'forgotten')
    t.match(await node.read('lifetime', first, ALL), { linked: true, events: [], head: first })
    const second = await put(node, 'lifetime', 'second', { lifetime: 300 })
    t.match(await node.read('lifetime', first, ALL), { linked: true, events: [{ id: second, prev: first }], head: second }, 'what comes later is kept')
  })

  test('keeps `maxBytes` of data, and the newest event whatever its size', async (t, { node }) => {
    const retention = { ...RETENTION, maxBytes: 1000 }
    for (let i = 0; i < 6; i++) await put(node, 'bytes', `${i}`.repeat(300), { retention })
    const kept = (await node.read('bytes', null, ALL)).events.map((event) => text(event)[0])
    t.same(kept, ['3', '4', '5'])
    await put(node, 'bytes', 'x'.repeat(5000), { retention })
    t.same((await node.read('bytes', null, ALL)).events.map(({ data }) => data.byteLength), [5000])
  })

  test('reads from the oldest, from an id, from the head, and past an unknown id', async (t, { nodes, node }) => {
    const genesis = await node.subscribe('read', true)
    const ids = await putAll(node, 'read', 6)
    const head = ids[5] as Id
    for (const one of nodes) {
      const whole = await one.read('read', null, ALL)
      t.match(whole, { head, more: false })
      t.same(whole.events.map(({ id }) => id), ids, 'null: everything')
      t.match(await one.read('read', genesis, ALL), { head, linked: true, more: false, events: ids.map((id) => ({ id })) })
      const some = await one.read('read', ids[2] as Id, ALL)
      t.match(some, { head, linked: true, more: false })
      t.same(some.events.map(({ id }) => id), ids.slice(3), 'an id: what follows it')
      t.same(await one.read('read', head, ALL), { head, events: [], linked: true, more: false }, 'the head: nothing, and that is known')
      for (const unknown of ['1-0.foreign', '9999999999999999-0.future', 'garbage', '', head + 'x']) {
        const page = await one.read('read', unknown, ALL)
        t.match(page, { head, linked: false }, `"${unknown}" is not linked`)
        t.same(page.events.map(({ id }) => id), ids, 'and what is kept is shown')
      }
    }
  })

  test('pages by count and by bytes, and says when there is more', async (t, { node }) => {
    const ids = await putAll(node, 'pages', 10)
    for (const limits of [{ count: 3, bytes: 1 << 20 }, { count: 100, bytes: 3 }]) {
      const seen: Id[] = []
      const sizes: number[] = []
      for (let after: Id | null = null, more = true; more;) {
        const page = await node.read('pages', after, limits)
        t.equal(page.linked, true)
        t.equal(page.head, ids.at(-1))
        seen.push(...page.events.map(({ id }) => id))
        sizes.push(page.events.length)
        after = seen.at(-1) as Id
        more = page.more
      }
      t.same(seen, ids)
      t.ok(sizes.every((size) => size > 0 && size <= 4), `no page is empty or too long: ${sizes.join()}`)
    }
    t.match(await node.read('pages', null, { count: 1, bytes: 1 }), { events: [{ id: ids[0] }], more: true }, 'one event always fits')
    t.match(await node.read('pages', ids[8] as Id, { count: 1, bytes: 1 }), { events: [{ id: ids[9] }], more: false })
  })

  test('the head is read before the events', async (t, { nodes, node }) => {
    let after = await node.subscribe('head-first', true)
    const reader = nodes.at(-1) as Adapter
    const written = Promise.all(nodes.map((one) => slowly(one, 'head-first', 100)))
    const faults: string[] = []
    for (let seen = 0; seen < 100 * nodes.length;) {
      const { head, events, linked } = await reader.read('head-first', after, ALL)
      if (!linked) faults.push(`lost its place at ${after}`)
      if (head !== after && !events.some(({ id }) => id === head)) faults.push(`the head ${head} ran ahead of its events`)
      after = events.at(-1)?.id ?? after
      seen += events.length
      await sleep(0)
    }
    await written
    t.same(faults, [])
    t.same(await node.heads(['head-first']), [after])
  })

  test('a subscription misses nothing after the head it resolves with', async (t, { nodes, node, sinks }) => {
    const listener = nodes.at(-1) as Adapter
    const sink = sinks.at(-1) as RecordingSink
    const written = slowly(node, 'live', 100)
    while ((await listener.read('live', null, ALL)).events.length < 20) await sleep(0)
    const head = await listener.subscribe('live', true)
    const ids = await written
    t.ok(ids.includes(head), 'the head is an event of the log')
    const rest = ids.slice(ids.indexOf(head) + 1)
    t.ok(rest.length > 0, 'and not its last')
    await sink.ids('live', rest)
    t.same(chained(sink.of('live'), head).map(({ id }) => id), rest)
  })

  test('after unsubscribe nothing arrives, and the topic can be joined again', async (t, { node, sink }) => {
    await node.subscribe('leave', true)
    await node.subscribe('sentinel', true)
    await sink.ids('leave', [await put(node, 'leave', 'heard')])
    node.unsubscribe('leave')
    let silent = false
    // The link may need a moment to let go.
    for (let round = 0; round < 50 && !silent; round++) {
      const missed = await put(node, 'leave', 'missed')
      await sink.ids('sentinel', [await put(node, 'sentinel', 'x')])
      silent = !sink.of('leave').some(({ id }) => id === missed)
    }
    t.ok(silent, 'the topic fell silent')
    const head = await node.subscribe('leave', true)
    t.same(await node.heads(['leave']), [head])
    const next = await put(node, 'leave', 'heard again')
    await sink.ids('leave', [next])
    t.equal(sink.of('leave').find(({ id }) => id === next)?.prev, head)
  })

  test('a topic nobody published to leaves nothing behind, and its genesis still links', async (t, { nodes, node }) => {
    const genesis = await node.subscribe('quiet', true)
    t.same(await node.read('quiet', genesis, ALL), { head: genesis, events: [], linked: true, more: false })
    t.match(await node.read('quiet', '1-0.other', ALL), { head: genesis, events: [], linked: false })
    node.unsubscribe('quiet')
    t.same(await node.heads(['quiet']), [null], 'no head is kept')
    t.equal(await (nodes.at(-1) as Adapter).subscribe('quiet', true), genesis, 'who comes back finds the same place')
    for (const one of nodes) one.unsubscribe('quiet')
    const first = await put(node, 'quiet', 'first')
    const page = await node.read('quiet', genesis, ALL)
    t.match(page, { head: first, linked: true })
    t.same(page.events.map(({ id, prev }) => ({ id, prev })), [{ id: first, prev: genesis }], 'the first event links to what its listener was told')
  })

  test('an ephemeral event reaches listeners, and no log', async (t, { nodes, node, sinks }) => {
    await Promise.all(nodes.map((one) => one.subscribe('fleeting', false)))
    const cursor: EphemeralEvent = { name: 'cursor', data: bytes('{"x":1}'), format: 'json', key: 'u1' }
    await node.ephemeral('fleeting', cursor)
    await node.ephemeral('fleeting', { name: 'cursor', data: bytes('{"x":2}'), format: 'json', except: { connection: 'connection-7' } })
    await node.ephemeral('unheard', cursor)
    await node.ephemeral('fleeting', { name: 'end', data: bytes(''), format: 'text' })
    for (const sink of sinks) {
      await sink.until('the last ephemeral event', () => sink.ephemerals.length >= 3)
      t.match(sink.ephemerals, [
        { topic: 'fleeting', event: { name: 'cursor', format: 'json', key: 'u1' } },
        { topic: 'fleeting', event: { name: 'cursor', format: 'json', except: { connection: 'connection-7' } } },
        { topic: 'fleeting', event: { name: 'end', format: 'text' } }
      ])
      t.equal(sink.ephemerals.length, 3, 'a topic without listeners is not heard')
      t.same(sink.ephemerals.map(({ event }) => text(event)), ['{"x":1}', '{"x":2}', ''])
      t.equal(sink.ephemerals[1]?.event.key, undefined, 'a key is not made up')
    }
    t.same((await node.read('fleeting', null, ALL)).events, [])
    t.same(await node.heads(['fleeting', 'unheard']), [null, null])
  })

  test('name, data, format and key are kept to the byte', async (t, { nodes, node, sinks }) => {
    await subscribeAll(nodes, 'kept')
    const every = Uint8Array.from({ length: 256 }, (_, i) => i)
    const sent = [
      { name: 'message', data: bytes('{"a":"\u2028\u{1F436}"}'), format: 'json' as const },
      { name: 'Grüße 😀', data: bytes(''), format: 'text' as const, key: 'k' },
      { name: 'picture', data: every, format: 'binary' as const, key: 'clé {1}' },
      { name: 'lines', data: bytes('a\r\nb\n\nc\0'), format: 'text' as const },
      { name: 'big', data: Buffer.alloc(1 << 20, 'ä'), format: 'text' as const }
    ]
    const ids: Id[] = []
    for (const { name, data, ...options } of sent) ids.push((await node.publish('kept', name, data, { retention: RETENTION, ...options })).id)
    const shape = ({ name, data, format, key }: { name: string, data: Uint8Array, format: string, key?: string }): unknown =>
      ({ name, data: Buffer.from(data).toString('latin1'), format, key })
    for (const [n, sink] of sinks.entries()) {
      await sink.ids('kept', ids)
      const heard = ids.map((id) => sink.of('kept').find((event) => event.id === id) as LogEvent)
      t.same(heard.map(shape), sent.map(shape), 'as announced')
      t.same((await (nodes[n] as Adapter).read('kept', null, ALL)).events.map(shape), sent.map(shape), 'as stored')
    }
  })

  test('any name a topic may have is a log of its own', async (t, { node, sink }) => {
    const names = ['a', 'a/b', 'a{b}', '{a}', 'a}b{', 'a:log', 'a%2Fb', 'ä/😀', 'x'.repeat(255), 'toString', '__proto__', '*', '?', '\\']
    const ids = new Map<string, Id>()
    for (const topic of names) await node.subscribe(topic, true)
    for (const topic of names) ids.set(topic, await put(node, topic, topic))
    for (const topic of names) {
      await sink.ids(topic, [ids.get(topic) as Id])
      t.same(sink.of(topic).map(text), [topic])
      t.same((await node.read(topic, null, ALL)).events.map(text), [topic])
    }
  })

  test('heads() answers for many topics in their order', async (t, { nodes, node }) => {
    const topics = Array.from({ length: 600 }, (_, i) => `heads/${i}`)
    const expected = await Promise.all(topics.map(async (topic, i) => i % 3 === 0 ? null : await put(node, topic, 'x')))
    for (const one of nodes) t.same(await one.heads(topics), expected)
    t.same(await node.heads([]), [])
  })

  test('close() ends the announcements, and may come twice', async (t, { nodes, node, sink }) => {
    await node.subscribe('closing', true)
    await sink.ids('closing', [await put(node, 'closing', 'heard')])
    const heard = sink.events.length
    await node.close()
    await put(nodes.at(-1) as Adapter, 'closing', 'too late').catch(() => {})
    await nodes.at(-1)?.heads(['closing']).catch(() => {})
    t.equal(sink.events.length, heard)
    await t.resolves(node.close())
  })
  return trials
}

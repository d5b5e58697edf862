/** A deploy that rolls: nodes of this version and of the one before it on one Redis. Nobody is told of a loss. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { EphemeralEvent, LogEvent, Sink } from '../../lib/core/adapter.ts'
import type { Adapter } from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectionsOf, openChannel, openEnvelope, openStream, serve, turn, type Channel, type Stream } from '../conformance/clients.ts'
import { RedisServer } from '../helpers/redis.ts'
import { NodeBefore } from './node-before.ts'

const server = await RedisServer.start(t)
let prefixes = 0
const fresh = (): string => `rolling${prefixes++}:`

const now = (prefix: string): Adapter => redis({ url: server.url, prefix })
const before = (prefix: string): Adapter => new NodeBefore(server.url, prefix)
const VERSIONS = { now, before } as const
type Version = keyof typeof VERSIONS

async function nodeOf (t: Test, version: Version, prefix: string): Promise<FastifyInstance> {
  return await serve(t, { adapter: VERSIONS[version](prefix), retry: 100, closeTimeout: 500 }, (app) => {
    const [news, other] = ['news', 'other'].map((name) => app.topic(name, { authorize: () => true }))
    const loose = app.topic('loose', { history: false, authorize: () => true })
    app.stream('/news', { topics: 'news' })
    app.stream('/all', { topics: ['news', 'other', 'loose'] })
    app.channel('/channel', { topics: [news, other, loose] as never, messages: { wave: { relay: { topic: 'loose' } } } })
  })
}

interface Listeners { single: Stream, several: Stream, flat: Channel, envelope: Channel, ids: string[] }

/** A client of each kind. */
async function listen (t: Test, app: FastifyInstance, cursors: Record<string, string> = {}): Promise<Listeners> {
  const known = new Set(connectionsOf(app))
  const id = cursors.news
  const listeners = {
    single: await openStream(t, app, '/news', id === undefined ? {} : { lastEventId: id }),
    several: await openStream(t, app, '/all', cursors.several === undefined ? {} : { lastEventId: cursors.several }),
    flat: await openChannel(t, app, '/channel'),
    envelope: await openEnvelope(t, app, '/channel', id === undefined ? undefined : { news: id })
  }
  const made = (): typeof connections => connectionsOf(app).filter((one) => !known.has(one))
  let connections = connectionsOf(app)
  while ((connections = made()).length < 4 || made().some(({ topics }) => topics.length === 0)) await turn()
  return { ...listeners, ids: connections.map((one) => one.id) }
}

async function leave ({ single, several, flat, envelope }: Listeners): Promise<void> {
  await Promise.all([single, several, flat, envelope].map(async (client) => await client.leave()))
}

/** Everybody has heard these, in this order, and was told of no loss. */
async function heard (t: Test, { single, several, flat, envelope }: Listeners, numbers: readonly number[], what: string, resumed = true): Promise<void> {
  const want = <T> (run: () => Promise<T>): Promise<T[]> => numbers.reduce(async (all, _n) => [...await all, await run()], Promise.resolve<T[]>([]))
  t.same((await want(async () => await single.json('said'))), numbers.map((n) => ({ n })), `${what}: a stream of one topic`)
  t.same((await want(async () => await several.json('said'))), numbers.map((n) => ({ n })), `${what}: a stream of several`)
  t.same((await want(async () => await envelope.next({ event: 'said' }))).map(({ data }) => data), numbers.map((n) => ({ n })), `${what}: the envelope`)
  if (resumed) t.same((await want(async () => await flat.next({ type: 'said' }))).map(({ n }) => n), numbers, `${what}: plain JSON`)
}

/** Nothing that any of them was ever told speaks of a loss. */
function unbroken (t: Test, { single, several, flat, envelope }: Listeners, what: string): void {
  for (const stream of [single, several]) t.same(stream.reader.events.filter(({ type }) => type === 'realtime:reset'), [], `${what}: no reset of a stream`)
  t.same(flat.inbox.all.filter(({ type }) => type === 'error'), [], `${what}: no reset in plain JSON`)
  t.same(envelope.inbox.all.filter(({ op, recovered }) => op === 'reset' || recovered === false), [], `${what}: no reset in the envelope`)
}

t.test('both publish, and all hear all of it in one order', async (t) => {
  const prefix = fresh()
  const nodes = [await nodeOf(t, 'before', prefix), await nodeOf(t, 'now', prefix)] as const
  const all = [await listen(t, nodes[0]), await listen(t, nodes[1])]
  const ids: unknown[] = []
  for (let n = 0; n < 40; n++) ids.push((await (nodes[n % 2] as FastifyInstance).realtime.publish('news', 'said', { n }, n % 3 ? { key: `k${n % 4}` } : {})).id)
  for (const [i, one] of all.entries()) await heard(t, one, Array.from({ length: 40 }, (_, n) => n), i ? 'now' : 'before')
  for (const node of nodes) t.same((await node.realtime.history('news')).events.map(({ id }) => id), ids)
  // At once, and in batches.
  await Promise.all(Array.from({ length: 200 }, async (_, n) => await (nodes[n % 2] as FastifyInstance).realtime.publish('other', 'burst', { n })))
  const orders = []
  for (const { envelope } of all) {
    const order = []
    for (let n = 0; n < 200; n++) order.push(((await envelope.next({ event: 'burst' })).data as { n: number }).n)
    orders.push(order)
  }
  t.same(orders[0], orders[1])
  for (const one of all) unbroken(t, one, 'both')
})

t.test('bytes, keys and dedupe keys mean the same to both', async (t) => {
  const prefix = fresh()
  const nodes = [await nodeOf(t, 'before', prefix), await nodeOf(t, 'now', prefix)] as const
  const all = [await listen(t, nodes[0]), await listen(t, nodes[1])]
  for (const [i, node] of nodes.entries()) {
    const { id } = await node.realtime.publish('news', 'said', { n: i }, { dedupe: `once ${i}` })
    t.equal((await (nodes[1 - i] as FastifyInstance).realtime.publish('news', 'said', { n: 99 }, { dedupe: `once ${i}` })).id, id)
    await node.realtime.publish('news', 'picture', new Uint8Array([i, 255, 10, 13, 0]))
    for (const { flat, single } of all) {
      t.same([...await flat.bytes.take()], [i, 255, 10, 13, 0])
      t.same([...Buffer.from((await single.next('picture')).data, 'base64')], [i, 255, 10, 13, 0])
    }
  }
  for (const one of all) {
    await heard(t, one, [0, 1], 'once each')
    unbroken(t, one, 'both')
  }
})

t.test('clients go from node to node while the deploy rolls, one version after the other and back', async (t) => {
  const prefix = fresh()
  let n = 0
  let cursors: Record<string, string> = {}
  let missed: number[] = []
  let node = await nodeOf(t, 'before', prefix)
  let clients = await listen(t, node)
  for (const next of ['now', 'before', 'now', 'now', 'before'] as const) {
    const other = await nodeOf(t, next, prefix)
    const both = [n++, n++]
    await node.realtime.publish('news', 'said', { n: both[0] })
    await other.realtime.publish('news', 'said', { n: both[1] })
    await heard(t, clients, [...missed, ...both], `before ${next}`, missed.length === 0)
    cursors = { news: clients.single.lastEventId, several: clients.several.lastEventId }
    await leave(clients)
    unbroken(t, clients, next)
    // While nobody listens, by both.
    missed = [n++, n++]
    await other.realtime.publish('news', 'said', { n: missed[0] })
    await node.realtime.publish('news', 'said', { n: missed[1] })
    await node.close()
    node = other
    clients = await listen(t, node, cursors)
  }
  await node.realtime.publish('news', 'said', { n })
  await heard(t, clients, [...missed, n], 'at the end', false)
  unbroken(t, clients, 'at the end')
})

t.test('a topic begun by the one is gone on with by the other, from its genesis', async (t) => {
  for (const [first, second] of [['before', 'now'], ['now', 'before']] as const) {
    const prefix = fresh()
    const [begins, goesOn] = [await nodeOf(t, first, prefix), await nodeOf(t, second, prefix)]
    const clients = await listen(t, begins)
    const cursors = { news: clients.single.lastEventId, several: clients.several.lastEventId }
    await leave(clients)
    await goesOn.realtime.publish('news', 'said', { n: 0 })
    const back = await listen(t, goesOn, cursors)
    await goesOn.realtime.publish('news', 'said', { n: 1 })
    await heard(t, back, [0, 1], `${first}, then ${second}`, false)
    unbroken(t, back, `${first}, then ${second}`)
  }
})

t.test('except, beside a node that does not know it: that one gives it to everybody, and loses nothing', async (t) => {
  const prefix = fresh()
  const [old, own] = [await nodeOf(t, 'before', prefix), await nodeOf(t, 'now', prefix)]
  const [onOld, onOwn] = [await listen(t, old), await listen(t, own)]
  for (const [i, except] of [onOwn.ids[3], onOld.ids[3]].entries()) {
    const n = i * 2
    await own.realtime.publish('news', 'said', { n }, { except: except as string })
    await old.realtime.publish('news', 'said', { n: n + 1 })
  }
  await heard(t, onOld, [0, 1, 2, 3], 'before')
  t.same([await onOwn.envelope.next({ event: 'said' }), await onOwn.envelope.next({ event: 'said' }), await onOwn.envelope.next({ event: 'said' })].map(({ data }) => data), [{ n: 1 }, { n: 2 }, { n: 3 }])
  t.ok(await onOwn.envelope.next({ op: 'at', why: 'excepted' }), 'its place is told')
  for (let n = 0; n < 4; n++) t.same(await onOwn.single.json('said'), { n })
  // Read from the log by either.
  for (const node of [old, own]) t.same((await node.realtime.history('news')).events.map(({ data }) => data), [0, 1, 2, 3].map((n) => ({ n })))
  const cursor = onOld.single.reader.events.find(({ type }) => type === 'realtime:open')?.lastEventId as string
  for (const node of [old, own]) {
    const back = await openStream(t, node, '/news', { lastEventId: cursor })
    for (let n = 0; n < 4; n++) t.same(await back.json('said'), { n })
  }
  for (const one of [onOld, onOwn]) unbroken(t, one, 'except')
})

t.test('a relay does not come back to its sender, whichever node it is on', async (t) => {
  const prefix = fresh()
  const nodes = [await nodeOf(t, 'before', prefix), await nodeOf(t, 'now', prefix)] as const
  const all = [await listen(t, nodes[0]), await listen(t, nodes[1])] as const
  for (const [i, sender] of all.entries()) {
    sender.flat.send({ type: 'wave', from: i })
    for (const [k, one] of all.entries()) {
      t.same(await one.envelope.next({ event: 'wave' }), { topic: 'loose', event: 'wave', data: { from: i } })
      if (k !== i) t.same(await one.flat.next({ type: 'wave' }), { type: 'wave', from: i })
    }
  }
  await nodes[0].realtime.publish('loose', 'last', {})
  for (const [i, one] of all.entries()) {
    await one.flat.next({ type: 'last' })
    t.same(one.flat.inbox.all.filter(({ type, from }) => type === 'wave' && from === i), [])
  }
})

t.test('an event with a trace is heard by a node of the version before, with its data; and what that writes has none', async (t) => {
  const prefix = fresh()
  const heardBy = (): { events: LogEvent[], ephemerals: EphemeralEvent[], sink: Sink } => {
    const events: LogEvent[] = []
    const ephemerals: EphemeralEvent[] = []
    return { events, ephemerals, sink: { event: (_, event) => events.push(event), ephemeral: (_, event) => ephemerals.push(event), suspect: () => {}, state: () => {} } }
  }
  const nodes = [now(prefix), before(prefix)] as const
  const hearing = nodes.map(heardBy)
  for (const [i, node] of nodes.entries()) {
    t.teardown(async () => await node.close())
    await node.start(hearing[i]?.sink as Sink)
    await node.subscribe('news', true)
    await node.subscribe('loose', false)
  }
  const trace = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'vendor=a value, other=1' }
  const options = { retention: { limit: 10, maxAge: 60_000, maxBytes: 1 << 20 }, format: 'json' } as const
  for (const node of nodes) {
    await node.publish('news', 'said', Buffer.from('{"n":1}'), { ...options, trace, key: 'k' })
    await node.ephemeral('loose', { name: 'blip', data: Buffer.from('{"n":2}'), format: 'json', trace, except: { connection: 'c1', identity: 'ä' } })
  }
  for (const { events, ephemerals } of hearing) while (events.length < 2 || ephemerals.length < 2) await turn()
  for (const [i, { events, ephemerals }] of hearing.entries()) {
    const seen = i === 0 ? trace : undefined
    t.same(events.map(({ name, data, key, trace }) => [name, String(data), key, trace]), [['said', '{"n":1}', 'k', seen], ['said', '{"n":1}', 'k', undefined]])
    t.same(ephemerals.map(({ name, data, trace }) => [name, String(data), trace]), [['blip', '{"n":2}', seen], ['blip', '{"n":2}', undefined]])
  }
  for (const node of nodes) t.same((await node.read('news', null, { count: 10, bytes: 1 << 20 })).events.map(({ data }) => String(data)), ['{"n":1}', '{"n":1}'])
})

t.test('fields of a version to come are skipped, by messages and by entries alike', async (t) => {
  const prefix = fresh()
  const own = await nodeOf(t, 'now', prefix)
  const clients = await listen(t, own)
  const { id } = await own.realtime.publish('news', 'said', { n: 0 })
  await server.ask(async (redis) => {
    const [ms] = (id as string).split('-') as [string]
    const place = `${ms}-500`
    const body = 'j 4 - trace=00-4bf9-00 parent=x%20y\nsaid{"n":1}'
    // What such a version would do: fields behind the four, and more in the head.
    await redis.xadd(`${prefix}{news}:log`, place, 'n', 'new', 'p', id as string, 'c', '7', 'e', body, 'k', 'state')
    await redis.set(`${prefix}{news}:head`, `${place}.new 14 0 - ${place}.new more`)
    await redis.publish(`${prefix}{news}`, `${place}.new ${id as string} ${body}`)
  })
  await own.realtime.publish('news', 'said', { n: 2 })
  await heard(t, clients, [0, 1, 2], 'live')
  unbroken(t, clients, 'live')
  const other = await nodeOf(t, 'now', prefix)
  const back = await openStream(t, other, '/news', { lastEventId: id as string })
  t.same([await back.json('said'), await back.json('said')], [{ n: 1 }, { n: 2 }], 'resumed')
  t.same(back.reader.events.filter(({ type }) => type === 'realtime:reset'), [])
})

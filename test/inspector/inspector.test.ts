/** What the inspector's page is told, and what it can have done, on one node. */
import { channel } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { asyncapi } from '../../lib/asyncapi/index.ts'
import inspector, { type InspectorOptions } from '../../lib/inspector/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { codeOf, live } from '../helpers/app.ts'
import { openInspector, PAGE } from '../helpers/inspector.ts'

const EVIL = '<img src=x onerror=alert(1)>'

async function appOf (t: Test, options: InspectorOptions = {}, plugin: RealtimeOptions = {}) {
  const app = await live(t, { identify: (request) => request.headers.user ? { id: String(request.headers.user) } : null, ...plugin })
  await app.register(inspector, options)
  app.addSchema({ $id: 'price', type: 'object', properties: { cents: { type: 'integer' } } })
  const room = app.topic('rooms/:room', { authorize: () => true, events: { said: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] } }, presence: true })
  const prices = app.topic('prices', { authorize: 'anyone', keyed: true, events: { price: { $ref: 'price#' } } })
  await app.register(async (scope) => {
    scope.setValidatorCompiler(validatorCompiler).setSerializerCompiler(serializerCompiler)
    scope.topic('odd', { events: { odd: z.object({ a: z.number() }) } })
  })
  app.stream('/rooms/:room', { topics: room, schema: { querystring: { type: 'object', properties: { since: { type: 'string' } } } } })
  app.channel('/ws/:room', { topics: room, subscribe: prices, presence: true, messages: { say: { schema: { type: 'object' }, handler: () => null } } })
  return { app, room, prices }
}

async function until (holds: () => unknown): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 2))
}

t.test('the page comes with headers that keep others from framing and from keeping it', async (t) => {
  const { app } = await appOf(t)
  const { headers, body } = await app.inject(PAGE)
  t.match(headers, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store', 'x-frame-options': 'DENY', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
  t.match(headers['content-security-policy'], "default-src 'self'")
  t.notMatch(body, /https?:|<script>|style=/, 'nothing of elsewhere, nothing inline')
})

t.test('what is declared is described, with schemas and policy, and nothing of the inspector\'s own', async (t) => {
  const { app } = await appOf(t)
  const { ask } = await openInspector(t, app)
  const { topics, routes, shared } = await ask('describe')
  t.match(topics, [
    { pattern: 'rooms/:room', authorize: 'a function', history: { limit: 256 }, presence: 'members', events: { said: { schema: { required: ['text'] } } } },
    { pattern: 'prices', authorize: 'anyone', keyed: true, events: { price: { schema: { $ref: '#/components/schemas/price' } } } },
    { pattern: 'odd', authorize: 'its routes', events: { odd: { note: /jsonSchema/ } } }
  ])
  t.equal(topics.length, 3)
  t.match(routes, [{ kind: 'stream', urls: ['/rooms/:room'], schema: { querystring: { schema: {} } } }, { kind: 'channel', messages: { say: { relayed: false, schema: {} } } }])
  t.equal(routes.length, 2)
  t.match(shared, { price: { schema: { properties: { cents: {} } } } })
  t.notMatch(JSON.stringify(app.realtime.describe()), 'inspector')
  t.notMatch(JSON.stringify(asyncapi(app, { jsonSchema: z.toJSONSchema })), 'inspector')
})

t.test('schemas of zod are shown where something makes JSON schema of them', async (t) => {
  const { app } = await appOf(t, { jsonSchema: z.toJSONSchema as (schema: unknown) => unknown })
  const { ask } = await openInspector(t, app)
  t.match((await ask('describe')).topics[2].events.odd, { schema: { properties: { a: { type: 'number' } } } })
})

t.test('the overview counts clients and not the inspector\'s own', async (t) => {
  const { app, room } = await appOf(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { ask } = await openInspector(t, app)
  const stream = await connectStream(app, '/rooms/1', { t })
  await room.publish({ room: '1' }, 'said', { text: 'x' })
  await stream.next('said')
  const { nodes: [node], silent } = await ask('overview')
  t.match(node, { silent: 0, connections: { sse: 1, websocket: 0, process: 0 }, topics: 1, published: 1, delivered: 1, adapter: { name: 'memory', state: 'up' } })
  t.same(silent, [])
})

t.test('why clients were told of losses is counted from the first look on', async (t) => {
  const { app } = await appOf(t)
  const { ask } = await openInspector(t, app)
  await connectStream(app, '/rooms/1', { t, lastEventId: 'nobody-knows' })
  t.match((await ask('overview')).nodes[0], { resets: 1, resetReasons: { 'unknown-cursor': 1 } })
})

t.test('connections are told with who, where and since when; hostile text comes as it is', async (t) => {
  const { app } = await appOf(t)
  const { ask } = await openInspector(t, app)
  await connectStream(app, `/rooms/${encodeURIComponent(EVIL)}?since=1`, { t, headers: { user: EVIL } })
  const { rows, cut } = await ask('connections', { find: EVIL })
  t.match(rows, [{ identity: EVIL, kind: 'sse', url: /^\/rooms\/%3Cimg/, anonymous: false, stalled: false, beat: -1, own: false }])
  t.same(rows[0].topics, [`rooms/${encodeURIComponent(EVIL)}`])
  t.equal(cut, false)
  t.same((await ask('connections', { find: 'nobody' })).rows, [])
  const own = (await ask('connections')).rows.filter((row: { own: boolean }) => row.own)
  t.equal(own.length, 1, 'the page itself is marked')
})

t.test('an answer is cut at maxRows, and says so', async (t) => {
  const { app } = await appOf(t, { maxRows: 2 })
  const { ask } = await openInspector(t, app)
  for (let i = 0; i < 4; i++) await connectStream(app, `/rooms/${i}`, { t })
  t.match(await ask('connections', { find: 'rooms/' }), { rows: { length: 2 }, cut: true })
  t.match(await ask('topics'), { rows: { length: 2 }, cut: true })
})

t.test('a topic is looked into: its history, its state, its members, and what comes', async (t) => {
  const { app, room, prices } = await appOf(t)
  const { ask } = await openInspector(t, app)
  const { id } = await room.publish({ room: '1' }, 'said', { text: EVIL })
  await room.publish({ room: '1' }, 'said', { text: 'b' })
  t.match(await ask('history', { topic: 'rooms/1' }), { events: [{ event: 'said', data: { text: EVIL } }, { data: { text: 'b' } }], read: 2, newer: false })
  t.match(await ask('history', { topic: 'rooms/1', after: id }), { events: [{ data: { text: 'b' } }], linked: true })
  t.match(await ask('history', { topic: 'rooms/1', after: 'x' }), { linked: false })
  await prices.publish({}, 'price', { cents: 1 }, { key: 'cat' })
  t.match(await ask('state', { topic: 'prices' }), { items: [{ key: 'cat', data: { cents: 1 } }], size: 1 })
  await connectChannel(app, '/ws/1', { t, format: 'envelope', headers: { user: 'ada' } })
  await until(async () => (await ask('members', { topic: 'rooms/1' })).size === 1)
  t.match(await ask('members', { topic: 'rooms/1' }), { members: [{ id: 'ada' }] })
  const tail = await connectStream(app, `${PAGE}/tail?topic=rooms%2F1`, { t })
  await tail.next('live')
  await room.publish({ room: '1' }, 'said', { text: 'c' })
  t.match((await tail.next('tail')).data, { topic: 'rooms/1', event: 'said', data: { text: 'c' }, key: null, id: /./ })
  t.equal(await codeOf(() => ask('history', { topic: 'nowhere' })), 'FST_ERR_REALTIME_TOPIC_UNKNOWN')
  t.equal(await codeOf(() => ask('state', { topic: 'rooms/1' })), 'FST_ERR_REALTIME_NOT_KEYED')
  t.equal(await codeOf(() => ask('members', { topic: 'prices' })), 'FST_ERR_REALTIME_NO_PRESENCE')
  t.equal((await app.inject({ url: `${PAGE}/tail?topic=nowhere`, headers: { accept: 'text/event-stream' } })).statusCode, 404)
})

t.test('a tail without a topic, or of several, is the asker\'s mistake, and no error in the log', async (t) => {
  const lines: string[] = []
  const app = await live(t, {}, { logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } } })
  await app.register(inspector)
  app.topic('a')
  for (const query of ['', '?topic=a&topic=a', '?topik=a']) {
    const answer = await app.inject({ url: `${PAGE}/tail${query}`, headers: { accept: 'text/event-stream' } })
    t.equal(answer.statusCode, 400, query)
    t.match(answer.json(), { code: 'FST_ERR_REALTIME_QUERY_INVALID', message: /"topic"/ })
  }
  t.same(lines, [])
})

t.test('a history of exactly as many events as are shown has no older ones; one more, and it has', async (t) => {
  const { app, room } = await appOf(t)
  const { ask } = await openInspector(t, app)
  for (let n = 0; n < 200; n++) await room.publish({ room: '1' }, 'said', { text: String(n) })
  t.match(await ask('history', { topic: 'rooms/1' }), { events: { length: 200 }, read: 200, newer: false })
  await room.publish({ room: '1' }, 'said', { text: 'one more' })
  const { events, read, newer } = await ask('history', { topic: 'rooms/1' })
  t.same([events.length, events[0].data, events.at(-1).data, read, newer], [200, { text: '1' }, { text: 'one more' }, 201, false])
  for (let n = 0; n < 15; n++) await room.publish({ room: 'big' }, 'said', { text: 'x'.repeat(50_000) })
  t.match(await ask('history', { topic: 'rooms/big' }), { events: { length: 10 }, read: 15, newer: false }, 'and so where the newest alone fit into one answer')
})

t.test('a history that is longer than is read is not shown as if its last events were the newest', async (t) => {
  const app = await live(t, { history: { limit: 20_000, maxAge: 600_000, maxBytes: 1 << 26 } })
  await app.register(inspector)
  const topic = app.topic('long')
  const { ask } = await openInspector(t, app)
  const publish = async (from: number, to: number): Promise<void> => {
    await Promise.all(Array.from({ length: to - from }, (_, at) => topic.publish({}, 'n', from + at)))
  }
  await publish(0, 10_000)
  const all = await ask('history', { topic: 'long' })
  t.match(all, { events: { length: 200 }, read: 10_000, newer: false })
  t.equal(all.events.at(-1).data, 9999)
  await publish(10_000, 12_000)
  const long = await ask('history', { topic: 'long' })
  t.match(long, { events: { length: 200 }, read: 10_000, newer: true })
  t.equal(long.events.at(-1).data, 9999, 'as far as it is read')
  t.match(await ask('history', { topic: 'long', after: all.events.at(-1).id }), { events: { length: 200 }, read: 2000, newer: false })
})

t.test('events are checked against the schemas of the topics that they may be of', async (t) => {
  const { app } = await appOf(t)
  const { ask } = await openInspector(t, app)
  const faults = await ask('check', {
    events: [
      { patterns: ['rooms/:room'], event: 'said', data: { text: 'x' } },
      { patterns: ['rooms/:room'], event: 'said', data: { text: 1 } },
      { patterns: ['rooms/:room'], event: 'shouted', data: {} },
      { patterns: ['prices', 'rooms/:room'], event: 'said', data: { text: 'x' } },
      { patterns: ['odd'], event: 'odd', data: { a: 'no number' } },
      { patterns: ['nowhere'], event: 'said', data: {} },
      { patterns: ['rooms/1'], event: 'said', data: {} }
    ]
  })
  t.equal(faults[0], null)
  t.match(faults[1], /text must be string/)
  t.match(faults[2], /no such event/)
  t.equal(faults[3], null, 'it fits the second')
  t.match(faults[4], /expected number/i)
  t.match(faults[5], /not declared/)
  t.match(faults[6], /text/, 'by a name as well')
})

/** A client that is one of the app's, and what the inspector knows of it. */
async function clientOf (t: Test, app: FastifyInstance, ask: (name: string, data?: object) => Promise<any>) { // eslint-disable-line @typescript-eslint/no-explicit-any
  const client = await connectChannel(app, '/ws/1', { t, format: 'envelope', headers: { user: 'ada' } })
  await client.next('realtime:subscribed')
  const { rows: [row] } = await ask('connections', { find: 'ada' })
  const act = async (act: string) => await ask('act', { act, node: row.node, connection: row.id })
  return { client, row, act }
}

t.test('drop cuts a client without a goodbye, and what it missed is replayed', async (t) => {
  const { app, room } = await appOf(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { ask } = await openInspector(t, app)
  const { client, act } = await clientOf(t, app, ask)
  t.equal(await act('drop'), true)
  t.match(await client.ended, { code: 1006 })
  t.notOk(client.events.some(({ event }) => event === 'realtime:bye'))
  await room.publish({ room: '1' }, 'said', { text: 'missed' })
  await client.resume()
  t.match(await client.next('said'), { data: { text: 'missed' } })
  t.equal(await act('drop'), false, 'that connection is gone')
  const stream = await connectStream(app, '/rooms/1', { t, headers: { user: 'bob' } })
  const { rows: [row] } = await ask('connections', { find: 'bob' })
  t.equal(await ask('act', { act: 'drop', node: row.node, connection: row.id }), true)
  await stream.ended
})

t.test('expire ends a client as an expired token does, end and take as the app would', async (t) => {
  const { app, room } = await appOf(t)
  const { ask } = await openInspector(t, app)
  const one = await clientOf(t, app, ask)
  t.equal(await one.act('expire'), true)
  t.match(await one.client.ended, { code: 4401 })
  t.match(one.client.events.at(-1)?.data, { op: 'bye', reason: 'expired', reconnect: true })
  const other = await clientOf(t, app, ask)
  await ask('take', { connection: other.row.id, topic: 'rooms/1' })
  t.match((await other.client.next('realtime:unsubscribed')).data, { topic: 'rooms/1' })
  await room.publish({ room: '1' }, 'said', { text: 'not heard' })
  await ask('end', { connection: other.row.id })
  t.match(await other.client.ended, { code: 1000 })
  t.notOk(other.client.events.some(({ event }) => event === 'said'))
})

t.test('a stalled client is given nothing until it is released, and then everything in order', async (t) => {
  const { app, room } = await appOf(t)
  const { ask } = await openInspector(t, app)
  const { client, act, row } = await clientOf(t, app, ask)
  t.equal(await act('stall'), true)
  for (const text of ['a', 'b', 'c']) await room.publish({ room: '1' }, 'said', { text })
  await until(async () => (await ask('connections', { find: row.id })).rows[0].buffered > 0)
  t.match((await ask('connections', { find: row.id })).rows, [{ stalled: true }])
  t.match((await ask('overview')).nodes[0], { stalled: 1, slowNow: 1 })
  t.notOk(client.events.some(({ event }) => event === 'said'))
  t.equal(await act('release'), true)
  t.equal(await act('release'), false, 'it is not stalled any more')
  for (const text of ['a', 'b', 'c']) t.match(await client.next('said'), { data: { text } })
  t.match((await ask('connections', { find: row.id })).rows, [{ stalled: false, buffered: 0 }])
})

t.test('what the plugin does with slow clients happens to one that is stalled', async (t) => {
  const { app, room } = await appOf(t, {}, { maxBuffered: 2048, maxEventBytes: 1024 })
  const { ask } = await openInspector(t, app)
  const { client, act } = await clientOf(t, app, ask)
  await act('stall')
  while (app.realtime.stats().slowClosed === 0) await room.publish({ room: '1' }, 'said', { text: 'x'.repeat(500) })
  t.match(await client.ended, { code: 4409 })
})

t.test('a stall ends by itself', async (t) => {
  const { app, room } = await appOf(t, { stallTimeout: 1000 })
  const { ask } = await openInspector(t, app)
  const { client, act } = await clientOf(t, app, ask)
  await act('stall')
  await room.publish({ room: '1' }, 'said', { text: 'later' })
  t.match(await client.next('said'), { data: { text: 'later' } })
})

t.test('restart lets all clients of the node go, as a shutdown does, and the app goes on', async (t) => {
  const { app, room } = await appOf(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await openInspector(t, app)
  const { client, row } = await clientOf(t, app, page.ask)
  const stream = await connectStream(app, '/rooms/1', { t })
  const own = app.realtime.subscribe('rooms/1')
  await own.ready
  t.equal(await page.ask('act', { act: 'restart', node: row.node }), true)
  t.match(await client.ended, { code: 1012 })
  t.match(await page.client.ended, { code: 1012 }, 'the page too')
  t.notOk(page.client.events.some(({ data }) => (data as { op?: string }).op === 'error'))
  await stream.ended
  t.ok((stream.retry ?? 0) > 0)
  await room.publish({ room: '1' }, 'said', { text: 'still here' })
  t.match((await own.next()).value, { data: { text: 'still here' } }, 'the app\'s own subscriptions stay')
  await own.return()
  await client.resume()
  t.match(await client.next('said'), { data: { text: 'still here' } })
})

t.test('acts that are none, other nodes\' and hostile ones do nothing', async (t) => {
  const { app } = await appOf(t)
  const { ask, client } = await openInspector(t, app)
  const { row } = await clientOf(t, app, ask)
  t.equal(await ask('act', { act: 'drop', node: 'another', connection: row.id }), false)
  t.equal(await ask('act', { act: 'drop', node: row.node, connection: 'nobody' }), false)
  t.equal(await ask('act', { act: 'drop', node: row.node }), false, 'nobody is not everybody')
  await t.rejects(ask('act', { act: '__proto__', node: row.node, connection: row.id }), /no such act/)
  for (const data of [{}, { act: 1, node: row.node }, { act: 'drop', node: 'x'.repeat(2000) }, null]) {
    await t.rejects(client.request('act', data), { code: 'INVALID_DATA' })
  }
  t.equal((await ask('connections', { find: 'ada' })).rows.length, 1)
})

t.test('every page is told what one has done', async (t) => {
  const { app } = await appOf(t)
  const [one, other] = [await openInspector(t, app), await openInspector(t, app)]
  other.client.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'realtime-inspector/acts', ref: 1 }))
  await other.client.next('realtime:subscribed')
  const { act, row } = await clientOf(t, app, one.ask)
  await act('drop')
  t.match((await other.client.next('acted')).data, { act: 'drop', connection: row.id, node: row.node })
})

t.test('it costs nothing while nobody looks: no subscriber before the first look and behind the last', async (t) => {
  const watched = ['connect', 'disconnect', 'subscribe', 'unsubscribe', 'publish', 'deliver', 'drop', 'resume', 'reset', 'repair', 'slow', 'refuse', 'adapter']
  const heard = (): string[] => watched.filter((what) => channel(`fastify-realtime:${what}`).hasSubscribers)
  const { app } = await appOf(t)
  await app.ready()
  t.same(heard(), [])
  t.equal(app.realtime.connections().length, 0, 'where there are no other nodes nothing is subscribed to either')
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const { client, ask } = await openInspector(t, app)
  await ask('overview')
  t.same(heard(), ['resume', 'reset'], 'what is told of a delivery is never listened to')
  await client.close()
  await until(() => heard().length === 0)
  t.ok(timers() <= before + 1, 'at most the timeout of a socket that closes')
})

t.test('the app closes while a page looks, tails and stalls', async (t) => {
  const { app } = await appOf(t)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { ask } = await openInspector(t, app)
  const { act } = await clientOf(t, app, ask)
  await act('stall')
  await (await connectStream(app, `${PAGE}/tail?topic=rooms%2F1`, { t })).next('live')
  await app.close()
  t.equal(app.realtime.connections().length, 0)
})

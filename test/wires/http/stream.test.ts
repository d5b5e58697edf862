/** A channel over HTTP: what its streams say, from where they go on, and how they end. */
import { once } from 'node:events'
import { connect, type ClientHttp2Stream } from 'node:http2'
import t from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import realtime, { type Connection, type RealtimeOptions } from '../../../lib/index.ts'
import { connectionsOf, EventStreamReader, openEnvelope, turn, serve, type Json } from '../../conformance/clients.ts'
import { cert, key } from '../../helpers/certificate.ts'
import { openFrames, post } from '../../helpers/posts.ts'
import { bearer, holding, made, SECRET } from '../../helpers/tokens.ts'

const STREAM = { accept: 'text/event-stream' }
const identify: NonNullable<RealtimeOptions['identify']> = ({ headers }) => headers['x-user'] === undefined ? null : { id: String(headers['x-user']) }

async function start (t: Parameters<typeof serve>[0], options: RealtimeOptions = {}, more: object = {}): Promise<FastifyInstance> {
  return await serve(t, { identify, closeTimeout: 1000, ...options }, (app) => {
    app.topic('rooms/:id')
    app.topic('loose/:id', { history: false })
    const desk = app.topic('desks/:id', { authorize: ({ headers }, { params }) => headers['x-user'] === params.id })
    app.channel('/rooms/:id', { http: true, topics: ['rooms/:id', 'loose/:id'], subscribe: desk, ...more })
  })
}

const codeOf = ({ status, body }: { status: number, body: unknown }): [number, unknown] => [status, (body as Json).code]

t.test('an open is answered by the frames that a WebSocket carries, as events without a name or an id', async (t) => {
  const app = await start(t, { heartbeat: 20_000 })
  const frames = await openFrames(t, app, '/rooms/1')
  t.equal(frames.stream.response.headers['content-type'], 'text/event-stream')
  t.equal(frames.id, connectionsOf(app)[0]?.id)
  t.match(frames.inbox.all[0], { op: 'open', heartbeat: 20_000 })
  const room = await frames.next({ op: 'subscribed', topic: 'rooms/1' })
  t.same(await frames.next(), { op: 'subscribed', topic: 'loose/1' })
  const { id } = await app.realtime.publish('rooms/1', 'said', { text: 'a\nb' })
  t.same(await frames.next(), { topic: 'rooms/1', event: 'said', id, prev: room.id, data: { text: 'a\nb' } })
  await app.realtime.publish('loose/1', 'noise', 'loud')
  t.same(await frames.next(), { topic: 'loose/1', event: 'noise', data: 'loud' })
  const bytes = await app.realtime.publish('rooms/1', 'picture', Buffer.of(7, 8, 9))
  t.same(await frames.next(), { topic: 'rooms/1', event: 'picture', id: bytes.id, prev: id, encoding: 'base64', data: 'BwgJ' })
  connectionsOf(app)[0]?.send('hello', { you: 1 })
  t.same(await frames.next(), { event: 'hello', data: { you: 1 } })
  t.ok(frames.stream.reader.blocks.every((fields) => fields.every(([name]) => name === 'data')))
})

t.test('a stream goes on from the cursors of a WebSocket, and a WebSocket from those of a stream', async (t) => {
  const app = await start(t)
  const channel = await openEnvelope(t, app, '/rooms/1')
  const { id: first } = await channel.next({ op: 'subscribed', topic: 'rooms/1' })
  await channel.leave()
  const { id: missed } = await app.realtime.publish('rooms/1', 'said', { n: 1 })
  const frames = await openFrames(t, app, '/rooms/1', { cursors: { 'rooms/1': first as string } })
  t.match(await frames.next({ op: 'subscribed', topic: 'rooms/1' }), { recovered: true })
  t.same(await frames.next({ topic: 'rooms/1', event: 'said' }), { topic: 'rooms/1', event: 'said', id: missed, prev: first, data: { n: 1 } })
  await frames.stream.leave()
  const { id: next } = await app.realtime.publish('rooms/1', 'said', { n: 2 })
  const again = await openEnvelope(t, app, '/rooms/1', { 'rooms/1': missed as string })
  t.match(await again.next({ event: 'said' }), { id: next, prev: missed })
  const lost = await openFrames(t, app, '/rooms/1', { cursors: { 'rooms/1': 'nowhere' } })
  t.match(await lost.next({ op: 'subscribed', topic: 'rooms/1' }), { recovered: false })
  t.match(await lost.next({ op: 'reset' }), { topic: 'rooms/1', id: next, reason: 'unknown-cursor' })
})

t.test('what it wants besides is judged by itself, and joined from its cursor', async (t) => {
  const app = await start(t)
  const { id } = await app.realtime.publish('desks/ann', 'note', { n: 1 })
  const second = await app.realtime.publish('desks/ann', 'note', { n: 2 })
  const topics = ['desks/ann', 'desks/bob', 'rooms/2', 'none', 'rooms/1', 'desks/ann']
  const frames = await openFrames(t, app, '/rooms/1', { topics, cursors: { 'desks/ann': id as string } }, { 'x-user': 'ann' })
  t.match(await frames.next({ op: 'subscribed', topic: 'desks/ann' }), { recovered: true })
  t.match(await frames.next({ topic: 'desks/ann', event: 'note' }), { id: second.id, prev: id })
  t.match(await frames.next({ op: 'error', topic: 'desks/bob' }), { code: 'FORBIDDEN' })
  t.match(await frames.next({ op: 'error', topic: 'rooms/2' }), { code: 'UNKNOWN_TOPIC' })
  t.match(await frames.next({ op: 'error', topic: 'none' }), { code: 'UNKNOWN_TOPIC' })
  t.same(connectionsOf(app)[0]?.topics.sort(), ['desks/ann', 'loose/1', 'rooms/1'])
  t.equal(frames.inbox.all.filter(({ op }) => op === 'subscribed').length, 3)
  for (const wrong of ['desks/ann', [5], {}, Array.from({ length: 1000 }, (_, n) => `desks/${n}`)]) {
    t.same(codeOf(await post(t, app, '/rooms/1', { op: 'open', topics: wrong }, STREAM)), [400, 'INVALID_FRAME'])
  }
})

t.test('who may not hear the channel, or comes with a wrong request, is refused by a status', async (t) => {
  let asked = 0
  const app = await start(t, {}, {
    onRequest: async ({ headers }: { headers: Record<string, unknown> }) => { if (headers.banned) throw Object.assign(new Error('no'), { statusCode: 403, code: 'BANNED' }) },
    onConnect: () => { asked++; throw Object.assign(new Error('not today'), { statusCode: 402, code: 'PAY' }) }
  })
  const open = { op: 'open' }
  t.same(codeOf(await post(t, app, '/rooms/1', open, { ...STREAM, banned: '1' })), [403, 'BANNED'])
  t.same(codeOf(await post(t, app, '/rooms/1', open, { ...STREAM, origin: 'https://evil.example' })), [403, 'FST_ERR_REALTIME_ORIGIN_REFUSED'])
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/jsonp', '']) {
    t.same(codeOf(await post(t, app, '/rooms/1', open, { ...STREAM, 'content-type': type })), [415, 'FST_ERR_REALTIME_MEDIA_TYPE'], type)
  }
  t.same(codeOf(await post(t, app, '/rooms/1', open, { accept: 'application/json' })), [406, 'FST_ERR_REALTIME_NOT_ACCEPTABLE'])
  t.same(codeOf(await post(t, app, '/rooms/1', '{', STREAM)), [400, 'INVALID_JSON'])
  t.same(codeOf(await post(t, app, '/rooms/1', '{"__proto__":{}}', STREAM)), [400, 'INVALID_JSON'])
  t.same(codeOf(await post(t, app, '/rooms/1', '', STREAM)), [400, 'INVALID_JSON'])
  for (const op of ['ping', 'subscribe', 'refresh', 'none']) {
    t.same(codeOf(await post(t, app, '/rooms/1', { op, token: 't' }, STREAM)), [400, 'INVALID_FRAME'], op)
  }
  t.same(codeOf(await post(t, app, '/rooms/1', { op: 'open', cursors: 5 }, STREAM)), [400, 'INVALID_FRAME'])
  t.equal(asked, 0)
  t.same(codeOf(await post(t, app, '/rooms/1', open, { ...STREAM, 'content-type': 'Application/JSON; charset=utf-8' })), [402, 'PAY'])
  t.equal((await post(t, app, '/rooms/1', { op: 'open', x: 'x'.repeat(1 << 20) }, STREAM)).status, 413)
  t.equal(connectionsOf(app).length, 0)
})

t.test('a channel without it has no POST, and the option is a boolean', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    app.channel('/off', { http: false, topics: 'rooms/1' })
    app.channel('/none', { topics: 'rooms/1' })
    for (const http of ['true', 1, null, {}]) {
      t.throws(() => app.channel('/wrong', { http: http as never, topics: 'rooms/1' }), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' })
    }
  })
  for (const path of ['/off', '/none']) t.equal((await post(t, app, path, { op: 'open' }, STREAM)).status, 404)
})

t.test('a token in the open says who it is, and what it may hear', async (t) => {
  const app = await serve(t, { tokens: { secret: SECRET }, expiryGrace: 0 }, (app) => {
    app.topic('mine/:id', { authorize: 'token' })
    app.channel('/mine/:id', { http: true, topics: 'mine/:id', messages: { who: { handler: (_data, { connection }) => connection.identity.id } } })
  })
  const token = made(holding({ realtime: { subscribe: ['mine/ada'] } }))
  const frames = await openFrames(t, app, '/mine/ada', { token })
  t.ok(Number((await frames.next({ op: 'subscribed', topic: 'mine/ada' })).expires) > 0)
  t.equal(connectionsOf(app)[0]?.identity.id, 'ada')
  t.same(codeOf(await post(t, app, '/mine/ada', { op: 'open' }, STREAM)), [401, 'FST_ERR_REALTIME_TOKEN_MISSING'])
  t.same(codeOf(await post(t, app, '/mine/bob', { op: 'open', token }, STREAM)), [403, 'FST_ERR_REALTIME_FORBIDDEN'])
  t.same(codeOf(await post(t, app, '/mine/ada', { op: 'open', token: 'x' }, STREAM)), [401, 'FST_ERR_REALTIME_TOKEN_INVALID'])
  t.same((await post(t, app, '/mine/ada', { event: 'who' }, bearer(token))).body, 'ada')
  t.same(codeOf(await post(t, app, '/mine/ada', { event: 'who' })), [401, 'TOKEN_MISSING'])
})

t.test('what allows a topic ends: the topic is taken, and the stream stays', async (t) => {
  let until = 0
  const app = await serve(t, { expiryGrace: 0 }, (app) => {
    app.topic('short/:id', { authorize: () => ({ allow: true, expiresAt: until }) })
    app.topic('rooms/:id')
    app.channel('/', { http: true, topics: ['short/1', 'rooms/1'] })
  })
  until = Date.now() + 300
  const frames = await openFrames(t, app, '/')
  t.same(await frames.next({ op: 'unsubscribed' }), { op: 'unsubscribed', topic: 'short/1', reason: 'expired' })
  await app.realtime.publish('rooms/1', 'said', {})
  t.match(await frames.next({ event: 'said' }), { topic: 'rooms/1' })
})

t.test('bye is the last word: of a connection that the app closes, and of an app that closes', async (t) => {
  const app = await start(t)
  const [closed, left] = [await openFrames(t, app, '/rooms/1'), await openFrames(t, app, '/rooms/1')]
  connectionsOf(app).find(({ id }) => id === closed.id)?.close({ text: 'enough' })
  t.same(await closed.next({ op: 'bye' }), { op: 'bye', code: 1000, reason: 'enough', reconnect: false })
  await closed.stream.ended
  t.match(closed.inbox.all.at(-1), { op: 'bye' })
  await app.close()
  t.match(await left.next({ op: 'bye' }), { code: 1012, reconnect: true, retry: Number })
  await left.stream.ended
  t.match(left.inbox.all.at(-1), { op: 'bye' })
})

t.test('a client that does not read costs what it may, slows nobody, and is cut', async (t) => {
  const reasons: string[] = []
  const app = await start(t, { maxBuffered: 65_536, maxEventBytes: 32_768 }, { slow: 'close', onDisconnect: (_connection: unknown, { name }: { name: string }) => reasons.push(name) })
  const [slow, quick] = [await openFrames(t, app, '/rooms/1'), await openFrames(t, app, '/rooms/1')]
  const connection = connectionsOf(app).find(({ id }) => id === slow.id)
  slow.stream.pause()
  let most = 0
  for (let n = 0; n < 2000 && reasons.length === 0; n++) {
    await app.realtime.publish('rooms/1', 'said', { n, text: 'x'.repeat(16_000) })
    most = Math.max(most, connection?.buffered ?? 0)
    t.match(await quick.next({ event: 'said' }), { data: { n } }) || t.bailout('lost')
  }
  while (reasons.length === 0) await turn()
  t.same(reasons, ['slow-client'])
  t.ok(most < 65_536 * 3, String(most))
})

t.test('a connection that onConnect closes does not come back; one that is let in is told what it says', async (t) => {
  const ended: string[] = []
  const app = await start(t, {}, {
    onConnect: (connection: Connection) => {
      if (connection.identity.id === 'bob') return connection.close()
      connection.send('welcome', {})
    },
    onDisconnect: (_connection: unknown, { name }: { name: string }) => ended.push(name)
  })
  t.equal((await post(t, app, '/rooms/1', { op: 'open' }, { ...STREAM, 'x-user': 'bob' })).status, 204)
  const frames = await openFrames(t, app, '/rooms/1', {}, { 'x-user': 'ann' })
  t.same(await frames.next({ event: 'welcome' }), { event: 'welcome', data: {} })
  await app.realtime.revoke({ identity: 'ann' }, 'rooms/1')
  t.same(await frames.next({ op: 'unsubscribed' }), { op: 'unsubscribed', topic: 'rooms/1' })
  await frames.stream.leave()
  while (ended.length === 0) await turn()
  t.equal(ended.length, 1)
})

t.test('a quiet stream has comments as heartbeats', async (t) => {
  const app = await start(t, { heartbeat: 1000 })
  const frames = await openFrames(t, app, '/rooms/1')
  t.equal(await frames.stream.comments.take(), '')
})

t.test('over HTTP/2 the same', async (t) => {
  const app = Fastify({ http2: true, https: { cert, key, allowHTTP1: true } })
  await app.register(realtime, { closeTimeout: 1000 })
  app.topic('rooms/:id')
  app.channel('/rooms/:id', { http: true, topics: 'rooms/:id', messages: { say: { handler: (data) => data } } })
  t.teardown(() => app.close())
  const session = connect(await app.listen({ port: 0, host: '127.0.0.1' }), { rejectUnauthorized: false })
  t.teardown(() => session.destroy())
  const ask = (headers: object, body: object): [ClientHttp2Stream, EventStreamReader] => {
    const stream = session.request({ ':method': 'POST', ':path': '/rooms/1', 'content-type': 'application/json', ...headers })
    const reader = new EventStreamReader()
    stream.setEncoding('utf8').on('data', (text: string) => reader.push(text))
    stream.end(JSON.stringify(body))
    return [stream, reader]
  }
  const [stream, reader] = ask(STREAM, { op: 'open' })
  while (reader.events.length < 2) await once(stream, 'data')
  const { id } = await app.realtime.publish('rooms/1', 'said', { n: 1 })
  while (reader.events.length < 3) await once(stream, 'data')
  t.match(JSON.parse(reader.events[2]?.data ?? ''), { topic: 'rooms/1', event: 'said', id, data: { n: 1 } })
  const [message] = ask({}, { event: 'say', data: { n: 2 } })
  t.equal((await once(message, 'data'))[0], '{"n":2}')
})

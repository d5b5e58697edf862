/** Event streams: what a client of a stream is told, besides its events. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { WireClient, WireEvent } from '../../../lib/conformance/index.ts'
import { insidesOf } from '../../helpers/insides.ts'
import {
  answer, connectionsOf, openStream, request, serve, type Json, type Stream, type Ends, type StreamEvent
} from '../../conformance/clients.ts'
import { wireConformance } from '../../helpers/suites.ts'
import { publish } from '../../helpers/sse.ts'

async function connect (t: Ends, app: FastifyInstance): Promise<WireClient> {
  const stream = await openStream(t, app, '/stream')
  const understood = ({ type, data }: StreamEvent): WireEvent => ({ event: type, data: parsed(data) })
  return {
    next: async (event) => understood(await stream.next(event)),
    nextBytes: async (event) => Buffer.from((await stream.next(event)).data, 'base64'),
    heard: () => stream.inbox.all.map(understood),
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    leave: () => stream.leave(),
    ended: stream.ended
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

wireConformance('SSE', connect)

t.test('a client that wants no stream gets the handler\'s answer, or 406', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/either', { topics: 'feed', handler: () => ({ page: 1 }) })
    app.stream('/only', { topics: 'feed' })
  })
  t.match(await answer(t, app, '/either', { accept: 'application/json' }), { status: 200, text: '{"page":1}' })
  t.match(await answer(t, app, '/only', { accept: 'application/json' }), { status: 406, text: /FST_ERR_REALTIME_NOT_ACCEPTABLE/ })
  const stream = await openStream(t, app, '/either', { accept: '*/*' })
  t.match(stream.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
  t.equal((await stream.next('realtime:open')).data, '{}')
})

t.test('the opening block: an event, an id, or neither; its id is where the stream starts', async (t) => {
  const app = await serve(t, { retry: 1000 }, (app) => {
    app.topic('feed')
    app.topic('fleeting', { history: false })
    app.stream('/event', { topics: 'feed' })
    app.stream('/id', { topics: 'feed', open: 'id' })
    app.stream('/none', { topics: 'feed', open: false, retry: 50_000 })
    app.stream('/fleeting', { topics: 'fleeting' })
    app.stream('/several', { topics: ['feed', 'fleeting'] })
  })
  const head = await publish(app, 'feed', 'first')
  const blockOf = async (path: string): Promise<{ stream: Stream, fields: Json, retry: number }> => {
    const stream = await openStream(t, app, path)
    const { retry, ...fields } = Object.fromEntries(await stream.blocks.take())
    return { stream, fields, retry: Number(retry) }
  }
  for (const [path, expected, about] of [
    ['/event', { id: head, event: 'realtime:open', data: '{}' }, 1000],
    ['/id', { id: head }, 1000],
    ['/none', {}, 50_000],
    ['/fleeting', { event: 'realtime:open', data: '{}' }, 1000],
    ['/several', { id: head, event: 'realtime:open', data: '{}' }, 1000]
  ] as const) {
    const { fields, retry } = await blockOf(path)
    t.same(fields, expected, path)
    t.ok(retry >= about * 0.8 && retry <= about * 1.2, `retry ${retry} is within a fifth of ${about}`)
  }
  const retries = await Promise.all(Array.from({ length: 8 }, async () => (await blockOf('/none')).retry))
  t.ok(new Set(retries).size > 1, 'clients that come together are not told to come back together')
  const { stream } = await blockOf('/event')
  await stream.leave()
  await publish(app, 'feed', 'missed')
  const back = await openStream(t, app, '/event', { lastEventId: stream.lastEventId })
  t.equal(await back.json('said'), 'missed', 'cut before its first event, a client has lost nothing')
  t.equal(back.inbox.all.some(({ type }) => type === 'realtime:reset'), false)
})

// --- what may be published --------------------------------------------------------

t.test('published data is checked against its schema, serialized by it, and left as it was', async (t) => {
  const declare = (app: FastifyInstance): void => {
    const typed = app.withTypeProvider<TypeBoxTypeProvider>()
    typed.topic('typed', {
      events: {
        bid: Type.Object({ amount: Type.Number({ minimum: 1 }), note: Type.Optional(Type.String({ default: 'none' })) }, { additionalProperties: false }),
        message: Type.String()
      }
    })
    typed.stream('/typed', { topics: 'typed' })
  }
  const app = await serve(t, { validate: true }, declare)
  const stream = await openStream(t, app, '/typed')
  await t.rejects(app.realtime.publish('typed', 'sold', {}), { code: 'FST_ERR_REALTIME_EVENT_UNKNOWN' })
  for (const amount of ['five', '0', 0, NaN]) await t.rejects(app.realtime.publish('typed', 'bid', { amount }), { code: 'FST_ERR_REALTIME_EVENT_DATA' }, String(amount))
  await t.rejects(app.realtime.publish('typed', 'bid', {}), { code: 'FST_ERR_REALTIME_EVENT_DATA', message: /amount/ })
  await t.rejects(app.realtime.publish('typed', 'bid', undefined), { code: 'FST_ERR_REALTIME_EVENT_DATA' })
  const data = Object.freeze({ amount: 5 })
  await app.realtime.publish('typed', 'bid', data)
  await app.realtime.publish('typed', 'bid', { amount: '7', secret: 1 })
  await app.realtime.publish('typed', 'message', 'hello')
  t.match(await stream.next(), { type: 'bid', data: '{"amount":5,"note":"none"}' }, 'as the schema writes it, its defaults with it')
  t.match(await stream.next(), { type: 'bid', data: '{"amount":7,"note":"none"}' }, 'what is checked is what is sent, as in production')
  t.match(await stream.next(), { type: 'message', data: '"hello"' }, 'an unnamed event has a schema like any other')
  t.same(data, { amount: 5 })

  const production = await serve(t, { validate: false }, declare)
  const bold = await openStream(t, production, '/typed')
  const loose = { amount: 7, secret: 'not in the schema' }
  await production.realtime.publish('typed', 'bid', loose)
  t.equal((await bold.next()).data, '{"amount":7,"note":"none"}', 'unchecked, and still what the schema says')
  t.same(loose, { amount: 7, secret: 'not in the schema' }, 'the app\'s own object is untouched')
  await t.rejects(production.realtime.publish('typed', 'sold', {}), { code: 'FST_ERR_REALTIME_EVENT_UNKNOWN' })
})

t.test('what cannot be JSON, or is too large, is refused at publish', async (t) => {
  const app = await serve(t, { maxEventBytes: 100 }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const stream = await openStream(t, app, '/feed')
  const circle: Json = {}
  circle.self = circle
  for (const data of [circle, 1n]) await t.rejects(app.realtime.publish('feed', 'said', data), { code: 'FST_ERR_REALTIME_EVENT_DATA' })
  await t.rejects(app.realtime.publish('feed', 'said', 'x'.repeat(99)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE', statusCode: 413 })
  await t.rejects(app.realtime.publish('feed', 'said', new Uint8Array(101)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE' })
  await t.rejects(app.realtime.publish('nowhere', 'said', {}), { code: 'FST_ERR_REALTIME_TOPIC_UNKNOWN', statusCode: 404 })
  await app.realtime.publish('feed', 'said', new Uint8Array(100))
  t.equal((await stream.next()).data.length, 136)
  for (const nothing of [undefined, () => {}]) {
    await app.realtime.publish('feed', 'said', nothing)
    t.equal(await stream.json(), null, 'what JSON has no word for is null')
  }
})

// --- staying and leaving ------------------------------------------------------------

t.test('a heartbeat is a comment, and only on a stream that was quiet', async (t) => {
  const app = await serve(t, { heartbeat: 300_000 }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
    app.stream('/often', { topics: 'feed', heartbeat: 20 })
  })
  const stream = await openStream(t, app, '/feed')
  await stream.next('realtime:open')
  const beat = (): void => insidesOf(app)[0]?.output.beat()
  beat()
  await publish(app, 'feed', 1)
  t.equal(await stream.json(), 1)
  t.same(stream.comments.all, [], 'the opening was a sign of life')
  beat()
  await publish(app, 'feed', 2)
  t.equal(await stream.json(), 2)
  t.same(stream.comments.all, [], 'an event is one as well')
  beat()
  beat()
  t.equal(await stream.comments.take(), '')
  beat()
  t.equal(await stream.comments.take(), '')
  await publish(app, 'feed', 3)
  t.equal(await stream.json(), 3)
  t.equal(stream.comments.all.length, 2)
  const often = await openStream(t, app, '/often')
  for (let i = 0; i < 3; i++) t.equal(await often.comments.take(), '', 'they come by themselves')
})

t.test('a refusal for now is a stream that ends after its retry; any other client is told when to come back', async (t) => {
  const app = await serve(t, { maxConnections: 1, retry: 1000 }, (app) => {
    app.topic('feed')
    app.topic('secret', { authorize: () => false })
    app.stream('/feed', { topics: 'feed' })
    app.stream('/secret', { topics: 'secret' })
  })
  t.match(await answer(t, app, '/secret'), { status: 403, text: /FST_ERR_REALTIME_FORBIDDEN/ }, 'what is refused for good is an ordinary answer')
  const first = await openStream(t, app, '/feed')
  const second = await openStream(t, app, '/feed')
  await second.ended
  t.same(second.inbox.all, [])
  t.equal(second.blocks.all.length, 1)
  t.ok((second.reader.retry as number) >= 500)
  t.match(second.response.headers, { 'content-type': 'text/event-stream' })
  const plain = await answer(t, app, '/feed', { accept: '*/*' })
  t.match(plain, { status: 503, text: /FST_ERR_REALTIME_TOO_MANY_CONNECTIONS/ })
  t.ok(Number(plain.headers['retry-after']) >= 1)
  await first.leave()
  while (connectionsOf(app).length > 0) await nextTurn()
  const third = await openStream(t, app, '/feed')
  await third.next('realtime:open')
  const opened = third.reader.retry
  await Promise.all([app.close(), third.ended])
  t.ok(third.reader.retry !== opened && (third.reader.retry as number) >= 500, 'who was there when the server closes is told when to come back')
})

t.test('HEAD answers with the headers of a stream, and ends', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const { statusCode, headers, body } = await app.inject({ method: 'HEAD', url: '/feed' })
  t.match({ statusCode, headers, body }, { statusCode: 200, headers: { 'content-type': 'text/event-stream' }, body: '' })
  t.same(connectionsOf(app), [])
  const response = await request(t, app, '/feed', { 'last-event-id': '' })
  t.equal(response.statusCode, 200)
})

/** A channel over HTTP: what a POST of a message does, and how it is answered. */
import createError from '@fastify/error'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import type { RealtimeOptions } from '../../../lib/index.ts'
import { Log, openEnvelope, serve, type Json } from '../../conformance/clients.ts'
import { openFrames, post } from '../../helpers/posts.ts'

const identify: NonNullable<RealtimeOptions['identify']> = ({ headers }) => headers['x-user'] === undefined ? null : { id: String(headers['x-user']) }
const ann = { 'x-user': 'ann' }
const bid = { type: 'object', required: ['amount'], properties: { amount: { type: 'number' }, currency: { type: 'string', default: 'EUR' } }, additionalProperties: false }
const codeOf = ({ status, body }: { status: number, body: unknown }): [number, unknown] => [status, (body as Json).code]

async function start (t: Parameters<typeof serve>[0], options: RealtimeOptions = {}, log?: Log): Promise<FastifyInstance> {
  return await serve(t, { identify, ...options }, (app) => {
    app.topic('rooms/:id', { authorize: ({ headers }) => headers.banned === undefined })
    const desk = app.topic('desks/:id', { authorize: ({ headers }, { params }) => headers['x-user'] === params.id })
    const results: unknown[] = [{ ok: true }, [1], 'text', 0, false, null, undefined]
    app.channel('/rooms/:id', {
      http: true,
      topics: 'rooms/:id',
      subscribe: desk,
      limits: { messageBytes: 1000, messagesPerSecond: 1, burst: 100 },
      messages: {
        bid: { schema: bid, handler: (data) => data },
        ask: { handler: async (data) => results[data as number] },
        who: { handler: (_data, { connection, params, topic, key, request }) => ({ id: connection.identity.id, room: (params as Json).id, topic, key, method: request.method, topics: connection.topics }) },
        outbid: { handler: () => { throw createError('OUTBID', 'too low', 409)() } },
        fail: { handler: () => { throw new Error('the password is 123') } },
        use: {
          handler: async (name, { connection }) => {
            const face = connection as unknown as Record<string, (...args: unknown[]) => unknown>
            return await face[name as string]?.('rooms/1', {})
          }
        },
        wave: { relay: { topic: 'rooms/:id' } },
        note: { relay: { topic: desk } }
      },
      binary: (bytes, { connection }) => { app.log.info({ bytes: [...bytes], by: connection.identity.id }, 'bytes') }
    })
    app.channel('/plain', { http: true, messages: { who: { handler: () => 1 } }, limits: { messagesPerSecond: 1, burst: 2 } })
  }, log)
}

t.test('a message is answered by what its handler returns, through the same schema', async (t) => {
  const app = await start(t)
  for (const [n, result] of [{ ok: true }, [1], 'text', 0, false, null, null].entries()) {
    const answer = await post(t, app, '/rooms/1', { event: 'ask', data: n })
    t.same([answer.status, answer.body], [200, result])
    t.match(answer.headers, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
  }
  t.same((await post(t, app, '/rooms/1', { event: 'bid', data: { amount: 5, more: 'gone' }, ref: 7 })).body, { amount: 5, currency: 'EUR' })
  const refused = await post(t, app, '/rooms/1', { event: 'bid', data: { amount: 'many' } })
  t.match(refused, { status: 400, body: { statusCode: 400, code: 'INVALID_DATA', error: 'Bad Request', message: /amount/ } })
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'none' })), [404, 'UNKNOWN_MESSAGE'])
  t.same(codeOf(await post(t, app, '/rooms/1', { data: 1 })), [400, 'INVALID_FRAME'])
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'ask', data: 'x'.repeat(1000) })), [413, 'FST_ERR_REALTIME_MESSAGE_TOO_LARGE'])
})

t.test('a handler\'s own error goes with its status and code; what it did not mean to say stays here', async (t) => {
  const log = new Log()
  const app = await start(t, {}, log)
  t.match(await post(t, app, '/rooms/1', { event: 'outbid' }), { status: 409, body: { code: 'OUTBID', message: 'too low' } })
  const failed = await post(t, app, '/rooms/1', { event: 'fail' })
  t.match(failed, { status: 500, body: { code: 'INTERNAL', message: 'the server failed' } })
  t.notMatch(JSON.stringify(failed.body), /password/)
  t.ok(log.lines.some(({ err }) => (err as Json | undefined)?.message === 'the password is 123'))
})

t.test('a handler is told who says it, which topic is meant, and its key; there is no connection', async (t) => {
  const app = await start(t)
  const told = await post(t, app, '/rooms/1', { event: 'who', topic: 'rooms/1', key: 'k' }, ann)
  t.same(told.body, { id: 'ann', room: '1', topic: 'rooms/1', key: 'k', method: 'POST', topics: [] })
  t.match((await post(t, app, '/rooms/1', { event: 'who', topic: 'desks/ann' }, ann)).body, { topic: 'desks/ann' })
  t.match((await post(t, app, '/rooms/1', { event: 'who' })).body, { id: /^anonymous:/ })
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'who', topic: 'desks/bob' }, ann)), [403, 'FORBIDDEN'])
  for (const topic of ['rooms/2', 'none', 5]) t.same(codeOf(await post(t, app, '/rooms/1', { event: 'who', topic }, ann)), [404, 'UNKNOWN_TOPIC'])
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'who', key: '' }, ann)), [400, 'INVALID_FRAME'])
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'who' }, { ...ann, banned: '1' })), [403, 'FORBIDDEN'], 'the channel\'s own topics')
})

t.test('send and the like throw, with a remedy', async (t) => {
  const log = new Log()
  const app = await start(t, {}, log)
  for (const name of ['send', 'subscribe', 'unsubscribe', 'grant', 'close']) {
    t.same(codeOf(await post(t, app, '/rooms/1', { event: 'use', data: name })), [500, 'INTERNAL'])
  }
  t.same(log.lines.filter(({ msg }) => msg === 'realtime: a message handler failed').map(({ err }) => (err as Json).code),
    Array.from({ length: 5 }, () => 'FST_ERR_REALTIME_NO_CONNECTION'))
})

t.test('a relay leaves out the connection that its sender names, where that is the same user\'s', async (t) => {
  const app = await start(t)
  const [own, other] = [await openFrames(t, app, '/rooms/1', {}, ann), await openFrames(t, app, '/rooms/1', {}, { 'x-user': 'bob' })]
  const socket = await openEnvelope(t, app, '/rooms/1')
  const wave = { event: 'wave', data: { n: 1 } }
  t.same(await post(t, app, '/rooms/1', { ...wave, connection: own.id }, ann).then(({ status, body }) => [status, body]), [200, null])
  t.same(await other.next({ event: 'wave' }), { topic: 'rooms/1', event: 'wave', data: { n: 1 } })
  t.same((await socket.next({ event: 'wave' })).data, { n: 1 })
  await post(t, app, '/rooms/1', { event: 'wave', data: { n: 2 }, connection: other.id }, ann)
  t.same((await own.next({ event: 'wave' })).data, { n: 2 }, 'it has not heard the first')
  t.same((await other.next({ event: 'wave' })).data, { n: 2 }, 'nobody leaves out another')
  await post(t, app, '/rooms/1', { event: 'wave', data: { n: 3 } }, ann)
  t.same((await own.next({ event: 'wave' })).data, { n: 3 }, 'it has named none')
  for (const connection of [5, '', null, 'a\nb']) t.same(codeOf(await post(t, app, '/rooms/1', { ...wave, connection }, ann)), [400, 'INVALID_FRAME'])
})

t.test('a relay goes where its sender may: into what it could join, and no further', async (t) => {
  const app = await start(t)
  const desk = await openFrames(t, app, '/rooms/1', { topics: ['desks/ann'] }, ann)
  t.equal((await post(t, app, '/rooms/1', { event: 'note', data: 1, topic: 'desks/ann' }, ann)).status, 200)
  t.match(await desk.next({ event: 'note' }), { topic: 'desks/ann', data: 1 })
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'note', data: 1, topic: 'desks/ann' }, { 'x-user': 'bob' })), [403, 'FORBIDDEN'])
  t.same(codeOf(await post(t, app, '/rooms/1', { event: 'wave', data: 1, topic: 'rooms/2' }, ann)), [404, 'UNKNOWN_TOPIC'])
})

t.test('bytes are a message of their own', async (t) => {
  const log = new Log()
  const app = await start(t, {}, log)
  const octets = { 'content-type': 'application/octet-stream' }
  t.match(await post(t, app, '/rooms/1', Buffer.of(1, 255), { ...octets, ...ann }), { status: 200, body: null })
  t.match(log.lines.find(({ msg }) => msg === 'bytes'), { bytes: [1, 255], by: 'ann' })
  t.same(codeOf(await post(t, app, '/plain', Buffer.of(1), octets)), [415, 'BINARY_UNSUPPORTED'])
  t.same(codeOf(await post(t, app, '/rooms/1', Buffer.alloc(1001), octets)), [413, 'FST_ERR_REALTIME_MESSAGE_TOO_LARGE'])
})

t.test('forms, plain text and pages of other sites send nothing', async (t) => {
  const app = await start(t)
  const message = { event: 'who' }
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    t.same(codeOf(await post(t, app, '/rooms/1', message, { 'content-type': type })), [415, 'FST_ERR_REALTIME_MEDIA_TYPE'])
  }
  t.same(codeOf(await post(t, app, '/rooms/1', message, { origin: 'https://evil.example' })), [403, 'FST_ERR_REALTIME_ORIGIN_REFUSED'])
  t.equal((await post(t, app, '/rooms/1', message, { origin: 'null' })).status, 403)
})

t.test('so many messages a client, and so many an identity', async (t) => {
  const app = await start(t, { messagesPerSecondPerIdentity: 2 })
  const send = async (path: string, headers = {}): Promise<number> => (await post(t, app, path, { event: 'who' }, headers)).status
  t.same([await send('/plain'), await send('/plain'), await send('/plain')], [200, 200, 429], 'anonymous: by the address')
  t.same([await send('/plain', ann), await send('/plain', ann)], [200, 200])
  t.match(await post(t, app, '/plain', { event: 'who' }, ann), { status: 429, body: { code: 'RATE_LIMITED' }, headers: { 'retry-after': '1' } })
  t.same([await send('/rooms/1', ann), await send('/rooms/1', ann), await send('/rooms/1', ann)].filter((status) => status === 429).length > 0, true, 'over all channels')
  t.ok(app.realtime.stats().rateLimited >= 3)
})

t.test('the route\'s hooks run for each request, and its parsers are no others\'', async (t) => {
  let ran = 0
  const app = await serve(t, { identify }, (app) => {
    app.addHook('onSend', async (_request, reply, payload) => { reply.header('x-hook', 'ran'); return payload })
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, { theirs: body }))
    app.channel('/', {
      http: true,
      preHandler: async ({ headers, body }) => { ran++; t.same([headers['content-type'], Buffer.isBuffer(body)], ['application/json', true]) },
      messages: { who: { handler: () => 'me' } }
    })
    app.channel('/second', { http: true, messages: { who: { handler: () => 'second' } } })
    app.post('/own', async ({ body }) => body)
  })
  t.match(await post(t, app, '/', { event: 'who' }), { body: 'me', headers: { 'x-hook': 'ran' } })
  t.match(await post(t, app, '/second', { event: 'who' }), { body: 'second' })
  t.equal(ran, 1)
  t.same((await post(t, app, '/own', { a: 1 })).body, { theirs: '{"a":1}' })
  const frames = await openFrames(t, app, '/')
  t.equal(frames.stream.response.headers['x-hook'], 'ran')
})

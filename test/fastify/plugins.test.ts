/** What other plugins set reaches the client of a stream, and what they refuse is refused: on both wires. */
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../lib/testing/index.ts'
import realtime from '../../lib/index.ts'
import { bare, listen, refusalOf } from '../helpers/app.ts'
import { declare, wires } from '../helpers/wires.ts'

t.test('CORS, helmet and cookies reach the client of a stream', async (t) => {
  const app = bare(t)
  await app.register(cors, { origin: ['https://shop.example'], credentials: true, exposedHeaders: ['x-trace'] })
  await app.register(helmet)
  await app.register(cookie, { secret: 'a secret' })
  await app.register(realtime, { closeTimeout: 1000 })
  app.topic('news')
  app.stream('/stream', {
    topics: 'news',
    preHandler: async (request, reply) => {
      reply.setCookie('session', String(request.cookies.session ?? 'new'), { path: '/', signed: true }).setCookie('seen', 'yes')
    }
  })
  await listen(app)
  const client = await connectStream(app, '/stream', { t, headers: { origin: 'https://shop.example', cookie: 'session=abc' } })
  t.equal(client.headers['access-control-allow-origin'], 'https://shop.example')
  t.equal(client.headers['access-control-allow-credentials'], 'true')
  t.equal(client.headers.vary, 'Origin')
  t.match(client.headers['content-security-policy'], /default-src 'self'/)
  t.equal(client.headers['x-content-type-options'], 'nosniff')
  t.match(client.headers['set-cookie'], [/^session=abc\./, /^seen=yes/])
  t.match(client.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
  t.notOk('content-length' in client.headers)

  const preflight = await app.inject({
    method: 'OPTIONS', url: '/stream', headers: { origin: 'https://shop.example', 'access-control-request-method': 'GET' }
  })
  t.equal(preflight.statusCode, 204)
})

t.test('cookies are read, and a session refused, before an upgrade', async (t) => {
  const app = bare(t)
  await app.register(cookie)
  await app.register(realtime, { closeTimeout: 1000, identify: (request) => ({ id: String(request.cookies.user) }) })
  app.channel('/channel', {
    preHandler: async (request, reply) => { if (!request.cookies.user) return reply.code(401).send({ message: 'log in' }) },
    messages: { who: { handler: (_data, { connection }) => ({ type: 'you', id: connection.identity.id }) } }
  })
  t.match(await refusalOf(connectChannel(app, '/channel', { t })), { statusCode: 401, body: { message: 'log in' } })
  const client = await connectChannel(app, '/channel', { t, headers: { cookie: 'user=ann' } })
  client.send('who')
  t.same((await client.next('you')).data, { id: 'ann' })
})

t.test('compression and etags leave a stream alone, and go on doing their work elsewhere', async (t) => {
  const app = bare(t)
  await app.register(compress, { threshold: 0 })
  await app.register(etag)
  await app.register(realtime, { closeTimeout: 1000 })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.stream('/source', { source: async function * () { yield { data: 'x'.repeat(5000) } } })
  app.get('/plain', async () => 'y'.repeat(5000))
  await listen(app)
  const headers = { 'accept-encoding': 'gzip, deflate, br' }
  const client = await connectStream(app, '/stream', { t, headers })
  t.notOk(client.headers['content-encoding'])
  t.notOk(client.headers.etag)
  await app.realtime.publish('news', 'said', 'z'.repeat(5000))
  t.equal((await client.next('said')).data, 'z'.repeat(5000))
  t.equal((await (await connectStream(app, '/source', { t, headers })).next()).data, 'x'.repeat(5000))
  const plain = await app.inject({ url: '/plain', headers })
  t.ok(plain.headers['content-encoding'])
  const head = await app.inject({ method: 'HEAD', url: '/stream', headers })
  t.equal(head.statusCode, 200)
  t.equal(head.headers['content-type'], 'text/event-stream')
})

t.test('no serializer makes anything else of a stream, or of its refusal, wherever it was set', async (t) => {
  const odd = (payload: unknown): string => `{"odd":${JSON.stringify(payload)}}`
  const inHook = (name: 'onRequest' | 'preHandler') => (app: FastifyInstance) => app.addHook(name, async (_request: FastifyRequest, reply: FastifyReply) => { reply.serializer(odd) })
  const setters: Record<string, (app: FastifyInstance) => unknown> = {
    'reply.serializer in onRequest': inHook('onRequest'),
    'reply.serializer in preHandler': inHook('preHandler'),
    'setReplySerializer of the app': (app) => app.setReplySerializer(odd),
    'setSerializerCompiler of the app': (app) => app.setSerializerCompiler(() => odd),
    'a preSerialization hook': (app) => app.addHook('preSerialization', async (_request, _reply, payload) => ({ payload })),
    'all of them, and a content type': (app) => {
      inHook('onRequest')(app)
      app.addHook('preSerialization', async (_request, _reply, payload) => ({ payload }))
      app.addHook('preHandler', async (_request, reply) => { reply.type('application/json') })
    },
    'a content type in onSend': (app) => {
      app.addHook('onSend', async (_request, reply, payload) => {
        reply.header('content-type', 'application/json; charset=utf-8')
        return payload
      })
    }
  }
  for (const [what, set] of Object.entries(setters)) {
    const app = bare(t)
    await app.register(realtime, { closeTimeout: 1000, maxConnections: 2 })
    set(app)
    app.topic('news')
    app.stream('/stream', { topics: 'news' })
    app.stream('/source', { source: async function * () { yield { data: { n: 1 } } } })
    app.get('/plain', async () => ({ plain: 1 }))
    await listen(app)
    const client = await connectStream(app, '/stream', { t })
    await app.realtime.publish('news', 'said', { hello: 1 })
    t.same((await client.next('said')).data, { hello: 1 }, what)
    t.match(client.headers['content-type'], /^text\/event-stream/, what)
    t.same((await (await connectStream(app, '/source', { t })).next()).data, { n: 1 }, what)
    t.equal((await app.inject({ method: 'HEAD', url: '/stream' })).statusCode, 200, what)
    await connectStream(app, '/stream', { t })
    const refused = await app.inject({ url: '/stream', headers: { accept: 'text/event-stream' } })
    t.match(refused.body, /^retry: \d+\n\n$/, what)
    t.match((await app.inject('/plain')).body, /odd|payload|plain/, what)
  }
})

t.test('a rate limit answers 429 on both wires', async (t) => {
  const app = bare(t)
  await app.register(rateLimit, { max: 2, timeWindow: '1 minute' })
  await app.register(realtime, { closeTimeout: 1000 })
  app.topic('news')
  await app.register(async (child) => {
    declare(child, { config: { rateLimit: { max: 1, timeWindow: '1 minute' } } })
  })
  await listen(app)
  for (const connect of Object.values(wires)) {
    const client: StreamClient | ChannelClient = await connect(t, app)
    if ('headers' in client) t.equal(client.headers['x-ratelimit-limit'], '1', 'its headers reach the client')
    t.match(await refusalOf(connect(t, app)), { statusCode: 429, body: { statusCode: 429, error: 'Too Many Requests' } })
  }
})

t.test('a server under pressure refuses with 503, and cuts nobody who is there', async (t) => {
  const app = bare(t)
  let healthy = true
  await app.register(underPressure, { healthCheck: async () => healthy, healthCheckInterval: 5, retryAfter: 7, message: 'too much' })
  await app.register(realtime, { closeTimeout: 1000 })
  app.topic('news')
  declare(app)
  await listen(app)
  const there = await connectStream(app, '/stream', { t })
  healthy = false
  let refused = await connectStream(app, '/stream', { t }).then((client) => client.close(), (error: unknown) => error)
  while (!refused) refused = await connectStream(app, '/stream', { t }).then((client) => client.close(), (error: unknown) => error)
  t.match(refused, { statusCode: 503, body: { message: 'too much' }, headers: { 'retry-after': '7' } })
  t.match(await refusalOf(connectChannel(app, '/channel', { t })), { statusCode: 503, body: { message: 'too much' } })
  await app.realtime.publish('news', 'said', 'still here')
  t.equal((await there.next('said')).data, 'still here')
})

t.test('an OpenAPI document shows streams with their events, and no channels', async (t) => {
  const app = bare(t)
  await app.register(swagger, { openapi: { info: { title: 'shop', version: '1' } } })
  await app.register(realtime, { closeTimeout: 1000 })
  app.addSchema({ $id: 'money', type: 'integer' })
  const bid = { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'] } as const
  const auction = app.topic('auctions/:id', { events: { bid, end: { type: 'object', properties: { total: { $ref: 'money#' } } } } })
  app.topic('plain')
  app.stream('/auctions/:id', {
    topics: auction,
    schema: { tags: ['live'], params: { type: 'object', properties: { id: { type: 'string' } } }, response: { 404: { type: 'null', description: 'no such auction' } } }
  })
  app.stream('/named/:id', { topics: 'auctions/:id' })
  app.stream('/any', { topics: 'plain' })
  app.stream('/own', { topics: 'plain', schema: { response: { 200: { description: 'mine', type: 'string' } } } })
  app.stream('/hidden', { topics: 'plain', schema: { hide: true } })
  app.channel('/talk/:id', { topics: auction })
  await app.ready()

  const { paths } = app.swagger() as unknown as { paths: Record<string, { get: Record<string, unknown> }> }
  t.same(Object.keys(paths).sort(), ['/any', '/auctions/{id}', '/named/{id}', '/own'])
  const event = (name: string, data: object) => ({ properties: { event: { enum: [name] }, data }, required: ['event', 'data'] })
  const content = { 'text/event-stream': { schema: { oneOf: [event('bid', bid), event('end', { properties: { total: { $ref: /schemas/ } } })] } } }
  t.match(paths['/auctions/{id}']?.get, { tags: ['live'], parameters: [{ in: 'path', name: 'id' }], responses: { 200: { content }, 404: { description: 'no such auction' } } })
  t.match(paths['/named/{id}']?.get, { responses: { 200: { content } } })
  t.match(paths['/any']?.get, { responses: { 200: { content: { 'text/event-stream': { schema: { type: 'string' } } } } } })
  t.match(paths['/own']?.get, { responses: { 200: { description: 'mine' } } })
  t.ok(await connectStream(app, '/auctions/1', { t }), 'and a documented stream works')
})

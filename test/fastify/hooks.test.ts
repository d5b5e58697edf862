/** Hooks run first, refusals are ordinary responses, and what other plugins set reaches the client: on both wires. */
import compress from '@fastify/compress'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../lib/testing/index.ts'
import { bare, calls, dial, gate, HANDSHAKE, listen, live, refusalOf, talkTo } from '../helpers/app.ts'
import realtime from '../../lib/index.ts'

/** A stream and a channel of one topic, both at once: every rule holds for both. */
const wires = {
  stream: (t: Test, app: FastifyInstance, url = '/stream', headers: Record<string, string> = {}) => connectStream(app, url, { t, headers }),
  channel: (t: Test, app: FastifyInstance, url = '/channel', headers: Record<string, string> = {}) => connectChannel(app, url, { t, headers })
}

function declare (app: FastifyInstance, options: object = {}): void {
  app.stream('/stream', { topics: 'news', ...options })
  app.channel('/channel', { topics: 'news', ...options })
}

const teapot = (): Error => Object.assign(new Error('no tea here'), { statusCode: 418, code: 'NO_TEA' })

t.test('every hook up to preHandler runs, of the app, the child and the route, in Fastify\'s order', async (t) => {
  const app = await live(t)
  app.topic('news')
  let ran: string[] = []
  const note = (name: string) => async () => { ran.push(name) }
  const names = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const
  for (const name of names) app.addHook(name, note(`app ${name}`) as never)
  await app.register(async (child) => {
    for (const name of names) child.addHook(name, note(`child ${name}`) as never)
    declare(child, Object.fromEntries(names.map((name) => [name, [note(`route ${name}`), note(`route ${name} again`)]])))
  })
  const expected = names.flatMap((name) => [`app ${name}`, `child ${name}`, `route ${name}`, `route ${name} again`])
  for (const connect of Object.values(wires)) {
    ran = []
    await connect(t, app)
    t.same(ran, expected)
  }
})

t.test('any of these hooks may refuse, with Fastify\'s error shape, before anything starts', async (t) => {
  for (const name of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    for (const level of ['app', 'child', 'route'] as const) {
      const app = await live(t)
      app.topic('news', { authorize: () => t.fail('authorize was asked for a client that a hook had refused') })
      const refuse = async () => { throw teapot() }
      if (level === 'app') app.addHook(name, refuse as never)
      await app.register(async (child) => {
        if (level === 'child') child.addHook(name, refuse as never)
        declare(child, level === 'route' ? { [name]: refuse } : {})
      })
      for (const connect of Object.values(wires)) {
        const { statusCode, body } = await refusalOf(connect(t, app))
        t.equal(statusCode, 418, `${level} ${name}`)
        t.same(body, { statusCode: 418, code: 'NO_TEA', error: 'I\'m a Teapot', message: 'no tea here' })
      }
      t.same(app.realtime.connections(), [])
    }
  }
})

t.test('a hook\'s 401 over a real socket is an ordinary response: the stream\'s connection is kept, the upgrade\'s is closed', async (t) => {
  const app = await live(t)
  app.topic('news')
  app.addHook('onRequest', async (request, reply) => {
    if (request.headers.authorization === undefined) return reply.code(401).send({ message: 'who are you?' })
  })
  declare(app)
  app.get('/plain', async () => 'plain')
  await listen(app)

  const client = await dial(t, app)
  client.ask('GET /stream', { accept: 'text/event-stream' })
  t.match(await client.until('who are you?'), /^HTTP\/1\.1 401 Unauthorized\r\n/)
  client.ask('GET /plain', { authorization: 'me' })
  t.match(await client.until(/plain$/), /HTTP\/1\.1 200 OK/)

  const upgrade = await dial(t, app, { half: true })
  upgrade.ask('GET /channel', HANDSHAKE)
  await upgrade.until(/you\?"\}$/)
  await upgrade.letGo()
  t.match(upgrade.text, /^HTTP\/1\.1 401 Unauthorized\r\n/)
  t.match(upgrade.text, /connection: close\r\n/i)
})

t.test('a preHandler that answers by itself is the end of it', async (t) => {
  const app = await live(t)
  app.topic('news')
  const connected = calls()
  declare(app, {
    preHandler: async (_request: FastifyRequest, reply: FastifyReply) => reply.code(203).send({ instead: true }),
    onConnect: connected.note
  })
  for (const connect of Object.values(wires)) {
    t.same(await refusalOf(connect(t, app)), { statusCode: 203, body: { instead: true } })
  }
  t.same(connected.all, [])
})

t.test('a preHandler that hijacks keeps the response', async (t) => {
  const app = await live(t)
  app.topic('news')
  app.stream('/stream', {
    topics: 'news',
    preHandler: async (_request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200, { 'content-type': 'text/plain' }).end('mine')
      return reply
    }
  })
  t.same(await refusalOf(wires.stream(t, app)), { statusCode: 200, body: 'mine' })
})

t.test('error handlers see what is thrown, wherever it is thrown', async (t) => {
  const app = await live(t)
  app.topic('news', { authorize: (request) => { if ((request.query as { from?: string }).from === 'authorize') throw teapot(); return true } })
  app.topic('broken/:id', { authorize: () => false })
  app.setErrorHandler((error: Error & { code?: string, statusCode?: number }, _request, reply) =>
    reply.code(error.statusCode ?? 500).header('x-handled', 'yes').send({ handled: error.code }))
  app.addHook('preHandler', async (request) => { if ((request.query as { from?: string }).from === 'hook') throw teapot() })
  await app.register(async (child) => {
    child.setErrorHandler((error: Error & { code?: string }, _request, reply) => reply.code(499).send({ child: error.code }))
    child.channel('/child', { topics: 'news' })
    child.stream('/child-stream', { topics: 'news' })
  })
  declare(app)
  app.stream('/broken', { topics: () => { throw teapot() } })
  app.channel('/broken-channel', { topics: async () => { throw teapot() } })
  app.stream('/nowhere', { topics: () => 'nowhere' })
  app.stream('/source', { source: () => { throw teapot() } })
  app.stream('/no-source', { source: () => 5 as never })
  app.stream('/connect', { topics: 'news', onConnect: () => { throw teapot() } })

  for (const connect of Object.values(wires)) {
    const url = connect === wires.stream ? '/stream' : '/channel'
    for (const from of ['hook', 'authorize']) {
      t.same(await refusalOf((connect as typeof wires.stream)(t, app, `${url}?from=${from}`)), { statusCode: 418, body: { handled: 'NO_TEA' } }, `${url} ${from}`)
    }
  }
  for (const url of ['/broken', '/source', '/connect']) {
    t.same(await refusalOf(connectStream(app, url, { t })), { statusCode: 418, body: { handled: 'NO_TEA' } }, url)
  }
  t.same(await refusalOf(connectChannel(app, '/broken-channel', { t })), { statusCode: 418, body: { handled: 'NO_TEA' } })
  t.same(await refusalOf(connectStream(app, '/nowhere', { t })), { statusCode: 404, body: { handled: 'FST_ERR_REALTIME_TOPIC_UNKNOWN' } })
  t.same(await refusalOf(connectStream(app, '/no-source', { t })), { statusCode: 500, body: { handled: 'FST_ERR_REALTIME_EVENT_DATA' } })
  t.same(await refusalOf(connectChannel(app, '/child?from=hook', { t })), { statusCode: 499, body: { child: 'NO_TEA' } })
  t.same(await refusalOf(connectStream(app, '/child-stream?from=authorize', { t })), { statusCode: 499, body: { child: 'NO_TEA' } })
  t.same(app.realtime.connections(), [], 'nobody was let in')
})

t.test('what is not ours is not touched: not-found handlers, plain routes, OPTIONS', async (t) => {
  const app = await live(t)
  app.topic('news')
  declare(app)
  app.setNotFoundHandler(async (_request, reply) => reply.code(404).send({ lost: true }))
  app.get('/plain', async () => ({ plain: true }))
  t.same(await refusalOf(connectStream(app, '/nowhere', { t })), { statusCode: 404, body: { lost: true } })
  t.same(await refusalOf(connectChannel(app, '/nowhere', { t })), { statusCode: 404, body: { lost: true } })
  t.same((await app.inject('/plain')).json(), { plain: true })
  t.equal((await app.inject({ method: 'OPTIONS', url: '/stream' })).statusCode, 404)
  t.equal((await app.inject({ method: 'POST', url: '/stream' })).statusCode, 404)
  t.equal((await app.inject({ method: 'HEAD', url: '/channel' })).statusCode, 404)
})

t.test('onSend hooks of the app, the child and the route run on a stream\'s response, also those added after it', async (t) => {
  const app = await live(t)
  app.topic('news')
  const ran: string[] = []
  const mark = (name: string) => async (_request: FastifyRequest, reply: FastifyReply, payload: unknown) => {
    ran.push(name)
    reply.header(`x-${name}`, 'yes')
    return payload
  }
  app.addHook('onSend', mark('app'))
  await app.register(async (child) => {
    child.addHook('onSend', mark('child'))
    child.stream('/stream', { topics: 'news', onSend: [mark('route'), mark('route-too')] })
    child.addHook('onSend', mark('late'))
    child.addHook('onRoute', (route) => { t.not(route.url, '/stream', 'the route was there before this hook') })
  })
  app.addHook('onRoute', (route) => { if (route.url === '/seen') route.onSend = mark('on-route') as never })
  app.stream('/seen', { topics: 'news' })

  const client = await connectStream(app, '/stream', { t })
  t.match(client.headers, { 'x-app': 'yes', 'x-child': 'yes', 'x-route': 'yes', 'x-route-too': 'yes', 'x-late': 'yes' })
  t.same(ran, ['app', 'child', 'late', 'route', 'route-too'])
  await app.realtime.publish('news', 'said', 'after the hooks')
  t.equal((await client.next('said')).data, 'after the hooks')
  t.match((await connectStream(app, '/seen', { t })).headers, { 'x-app': 'yes', 'x-on-route': 'yes' })
})

t.test('an onSend hook that fails or answers otherwise leaves no connection behind', async (t) => {
  const app = await live(t)
  app.topic('news')
  const gone = calls()
  const onDisconnect = () => gone.note(undefined)
  app.stream('/fails', { topics: 'news', onDisconnect, onSend: async (request) => { if (!request.headers['x-again']) { request.headers['x-again'] = '1'; throw teapot() } } })
  app.stream('/other', {
    topics: 'news',
    onDisconnect,
    onSend: async (_request, reply) => {
      reply.header('content-type', 'text/plain')
      return 'something else'
    }
  })
  await listen(app)
  t.match(await refusalOf(connectStream(app, '/fails', { t })), { statusCode: 418 })
  t.same(await refusalOf(connectStream(app, '/other', { t })), { statusCode: 200, body: 'something else' })
  await gone.reach(2)
  t.same(app.realtime.connections(), [])
})

t.test('a header that cannot be sent is an ordinary 500, and leaves no connection behind', async (t) => {
  for (const onSend of [undefined, async (_request: unknown, _reply: unknown, payload: unknown) => payload]) {
    const app = await live(t)
    app.stream('/news', {
      topics: app.topic('news'),
      onRequest: async (_request, reply) => { reply.header('x-name', 'Zo\u2192') },
      ...onSend && { onSend }
    })
    await listen(app)
    const client = await dial(t, app)
    client.ask('GET /news', { accept: 'text/event-stream' })
    t.match(await client.until('ERR_INVALID_CHAR'), /^HTTP\/1\.1 500 Internal Server Error\r\n/)
    t.match(app.realtime.stats(), { connections: { sse: 0 }, arriving: 0, closing: 0, subscriptions: 0 })
  }
})

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

t.test('querystring, params, headers and body are validated before a stream or an upgrade', async (t) => {
  const app = await live(t)
  app.topic('items/:id')
  const schema = {
    params: { type: 'object', properties: { id: { type: 'integer' } } },
    querystring: { type: 'object', properties: { since: { type: 'integer', default: 5 } } },
    headers: { type: 'object', properties: { 'x-kind': { enum: ['a', 'b'] } } }
  }
  const seen: unknown[] = []
  const onConnect = (_connection: unknown, request: { query: unknown }) => { seen.push(request.query) }
  app.stream('/items/:id', { topics: 'items/:id', schema, onConnect } as never)
  app.channel('/talk/:id', { topics: 'items/:id', schema, onConnect } as never)
  app.stream('/answers', { method: 'POST', source: (request) => [{ data: request.body }], schema: { body: { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] } } })

  const wrong: Array<[string, Record<string, string>, RegExp]> = [
    ['/x', {}, /params\/id must be integer/],
    ['/1?since=yesterday', {}, /querystring\/since must be integer/],
    ['/1', { 'x-kind': 'c' }, /headers\/x-kind must be equal to one of/]
  ]
  for (const [url, headers, message] of wrong) {
    t.match(await refusalOf(connectStream(app, `/items${url}`, { t, headers })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION', message } })
    t.match(await refusalOf(connectChannel(app, `/talk${url}`, { t, headers })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION', message } })
  }
  await connectStream(app, '/items/1', { t })
  const talk = await talkTo(app, '/talk/1?since=3', { t })
  t.same(seen.map((query) => ({ ...query as object })), [{ since: 5 }, { since: 3 }], 'coerced and with defaults, as anywhere')
  await app.realtime.publish('items/1', 'sold', {})
  t.ok(await talk.next('sold'))

  t.match(await refusalOf(connectStream(app, '/answers', { t, method: 'POST', body: { promt: 'hi' } })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION' } })
  t.match(await refusalOf(connectStream(app, '/answers', { t, method: 'POST', headers: { 'content-type': 'text/csv' }, body: 'x' })), { statusCode: 415 })
  const answer = await connectStream(app, '/answers', { t, method: 'POST', body: { prompt: 'hi' } })
  t.same((await answer.next()).data, { prompt: 'hi' })
})

t.test('`authorize` refuses with 403 on both wires: false, a throw, and with another status where the error says so', async (t) => {
  const app = await live(t)
  const asked = calls<object>()
  app.topic('rooms/:id', {
    authorize: async (request, context) => {
      asked.note({ ...context, user: request.headers.user })
      await new Promise(setImmediate)
      switch (context.params.id) {
        case 'false': return false
        case 'throws': throw new Error('a secret reason')
        case 'pay': throw Object.assign(new Error('pay first'), { statusCode: 402 })
        default: return true
      }
    }
  })
  app.topic('strict', { authorize: () => false })
  app.stream('/stream/:id', { topics: 'rooms/:id' })
  app.channel('/channel/:id', { topics: 'rooms/:id' })
  app.stream('/both/:id', { topics: ['rooms/:id', 'strict'] })

  for (const connect of [(id: string) => connectStream(app, `/stream/${id}`, { t, headers: { user: 'ann' } }), (id: string) => connectChannel(app, `/channel/${id}`, { t, headers: { user: 'ann' } })]) {
    for (const id of ['false', 'throws']) {
      const { statusCode, body } = await refusalOf(connect(id))
      t.same([statusCode, body.code, body.error], [403, 'FST_ERR_REALTIME_FORBIDDEN', 'Forbidden'], id)
      t.notMatch(JSON.stringify(body), /secret/)
    }
    t.match(await refusalOf(connect('pay')), { statusCode: 402, body: { message: 'pay first' } })
    await connect('open')
  }
  t.match(await refusalOf(connectStream(app, '/both/open', { t })), { statusCode: 403 }, 'every topic must agree')
  t.match(asked.all[0], { topic: 'rooms/false', params: { id: 'false' }, action: 'subscribe', user: 'ann' })
  t.equal((await app.inject({ method: 'HEAD', url: '/stream/false' })).statusCode, 403, 'HEAD says what GET would')
})

t.test('`authorize` is asked again for what is joined at run time, by the client or by the app', async (t) => {
  const app = await live(t)
  const room = app.topic('rooms/:id', { authorize: async (_request, { params }) => params.id !== 'secret' })
  app.topic('lobby')
  const answers = calls<string>()
  const onConnect = async (connection: { subscribe: (topic: string) => Promise<void> }) => {
    answers.note(await connection.subscribe('rooms/secret').then(() => 'joined', (error: { code: string }) => error.code))
    await connection.subscribe('rooms/open')
  }
  app.channel('/channel', {
    topics: 'lobby',
    subscribe: room,
    messages: {
      join: { handler: async (data, { connection }) => await connection.subscribe(room.at({ id: (data as { id: string }).id })).then(() => 'in') }
    },
    onConnect
  })
  app.stream('/stream', { topics: 'lobby', onConnect })

  const channel = await talkTo(app, '/channel', { t })
  channel.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/secret', ref: 'a' }))
  t.match((await channel.next('realtime:reply:a')).data, { op: 'error', code: 'FORBIDDEN', ref: 'a' })
  await t.rejects(channel.request('join', { id: 'secret' }), { code: 'FORBIDDEN' } as never)
  t.equal(await channel.request('join', { id: 'other' }), 'in')
  const stream = await connectStream(app, '/stream', { t })
  t.same(await answers.reach(2), ['FST_ERR_REALTIME_FORBIDDEN', 'FST_ERR_REALTIME_FORBIDDEN'])

  await room.publish({ id: 'secret' }, 'said', 'secret')
  await room.publish({ id: 'open' }, 'said', 'open')
  t.equal((await channel.next()).data, 'open')
  t.equal((await stream.next()).data, 'open')
})

t.test('handlerTimeout bounds the way in, and does not cut a stream', async (t) => {
  const app = await live(t)
  app.topic('news', { authorize: async (request) => { if ((request.query as { slow?: string }).slow) await held.passed; return true } })
  const held = gate()
  app.stream('/stream', { topics: 'news', handlerTimeout: 40 })
  await listen(app)
  const client = await connectStream(app, '/stream', { t })
  // The clock by which this is longer than the timeout is the same as the timeout's own: the refusal below took one whole.
  const { statusCode, body } = await refusalOf(connectStream(app, '/stream?slow=1', { t }))
  t.equal(statusCode, 503)
  t.equal(body.code, 'FST_ERR_HANDLER_TIMEOUT')
  held.open()
  await app.realtime.publish('news', 'said', 'still open')
  t.equal((await client.next('said')).data, 'still open')
  await client.close()
})

t.test('a client that leaves while authorize is pending leaves nothing behind', async (t) => {
  const app = await live(t)
  const held = gate()
  const entered = calls<FastifyRequest>()
  const connected = calls()
  app.topic('news', {
    authorize: async (request) => {
      entered.note(request)
      await held.passed
      return true
    }
  })
  declare(app, { onConnect: connected.note })
  await listen(app)
  for (const [headers, line] of [[{ accept: 'text/event-stream' }, 'GET /stream'], [HANDSHAKE, 'GET /channel']] as const) {
    const client = await dial(t, app)
    client.ask(line, headers)
    const [request] = (await entered.reach(entered.all.length + 1)).slice(-1) as [FastifyRequest]
    const closed = new Promise<void>((resolve) => request.raw.socket.once('close', () => resolve()))
    client.socket.resetAndDestroy()
    await closed
  }
  held.open()
  await app.close()
  t.same(connected.all, [], 'onConnect is not asked for somebody who left')
  t.same(app.realtime.connections(), [])
  t.same(app.realtime.stats().connections, { sse: 0, websocket: 0 })
})

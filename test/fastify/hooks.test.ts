/** Hooks run first, and refusals are ordinary responses: on both wires. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { calls, dial, gate, HANDSHAKE, listen, live, refusalOf } from '../helpers/app.ts'
import { declare, wires } from '../helpers/wires.ts'

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
  t.same(app.realtime.stats().connections, { sse: 0, websocket: 0, process: 0 })
})

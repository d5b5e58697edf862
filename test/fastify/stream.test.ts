/** Streams as HTTP: negotiation, methods, versions, timeouts, and every way in which a response can end. */
import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { connectStream } from '../../lib/testing/index.ts'
import type { CloseReason, Connection } from '../../lib/index.ts'
import { calls, dial, gate, listen, live, portOf, refusalOf, type RawClient, type ServerOptions } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'

const SSE = { accept: 'text/event-stream' }

/** A source that says one thing and ends. */
async function * briefly (): AsyncGenerator<{ data: string }> {
  yield { data: 'all there is' }
}

t.test('Accept decides: what admits an event stream gets one, what does not gets the handler or 406', async (t) => {
  const app = await live(t)
  app.stream('/only', { source: briefly })
  app.stream('/both', { source: briefly, handler: async (request) => ({ json: true, method: request.method }) })
  const rows: Array<[accept: string | undefined, only: 'stream' | 406, both: 'stream' | 'json']> = [
    [undefined, 'stream', 'stream'],
    ['', 'stream', 'stream'],
    ['*/*', 'stream', 'stream'],
    ['text/*', 'stream', 'stream'],
    ['text/event-stream', 'stream', 'stream'],
    ['TEXT/Event-Stream', 'stream', 'stream'],
    ['text/event-stream;q=0.5, */*;q=0.1', 'stream', 'stream'],
    ['application/json, text/event-stream', 'stream', 'stream'],
    ['application/json, text/event-stream;q=0.9', 'stream', 'json'],
    ['text/html,application/xhtml+xml,*/*;q=0.8', 'stream', 'json'],
    ['application/json', 406, 'json'],
    ['application/*', 406, 'json'],
    ['text/event-stream;q=0', 406, 'json'],
    ['*/*, text/event-stream;q=0', 406, 'json'],
    ['*/*;q=0', 406, 'json'],
    ['text/event-stream;q=nonsense', 'stream', 'stream'],
    [';;;,,q=1', 406, 'json'],
    [`${'text/plain,'.repeat(500)}text/event-stream`, 406, 'json']
  ]
  for (const [accept, only, both] of rows) {
    const headers = accept === undefined ? {} : { accept }
    const alone = await app.inject({ url: '/only', headers })
    t.equal(alone.statusCode, only === 406 ? 406 : 200, `only: ${accept}`)
    if (only === 406) t.equal(alone.json().code, 'FST_ERR_REALTIME_NOT_ACCEPTABLE')
    else t.match(alone.body, /data: all there is\n\n$/)
    const choice = await app.inject({ url: '/both', headers })
    t.equal(choice.headers['content-type'], both === 'json' ? 'application/json; charset=utf-8' : 'text/event-stream', `both: ${accept}`)
    if (both === 'json') t.same(choice.json(), { json: true, method: 'GET' })
  }
})

t.test('the handler for other clients is an ordinary one: schema, errors, this, reply', async (t) => {
  const app = await live(t)
  app.stream('/x', {
    source: briefly,
    schema: { response: { '2xx': { type: 'object', properties: { seen: { type: 'string' } } } } },
    handler: async (request, reply) => {
      if ((request.query as { fail?: string }).fail) throw Object.assign(new Error('no'), { statusCode: 409 })
      return reply.code(201).send({ seen: 'yes', hidden: 'no' })
    }
  })
  const headers = { accept: 'application/json' }
  const answer = await app.inject({ url: '/x', headers })
  t.same([answer.statusCode, answer.json()], [201, { seen: 'yes' }])
  t.equal((await app.inject({ url: '/x?fail=1', headers })).statusCode, 409)
  t.match((await app.inject({ url: '/x', headers: SSE })).body, /all there is/)
})

t.test('HEAD answers a stream\'s headers and ends, whether Fastify made the route or the app did', async (t) => {
  const app = await live(t)
  app.topic('news')
  app.stream('/news', { topics: 'news', onConnect: () => t.fail('HEAD connects nobody') })
  app.stream('/bare', { topics: 'news', exposeHeadRoute: false })
  await listen(app)
  const client = await dial(t, app)
  client.ask('HEAD /news')
  t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 200 OK\r\n/)
  t.match(client.text, /content-type: text\/event-stream\r\n/)
  t.match(client.text, /cache-control: no-cache, no-transform\r\n/)
  t.notMatch(client.text, /content-length/)
  client.ask('HEAD /bare')
  t.match(await client.until('404 Not Found'), /404/, 'the connection was kept')
  t.equal((await app.inject({ method: 'HEAD', url: '/news', headers: { accept: 'application/json' } })).statusCode, 406)
  t.same(app.realtime.connections(), [])
})

t.test('POST carries a body to the source, and Expect: 100-continue is answered', async (t) => {
  const app = await live(t)
  app.stream('/answers', {
    method: ['GET', 'POST'],
    source: async function * (request) { yield { event: 'echo', data: request.body ?? null } }
  })
  await listen(app)
  const posted = await connectStream(app, '/answers', { t, method: 'POST', body: { prompt: 'hello' } })
  t.same((await posted.next('echo')).data, { prompt: 'hello' })
  await posted.ended
  t.equal((await (await connectStream(app, '/answers', { t })).next('echo')).data, null)

  const client = await dial(t, app)
  const body = JSON.stringify({ prompt: 'patience' })
  client.ask('POST /answers', { ...SSE, expect: '100-continue', 'content-type': 'application/json', 'content-length': String(body.length) })
  await client.until('HTTP/1.1 100 Continue\r\n\r\n')
  client.send(body)
  t.match(await client.until('\r\n0\r\n\r\n'), /data: \{"prompt":"patience"\}\n\n/)
})

t.test('where a client resumes from is read from the header, or from the query; the header wins', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  app.stream('/source', { source: async function * (_request, { cursor }) { yield { data: cursor ?? 'none' } } })
  const [first, second] = [await news.publish({}, 'said', 1), await news.publish({}, 'said', 2)]
  const seen = async (url: string, lastEventId?: string) =>
    (await (await connectStream(app, url, { t, ...(lastEventId === undefined ? {} : { lastEventId }) })).next()).data
  t.equal(await seen('/news', first.id), 2)
  t.equal(await seen(`/news?lastEventId=${first.id}`), 2)
  const later = await connectStream(app, `/news?lastEventId=${first.id}`, { t, ...(second.id ? { lastEventId: second.id } : {}) })
  await news.publish({}, 'said', 3)
  t.equal((await later.next()).data, 3, 'the header was taken, and nothing came twice')
  t.equal(await seen('/source'), 'none')
  t.equal(await seen('/source?lastEventId=from%20query'), 'from query')
  t.equal(await seen('/source?lastEventId=query', 'header'), 'header')
  t.equal(await seen('/source?lastEventId='), 'none')
})

t.test('an HTTP/1.0 client gets the stream unframed, to the end of the connection', async (t) => {
  const app = await live(t)
  app.topic('news')
  app.stream('/finite', { source: briefly })
  app.stream('/news', { topics: 'news' })
  await listen(app)
  const finite = await dial(t, app)
  finite.send('GET /finite HTTP/1.0\r\n\r\n')
  await finite.closed
  t.match(finite.text, /^HTTP\/1\.1 200 OK\r\n/)
  t.notMatch(finite.text, /transfer-encoding/i)
  t.match(finite.text, /\r\n\r\nretry: \d+\nevent: realtime:open\ndata: \{\}\n\ndata: all there is\n\n$/)
  const news = await dial(t, app)
  news.send('GET /news HTTP/1.0\r\n\r\n')
  await news.until('realtime:open')
  await app.realtime.publish('news', 'said', 'hello')
  t.match(await news.until('hello'), /\nevent: said\ndata: "hello/)
})

t.test('an HTTP/1.1 client gets whole chunks, and its connection is its own again when a source ends', async (t) => {
  const app = await live(t)
  app.stream('/finite', { source: briefly })
  app.get('/plain', async () => 'plain')
  await listen(app)
  const client = await dial(t, app)
  for (let round = 1; round <= 3; round++) {
    client.text = ''
    client.ask('GET /finite', SSE)
    const text = await client.until('\r\n0\r\n\r\n')
    t.match(unchunked(text), /^retry: \d+\nevent: realtime:open\ndata: \{\}\n\ndata: all there is\n\n$/)
  }
  client.ask('GET /plain')
  await client.until(/plain$/)

  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const ports = new Set<number | undefined>()
  for (let round = 1; round <= 3; round++) {
    const response = await new Promise<IncomingMessage>((resolve) => httpRequest({ port: portOf(app), path: '/finite', agent }, resolve).end())
    ports.add(response.socket.localPort)
    response.resume()
    await once(response, 'end')
  }
  t.equal(ports.size, 1, 'an agent used one connection for all of them')
})

t.test('pipelined requests are answered in order; a stream among them that would have to wait is refused for now', async (t) => {
  const app = await live(t, { retry: 3000 })
  app.topic('news')
  const asked = calls()
  app.stream('/finite', { source: briefly })
  app.stream('/news', { topics: 'news', onConnect: asked.note })
  app.get('/plain', async () => 'plain')
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /plain').ask('GET /news', SSE).ask('GET /news').ask('GET /finite', SSE).ask('HEAD /news', SSE).ask('GET /plain')
  await client.until(/plain[^]*plain/)
  t.same(client.text.match(/(?<=HTTP\/1.1 )\d+|(?<=\r\n\r\n)plain|retry: \d|FST_ERR_REALTIME_PIPELINED/g)?.map((found) => found.replace(/\d$/, '')),
    ['20', 'plain', '20', 'retry: ', '50', 'FST_ERR_REALTIME_PIPELINED', '20', 'retry: ', '20', '20', 'plain'])
  t.same(asked.all, [], 'nothing was asked about them')
  t.match(app.realtime.stats(), { refused: 3, connections: { sse: 0 }, arriving: 0, closing: 0 })
  client.ask('GET /news', SSE)
  await client.until('realtime:open')
  await app.realtime.publish('news', 'said', 'to the last')
  await client.until('to the last')
})

t.test('one socket holds one stream, however many it asks for, and nothing is left when the client goes', async (t) => {
  const app = await live(t)
  app.topic('news')
  const [came, gone, answered] = [calls(), calls(), calls()]
  app.stream('/news', { topics: 'news', onConnect: () => came.note(1), onDisconnect: () => gone.note(1), onResponse: async () => answered.note(1) })
  await listen(app)
  const client = await dial(t, app)
  for (let n = 0; n < 200; n++) client.ask('GET /news', SSE)
  await client.until('realtime:open')
  while (app.realtime.stats().refused < 199) await new Promise(setImmediate)
  t.equal(app.realtime.connections().length, 1)
  client.socket.destroy()
  await gone.reach(1)
  t.same(app.realtime.connections(), [])
  await app.close()
  t.equal(came.all.length, 1)
  t.equal(gone.all.length, 1)
})

t.test('garbage behind a request ends that connection and no other', async (t) => {
  const app = await live(t)
  app.topic('news')
  const gone = calls()
  app.stream('/news', { topics: 'news', onDisconnect: gone.note })
  await listen(app)
  const other = await connectStream(app, '/news', { t })
  const client = await dial(t, app)
  client.ask('GET /news', SSE)
  await client.until('realtime:open')
  client.send('\0\0\0 this is not HTTP\r\n\r\n')
  await client.closed
  await gone.reach(1)
  await app.realtime.publish('news', 'said', 'hello')
  t.equal((await other.next('said')).data, 'hello')
})

t.test('no timeout of the server cuts a quiet stream', async (t) => {
  // Each far shorter than a heartbeat; a plain request that is held shows that the first does cut.
  const app = await live(t, { heartbeat: 2000 }, { connectionTimeout: 60, keepAliveTimeout: 30, requestTimeout: 60 })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  app.stream('/finite', { source: briefly })
  const held = gate()
  app.get('/held', async () => await held.passed)
  await listen(app)
  const kept = await dial(t, app)
  kept.ask('GET /finite', SSE)
  await kept.until('\r\n0\r\n\r\n')
  kept.ask('GET /news', SSE)
  await kept.until(/realtime:open[^]*realtime:open/)
  const quiet = await dial(t, app)
  quiet.ask('GET /news', SSE)
  await quiet.until('realtime:open')
  for (let round = 1; round <= 3; round++) {
    const cut = await dial(t, app)
    cut.ask('GET /held')
    await cut.closed
  }
  const idle = await dial(t, app)
  idle.ask('GET /finite', SSE)
  await idle.closed
  t.match(idle.text, /all there is/, 'and an idle connection is cut, as before the stream')
  held.open()
  await app.realtime.publish('news', 'said', 'still there')
  await kept.until('still there')
  await quiet.until('still there')
})

// --- ends -----------------------------------------------------------------------------

interface End { name: string, reason: string, onResponse: number, act: (end: { client: RawClient, connection: Connection, app: FastifyInstance, held: { open: (value: void) => void } }) => unknown, url?: string }

const ends: End[] = [
  { name: 'the client closes its side', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.end() },
  { name: 'the client resets', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.resetAndDestroy() },
  { name: 'the client destroys', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.destroy() },
  { name: 'the server\'s socket breaks', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.peer.destroy() },
  { name: 'the app closes', reason: 'shutting-down', onResponse: 1, act: ({ app }) => app.close() },
  { name: 'connection.close()', reason: 'closed-by-app', onResponse: 1, act: ({ connection }) => connection.close() },
  {
    name: 'connection.close() twice, and the client too',
    reason: 'closed-by-app',
    onResponse: 1,
    act: ({ connection, client }) => {
      connection.close()
      connection.close({ text: 'again' })
      client.socket.end()
    }
  },
  { name: 'the source ends', reason: 'source-ended', onResponse: 1, url: '/source', act: ({ held }) => held.open() },
  { name: 'the source fails', reason: 'internal-error', onResponse: 0, url: '/source?fail=1', act: ({ held }) => held.open() },
  { name: 'the client leaves a source', reason: 'connection-lost', onResponse: 0, url: '/source', act: ({ client }) => client.socket.destroy() },
  {
    name: 'the client does not read',
    reason: 'slow-client',
    onResponse: 0,
    act: async ({ app, client }) => {
      client.socket.pause()
      while (app.realtime.connections().length > 0) await app.realtime.publish('news', 'flood', 'x'.repeat(60_000))
    }
  }
]

for (const { name, reason, onResponse, url = '/news', act } of ends) {
  t.test(`onDisconnect runs exactly once, and onResponse no more than that, when ${name}`, async (t) => {
    const app = await live(t, { maxBuffered: 100_000 })
    app.topic('news')
    const held = gate()
    const [came, gone, responded, returned] = [calls<Connection>(), calls<CloseReason>(), calls(), calls()]
    app.addHook('onResponse', async () => responded.note(1))
    const options = { onConnect: came.note, onDisconnect: (_connection: Connection, why: CloseReason) => gone.note(why) }
    app.stream('/news', { ...options, topics: 'news' })
    app.stream('/source', {
      ...options,
      source: async function * (request, { signal }) {
        try {
          yield { data: 'first' }
          await Promise.race([held.passed, once(signal, 'abort')])
          if ((request.query as { fail?: string }).fail) throw new Error('out of ideas')
        } finally {
          returned.note(1)
        }
      }
    })
    await listen(app)
    const client = await dial(t, app)
    client.ask(`GET ${url}`, SSE)
    await client.until('realtime:open')
    const [connection] = await came.reach(1) as [Connection]
    t.notOk(connection.closed)
    await act({ client, connection, app, held })
    const [why] = await gone.reach(1) as [CloseReason]
    t.equal(why.name, reason)
    t.ok(connection.closed)
    t.ok(connection.signal.aborted)
    t.same(app.realtime.connections(), [])
    client.socket.destroy()
    await app.close()
    t.equal(gone.all.length, 1, 'onDisconnect ran once')
    t.equal(responded.all.length, onResponse, 'onResponse ran for what was ended by the server')
    t.equal(returned.all.length, url === '/news' ? 0 : 1, 'a source\'s finally ran once')
  })
}

t.test('onConnect may close or refuse: the client is answered, and onDisconnect runs only for whom it accepted', async (t) => {
  const app = await live(t)
  app.topic('news')
  const gone = calls<CloseReason>()
  const onDisconnect = (_connection: Connection, why: CloseReason) => gone.note(why)
  app.stream('/closes', { topics: 'news', onDisconnect, onConnect: async (connection) => connection.close() })
  app.stream('/refuses', { topics: 'news', onDisconnect, onConnect: async () => { throw Object.assign(new Error('no'), { statusCode: 403 }) } })
  await listen(app)
  t.equal((await refusalOf(connectStream(app, '/closes', { t }))).statusCode, 204, 'do not come back')
  t.equal((await refusalOf(connectStream(app, '/refuses', { t }))).statusCode, 403)
  t.same((await gone.reach(1)).map(({ name }) => name), ['closed-by-app'])
  t.same(app.realtime.connections(), [])
})

// --- temporary refusals -------------------------------------------------------------------

t.test('too many connections: an EventSource is told to come back, others get 503', async (t) => {
  for (const limit of [{ maxConnections: 1 }, { maxConnectionsPerAddress: 1 }, { maxConnectionsPerIdentity: 1, identify: () => ({ id: 'ada' }) }]) {
    const app = await live(t, { ...limit, retry: 3000 }, { trustProxy: true })
    app.topic('news')
    app.stream('/news', { topics: 'news' })
    await listen(app)
    const there = await connectStream(app, '/news', { t })
    const told = await connectStream(app, '/news', { t, lastEventId: 'mine' })
    await told.ended
    t.equal(told.statusCode, 200)
    t.ok(told.retry !== undefined && told.retry >= 1500 && told.retry <= 4500, `retry: ${told.retry}`)
    t.same(told.events, [])
    t.equal(told.lastEventId, 'mine', 'it keeps its last event id')
    for (const headers of [{}, { accept: '*/*' }]) {
      const refused = await app.inject({ url: '/news', headers, remoteAddress: '127.0.0.1' })
      t.equal(refused.statusCode, 503)
      t.match(refused.headers['retry-after'], /^[1-5]$/)
      t.equal(refused.json().code, 'FST_ERR_REALTIME_TOO_MANY_CONNECTIONS')
    }
    t.equal(app.realtime.stats().refused, 3)
    await there.close()
    while (app.realtime.connections().length > 0) await new Promise(setImmediate)
    await (await connectStream(app, '/news', { t })).next('realtime:open')
  }
})

// --- inject -----------------------------------------------------------------------------------

t.test('inject reads a stream, and the test kit needs no port', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  const response = await app.inject({ url: '/news', payloadAsStream: true, headers: SSE })
  t.equal(response.statusCode, 200)
  t.equal(response.headers['content-type'], 'text/event-stream')
  const stream = response.stream().setEncoding('utf8')
  const client = await connectStream(app, '/news', { t })
  await news.publish({}, 'said', 'hello')
  let text = ''
  for await (const part of stream) {
    text += part
    if (text.includes('hello')) break
  }
  t.match(text, /^retry: \d+\nid: [^\n]+\nevent: realtime:open\ndata: \{\}\n\nid: [^\n]+\nevent: said\ndata: "hello"\n\n$/)
  t.equal((await client.next('said')).data, 'hello')
  await client.close()
  await client.open()
  await news.publish({}, 'said', 'again')
  t.equal((await client.next('said')).data, 'again')
})

// --- HTTP/2 -------------------------------------------------------------------------------------

interface Http2Answer { headers: IncomingHttpHeaders, stream: ClientHttp2Stream, until: (wanted: string) => Promise<string>, ended: Promise<unknown> }

async function get (session: ClientHttp2Session, path: string, headers: Record<string, string> = SSE): Promise<Http2Answer> {
  const stream = session.request({ ':path': path, ...headers })
  stream.setEncoding('utf8')
  stream.on('error', () => {})
  const ended = once(stream, 'close')
  let text = ''
  let wake = (): void => {}
  stream.on('data', (part: string) => {
    text += part
    wake()
  })
  const [response] = await once(stream, 'response') as [IncomingHttpHeaders]
  return {
    headers: response,
    stream,
    ended,
    async until (wanted) {
      while (!text.includes(wanted)) await new Promise<void>((resolve) => { wake = resolve })
      return text
    }
  }
}

async function dialHttp2 (t: Test, url: string): Promise<ClientHttp2Session> {
  const session = connectHttp2(url, { rejectUnauthorized: false })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  await once(session, 'connect')
  return session
}

const http2Servers: Array<[string, ServerOptions, 'http' | 'https']> = [
  ['h2 over TLS', { http2: true, https: { key, cert } }, 'https'],
  ['h2 over TLS beside HTTP/1.1', { http2: true, https: { key, cert, allowHTTP1: true } }, 'https'],
  ['h2c', { http2: true }, 'http']
]

for (const [name, server, scheme] of http2Servers) {
  t.test(`${name}: streams are multiplexed, ended from either side, and without connection headers`, async (t) => {
    const app = await live(t, {}, server)
    const gone = calls<CloseReason>()
    const connections = calls<Connection>()
    app.addHook('onSend', async (_request, reply, payload) => {
      reply.header('x-sent', 'yes')
      return payload
    })
    app.topic('news', { authorize: (request) => request.headers.forbidden === undefined })
    app.stream('/news', { topics: 'news', onConnect: connections.note, onDisconnect: (_connection, why) => gone.note(why) })
    app.stream('/finite', { source: briefly })
    app.stream('/long', { source: async function * () { for (let i = 0; i < 50; i++) yield { data: 'x'.repeat(10_000) } } })
    await listen(app)
    const session = await dialHttp2(t, `${scheme}://127.0.0.1:${portOf(app)}`)
    const [one, two] = [await get(session, '/news'), await get(session, '/news')]
    t.match(one.headers, { ':status': 200, 'content-type': 'text/event-stream', 'x-sent': 'yes' })
    for (const header of ['connection', 'keep-alive', 'transfer-encoding']) t.notOk(header in one.headers, header)
    await one.until('realtime:open')
    await two.until('realtime:open')
    await app.realtime.publish('news', 'said', 'hello')
    for (const answer of [one, two]) t.match(await answer.until('hello'), /event: said\ndata: "hello"/)

    one.stream.close()
    t.equal((await gone.reach(1))[0]?.name, 'connection-lost', 'the client cancelled its stream')
    connections.all[1]?.close()
    await two.ended
    t.equal((await gone.reach(2))[1]?.name, 'closed-by-app')

    t.match(await (await get(session, '/finite')).until('all there is'), /realtime:open/)
    const long = await get(session, '/long')
    await long.ended
    t.equal((await long.until('x')).match(/data: x{10000}\n/g)?.length, 50, 'flow control loses nothing')
    t.equal((await get(session, '/news', { ...SSE, forbidden: 'yes' })).headers[':status'], 403)
    const head = session.request({ ':method': 'HEAD', ':path': '/news' }, { endStream: true })
    t.match((await once(head, 'response'))[0], { ':status': 200, 'content-type': 'text/event-stream' })
    head.close()

    const third = await get(session, '/news')
    session.destroy()
    t.equal((await gone.reach(3))[2]?.name, 'connection-lost', 'the whole session went')
    t.ok(third)
    await app.close()
    t.equal(gone.all.length, 3)
  })
}

t.test('over HTTP/2, the timeout of idle sessions does not cut a quiet stream', async (t) => {
  const app = await live(t, { heartbeat: 2000 }, { http2: true, http2SessionTimeout: 60 })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  await listen(app)
  const url = `http://127.0.0.1:${portOf(app)}`
  const answer = await get(await dialHttp2(t, url), '/news')
  await answer.until('realtime:open')
  for (let round = 1; round <= 3; round++) {
    const idle = await dialHttp2(t, url)
    await once(idle, 'close')
  }
  await app.realtime.publish('news', 'said', 'still there')
  await answer.until('still there')
})

t.test('HTTP/1.1 clients of an HTTP/2 server stream as ever', async (t) => {
  const app = await live(t, {}, { http2: true, https: { key, cert, allowHTTP1: true } })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  await listen(app)
  const client = await connectStream(app, '/news', { t })
  await app.realtime.publish('news', 'said', 'hello')
  t.equal((await client.next('said')).data, 'hello')
  t.equal(client.headers['transfer-encoding'], 'chunked')
})

function unchunked (text: string): string {
  let rest = text.slice(text.indexOf('\r\n\r\n') + 4)
  let body = ''
  for (;;) {
    const end = rest.indexOf('\r\n')
    const size = Number.parseInt(rest.slice(0, end), 16)
    if (!(size > 0)) return body
    body += rest.slice(end + 2, end + 2 + size)
    rest = rest.slice(end + 2 + size + 2)
  }
}

/** Streams as HTTP: negotiation, methods, the way in, and a client without a port. */
import t from 'tap'
import { connectStream } from '../../lib/testing/index.ts'
import type { CloseReason, Connection } from '../../lib/index.ts'
import { calls, dial, listen, live, refusalOf } from '../helpers/app.ts'
import { briefly, SSE } from '../helpers/streams.ts'

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

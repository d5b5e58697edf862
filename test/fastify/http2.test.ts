/** Streams over HTTP/2, and over HTTP/1.1 on a server that has both. */
import { once } from 'node:events'
import {
  connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream, type Http2ServerRequest, type IncomingHttpHeaders,
  type ServerHttp2Session
} from 'node:http2'
import t, { type Test } from 'tap'
import { connectStream } from '../../lib/testing/index.ts'
import type { CloseReason, Connection } from '../../lib/index.ts'
import { calls, listen, live, portOf, type ServerOptions } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'
import { briefly, SSE } from '../helpers/streams.ts'

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
  // The first session's begins with its request: a slow machine would be cut before it has asked.
  app.server.once('session', (session: ServerHttp2Session) => session.setTimeout(0))
  app.addHook('onRequest', async ({ raw }) => { (raw as unknown as Http2ServerRequest).stream.session?.setTimeout(60) })
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

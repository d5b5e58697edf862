/** Streams over HTTP/1: framing, pipelines, and timeouts. */
import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import t from 'tap'
import { connectStream } from '../../lib/testing/index.ts'
import { calls, dial, gate, listen, live, portOf } from '../helpers/app.ts'
import { briefly, SSE } from '../helpers/streams.ts'

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
  // Each far shorter than a heartbeat; a plain request that is held shows that the first does cut. It begins with the
  // request, and not with the connection: a slow machine would be cut before it has asked.
  const app = await live(t, { heartbeat: 2000 }, { requestTimeout: 60 })
  app.addHook('onRequest', async ({ raw }) => { raw.socket.setTimeout(60) })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  app.stream('/finite', { source: briefly })
  const held = gate()
  app.get('/held', async () => await held.passed)
  await listen(app)
  app.server.keepAliveTimeout = 60_000
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
  app.server.keepAliveTimeout = 30
  const idle = await dial(t, app)
  idle.ask('GET /finite', SSE)
  await idle.closed
  t.match(idle.text, /all there is/, 'and an idle connection is cut, as before the stream')
  held.open()
  await app.realtime.publish('news', 'said', 'still there')
  await kept.until('still there')
  await quiet.until('still there')
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

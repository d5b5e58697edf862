/** `app.close()` comes to its end whatever clients do, and leaves nothing open. */
import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import realtime, { type CloseReason, type Connection } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, calls, dial, HANDSHAKE, listen, live, portOf, talkTo, type ServerOptions } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'

// Nothing here may hang: ws itself would wait 30 s for a peer that does not answer its close.
const HANGS = { timeout: 15_000 }
const SSE = { accept: 'text/event-stream' }

interface House {
  app: FastifyInstance
  came: ReturnType<typeof calls<Connection>>
  gone: ReturnType<typeof calls<[Connection, CloseReason]>>
  /** The server's ends of all sockets. */
  sockets: Socket[]
}

async function house (t: Test, server: ServerOptions = {}, closeTimeout = 150): Promise<House> {
  const app = await live(t, { closeTimeout, maxBuffered: 300_000 }, server)
  const [came, gone] = [calls<Connection>(), calls<[Connection, CloseReason]>()]
  const options = { onConnect: came.note, onDisconnect: (connection: Connection, reason: CloseReason) => gone.note([connection, reason]) }
  const news = app.topic('news')
  app.stream('/news', { topics: news, ...options })
  // A source that heeds nothing.
  app.stream('/source', {
    ...options,
    async * source () {
      yield { data: 'first' }
      await new Promise(() => {})
    }
  })
  const { allowHTTP1 = server.http2 === undefined } = (server.https ?? {}) as { allowHTTP1?: boolean }
  if (allowHTTP1) app.channel('/talk', { topics: news, ...options, messages: { stuck: { handler: async () => await new Promise(() => {}) } } })
  app.get('/plain', async () => 'plain')
  const sockets: Socket[] = []
  for (const event of ['connection', 'secureConnection']) app.server.on(event, (socket: Socket) => sockets.push(socket))
  return { app, came, gone, sockets }
}

async function closes (t: Test, { app, came, gone, sockets }: House, clients: number): Promise<void> {
  await came.reach(clients)
  await app.close()
  t.same(app.realtime.connections(), [])
  t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, subscriptions: 0, topics: 0 })
  await gone.reach(clients)
  await new Promise(setImmediate)
  t.equal(gone.all.length, clients, 'onDisconnect ran once for each')
  for (const [, reason] of gone.all) t.equal(reason.name, 'shutting-down')
  t.same(sockets.filter(({ destroyed }) => !destroyed).length, 0, 'no socket is left')
}

/** A peer that takes the upgrade, and then neither answers nor closes. */
async function mute (t: Test, app: FastifyInstance): Promise<void> {
  const raw = await dial(t, app, { half: true })
  raw.ask('GET /talk', HANDSHAKE)
  await raw.until('101 Switching Protocols')
}

t.test('open streams and channels leave at once, also with no time to wait', HANGS, async (t) => {
  for (const closeTimeout of [60_000, 0]) {
    const open = await house(t, { pluginTimeout: 120_000 }, closeTimeout)
    await listen(open.app)
    const streams = [await connectStream(open.app, '/news', { t }), await connectStream(open.app, '/source', { t })]
    const channels = [await connectChannel(open.app, '/talk', { t }), await talkTo(open.app, '/talk', { t })]
    await closes(t, open, 4)
    for (const { ended } of streams) await ended
    if (closeTimeout === 0) continue
    for (const { ended } of channels) t.match(await ended, { code: 1012 })
    t.ok(Number(streams[0]?.retry) > 0)
  }
})

t.test('clients that neither read, answer nor leave are cut after closeTimeout', HANGS, async (t) => {
  const open = await house(t)
  const { app } = open
  await listen(app)
  for (const url of ['/news', '/source']) {
    const raw = await dial(t, app, { half: true })
    raw.ask(`GET ${url}`, SSE)
    await raw.until('realtime:open')
    raw.socket.pause()
  }
  await mute(t, app)
  const paused = new WebSocket(`ws://127.0.0.1:${portOf(app)}/talk`)
  paused.on('error', () => {})
  t.teardown(() => paused.terminate())
  await once(paused, 'open')
  paused.pause()
  const busy = await connectChannel(app, '/talk', { t })
  busy.send('stuck')
  // More than the kernel takes, so that the farewell does not get through.
  const quick = await connectStream(app, '/news', { t })
  await open.came.reach(6)
  const buffered = (): boolean => (open.came.all[0]?.buffered ?? 0) > 0
  for (let n = 0; n < 2000 && !buffered(); n++) {
    await app.realtime.publish('news', 'flood', 'x'.repeat(60_000))
    await quick.next('flood')
  }
  t.ok(buffered())
  await closes(t, open, 6)
})

t.test('connections on which nothing of ours is open keep nobody waiting', HANGS, async (t) => {
  const open = await house(t)
  const { app } = open
  await listen(app)
  const idle = await dial(t, app, { half: true })
  idle.ask('GET /plain')
  await idle.until(/plain$/)
  const refused = await dial(t, app, { half: true })
  refused.ask('GET /talk', { ...HANDSHAKE, origin: 'https://evil.example' })
  await refused.until('HTTP/1.1 403')
  const after = await dial(t, app)
  after.ask('GET /news', SSE)
  await after.until('realtime:open')
  await closes(t, open, 1)
  for (const { peer } of [idle, refused]) t.ok(peer.destroyed)
})

t.test('connections on which nothing was asked yet, as browsers open them in advance, or only half a question', HANGS, async (t) => {
  const http = await house(t)
  await listen(http.app)
  const silent = await dial(t, http.app)
  const half = await dial(t, http.app)
  half.send('GET /news HTTP/1.1\r\nhost: localhost\r\n')
  while (half.peer.bytesRead === 0) await new Promise(setImmediate)
  await closes(t, http, 0)
  for (const { peer } of [silent, half]) t.ok(peer.destroyed)

  const tls = await house(t, { https: { key, cert } })
  await listen(tls.app)
  await dial(t, tls.app)
  const shaken = connectTls({ port: portOf(tls.app), host: '127.0.0.1', rejectUnauthorized: false })
  t.teardown(() => shaken.destroy())
  shaken.on('error', () => {})
  await Promise.all([once(tls.app.server, 'secureConnection'), once(shaken, 'secureConnect')])
  await closes(t, tls, 0)
})

t.test('an HTTP/2 client that never ends its side of the connection', HANGS, async (t) => {
  const open = await house(t, { http2: true })
  await listen(open.app)
  const raw = await dial(t, open.app, { half: true })
  // The preface, and empty settings.
  raw.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')
  await raw.until('\x04')
  await closes(t, open, 0)
})

t.test('beside @fastify/websocket, its sockets and ours', HANGS, async (t) => {
  const app = bare(t)
  await app.register(fastifyWebsocket)
  await app.register(realtime, { closeTimeout: 150 })
  const came = calls<Connection>()
  app.channel('/talk', { topics: app.topic('news'), onConnect: came.note })
  app.get('/theirs', { websocket: true }, () => {})
  await listen(app)
  const theirs = new WebSocket(`ws://127.0.0.1:${portOf(app)}/theirs`)
  t.teardown(() => theirs.terminate())
  await once(theirs, 'open')
  await mute(t, app)
  await came.reach(1)
  await app.close()
  t.same(app.realtime.connections(), [])
})

const servers: Array<[string, ServerOptions, 'http' | 'https']> = [
  ['h2 over TLS', { http2: true, https: { key, cert } }, 'https'],
  ['h2 over TLS beside HTTP/1.1', { http2: true, https: { key, cert, allowHTTP1: true } }, 'https'],
  ['h2c', { http2: true }, 'http']
]

async function dialHttp2 (t: Test, url: string): Promise<ClientHttp2Session> {
  const session = connectHttp2(url, { rejectUnauthorized: false })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  await once(session, 'connect')
  return session
}

for (const [name, server, scheme] of servers) {
  t.test(`${name}: idle sessions, those with streams, and those that do not read, all end`, HANGS, async (t) => {
    const open = await house(t, server)
    const { app } = open
    await listen(app)
    const url = `${scheme}://127.0.0.1:${portOf(app)}`
    const sessions = [await dialHttp2(t, url), await dialHttp2(t, url), await dialHttp2(t, url), await dialHttp2(t, url)]
    const [, idle, reading, stuck] = sessions as [ClientHttp2Session, ClientHttp2Session, ClientHttp2Session, ClientHttp2Session]
    const plain = idle.request({ ':path': '/plain' })
    plain.resume()
    await once(plain, 'close')
    for (const session of [reading, reading, stuck]) {
      const stream = session.request({ ':path': '/news', ...SSE })
      stream.on('error', () => {})
      await once(stream, 'response')
      if (session === reading) stream.resume()
    }
    // A session of Node's notices its end only as far as it reads: for the last one the server's socket is asked.
    const ends = sessions.slice(0, 3).map(async (session) => await once(session, 'close'))
    await open.came.reach(3)
    // Beyond the window of flow control: the end of this stream waits for a reader that never comes.
    for (let n = 0; n < 4; n++) await app.realtime.publish('news', 'flood', 'x'.repeat(60_000))
    await closes(t, open, 3)
    await Promise.all(ends)
  })
}

t.test('who comes while the app closes is refused for now, on both wires', HANGS, async (t) => {
  const { app, came } = await house(t, {}, 1000)
  const onWay = calls()
  app.addHook('onRequest', async (request) => {
    if (!request.headers['x-wait']) return
    onWay.note(undefined)
    while (!closing.started) await new Promise(setImmediate)
  })
  const closing = { started: false }
  app.addHook('preClose', async () => { closing.started = true })
  await listen(app)
  await mute(t, app)
  await came.reach(1)
  const stream = await dial(t, app)
  stream.ask('GET /news', { ...SSE, 'x-wait': '1' })
  const plain = await dial(t, app)
  plain.ask('GET /news', { accept: '*/*', 'x-wait': '1' })
  const channel = await dial(t, app)
  channel.ask('GET /talk', { ...HANDSHAKE, 'x-wait': '1' })
  await onWay.reach(3)
  await app.close()
  await Promise.all([stream.closed, plain.closed, channel.closed])
  t.match(stream.text, /^HTTP\/1\.1 200 OK\r\n[^]*retry: \d+/, 'an EventSource is told to come back')
  t.match(plain.text, /^HTTP\/1\.1 503 [^]*retry-after: \d+/i, 'another client, in its own way')
  t.match(channel.text, /^HTTP\/1\.1 503 /)
  t.equal(came.all.length, 1)
})

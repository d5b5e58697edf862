/** Channels as HTTP: handshakes, origins, limits, and every way in which one can end. */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import type { CloseReason, Connection } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, calls, dial, gate, HANDSHAKE, listen, live, portOf, refusalOf, talkTo } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'
import { ours, declare } from '../helpers/channels.ts'

t.test('without channels, the server hears of no upgrade at all', async (t) => {
  const app = bare(t)
  await ours(app)
  app.stream('/news', { topics: app.topic('news') })
  app.get('/plain', async () => 'plain')
  await listen(app)
  t.equal(app.server.listenerCount('upgrade'), 0)
  const client = await dial(t, app)
  client.ask('GET /plain', { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c' })
  t.match(await client.until(/plain$/), /^HTTP\/1\.1 200 OK/)
})

t.test('without channels, an upgrade is answered when whoever listened for it is gone, also while the app closes', async (t) => {
  const app = bare(t)
  await app.register(fastifyWebsocket)
  await ours(app)
  app.stream('/news', { topics: app.topic('news') })
  app.get('/plain', async () => 'plain')
  const other = (): void => {}
  app.server.on('upgrade', other)
  app.addHook('preClose', async () => { await late.closed })
  await listen(app)
  const late = await dial(t, app)
  await late.ask('GET /plain').until(/plain$/)
  late.text = ''
  const closing = app.close()
  app.server.off('upgrade', other)
  while (app.server.listenerCount('upgrade') > 0) await new Promise(setImmediate)
  late.ask('GET /plain', HANDSHAKE)
  t.match(await late.until(/\r\n\r\n/), /^HTTP\/1\.1 503 /)
  await closing
})

t.test('a request that offers another upgrade is answered in HTTP/1.1, its body and all', async (t) => {
  const app = bare(t)
  await ours(app)
  declare(app)
  app.get('/plain', async () => 'plain')
  app.post('/plain', async (request) => request.body)
  await listen(app)
  const offer = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' }
  const client = await dial(t, app)
  client.ask('GET /plain', offer)
  t.match(await client.until(/plain$/), /^HTTP\/1\.1 200 OK/)

  const body = JSON.stringify({ text: 'x'.repeat(20_000) })
  const posting = await dial(t, app)
  posting.ask('POST /plain', { ...offer, 'content-type': 'application/json', 'content-length': String(body.length) }, body.slice(0, 100))
  posting.send(body.slice(100))
  t.match(await posting.until('"}'), /^HTTP\/1\.1 200 OK/)
  const onChannel = await dial(t, app)
  onChannel.ask('GET /ours', offer)
  t.match(await onChannel.until('\r\n\r\n'), /^HTTP\/1\.1 426 Upgrade Required\r\n/)
  onChannel.ask('GET /plain', offer)
  await onChannel.until(/plain$/)
})

t.test('the handshake is checked with Fastify\'s error shape before anything of the app is asked', async (t) => {
  const app = await live(t)
  app.topic('news', { authorize: () => t.fail('authorize was asked') })
  app.channel('/talk', { topics: 'news' })
  await listen(app)
  const wrong: Array<[Record<string, string>, string]> = [
    [{ 'sec-websocket-key': '' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-key': 'too short' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-version': '12' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-version': '' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-protocol': 'graphql-ws' }, 'SUBPROTOCOL_UNKNOWN'],
    [{ 'sec-websocket-protocol': 'graphql-ws, mqtt' }, 'SUBPROTOCOL_UNKNOWN'],
    [{ 'sec-websocket-protocol': 'fastify-realtime.v1, fastify-realtime.v1' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-protocol': 'a b' }, 'UPGRADE_INVALID'],
    [{ 'sec-websocket-protocol': ',' }, 'UPGRADE_INVALID']
  ]
  for (const [headers, code] of wrong) {
    const client = await dial(t, app, { half: true })
    client.ask('GET /talk', { ...HANDSHAKE, ...headers })
    await client.until('"statusCode":400')
    await client.letGo()
    t.match(client.text, /^HTTP\/1\.1 400 Bad Request\r\n/)
    t.match(client.text, `"code":"FST_ERR_REALTIME_${code}"`)
  }
  const old = await dial(t, app, { half: true })
  old.send(`GET /talk HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: ${HANDSHAKE['sec-websocket-key']}\r\n\r\n`)
  t.match(await old.until('\r\n\r\n'), /^HTTP\/1\.1 400 /, 'without a version')
  t.same(app.realtime.connections(), [])
})

t.test('the subprotocol is chosen among those offered', async (t) => {
  const app = await live(t)
  app.topic('news')
  app.channel('/talk', { topics: 'news' })
  await listen(app)
  for (const [offer, chosen] of [['mqtt, fastify-realtime.v1', 'fastify-realtime.v1'], ['fastify-realtime.v1', 'fastify-realtime.v1'], [undefined, undefined]] as const) {
    const client = await dial(t, app)
    client.ask('GET /talk', { ...HANDSHAKE, ...(offer ? { 'sec-websocket-protocol': offer } : {}) })
    const text = await client.until('\r\n\r\n')
    t.match(text, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
    t.match(text, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i)
    t.equal(/sec-websocket-protocol: (.*)\r\n/i.exec(text)?.[1], chosen)
  }
})

t.test('a cross-origin upgrade is refused unless its origin is listed; the own host and no origin pass', async (t) => {
  const app = await live(t, { origins: ['https://app.example'] }, { trustProxy: true })
  app.topic('news')
  app.channel('/talk', { topics: 'news' })
  app.channel('/other', { topics: 'news', origins: ['https://other.example:8443'] })
  app.channel('/any', { topics: 'news', origins: '*' })
  await listen(app)
  const host = `127.0.0.1:${portOf(app)}`
  const rows: Array<[url: string, headers: Record<string, string>, passes: boolean]> = [
    ['/talk', {}, true],
    ['/talk', { origin: `http://${host}` }, true],
    ['/talk', { origin: `https://${host}` }, true],
    ['/talk', { origin: 'https://app.example' }, true],
    ['/talk', { origin: 'HTTPS://APP.example' }, true],
    ['/talk', { origin: 'https://shop.example', 'x-forwarded-host': 'shop.example' }, true],
    ['/talk', { origin: 'https://shop.example:443', 'x-forwarded-host': 'shop.example' }, true],
    ['/talk', { origin: 'https://app.example.evil.example' }, false],
    ['/talk', { origin: 'http://app.example' }, false],
    ['/talk', { origin: 'https://other.example:8443' }, false],
    ['/talk', { origin: `http://evil@${host}.evil.example` }, false],
    ['/talk', { origin: 'http://127.0.0.1:1' }, false],
    ['/talk', { origin: 'null' }, false],
    ['/talk', { origin: '' }, false],
    ['/other', { origin: 'https://other.example:8443' }, true],
    ['/other', { origin: 'https://app.example' }, false],
    ['/any', { origin: 'https://anywhere.example' }, true],
    ['/any', { origin: 'null' }, true]
  ]
  for (const [url, headers, passes] of rows) {
    const answer = await connectChannel(app, url, { t, headers }).then(() => 'passed', (error: { statusCode: number }) => error.statusCode)
    t.equal(answer, passes ? 'passed' : 403, `${url} ${JSON.stringify(headers)}`)
  }
  const { body } = await refusalOf(connectChannel(app, '/talk', { t, headers: { origin: 'https://evil.example' } }))
  t.match(body, { statusCode: 403, code: 'FST_ERR_REALTIME_ORIGIN_REFUSED', error: 'Forbidden' })
})

t.test('too many connections: an upgrade is refused with 503 before it happens', async (t) => {
  for (const limit of [{ maxConnections: 1 }, { maxConnectionsPerAddress: 1 }, { maxConnectionsPerIdentity: 1, identify: () => ({ id: 'ada' }) }]) {
    const app = await live(t, limit, { trustProxy: true })
    app.topic('news')
    app.channel('/talk', { topics: 'news' })
    await listen(app)
    const there = await connectChannel(app, '/talk', { t })
    t.match(await refusalOf(connectChannel(app, '/talk', { t })), { statusCode: 503, body: { code: 'FST_ERR_REALTIME_TOO_MANY_CONNECTIONS' } })
    await there.close()
    while (app.realtime.connections().length > 0) await new Promise(setImmediate)
    await connectChannel(app, '/talk', { t })
  }
})

t.test('an HTTP/2 server that allows HTTP/1.1 has channels over wss', async (t) => {
  const app = await live(t, {}, { http2: true, https: { key, cert, allowHTTP1: true } })
  const news = app.topic('news')
  app.channel('/talk', { topics: news, preHandler: async (request, reply) => { if (request.headers.refuse) return reply.code(401).send({ message: 'no' }) } })
  await listen(app)
  const socket = new WebSocket(`wss://127.0.0.1:${portOf(app)}/talk`, ['fastify-realtime.v1'], { rejectUnauthorized: false })
  t.teardown(() => socket.terminate())
  const frames = calls<{ op?: string, event?: string }>()
  socket.on('message', (data) => frames.note(JSON.parse(String(data))))
  await once(socket, 'open')
  socket.send('{"op":"open"}')
  await frames.reach(2)
  await news.publish({}, 'said', 'hello')
  t.same((await frames.reach(3)).map(({ op, event }) => op ?? event), ['open', 'subscribed', 'said'])
  t.equal((await refusalOf(connectChannel(app, '/talk', { t, headers: { refuse: 'yes' } }))).statusCode, 401)
  const closed = once(socket, 'close')
  await app.close()
  t.equal((await closed)[0], 1012)
})

interface End { name: string, reason: string, heartbeat?: number, act: (end: { socket: WebSocket, connection: Connection, app: FastifyInstance }) => unknown }

const ends: End[] = [
  { name: 'the client closes', reason: 'client-left', act: ({ socket }) => socket.close(1000) },
  { name: 'the client closes with a code of its own', reason: 'client-left', act: ({ socket }) => socket.close(4321, 'mine') },
  { name: 'the client vanishes', reason: 'connection-lost', act: ({ socket }) => socket.terminate() },
  { name: 'the client breaks the protocol', reason: 'protocol-error', act: ({ socket }) => (socket as unknown as { _socket: Duplex })._socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff])) },
  { name: 'the client sends text that is none', reason: 'invalid-payload', act: ({ socket }) => (socket as unknown as { _socket: Duplex })._socket.write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff])) },
  { name: 'the client sends too much', reason: 'message-too-big', act: ({ socket }) => socket.send('x'.repeat(100_000)) },
  { name: 'the app closes', reason: 'shutting-down', act: ({ app }) => app.close() },
  { name: 'connection.close()', reason: 'closed-by-app', act: ({ connection }) => connection.close({ code: 4001, text: 'enough' }) },
  {
    name: 'both sides close at once',
    reason: 'closed-by-app',
    act: ({ connection, socket }) => {
      socket.close(1000)
      connection.close()
      connection.close()
    }
  },
  {
    name: 'the client does not read',
    reason: 'slow-client',
    act: async ({ app, socket }) => {
      socket.pause()
      while (app.realtime.connections().length > 0) await app.realtime.publish('news', 'flood', { text: 'x'.repeat(60_000) })
    }
  },
  { name: 'the client does not answer pings', reason: 'connection-lost', heartbeat: 40, act: ({ socket }) => socket.pause() }
]

for (const { name, reason, act, heartbeat = 25_000 } of ends) {
  t.test(`a channel's onDisconnect runs exactly once when ${name}`, async (t) => {
    const app = await live(t, { maxBuffered: 100_000, heartbeat })
    app.topic('news')
    const [came, gone] = [calls<Connection>(), calls<CloseReason>()]
    app.channel('/talk', { topics: 'news', onConnect: came.note, onDisconnect: (_connection, why) => gone.note(why) })
    await listen(app)
    const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/talk`)
    socket.on('error', () => {})
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    const [connection] = await came.reach(1) as [Connection]
    await act({ socket, connection, app })
    t.equal((await gone.reach(1))[0]?.name, reason)
    t.ok(connection.closed)
    socket.terminate()
    await app.close()
    t.equal(gone.all.length, 1)
    t.same(app.realtime.connections(), [])
  })
}

t.test('what a client says before an async onConnect has finished waits for it; a refusal closes with 4403', async (t) => {
  const app = await live(t)
  const held = gate()
  const gone = calls()
  app.channel('/talk', {
    onConnect: async (_connection, request) => {
      await held.passed
      if (request.headers.refuse) throw new Error('not you')
    },
    onDisconnect: gone.note,
    messages: { echo: { handler: (data) => ({ type: 'echo', ...data as object }) } }
  })
  await listen(app)
  const client = await connectChannel(app, '/talk', { t })
  const refused = await connectChannel(app, '/talk', { t, headers: { refuse: 'yes' } })
  for (let n = 1; n <= 3; n++) client.send('echo', { n })
  held.open()
  for (let n = 1; n <= 3; n++) t.same((await client.next('echo')).data, { n })
  t.equal((await refused.ended).code, 4403)
  await app.close()
  t.equal(gone.all.length, 1, 'onDisconnect did not run for the one that was refused')
})

t.test('streams and channels of one URL space do not disturb each other', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  app.channel('/news/talk', { topics: news })
  await listen(app)
  const mistaken = await dial(t, app)
  mistaken.ask('GET /news', HANDSHAKE)
  t.match(await mistaken.until('realtime:open'), /^HTTP\/1\.1 200 OK\r\n/, 'an upgrade to a stream is answered by the stream')
  const [stream, channel] = [await connectStream(app, '/news', { t }), await talkTo(app, '/news/talk', { t })]
  await news.publish({}, 'said', 'hello')
  t.equal((await stream.next('said')).data, 'hello')
  t.equal((await channel.next('said')).data, 'hello')
  await mistaken.until('"hello"')
})

/** Channels beside everything else that upgrades: @fastify/websocket in any order, other listeners, bad handshakes, other origins. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import realtime, { type CloseReason, type Connection, type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, calls, codeOf, dial, gate, HANDSHAKE, listen, live, portOf, refusalOf, talkTo } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'

const ours = (app: FastifyInstance, options: RealtimeOptions = {}) => app.register(realtime, { closeTimeout: 1000, ...options })

function declare (app: FastifyInstance): void {
  app.topic('news')
  app.channel('/ours', {
    topics: 'news',
    preHandler: async (request, reply) => { if (request.headers.refuse) return reply.code(401).send({ message: 'who are you?' }) },
    limits: { messageBytes: 100 },
    messages: { echo: { handler: (data) => ({ type: 'echo', ...data as object }) } }
  })
}

/** A WebSocket route of the app's own. */
function declareTheirs (app: FastifyInstance): void {
  app.get('/theirs', { websocket: true }, (socket) => { socket.on('message', (data: Buffer) => socket.send(`theirs: ${String(data)}`)) })
}

async function theirsWorks (t: Test, app: FastifyInstance): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/theirs`)
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  // More than our channel takes: one's limit is not the other's.
  socket.send('x'.repeat(500))
  t.equal(String((await once(socket, 'message'))[0]), `theirs: ${'x'.repeat(500)}`)
}

const arrangements: Array<[name: string, build: (app: FastifyInstance) => Promise<void>, theirs: boolean]> = [
  ['without it', async (app) => {
    await ours(app)
    declare(app)
  }, false],
  ['registered before us', async (app) => {
    await app.register(fastifyWebsocket)
    await ours(app)
    declare(app)
    declareTheirs(app)
  }, true],
  ['registered after us', async (app) => {
    await ours(app)
    declare(app)
    await app.register(fastifyWebsocket)
    declareTheirs(app)
  }, true],
  ['registered after us, with options of its own', async (app) => {
    await ours(app)
    await app.register(fastifyWebsocket, { options: { maxPayload: 10_000, perMessageDeflate: true, handleProtocols: () => false } })
    declare(app)
    declareTheirs(app)
  }, true],
  ['registered in a child after us', async (app) => {
    await ours(app)
    declare(app)
    await app.register(async (child) => {
      await child.register(fastifyWebsocket)
      declareTheirs(child)
    })
  }, true],
  ['registered in a child before us', async (app) => {
    await app.register(async (child) => {
      await child.register(fastifyWebsocket)
      declareTheirs(child)
    })
    await ours(app)
    declare(app)
  }, true],
  ['registered by the app, and we in a child', async (app) => {
    await app.register(fastifyWebsocket)
    declareTheirs(app)
    await app.register(async (child) => {
      await ours(child)
      declare(child)
    })
  }, true],
  ['registered by the app, which says websocket: false', async (app) => {
    await ours(app, { websocket: false })
    declare(app)
    await app.register(fastifyWebsocket)
    declareTheirs(app)
  }, true]
]

for (const [name, build, theirs] of arrangements) {
  t.test(`@fastify/websocket: ${name}`, async (t) => {
    const app = bare(t)
    await build(app)
    app.get('/plain', async () => 'plain')
    await listen(app)
    if (theirs) await theirsWorks(t, app)

    const client = await connectChannel(app, '/ours', { t })
    client.send('echo', { text: 'hello' })
    t.same((await client.next('echo')).data, { text: 'hello' })
    const talk = await talkTo(app, '/ours', { t })
    t.equal(await talk.request('echo', { text: 'again' }).then((data) => (data as { text: string }).text), 'again')
    client.send('echo', { text: 'x'.repeat(200) })
    t.equal((await client.ended).code, 1009, 'the size limit is the channel\'s own')

    for (const [url, headers, status] of [['/ours', { refuse: 'yes' }, 401], ['/nowhere', {}, 404], ['/ours', { origin: 'https://evil.example' }, 403], ['/ours', { 'sec-websocket-version': '8' }, 400]] as const) {
      // What is not ours is answered by whoever dispatches it.
      if (theirs && url !== '/ours') continue
      // A peer that keeps its own side open is let go all the same.
      const raw = await dial(t, app, { half: true })
      raw.ask(`GET ${url}`, { ...HANDSHAKE, ...headers })
      await raw.until(`HTTP/1.1 ${status} `)
      await raw.letGo()
      raw.socket.destroy()
    }
    t.match(await refusalOf(connectChannel(app, '/ours', { t, headers: { refuse: 'yes' } })), { statusCode: 401, body: { message: 'who are you?' } })

    const eager = await dial(t, app)
    eager.send(`GET /ours HTTP/1.1\r\nhost: localhost\r\n${Object.entries(HANDSHAKE).map((header) => `${header.join(': ')}\r\n`).join('')}\r\n`)
    eager.socket.write(frame('{"type":"echo","text":"came with the head"}'))
    await eager.until('came with the head')
    t.match(eager.text, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
    eager.socket.destroy()

    t.equal((await app.inject('/plain')).body, 'plain')
    const upgraded = await app.inject({ url: '/ours' })
    t.equal(upgraded.statusCode, 426)
    t.equal(upgraded.headers.upgrade, 'websocket')
    t.equal(upgraded.json().code, 'FST_ERR_REALTIME_UPGRADE_REQUIRED')

    await app.close()
    t.same(await talk.ended, { code: 1012, reason: 'the server is shutting down' })
  })
}

t.test('injectWS reaches our channels as it does the app\'s own routes', async (t) => {
  const app = bare(t)
  await app.register(fastifyWebsocket)
  await ours(app)
  declare(app)
  await app.ready()
  const messages = calls<string>()
  const socket = await app.injectWS('/ours', {}, { onInit: (ws) => ws.on('message', (data) => messages.note(String(data))) })
  socket.send('{"type":"echo","text":"in memory"}')
  t.same(await messages.reach(1), ['{"type":"echo","text":"in memory"}'])
  socket.terminate()
  await t.rejects(app.injectWS('/ours', { headers: { refuse: 'yes' } }), /401/)
})

t.test('channels that nobody would dispatch are an error before the app is ready', async (t) => {
  const app = bare(t)
  await ours(app, { websocket: false })
  declare(app)
  t.equal(await codeOf(() => app.ready()), 'FST_ERR_REALTIME_NO_DISPATCHER')
  const quiet = bare(t)
  await ours(quiet, { websocket: false })
  quiet.stream('/news', { topics: quiet.topic('news') })
  t.ok(await quiet.ready(), 'streams alone need none')
})

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

t.test('another listener\'s upgrades are left to it, and it leaves ours to us', async (t) => {
  const app = bare(t, { routerOptions: { ignoreTrailingSlash: true, caseSensitive: false } })
  // As socket.io does: its own path, and nothing else.
  const server = new WebSocketServer({ noServer: true })
  const theirs = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url?.startsWith('/socket.io/')) server.handleUpgrade(request, socket, head, (ws) => ws.send('from socket.io'))
  }
  app.server.on('upgrade', theirs)
  await ours(app)
  declare(app)
  app.channel('/rooms/:id', { topics: 'news', messages: { id: { handler: (_data, { params }) => ({ type: 'id', id: params.id }) } } })
  await listen(app)
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/socket.io/?transport=websocket`)
  t.teardown(() => socket.terminate())
  t.equal(String((await once(socket, 'message'))[0]), 'from socket.io')

  for (const url of ['/ours', '/ours?x=1', '/OURS', '/ours/']) {
    const client = await connectChannel(app, url, { t })
    client.send('echo', { url })
    t.same((await client.next('echo')).data, { url })
  }
  const id = 'x'.repeat(90)
  const room = await connectChannel(app, `/rooms/${id}`, { t })
  room.send('id')
  t.same((await room.next('id')).data, { id })
  t.equal((await refusalOf(connectChannel(app, `/rooms/${'x'.repeat(5000)}`, { t }))).statusCode, 414, 'the app\'s own router says so')
  t.equal((await refusalOf(connectChannel(app, '/ours', { t, headers: { refuse: 'yes' } }))).statusCode, 401)
  app.server.off('upgrade', theirs)
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

interface End { name: string, reason: string, act: (end: { socket: WebSocket, connection: Connection, app: FastifyInstance }) => unknown }

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
  { name: 'the client does not answer pings', reason: 'connection-lost', act: ({ socket }) => socket.pause() }
]

for (const { name, reason, act } of ends) {
  t.test(`a channel's onDisconnect runs exactly once when ${name}`, async (t) => {
    const app = await live(t, { maxBuffered: 100_000, heartbeat: 40 })
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

/** A client's text frame (RFC 6455 §5.2), masked with zeros. */
function frame (text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

/** Channels beside everything else that upgrades: @fastify/websocket in any order, and other listeners. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { connectChannel } from '../../lib/testing/index.ts'
import { bare, calls, codeOf, dial, HANDSHAKE, listen, portOf, refusalOf, talkTo } from '../helpers/app.ts'
import { ours, declare } from '../helpers/channels.ts'

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

/** A client's text frame (RFC 6455 §5.2), masked with zeros. */
function frame (text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

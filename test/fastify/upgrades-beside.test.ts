/** Upgrades beside other listeners, in whichever order, and by whatever the router of the app is told. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import fastifyHttpProxy from '@fastify/http-proxy'
import fastifyWebsocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import { Server as SocketIo } from 'socket.io'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { connectChannel } from '../../lib/testing/index.ts'
import { bare, dial, listen, portOf, refusalOf } from '../helpers/app.ts'
import { HANGS, type Listener, ours, PATIENCE, declare, knock, echoes, idle } from '../helpers/upgrades.ts'

/** A WebSocket server elsewhere, behind a proxy. */
async function upstream (t: Test): Promise<string> {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`upstream: ${String(data)}`)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function says (t: Test, app: FastifyInstance, path: string, answer: string): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}${path}`)
  t.teardown(() => socket.terminate())
  socket.on('open', () => socket.send('hi'))
  t.equal(String((await once(socket, 'message'))[0]), answer)
  // Those that others have taken are theirs to end.
  socket.terminate()
}

// --- beside others ------------------------------------------------------------------

interface Other {
  name: string
  /** Once before the plugin, and once after it. */
  add: (t: Test, app: FastifyInstance) => unknown
  /** What of the other works all the same. */
  works?: (t: Test, app: FastifyInstance) => Promise<unknown>
  /** What the client of an upgrade that is nobody's hears; null where the other ends it without a word. */
  nobody?: number | null
}

const others: Other[] = [
  { name: 'a listener that does nothing', add: (_t, app) => app.server.on('upgrade', () => {}) },
  {
    name: 'a listener that watches for errors and ends, and does nothing',
    add: (_t, app) => app.server.on('upgrade', (_request: IncomingMessage, socket: Duplex) => socket.on('error', () => {}).on('close', () => {}).on('end', () => {}))
  },
  {
    name: 'a ws server of its own path, that leaves the others alone',
    add: (_t, app) => {
      const server = new WebSocketServer({ noServer: true })
      app.server.on('upgrade', ((request, socket, head) => {
        if (request.url === '/theirs') server.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data) => ws.send(`theirs: ${String(data)}`)))
      }) satisfies Listener)
    },
    works: (t, app) => says(t, app, '/theirs', 'theirs: hi')
  },
  {
    name: 'a ws server that asks somebody first',
    add: (_t, app) => {
      const server = new WebSocketServer({ noServer: true })
      app.server.on('upgrade', ((request, socket, head) => {
        // By turns of the event loop: less than the patience with it.
        if (request.url === '/theirs') setTimeout(() => server.handleUpgrade(request, socket, head, (ws) => ws.on('message', (data) => ws.send(`theirs: ${String(data)}`))), PATIENCE / 6)
      }) satisfies Listener)
    },
    works: (t, app) => says(t, app, '/theirs', 'theirs: hi')
  },
  {
    name: 'a listener that ends at once what it does not know, as adapters of frameworks do',
    add: (_t, app) => app.server.on('upgrade', ((request, socket) => { if (request.url !== '/ours') socket.end('HTTP/1.1 400 Bad Request\r\n\r\n') }) satisfies Listener),
    nobody: 400
  },
  {
    name: 'socket.io',
    add: (t, app) => {
      const io = new SocketIo(app.server, { destroyUpgradeTimeout: 100, serveClient: false })
      app.addHook('preClose', async () => { io.disconnectSockets(true) })
      // It would close the server, which is the app's.
      t.teardown(() => { io.engine.close() })
    },
    works: async (t, app) => {
      const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/socket.io/?EIO=4&transport=websocket`)
      t.teardown(() => socket.terminate())
      t.match(String((await once(socket, 'message'))[0]), /^0\{"sid"/)
      socket.terminate()
    },
    nobody: null
  },
  {
    name: '@fastify/http-proxy of a prefix',
    add: async (t, app) => await app.register(fastifyHttpProxy, { upstream: await upstream(t), prefix: '/proxied', websocket: true }),
    works: (t, app) => says(t, app, '/proxied/there', 'upstream: hi')
  },
  {
    name: '@fastify/http-proxy of everything else',
    add: async (t, app) => await app.register(fastifyHttpProxy, { upstream: await upstream(t), websocket: true }),
    works: (t, app) => says(t, app, '/there', 'upstream: hi'),
    nobody: 101
  },
  {
    name: '@fastify/websocket',
    add: async (_t, app) => await app.register(fastifyWebsocket),
    nobody: 404
  }
]

for (const { name, add, works, nobody = 404 } of others) {
  for (const first of [true, false]) {
    t.test(`beside ${name}, ${first ? 'added before' : 'added after'} the plugin`, HANGS, async (t) => {
      const app = bare(t)
      if (first) await add(t, app)
      await ours(app)
      const asked = declare(app)
      if (!first) await add(t, app)
      await listen(app)

      await echoes(t, app)
      t.same(asked, ['/ours'], 'routed once')
      t.equal(app.realtime.connections().length, 1)
      t.equal((await refusalOf(connectChannel(app, '/ours', { t, headers: { origin: 'https://evil.example' } }))).statusCode, 403)
      await works?.(t, app)

      // The rest is all this other's, who says when it ends.
      if (nobody === 101) return
      const stranger = await knock(t, app, '/nowhere')
      if (nobody !== null) await stranger.until(new RegExp(`^HTTP/1\\.1 ${nobody} `))
      await stranger.letGo()
      t.pass('what nobody takes has an end')

      // One that is undecided when the app closes.
      const late = await knock(t, app, '/nowhere')
      while (late.peer.bytesRead === 0) await new Promise(setImmediate)
      await app.close()
      t.ok(late.peer.destroyed)
    })
  }
}

t.test('rewriteUrl is honoured, alone and beside another listener', HANGS, async (t) => {
  for (const beside of [false, true]) {
    const app = bare(t, { rewriteUrl: (request: IncomingMessage) => (request.url ?? '/').replace(/^\/v\d+(?=\/)/, '') })
    if (beside) idle(app)
    await ours(app, { joinTimeout: 300_000 })
    declare(app)
    await listen(app)
    await echoes(t, app, '/v1/ours')
    await echoes(t, app, '/ours')
    if (!beside) t.equal((await refusalOf(connectChannel(app, '/v1/theirs', { t }))).statusCode, 404)
  }
})

t.test('constraints, regular expressions and the router\'s options are honoured beside another listener', HANGS, async (t) => {
  const app = bare(t, { routerOptions: { caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true } })
  const theirs = new WebSocketServer({ noServer: true })
  app.server.on('upgrade', ((request, socket, head) => {
    if (request.headers.host === 'theirs.example') setImmediate(() => theirs.handleUpgrade(request, socket, head, (ws) => ws.on('message', () => ws.send('theirs'))))
  }) satisfies Listener)
  await ours(app, { joinTimeout: 300_000 })
  const messages = (by: string) => ({ echo: { handler: (data: unknown) => ({ type: 'echo', ...data as object, by }) } })
  app.channel('/talk', { messages: messages('one'), constraints: { host: 'one.example' } })
  app.channel('/talk', { messages: messages('two'), constraints: { host: /^two\./ } })
  app.channel('/talk', { messages: messages('three'), constraints: { host: 'one.example', version: '2.0.0' } })
  app.channel('/rooms/:id(^\\d+$)', { messages: messages('room') })
  await listen(app)
  for (const [url, headers, by] of [
    ['/talk', { host: 'one.example' }, 'one'],
    ['/TALK//?x=1', { host: 'two.example' }, 'two'],
    ['/talk', { host: 'one.example', 'accept-version': '2.x' }, 'three'],
    ['//rooms/7/', {}, 'room']
  ] as Array<[string, Record<string, string>, string]>) {
    const client = await connectChannel(app, url, { t, headers })
    client.send('echo')
    t.match((await client.next('echo')).data, { by }, url)
  }
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/talk`, { headers: { host: 'theirs.example' } })
  t.teardown(() => socket.terminate())
  socket.on('open', () => socket.send('hi'))
  t.equal(String((await once(socket, 'message'))[0]), 'theirs', 'the same URL of another host is left to its owner')
  socket.terminate()
})

t.test('a serverFactory\'s server has channels, and offers go through its own handler', HANGS, async (t) => {
  const seen: string[] = []
  const app = bare(t, {
    serverFactory: (handler: (...of: unknown[]) => void) => createServer((request, response) => {
      seen.push(request.url ?? '')
      handler(request, response)
    })
  })
  await ours(app)
  declare(app)
  app.get('/plain', async () => 'plain')
  await listen(app)
  await echoes(t, app)
  const client = await dial(t, app)
  client.ask('GET /plain', { connection: 'Upgrade', upgrade: 'h2c' })
  await client.until(/^HTTP\/1\.1 200 [^]*plain$/)
  t.same(seen, ['/plain'])
})

/** Every upgrade has one owner and an end, whoever else listens for upgrades, in whichever order. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect as connectNet, type AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { connectChannel } from '../../lib/testing/index.ts'
import { bare, calls, codeOf, dial, gate, HANDSHAKE, listen, live, portOf, type ServerOptions } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'
import { HANGS, type Listener, ours, PATIENCE, declare, knock, echoes, idle } from '../helpers/upgrades.ts'

t.test('what nobody takes in time is answered by the app, and who claims it too late does no harm', HANGS, async (t) => {
  const app = bare(t)
  const held = gate()
  const server = new WebSocketServer({ noServer: true })
  const late = calls()
  app.server.on('upgrade', ((request, socket, head) => {
    held.passed.then(() => server.handleUpgrade(request, socket, head, () => t.fail('too late')))
      .then(() => late.note(undefined), late.note)
  }) satisfies Listener)
  await ours(app, { joinTimeout: 100 })
  declare(app)
  app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({ message: 'nothing here' }))
  await listen(app)
  const client = await knock(t, app, '/nowhere')
  t.ok(await client.until(/^HTTP\/1\.1 404 [^]*nothing here/))
  await client.letGo()
  held.open()
  await late.reach(1)
})

t.test('an offer of h2c beside another listener is answered at once; another protocol when nobody has taken it', HANGS, async (t) => {
  const app = bare(t)
  app.server.on('upgrade', ((request, socket) => {
    if (request.headers.upgrade === 'foo/2') setImmediate(() => socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: foo/2\r\n\r\n'))
  }) satisfies Listener)
  await ours(app, { joinTimeout: 300_000 })
  declare(app)
  app.get('/plain', async () => 'plain')
  await listen(app)
  const h2c = await dial(t, app)
  for (let n = 0; n < 2; n++) {
    h2c.text = ''
    h2c.ask('GET /plain', { connection: 'Upgrade', upgrade: 'h2c' })
    await h2c.until(/^HTTP\/1\.1 200 [^]*plain$/)
  }
  const foo = await dial(t, app)
  foo.ask('GET /plain', { connection: 'Upgrade', upgrade: 'foo/2' })
  await foo.closed
  t.match(foo.text, /^HTTP\/1\.1 101 /)

  const patient = bare(t)
  patient.server.on('upgrade', () => {})
  await ours(patient, { joinTimeout: 100 })
  declare(patient)
  patient.get('/plain', async () => 'plain')
  await listen(patient)
  const bar = await dial(t, patient)
  bar.ask('GET /plain', { connection: 'Upgrade', upgrade: 'bar/1' })
  await bar.until(/^HTTP\/1\.1 200 [^]*plain$/)
})

// --- one request, one owner ---------------------------------------------------------

t.test('a request that somebody has the app route again is a channel\'s once, and nothing is written between its frames', HANGS, async (t) => {
  const { ServerResponse } = await import('node:http')
  for (const again of [(run: () => void) => run(), process.nextTick, setImmediate] as Array<(run: () => void) => unknown>) {
    const app = bare(t)
    const second = calls()
    await ours(app)
    const asked = declare(app)
    app.server.on('upgrade', ((request, socket) => {
      again(() => {
        const response = new ServerResponse(request)
        // As long as another response has the socket, Node refuses a second one.
        try { response.assignSocket(socket as never) } catch {}
        app.routing(request, response)
        second.note(undefined)
      })
    }) satisfies Listener)
    await listen(app)
    const client = await connectChannel(app, '/ours', { t })
    await second.reach(1)
    client.send('echo', { text: 'hello' })
    t.same((await client.next('echo')).data, { text: 'hello' })
    t.ok(asked.length <= 2)
    t.equal(app.realtime.connections().length, 1)
    t.match(app.realtime.stats(), { connections: { websocket: 1 } })
  }
})

t.test('a server that passes each upgrade on twice', HANGS, async (t) => {
  const app = await live(t)
  const asked = declare(app)
  app.server.prependListener('upgrade', function again (request: IncomingMessage, socket: Duplex, head: Buffer) {
    app.server.off('upgrade', again)
    app.server.emit('upgrade', request, socket, head)
  })
  await listen(app)
  await echoes(t, app)
  t.same(asked, ['/ours'])
})

t.test('a client that does not wait for the answer to an earlier request ends nothing', HANGS, async (t) => {
  const app = await live(t, { joinTimeout: PATIENCE })
  declare(app)
  const release: Array<() => void> = []
  app.get('/slow', async () => await new Promise((resolve) => release.push(() => resolve('slow'))))
  app.stream('/news', { topics: 'news' })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /slow').ask('GET /ours', HANDSHAKE)
  while (release.length === 0) await new Promise(setImmediate)
  release[0]?.()
  await client.until(/slow[^]*101 Switching Protocols/)
  // Behind a stream, which does not end.
  const behind = await dial(t, app)
  behind.ask('GET /news', { accept: 'text/event-stream' })
  await behind.until('realtime:open')
  behind.ask('GET /ours', HANDSHAKE)
  await behind.closed
  t.notMatch(behind.text, '101 Switching')
})

t.test('a second server, as Fastify makes for localhost, has channels and offers, with limits of its own', HANGS, async (t) => {
  const app = await live(t, { joinTimeout: PATIENCE })
  declare(app)
  app.post('/plain', async () => 'plain')
  await listen(app)
  // Fastify's own passes its upgrades on like this, wherever localhost has two addresses.
  const second = createServer((request, response) => app.routing(request, response))
  second.on('upgrade', app.server.emit.bind(app.server, 'upgrade'))
  second.maxHeadersCount = 40
  second.listen(0, '127.0.0.1')
  await once(second, 'listening')
  t.teardown(() => second.close())
  for (const [port, headers] of [[portOf(app), 1100], [(second.address() as AddressInfo).port, 60]] as const) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ours`)
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    const raw = connectNet(port, '127.0.0.1')
    t.teardown(() => raw.destroy())
    let text = ''
    raw.setEncoding('latin1').on('data', (part: string) => { text += part })
    const many = Array.from({ length: headers }, (_, n) => `x-${n}: 1\r\n`).join('')
    for (const [lines, status] of [['content-length: 2\r\ncontent-type: application/json\r\n', 200], ['', 200], [many, 431]] as const) {
      text = ''
      raw.write(`POST /plain HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: h2c\r\n${lines}\r\n${lines.startsWith('content') ? '{}' : ''}`)
      while (!text.includes(`HTTP/1.1 ${status}`)) await once(raw, 'data')
    }
    if (!raw.destroyed) await once(raw, 'close')
  }
})

t.test('an HTTP/2 server without HTTP/1.1 cannot have channels, and says so at the start', HANGS, async (t) => {
  const servers: Array<[ServerOptions, boolean]> = [
    [{ http2: true }, false],
    [{ http2: true, https: { key, cert } }, false],
    [{ http2: true, https: { key, cert, allowHTTP1: false } }, false],
    [{ http2: true, https: { key, cert, allowHTTP1: true } }, true],
    [{ https: { key, cert } }, true],
    [{ http2: true, serverFactory: (handler: () => void) => createServer(handler) }, true]
  ]
  for (const [server, can] of servers) {
    const app = await live(t, {}, server)
    declare(app)
    t.equal(await codeOf(() => app.ready()), can ? 'no error' : 'FST_ERR_REALTIME_HTTP2_ONLY')
    const streams = await live(t, {}, server)
    streams.stream('/news', { topics: streams.topic('news') })
    t.ok(await streams.ready(), 'streams alone are fine')
  }
})

t.test('two scopes that each have the plugin share one ear', HANGS, async (t) => {
  const app = bare(t)
  idle(app)
  const asked: string[][] = []
  for (const prefix of ['/a', '/b']) {
    await app.register(async (scope) => {
      await ours(scope)
      asked.push(declare(scope))
    }, { prefix })
  }
  await listen(app)
  await echoes(t, app, '/a/ours')
  await echoes(t, app, '/b/ours')
  t.same(asked, [['/a/ours'], ['/b/ours']])
  const stranger = await knock(t, app, '/nowhere')
  t.ok(await stranger.until(/^HTTP\/1\.1 404 /))
  await stranger.letGo()
})

// --- at the end ----------------------------------------------------------------------

t.test('upgrades whose hooks never end, that nobody answers, or that wait behind a stream are cut within closeTimeout', HANGS, async (t) => {
  for (const beside of [false, true]) {
    const app = bare(t)
    if (beside) idle(app)
    await ours(app, { joinTimeout: 300_000 })
    declare(app)
    const stuck = calls()
    app.channel('/stuck', {
      messages: { x: { handler: () => {} } },
      onRequest: async () => {
        stuck.note(undefined)
        await new Promise(() => {})
      }
    })
    await listen(app)
    const clients = [await knock(t, app, '/stuck')]
    await stuck.reach(1)
    if (beside) clients.push(await knock(t, app, '/nowhere'))
    for (const { peer } of clients) while (peer.bytesRead === 0) await new Promise(setImmediate)
    const began = performance.now()
    await app.close()
    t.ok(performance.now() - began < 10_000, 'and not when Node gives up')
    for (const { peer } of clients) t.ok(peer.destroyed)
  }
})

t.test('what comes while the app closes is answered, beside another listener too', HANGS, async (t) => {
  const app = bare(t)
  idle(app)
  await ours(app, { joinTimeout: 300_000, closeTimeout: 2000 })
  declare(app)
  const closing = gate()
  const held = gate()
  app.addHook('preClose', async () => {
    closing.open()
    await held.passed
  })
  await listen(app)
  // Not one of those on which nothing was asked: these are cut at once.
  const early = await dial(t, app)
  early.ask('GET /plain')
  await early.until('HTTP/1.1 404')
  early.text = ''
  const closed = app.close()
  await closing.passed
  early.ask('GET /nowhere', HANDSHAKE)
  t.ok(await early.until(/^HTTP\/1\.1 503 /))
  await early.letGo()
  held.open()
  await closed
})

/** Caps on connections, seen from outside: what they count, when, and until when. */
import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Connection } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { linkTo } from '../../lib/testing/link.ts'
import { calls, dial, gate, HANDSHAKE, listen, live, portOf, refusalOf } from '../helpers/app.ts'

const SSE = { accept: 'text/event-stream' }
/** More than any socket on the way to a client that does not read takes. */
const BLOB = 'x'.repeat(32 << 20)

const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve))

async function until (what: () => boolean): Promise<void> {
  while (!what()) await turn()
}

const held = (app: FastifyInstance): number => {
  const { connections: { sse, websocket }, arriving, closing } = app.realtime.stats()
  return sse + websocket + arriving + closing
}

// --- before anything is asked ---------------------------------------------------------------

t.test('a place is taken before topics, authorize, identify and onConnect are asked, whatever the request', async (t) => {
  const doors = ['topics', 'authorize', 'identify', 'onConnect', 'source'] as const
  for (const door of doors) {
    const open = gate()
    const asked = calls()
    const wait = async (here: typeof door): Promise<void> => {
      if (here !== door) return
      asked.note(1)
      await open.passed
    }
    const app = await live(t, {
      maxConnections: 3,
      joinTimeout: 300_000,
      identify: async () => {
        await wait('identify')
        return { id: 'ada' }
      }
    })
    const news = app.topic('news', {
      authorize: async () => {
        await wait('authorize')
        return true
      }
    })
    const topics = async () => {
      await wait('topics')
      return news.at({})
    }
    const onConnect = async () => await wait('onConnect')
    app.stream('/stream', { topics, onConnect })
    app.channel('/channel', { topics, onConnect })
    app.stream('/source', {
      onConnect,
      async source () {
        await wait('source')
        return [{ data: 'x' }]
      }
    })
    await listen(app)
    const urls = door === 'source' ? ['/source'] : ['/stream', '/channel']
    const clients = await Promise.all(Array.from({ length: 60 }, async (_, n) => {
      const client = await dial(t, app)
      const url = urls[n % urls.length] as string
      return client.ask(`${n % 10 === 4 && door !== 'onConnect' ? 'HEAD' : 'GET'} ${url}`, url === '/channel' ? HANDSHAKE : {})
    }))
    await until(() => app.realtime.stats().refused >= 57 - (door === 'source' ? 6 : 0))
    await asked.reach(3)
    for (let n = 0; n < 20; n++) await turn()
    t.equal(asked.all.length, 3, `${door} ran for as many as there may be`)
    t.equal(held(app), 3)
    open.open()
    for (const client of clients) client.socket.destroy()
    await until(() => held(app) === 0)
  }
})

t.test('whoever connects and leaves again and again does not make the app work for more than maxConnections at once', async (t) => {
  const open = gate()
  const asked = calls()
  const wait = async (): Promise<void> => {
    asked.note(1)
    await open.passed
  }
  const app = await live(t, { maxConnections: 3, joinTimeout: 300_000 })
  app.topic('news')
  app.stream('/stream', { topics: 'news', onConnect: wait })
  app.channel('/channel', { topics: 'news', onConnect: wait })
  await listen(app)
  for (let n = 0; n < 30; n++) {
    const client = await dial(t, app)
    client.ask(`GET ${n % 2 ? '/stream' : '/channel'}`, n % 2 ? {} : HANDSHAKE)
    await until(() => asked.all.length + app.realtime.stats().refused === n + 1)
    client.socket.destroy()
    await until(() => client.peer.closed)
  }
  t.equal(asked.all.length, 3)
  t.match(app.realtime.stats(), { refused: 27, arriving: 3, connections: { sse: 0, websocket: 0 } })
  open.open()
  await until(() => held(app) === 0)
})

// --- addresses ------------------------------------------------------------------------------

/** Streams at once from these addresses, by the headers that say so: how many are let in. */
async function letIn (t: Test, { trustProxy }: { trustProxy?: boolean | string | number }, from: Array<{ peer: string, forwarded?: string }>) {
  const lines: Array<{ msg?: string }> = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line)) } }
  const app = await live(t, { maxConnectionsPerAddress: 2 }, { ...(trustProxy === undefined ? {} : { trustProxy }), logger: { level: 'info', stream } })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  for (const { peer, forwarded } of from) {
    await app.inject({ url: '/news', payloadAsStream: true, remoteAddress: peer, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } })
  }
  return { connected: app.realtime.connections().length, told: lines.filter(({ msg }) => msg?.includes('clients come from')).length }
}

t.test('an address has its cap; a peer that may be a proxy has none, and that is said once', async (t) => {
  const three = (peer: string, forwarded?: string) => Array.from({ length: 3 }, () => forwarded === undefined ? { peer } : { peer, forwarded })
  const rows: Array<[what: string, trustProxy: boolean | string | number | undefined, from: Array<{ peer: string, forwarded?: string }>, connected: number, told: number]> = [
    ['a client', undefined, three('203.0.113.7'), 2, 0],
    ['a client whose word is not taken', undefined, [...three('203.0.113.7', '203.0.113.8'), { peer: '203.0.113.7' }], 2, 0],
    ['one subscriber\'s IPv6', undefined, [{ peer: '2001:db8::1' }, { peer: '2001:db8::2' }, { peer: '2001:db8::3:3:3:3' }, { peer: '2001:db8:0:1::1' }], 3, 0],
    ['an IPv4 client on a dual-stack socket', undefined, [{ peer: '::ffff:203.0.113.7' }, { peer: '203.0.113.7' }, { peer: '::ffff:cb00:7107' }], 2, 0],
    ['loopback', undefined, three('127.0.0.1'), 3, 1],
    ['loopback in IPv6', undefined, three('::1'), 3, 1],
    ['a private peer', undefined, three('10.1.2.3', '203.0.113.7'), 3, 1],
    ['a private peer on a dual-stack socket', undefined, three('::ffff:192.168.1.1'), 3, 1],
    ['a proxy that is trusted', true, three('10.1.2.3', '203.0.113.7'), 2, 0],
    ['its other clients', true, [...three('10.1.2.3', '203.0.113.7'), ...three('10.1.2.3', '203.0.113.8')], 4, 0],
    ['a client of an intranet behind it', true, three('10.1.2.3', '192.168.0.4'), 2, 0],
    ['a client of an intranet without it', true, three('192.168.0.4'), 2, 0],
    ['a port in the header', true, [{ peer: '10.1.2.3', forwarded: '203.0.113.7:1' }, { peer: '10.1.2.3', forwarded: '203.0.113.7:2' }, { peer: '10.1.2.3', forwarded: '203.0.113.7:3' }], 2, 0],
    ['another proxy than the trusted one', '10.9.0.0/16', three('10.1.2.3', '203.0.113.7'), 3, 1],
    ['a client beside the trusted proxy', '10.9.0.0/16', three('203.0.113.7', '203.0.113.8'), 2, 0],
    ['a count of proxies, which Fastify does not believe', 1, three('10.1.2.3', '203.0.113.7'), 3, 1]
  ]
  for (const [what, trustProxy, from, connected, told] of rows) {
    t.same(await letIn(t, trustProxy === undefined ? {} : { trustProxy }, from), { connected, told }, what)
  }
})

t.test('clients of a unix socket have no address, and are not counted by one', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'realtime-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const app = await live(t, { maxConnectionsPerAddress: 1 })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  const path = join(folder, 'app.sock')
  await app.listen({ path })
  for (let n = 1; n <= 3; n++) {
    const response = await new Promise<IncomingMessage>((resolve) => httpRequest({ socketPath: path, path: '/news', agent: false }, resolve).end())
    t.teardown(() => response.destroy())
    t.equal(response.statusCode, 200)
  }
  t.equal(app.realtime.connections().length, 3)
})

t.test('an HTTP/2 session of a peer that is not counted has the cap of an address', async (t) => {
  const app = await live(t, { maxConnectionsPerAddress: 3, retry: 1000 }, { http2: true })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  await listen(app)
  const open = (): ClientHttp2Session => {
    const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`)
    session.on('error', () => {})
    t.teardown(() => session.destroy())
    return session
  }
  const get = async (session: ClientHttp2Session): Promise<{ stream: ClientHttp2Stream, status: number }> => {
    const stream = session.request({ ':path': '/news', accept: '*/*' })
    stream.on('error', () => {})
    stream.resume()
    const [headers] = await once(stream, 'response')
    return { stream, status: headers[':status'] }
  }
  const [one, two] = [open(), open()]
  const first = await get(one)
  for (let n = 0; n < 2; n++) t.equal((await get(one)).status, 200)
  t.equal((await get(one)).status, 503)
  t.equal((await get(two)).status, 200)
  first.stream.close()
  await until(() => held(app) === 3)
  t.equal((await get(one)).status, 200, 'one that has gone makes room')
  one.destroy()
  await until(() => held(app) === 1)
})

// --- identities -----------------------------------------------------------------------------

t.test('an identity has its cap over both wires, and the anonymous have none', async (t) => {
  const app = await live(t, {
    maxConnectionsPerIdentity: 2,
    identify: ({ headers }) => headers['x-user'] === 'guest' ? { id: 'guest', anonymous: true } : headers['x-user'] ? { id: String(headers['x-user']) } : undefined
  })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.channel('/channel', { topics: 'news' })
  const as = (user: string) => ({ t, headers: { 'x-user': user, accept: '*/*' } })
  const stream = await connectStream(app, '/stream', as('ada'))
  await connectChannel(app, '/channel', as('ada'))
  const refused = { statusCode: 503, body: { code: 'FST_ERR_REALTIME_TOO_MANY_CONNECTIONS', message: /maxConnectionsPerIdentity: 2/ } }
  t.match(await refusalOf(connectStream(app, '/stream', as('ada'))), refused)
  t.match(await refusalOf(connectChannel(app, '/channel', as('ada'))), refused)
  for (const user of ['ben', 'ben', '', '', '', 'guest', 'guest', 'guest']) await connectStream(app, '/stream', as(user))
  await stream.close()
  await until(() => held(app) === 9)
  await connectChannel(app, '/channel', as('ada'))
  t.equal(app.realtime.stats().refused, 2)
})

// --- until they are gone ----------------------------------------------------------------------

async function closes (t: Test, server: Record<string, unknown> = {}) {
  const app = await live(t, { maxConnections: 1, maxBuffered: 1 << 30, leaveTimeout: 1 }, server)
  app.topic('news')
  const connections = calls<Connection>()
  const gone = calls<string>()
  const callbacks = {
    onConnect: (connection: Connection) => connections.note(connection),
    onDisconnect: (_connection: Connection, { name }: { name: string }) => gone.note(name)
  }
  app.stream('/stream', { topics: 'news', ...callbacks })
  // HTTP/2 alone has no WebSockets.
  if (!server.http2) app.channel('/channel', { topics: 'news', ...callbacks })
  return { app, connections, gone }
}

/** It is closed, stays counted, is cut, and makes room. */
async function isCut (t: Test, { app, connections, gone }: Awaited<ReturnType<typeof closes>>): Promise<void> {
  const [connection] = await connections.reach(1) as [Connection]
  while (app.realtime.connections().length < 1) await turn()
  connection.send('blob', BLOB)
  await turn()
  connection.close({ code: 4001 })
  t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, closing: 1 })
  t.equal((await app.inject({ url: '/stream', headers: { accept: '*/*' } })).statusCode, 503, 'it is counted')
  await until(() => held(app) === 0)
  t.same(gone.all, ['closed-by-app'])
  const next = await app.inject({ url: '/stream', payloadAsStream: true, headers: SSE })
  t.equal(next.statusCode, 200, 'it made room')
}

t.test('a stream\'s client that is closed and does not read is cut, and counted until then', async (t) => {
  const world = await closes(t)
  await listen(world.app)
  const client = await dial(t, world.app)
  client.socket.pause()
  client.ask('GET /stream', SSE)
  await isCut(t, world)
  await client.letGo()
})

t.test('the same on a connection in memory, and for an injected request that nobody reads', async (t) => {
  const world = await closes(t)
  const socket = (await linkTo(world.app)).open()
  socket.write('GET /stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n')
  await isCut(t, world)
  socket.destroy()
  const injected = await closes(t)
  await injected.app.inject({ url: '/stream', payloadAsStream: true, headers: SSE })
  const [connection] = await injected.connections.reach(1) as [Connection]
  connection.send('blob', BLOB)
  connection.close()
  await until(() => held(injected.app) === 0)
})

t.test('a channel\'s client that does not answer the close frame is cut, and counted until then', async (t) => {
  for (const pause of [true, false]) {
    const world = await closes(t)
    await listen(world.app)
    const client = await dial(t, world.app, { half: true })
    if (pause) client.socket.pause()
    client.ask('GET /channel', HANDSHAKE)
    await isCut(t, world)
    await client.letGo()
  }
})

t.test('an HTTP/2 stream that is closed and not read is reset, and counted until then', async (t) => {
  const world = await closes(t, { http2: true })
  await listen(world.app)
  const session = connectHttp2(`http://127.0.0.1:${portOf(world.app)}`)
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/stream', ...SSE })
  stream.on('error', () => {})
  const reset = once(stream, 'close')
  await isCut(t, world)
  stream.resume()
  await reset
})

t.test('a client that takes its leave is not cut, and a quiet one that is open neither', async (t) => {
  const { app, connections } = await closes(t)
  await listen(app)
  const client = await connectChannel(app, '/channel', { t })
  const [connection] = await connections.reach(1) as [Connection]
  // Longer than a client that was closed may take.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.notOk(connection.closed)
  connection.close({ code: 4001, text: 'enough' })
  t.same(await client.ended, { code: 4001, reason: 'enough' })
})

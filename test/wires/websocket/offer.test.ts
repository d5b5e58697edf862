/** Requests that offer another protocol are answered as if they did not: nothing is added, lost, or taken for another request. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { dial, HANDSHAKE, listen, live, portOf, type RawClient, type ServerOptions } from '../../helpers/app.ts'
import { cert, key } from '../../helpers/certificate.ts'

interface House { app: FastifyInstance, asked: Array<{ method: string, url: string, body: unknown, headers: unknown }> }

const OFFER = 'connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n'

async function house (t: Test, server: ServerOptions = {}): Promise<House> {
  const app = await live(t, {}, server)
  app.channel('/ours', { topics: app.topic('news') })
  const asked: House['asked'] = []
  app.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.route({
    method: ['GET', 'POST', 'PUT', 'DELETE'],
    url: '/*',
    handler: async (request) => {
      asked.push({ method: request.method, url: request.url, body: request.body, headers: request.raw.rawHeaders })
      return { said: request.body ?? null }
    }
  })
  return { app, asked }
}

const answers = (client: RawClient): string[] => client.text.match(/HTTP\/1\.1 \d+/g) ?? []
const filler = (count: number): string => Array.from({ length: count }, (_, n) => `x-${n}: 1\r\n`).join('')

const BODY = 'GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n'

/** The length of the body comes last, where Node has stopped to keep headers. */
const smuggle = (headers: number): string =>
  `POST /open HTTP/1.1\r\nhost: localhost\r\n${OFFER}content-type: text/plain\r\n${filler(headers)}content-length: ${BODY.length}\r\n\r\n${BODY}`

const limits: Array<[name: string, headers: number, before: number | null, after: number | null, status: number]> = [
  ['Node\'s own limit', 1100, null, null, 431],
  ['within it', 900, null, null, 200],
  ['a lower one', 60, 40, 40, 431],
  ['within a lower one', 60, 100, 100, 200],
  ['a higher one', 1200, 1500, 1500, 200],
  ['past a higher one', 1600, 1500, 1500, 431],
  ['none', 1200, 0, 0, 200],
  ['one that was raised while the client was connected', 1100, null, 5000, 431],
  ['one that was lifted while the client was connected', 60, 40, 0, 431],
  ['one that was lowered while the client was connected', 60, null, 40, 200]
]

for (const [name, headers, before, after, status] of limits) {
  t.test(`more headers than Node keeps: ${name}`, async (t) => {
    const { app, asked } = await house(t, { http: { maxHeaderSize: 65_536 } })
    app.server.maxHeadersCount = before
    await listen(app)
    const client = await dial(t, app)
    app.server.maxHeadersCount = after
    client.send(smuggle(headers))
    await client.until(/^HTTP\/1\.1 (431|200)/)
    if (status === 431) await client.closed
    else client.ask('GET /next', { connection: 'close' })
    if (status === 200) await client.closed
    t.same(answers(client), status === 431 ? ['HTTP/1.1 431'] : ['HTTP/1.1 200', 'HTTP/1.1 200'])
    t.same(asked.map(({ url }) => url), status === 431 ? [] : ['/open', '/next'], 'the body was never a request')
  })
}

t.test('a WebSocket\'s upgrade with more headers than Node keeps is refused too: what it says is not known', async (t) => {
  const { app } = await house(t)
  await listen(app)
  const client = await dial(t, app)
  client.send(`GET /ours HTTP/1.1\r\n${filler(1100)}host: localhost\r\n${Object.entries(HANDSHAKE).map((header) => `${header.join(': ')}\r\n`).join('')}\r\n`)
  await client.closed
  t.same(answers(client), ['HTTP/1.1 431'])
})

t.test('a WebSocket\'s upgrade with a body is refused', async (t) => {
  const { app } = await house(t)
  await listen(app)
  for (const header of [{ 'content-length': '5' }, { 'transfer-encoding': 'chunked' }]) {
    const client = await dial(t, app)
    client.ask('GET /ours', { ...HANDSHAKE, ...header } as Record<string, string>, '5\r\nhello\r\n0\r\n\r\n')
    await client.closed
    t.match(client.text, /^HTTP\/1\.1 400 [^]*UPGRADE_INVALID/)
  }
  const empty = await dial(t, app)
  empty.ask('GET /ours', { ...HANDSHAKE, 'content-length': '0' })
  await empty.until('101 Switching Protocols')
})

type Row = [name: string, request: string, expected: { status?: number, body?: unknown, next?: boolean, url?: string }]

const offered = (protocol: string, rest = ''): string => `connection: Upgrade\r\nupgrade: ${protocol}\r\nhost: localhost\r\n${rest}`
const rows: Row[] = [
  ['h2c', `GET /a HTTP/1.1\r\n${offered('h2c')}\r\n`, {}],
  ['TLS', `GET /a HTTP/1.1\r\n${offered('TLS/1.0')}\r\n`, {}],
  ['some other protocol', `GET /a HTTP/1.1\r\n${offered('foo/2')}\r\n`, {}],
  ['a WebSocket or h2c', `GET /a HTTP/1.1\r\n${offered('websocket, h2c')}\r\n`, {}],
  ['a WebSocket by POST', `POST /a HTTP/1.1\r\n${offered('websocket', 'content-type: text/plain\r\ncontent-length: 5\r\n')}\r\nhello`, { body: 'hello' }],
  ['a WebSocket by HTTP/1.0', `GET /ours HTTP/1.0\r\n${Object.entries(HANDSHAKE).map((header) => `${header.join(': ')}\r\n`).join('')}host: localhost\r\n\r\n`, { status: 426, next: false }],
  ['a channel', `GET /ours HTTP/1.1\r\n${offered('h2c')}\r\n`, { status: 426 }],
  ['DELETE', `DELETE /a HTTP/1.1\r\n${offered('h2c')}\r\n`, {}],
  ['an empty body', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-length: 0\r\n')}\r\n`, {}],
  ['a body of a length', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-type: text/plain\r\ncontent-length: 5\r\n')}\r\nhello`, { body: 'hello' }],
  ['a body in chunks', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-type: text/plain\r\ntransfer-encoding: chunked\r\n')}\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`, { body: 'hello world' }],
  ['a body in chunks with a trailer', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-type: text/plain\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n')}\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n`, { body: 'hello' }],
  ['a length and chunks', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-type: text/plain\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n')}\r\n5\r\nhello\r\n0\r\n\r\n`, { status: 400, next: false }],
  ['two lengths', `POST /a HTTP/1.1\r\n${offered('h2c', 'content-type: text/plain\r\ncontent-length: 5\r\ncontent-length: 6\r\n')}\r\nhello!`, { status: 400, next: false }],
  ['a wait for 100', `POST /a HTTP/1.1\r\n${offered('h2c', 'expect: 100-continue\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n')}\r\nhello`, { body: 'hello' }],
  ['the last one', 'GET /a HTTP/1.1\r\nconnection: Upgrade, close\r\nupgrade: h2c\r\nhost: localhost\r\n\r\n', { next: false }],
  ['the last one, in a header of its own', 'GET /a HTTP/1.1\r\nconnection: close\r\nconnection: Upgrade\r\nupgrade: h2c\r\nhost: localhost\r\n\r\n', { next: false }],
  ['HTTP/1.0', `GET /a HTTP/1.0\r\n${offered('h2c')}\r\n`, { next: false }],
  ['HTTP/1.0 that is kept', 'GET /a HTTP/1.0\r\nconnection: Upgrade, keep-alive\r\nupgrade: h2c\r\nhost: localhost\r\n\r\n', {}],
  ['a URL in full', `GET http://localhost/a?x=1 HTTP/1.1\r\n${offered('h2c')}\r\n`, { url: 'http://localhost/a?x=1' }],
  ['bytes beyond ASCII', `GET /%C3%A9?%FF HTTP/1.1\r\n${offered('h2c', 'x-name: \xe9\xff\r\n')}\r\n`, { url: '/%C3%A9?%FF' }]
]

for (const [secure, server] of [[false, {}], [true, { https: { key, cert } }]] as Array<[boolean, ServerOptions]>) {
  t.test(`each is read with its body, and the connection goes on, ${secure ? 'over TLS' : 'in the clear'}`, async (t) => {
    const { app, asked } = await house(t, server)
    await listen(app)
    for (const [name, request, { status = 200, body, next = true, url }] of rows) {
      for (const half of [false, true]) {
        const socket: Socket = secure ? connectTls({ port: portOf(app), host: '127.0.0.1', rejectUnauthorized: false }) : (await dial(t, app)).socket
        t.teardown(() => socket.destroy())
        socket.on('error', () => {})
        let text = ''
        socket.setEncoding('latin1').on('data', (part: string) => { text += part })
        if (secure) await once(socket, 'secureConnect')
        asked.length = 0
        // The body arrives in two parts, or all at once with the request behind it.
        const all = request + (next ? 'GET /next HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' : '')
        socket.write(all.slice(0, half ? -60 : undefined), 'latin1')
        if (half) await new Promise(setImmediate)
        if (half) socket.write(all.slice(-60), 'latin1')
        await once(socket, 'close')
        const label = `${name}${half ? ', in two parts' : ''}`
        const statuses = (text.match(/HTTP\/1\.1 \d+/g) ?? []).filter((line) => !line.endsWith(' 100'))
        t.same(statuses, [`HTTP/1.1 ${status}`, ...next ? ['HTTP/1.1 200'] : []], label)
        if (name === 'a wait for 100') t.match(text, /^HTTP\/1\.1 100 Continue/)
        if (status === 200) t.match(asked.find((one) => one.url !== '/next'), { body, ...(url !== undefined && { url }) }, label)
        t.equal(asked.filter((one) => one.url === '/next').length, next ? 1 : 0, label)
      }
    }
  })
}

t.test('headers come as they were, in their order, but for those of the offer', async (t) => {
  const { app, asked } = await house(t)
  await listen(app)
  const client = await dial(t, app)
  client.send(`GET /a HTTP/1.1\r\nhost: localhost\r\n${OFFER}Cookie: a=1\r\nX-One: 1\r\nx-one:2\r\nCOOKIE: b=2\r\nx-empty:\r\nx-spaced:   a  b  \r\n\r\n`)
  await client.until('HTTP/1.1 200')
  t.same(asked[0]?.headers, ['host', 'localhost', 'Cookie', 'a=1', 'X-One', '1', 'x-one', '2', 'COOKIE', 'b=2', 'x-empty', '', 'x-spaced', 'a  b'])
})

t.test('offers on one connection leave nothing behind, and no connection is counted twice', async (t) => {
  for (const server of [{}, { https: { key, cert } }, { http2: true, https: { key, cert, allowHTTP1: true } }] as ServerOptions[]) {
    const { app, asked } = await house(t, server)
    let connections = 0
    const peers: Socket[] = []
    app.server.on(server.https ? 'secureConnection' : 'connection', (socket: Socket) => {
      connections++
      peers.push(socket)
    })
    await listen(app)
    const socket: Socket = server.https ? connectTls({ port: portOf(app), host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] }) : (await dial(t, app)).socket
    t.teardown(() => socket.destroy())
    if (server.https) await once(socket, 'secureConnect')
    socket.setEncoding('latin1')
    const counts: Array<Record<string, number>> = []
    let text = ''
    for (let n = 1; n <= 12; n++) {
      socket.write(`POST /a HTTP/1.1\r\nhost: localhost\r\n${OFFER}content-type: text/plain\r\ncontent-length: 5\r\n\r\nhello`)
      while ((text.match(/HTTP\/1\.1 200/g)?.length ?? 0) < n) text += String((await once(socket, 'data'))[0])
      const [peer] = peers as [Socket]
      counts.push(Object.fromEntries(peer.eventNames().map((name) => [String(name), peer.listenerCount(name)])))
    }
    // The first may be read in a way of its own.
    t.same(counts.at(-1), counts[1])
    t.equal(connections, 1)
    t.equal(asked.length, 12)
    socket.destroy()
  }
})

t.test('Node\'s time limits hold for a body that stops half way, and for a client that says nothing more', async (t) => {
  const { app } = await house(t, { http: { connectionsCheckingInterval: 20, headersTimeout: 150 }, requestTimeout: 200, keepAliveTimeout: 50 })
  await listen(app)
  const stalled = await dial(t, app)
  stalled.send(`POST /a HTTP/1.1\r\nhost: localhost\r\n${OFFER}content-type: text/plain\r\ncontent-length: 5\r\n\r\nhe`)
  await stalled.closed
  t.same(answers(stalled), ['HTTP/1.1 408'])
  const quiet = await dial(t, app)
  quiet.send(`GET /a HTTP/1.1\r\nhost: localhost\r\n${OFFER}\r\n`)
  await quiet.closed
  t.same(answers(quiet), ['HTTP/1.1 200'])
})

t.test('one that comes while an earlier request is answered waits for its turn, and is not cut by a time limit meanwhile', async (t) => {
  const { app, asked } = await house(t, { keepAliveTimeout: 50 })
  const release: Array<() => void> = []
  for (const url of ['/slow', '/slower']) app.get(url, async () => await new Promise((resolve) => release.push(() => resolve(url))))
  await listen(app)
  const client = await dial(t, app)
  const get = (url: string): string => `GET ${url} HTTP/1.1\r\nhost: localhost\r\n\r\n`
  client.send(`${get('/slow')}${get('/slower')}POST /a HTTP/1.1\r\nhost: localhost\r\n${OFFER}content-type: text/plain\r\ncontent-length: 5\r\n\r\nhello${get('/slow')}`)
  while (release.length < 2) await new Promise(setImmediate)
  t.same(asked, [])
  release[1]?.()
  release[0]?.()
  while (release.length < 3) await new Promise(setImmediate)
  t.same(asked.map(({ body }) => body), ['hello'])
  // Longer than an idle connection is kept: this one is not idle.
  const idle = await dial(t, app)
  idle.ask('GET /a')
  await idle.closed
  release[2]?.()
  await client.until(/\/slow[^]*\/slower[^]*hello[^]*\/slow$/)
})

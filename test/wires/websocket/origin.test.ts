/** Which pages may open a channel, and by which hosts streams and channels may be reached. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { RealtimeOptions } from '../../../lib/index.ts'
import { readHost, readOrigin } from '../../../lib/core/origin.ts'
import { bare, codeOf, HANDSHAKE, listen, live, portOf, type ServerOptions } from '../../helpers/app.ts'
import { cert, key } from '../../helpers/certificate.ts'

/** Headers by name; a list is sent as so many lines. */
type Headers = Record<string, string | string[]>

interface Answer { status: number, body: { code?: string, message?: string } }

async function house (t: Test, options: RealtimeOptions = {}, server: ServerOptions = {}): Promise<FastifyInstance> {
  const app = await live(t, options, server)
  const news = app.topic('news')
  app.channel('/talk', { topics: news })
  app.stream('/news', { topics: news })
  await listen(app)
  return app
}

/** Written by hand: what an HTTP library would not send is the point. */
async function knock (t: Test, app: FastifyInstance, url: string, headers: Headers): Promise<Answer> {
  const port = portOf(app)
  const secure = app.initialConfig.https !== undefined
  const socket: Socket = secure ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }) : connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const lines = Object.entries(headers).flatMap(([name, values]) => [values].flat().map((value) => `${name}: ${value}\r\n`))
  socket.write(`GET ${url} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1')
  let text = ''
  for (socket.setEncoding('latin1'); !/^HTTP\/1\.1 (101|200)|}$/.test(text);) text += String((await once(socket, 'data'))[0])
  socket.destroy()
  const status = Number(text.slice(9, 12))
  return { status, body: status >= 400 ? JSON.parse(text.slice(text.indexOf('{'))) as Answer['body'] : {} }
}

const upgrade = (t: Test, app: FastifyInstance, headers: Headers, url = '/talk') => knock(t, app, url, { host: 'site', ...HANDSHAKE, ...headers })

type Row = [headers: Headers, passes: boolean]

async function walk (t: Test, app: FastifyInstance, rows: Row[]): Promise<void> {
  for (const [headers, passes] of rows) {
    const { status, body } = await upgrade(t, app, headers)
    t.equal(status, passes ? 101 : 403, JSON.stringify(headers))
    if (!passes) t.equal(body.code, 'FST_ERR_REALTIME_ORIGIN_REFUSED')
  }
}

/** No page of this host, by whichever scheme. */
const STRANGERS: Row[] = [
  'https://evil.example', 'https://site.evil.example', 'https://evilsite', 'https://site.', 'https://site:80', 'https://site:444', 'http://site:443',
  'https://user@site', 'https://site@evil.example', 'https://evil.example\\@site', 'https://site/', 'https://site?x', 'https://site#x', 'https://s%69te',
  'file://', 'file://site', 'null', '', 'site', '//site', 'https:site', 'https:///site', 'chrome-extension://site', 'moz-extension://site', 'ws://site', 'wss://site',
  'ftp://site', 'capacitor://site', 'blob:https://site', 'data:,site', 'javascript://site', 'https://site, https://site', 'https://site https://site', 'https://[::1',
  `https://${'s'.repeat(9000)}`, `https://site${' '.repeat(9000)}x`
].map((origin): Row => [{ origin }, false])

t.test('by http: pages of the own host, and those by https too, since TLS may end at a proxy', async (t) => {
  await walk(t, await house(t), [
    ...STRANGERS,
    [{}, true],
    [{ origin: 'http://site' }, true],
    [{ origin: 'https://site' }, true],
    [{ origin: 'HTTP://SITE' }, true],
    [{ origin: 'http://site:80' }, true],
    [{ origin: 'http://site', host: 'SITE:80' }, true],
    [{ origin: 'https://site', host: 'site:443' }, true],
    [{ origin: 'https://site', host: 'site:80' }, false],
    [{ origin: 'http://site', host: 'site:443' }, false],
    [{ origin: 'http://site:3000', host: 'site:3000' }, true],
    [{ origin: 'http://site:3001', host: 'site:3000' }, false],
    [{ origin: 'http://site.', host: 'site.' }, true],
    [{ origin: 'http://[::1]:3000', host: '[::1]:3000' }, true],
    [{ origin: 'http://[::1]:3000', host: '[0:0::1]:3000' }, true],
    [{ origin: 'http://[::2]:3000', host: '[::1]:3000' }, false],
    [{ origin: 'http://xn--bcher-kva.example', host: 'xn--bcher-kva.example' }, true],
    [{ origin: 'file://', host: 'localhost' }, false],
    [{ origin: 'file://localhost', host: 'localhost' }, false],
    [{ origin: 'http://evil.example', host: 'site@evil.example' }, false],
    [{ origin: 'http://site', host: '' }, false],
    [{ origin: ['http://site', 'http://site'] }, false],
    [{ origin: ['https://evil.example', 'http://site'] }, false],
    // Nobody said that a proxy is to be believed.
    [{ origin: 'http://evil.example', 'x-forwarded-host': 'evil.example' }, false],
    [{ origin: 'http://site', 'x-forwarded-proto': 'https' }, true]
  ])
})

t.test('by https: pages that came by https alone', async (t) => {
  await walk(t, await house(t, {}, { https: { key, cert } }), [
    ...STRANGERS,
    [{}, true],
    [{ origin: 'https://site' }, true],
    [{ origin: 'https://site', host: 'site:443' }, true],
    [{ origin: 'https://site:8443', host: 'site:8443' }, true],
    [{ origin: 'http://site' }, false],
    [{ origin: 'http://site:443', host: 'site:443' }, false],
    [{ origin: 'http://site:8443', host: 'site:8443' }, false]
  ])
})

t.test('behind a proxy that is trusted, the host and the protocol are those that it forwards', async (t) => {
  const forwarded = { 'x-forwarded-host': 'shop.example', 'x-forwarded-proto': 'https' }
  await walk(t, await house(t, {}, { trustProxy: true }), [
    [{ ...forwarded, origin: 'https://shop.example' }, true],
    [{ ...forwarded, origin: 'http://shop.example' }, false],
    [{ ...forwarded, origin: 'https://site' }, false],
    [{ ...forwarded, 'x-forwarded-proto': 'HTTPS', origin: 'http://shop.example' }, false],
    // As some proxies call it.
    [{ ...forwarded, 'x-forwarded-proto': 'wss', origin: 'http://shop.example' }, false],
    [{ ...forwarded, 'x-forwarded-proto': 'wss', origin: 'https://shop.example' }, true],
    [{ ...forwarded, 'x-forwarded-proto': 'ws', origin: 'http://shop.example' }, true],
    [{ ...forwarded, 'x-forwarded-proto': 'http', origin: 'http://shop.example' }, true],
    [{ ...forwarded, 'x-forwarded-proto': 'nonsense', origin: 'http://shop.example' }, false],
    [{ ...forwarded, 'x-forwarded-host': 'evil.example, shop.example', origin: 'https://evil.example' }, false],
    [{ origin: 'http://site' }, true]
  ])
  await walk(t, await house(t, {}, { trustProxy: '10.0.0.1' }), [[{ ...forwarded, origin: 'https://shop.example' }, false]])
})

t.test('what is listed passes, whatever its scheme; "*" lets everybody in', async (t) => {
  const origins = ['https://app.example', 'HTTPS://Shop.example:8443', 'capacitor://localhost', 'chrome-extension://abcdef', 'file://', 'http://[::1]:5173']
  await walk(t, await house(t, { origins }, { https: { key, cert } }), [
    ...[...origins, 'https://APP.example', 'https://app.example:443'].map((origin): Row => [{ origin }, true]),
    ...['http://app.example', 'https://app.example.', 'https://app.example:444', 'https://shop.example', 'capacitor://localhost:1', 'file://localhost', 'null', 'app.example']
      .map((origin): Row => [{ origin }, false]),
    [{ origin: ['https://app.example', 'https://app.example'] }, false],
    ...STRANGERS.filter(([{ origin }]) => origin !== 'file://')
  ])
  await walk(t, await house(t, { origins: '*' }), STRANGERS.map(([headers]): Row => [headers, true]))
})

t.test('the refusal says what to do, and repeats of the origin what is short and printable', async (t) => {
  const app = await house(t, {}, { https: { key, cert } })
  // As vite proxies with changeOrigin: true.
  const rewritten = await upgrade(t, app, { origin: 'http://localhost:5173', host: 'localhost:3000' })
  t.match(rewritten.body.message, "origins: ['http://localhost:5173']")
  t.match(rewritten.body.message, 'changeOrigin')
  t.match(rewritten.body.message, 'trustProxy')
  t.match((await upgrade(t, app, { origin: 'http://site' })).body.message, /by http, but this request by https.*origins: \['http:\/\/site'\]/)
  t.match((await upgrade(t, app, { origin: 'null' })).body.message, "origins: '*'")
  for (const origin of [`https://${'x'.repeat(250)}.example`, 'x'.repeat(9000), '\x01\u00e9<script>', `https://${'\u00e9'.repeat(5000)}`]) {
    const { message = '' } = (await upgrade(t, app, { origin })).body
    t.ok(message.length < 1000, 'bounded')
    t.match(message, /^[\x20-\x7e]*$/)
  }
})

t.test('a header that a schema of the route takes away is seen all the same', async (t) => {
  const app = await live(t)
  const known = Object.fromEntries(['host', 'connection', ...Object.keys(HANDSHAKE)].map((name) => [name, { type: 'string' }]))
  app.channel('/talk', { topics: app.topic('news'), schema: { headers: { type: 'object', properties: known, additionalProperties: false } } })
  await listen(app)
  t.equal((await upgrade(t, app, { origin: 'https://evil.example' })).status, 403)
  t.equal((await upgrade(t, app, { origin: 'http://site' })).status, 101)
})

const SSE = { accept: 'text/event-stream' }

t.test('with hosts, streams and the upgrades of pages are refused under any other name', async (t) => {
  const app = await house(t, { hosts: ['app.example', 'LOCALHOST:3000', '[::1]:3000', 'b\u00fccher.example'], origins: ['https://other.example'] })
  const own = ['app.example', 'APP.example:80', 'app.example:443', 'localhost:3000', '[0::1]:3000', 'xn--bcher-kva.example']
  const strange = ['evil.example', 'app.example.evil.example', 'app.example.', 'app.example:3000', 'localhost', 'localhost:30000', '127.0.0.1', 'x@app.example', 'app.example/', '']
  for (const host of own) {
    t.equal((await upgrade(t, app, { host, origin: 'https://other.example' })).status, 101, host)
    t.equal((await knock(t, app, '/news', { host, ...SSE })).status, 200, host)
  }
  t.equal((await upgrade(t, app, { host: 'app.example', origin: 'http://app.example' })).status, 101)
  t.equal((await upgrade(t, app, { host: 'localhost:3000', origin: 'http://app.example' })).status, 403, 'a host of its own is no origin of the other\'s')
  for (const host of strange) {
    for (const origin of [`http://${host}`, 'https://other.example']) {
      t.match(await upgrade(t, app, { host, origin }), { status: 403, body: { code: 'FST_ERR_REALTIME_HOST_REFUSED' } }, host)
    }
    t.match(await knock(t, app, '/news', { host, ...SSE }), { status: 403, body: { code: 'FST_ERR_REALTIME_HOST_REFUSED' } }, host)
    t.equal((await upgrade(t, app, { host })).status, 101, 'no page has sent this')
  }
})

t.test('a route may have hosts of its own, and the one that a trusted proxy forwards is meant', async (t) => {
  const app = await live(t, { hosts: ['app.example'] }, { trustProxy: true })
  const news = app.topic('news')
  app.stream('/any', { topics: news, hosts: '*' })
  app.stream('/one', { topics: news, hosts: ['one.example'] })
  app.channel('/one/talk', { topics: news, origins: '*', hosts: ['one.example'] })
  app.stream('/both', { topics: news, handler: () => 'as JSON' })
  const plain = async (url: string, headers: Record<string, string>) => (await app.inject({ method: 'HEAD', url, headers: { ...SSE, ...headers } })).statusCode
  t.equal(await plain('/any', { host: 'evil.example' }), 200)
  t.equal(await plain('/one', { host: 'one.example' }), 200)
  t.equal(await plain('/one', { host: 'app.example' }), 403)
  t.equal(await plain('/one', { host: 'app.example', 'x-forwarded-host': 'one.example' }), 200)
  t.equal(await plain('/both', { host: 'evil.example' }), 403)
  t.equal((await app.inject({ url: '/both', headers: { accept: 'application/json', host: 'evil.example' } })).body, 'as JSON', 'the app\'s own answer is its own affair')
  await listen(app)
  t.equal((await upgrade(t, app, { host: 'one.example', origin: 'https://anybody.example' }, '/one/talk')).status, 101)
  t.equal((await upgrade(t, app, { host: 'app.example', origin: 'https://anybody.example' }, '/one/talk')).status, 403)
})

t.test('wrong lists fail the registration, or the declaration', async (t) => {
  const bad: RealtimeOptions[] = [
    ...['null', 'NULL', '*', '', 'app.example', 'https://app.example/', 'https://app.example:443', 'https://*', 'https://a b', 'https://user@app.example', 'https://', 'wss://app.example', 'https://b\u00fccher.example', 'https://*.example', `https://${'x'.repeat(400)}`]
      .map((origin) => ({ origins: [origin] })),
    ...['', ' ', '*', '*.example', 'https://app.example', 'app.example/', 'user@app.example', 'a b', 'app.example:x', 'app.example:99999', 'x'.repeat(400), '[::1']
      .map((host) => ({ hosts: [host] })),
    { hosts: [] },
    { hosts: 'app.example' as never },
    { hosts: [42 as never] },
    { origins: [null as never] }
  ]
  for (const options of bad) {
    const app = bare(t)
    t.equal(await codeOf(() => live(t, options)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
    await app.close()
  }
  const app = await live(t)
  const news = app.topic('news')
  t.throws(() => app.channel('/a', { topics: news, hosts: [] }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  t.throws(() => app.stream('/b', { topics: news, hosts: ['https://app.example'] }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
})

t.test('an origin and a host read the same however they are written', async (t) => {
  t.same(readOrigin('HTTPS://App.Example:443'), { scheme: 'https:', text: 'https://app.example' })
  t.same(readOrigin('App://Local'), { scheme: 'app:', text: 'app://local' })
  t.equal(readHost('App.Example:80'), 'app.example')
  t.equal(readHost('app.example:8443'), 'app.example:8443')
  t.equal(readHost('[0:0::1]:443'), '[::1]')
})

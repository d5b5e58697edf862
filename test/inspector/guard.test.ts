/** Who is let in to the inspector, and what those learn who are not. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { isForeign, isLoopback } from '../../lib/inspector/guard.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import inspector, { type InspectorOptions } from '../../lib/inspector/index.ts'
import { connectChannel } from '../../lib/testing/index.ts'
import { bare, codeOf, HANDSHAKE, listen, live, portOf, refusalOf } from '../helpers/app.ts'

const PAGE = '/realtime/inspector'
/** All that there is to be asked for. */
const URLS = [PAGE, `${PAGE}/`, `${PAGE}/live`, `${PAGE}/tail?topic=secret`, `${PAGE}/inspector/page/style.css`]

async function appOf (t: Test, options: InspectorOptions = {}, server: Record<string, unknown> = {}): Promise<FastifyInstance> {
  const app = await live(t, {}, server)
  app.topic('secret/:name', { events: { secret: { type: 'object' } } })
  await app.register(inspector, options)
  return app
}

const caller = (address: string | undefined, host: string | undefined, headers: object = {}) =>
  ({ address, headers: { ...host !== undefined && { host }, ...headers } })

t.test('loopback peers are let in that call it by a loopback name, and nobody else', async (t) => {
  for (const address of ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1', '::FFFF:127.0.0.1']) t.ok(isLoopback(caller(address, 'localhost')), address)
  for (const host of ['localhost', 'localhost:3000', 'LOCALHOST', '127.0.0.1', '127.0.0.1:80', '[::1]', '[::1]:3000']) t.ok(isLoopback(caller('127.0.0.1', host)), host)
  for (const address of [undefined, '', '10.0.0.1', '192.168.0.1', '::ffff:10.0.0.1', 'fe80::1', '::', '0.0.0.0', '1.127.0.0', '2001:db8::1', '127.0.0.1.evil']) {
    t.notOk(isLoopback(caller(address, 'localhost')), String(address))
  }
  for (const host of [undefined, '', 'evil.com', 'localhost.evil.com', 'evil.com:3000', 'localhost:3000.evil.com', '127.0.0.1.evil.com', 'x@localhost', 'localhost@evil.com',
    '10.0.0.1', '0.0.0.0', '[::]', '[::2]', '[::ffff:127.0.0.1]', 'localhost/', 'localhost, evil.com', 'xn--localhost', 'localhost.', 'notlocalhost']) {
    t.notOk(isLoopback(caller('127.0.0.1', host)), String(host))
  }
  for (const name of ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-port', 'x-forwarded-server', 'x-forwarded', 'forwarded', 'x-real-ip', 'via', 'cdn-loop',
    'cf-connecting-ip', 'true-client-ip', 'x-client-ip', 'x-cluster-client-ip', 'x-original-forwarded-for', 'fly-client-ip', 'fastly-client-ip', 'x-envoy-external-address']) {
    t.notOk(isLoopback(caller('127.0.0.1', 'localhost', { [name]: '127.0.0.1' })), `${name}: a proxy speaks for somebody`)
  }
  t.ok(isLoopback(caller('127.0.0.1', 'localhost', { 'x-request-id': '1', 'user-agent': 'via' })), 'other headers show nothing')
  t.ok(isLoopback({ address: '::1', headers: { ':authority': 'localhost:3000' } }), 'HTTP/2')
  t.notOk(isLoopback({ address: '::1', headers: { ':authority': 'evil.com', host: 'localhost' } }))
})

t.test('pages of other sites are refused, and links to the page are not', async (t) => {
  const host = 'localhost:3000'
  for (const headers of [{}, { origin: 'http://localhost:3000' }, { origin: 'https://localhost:3000' }, { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' },
    { 'sec-fetch-site': 'none' }, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }]) t.notOk(isForeign(headers, host), JSON.stringify(headers))
  for (const headers of [{ origin: 'null' }, { origin: 'http://evil.com' }, { origin: 'http://localhost:3001' }, { origin: 'http://localhost' }, { origin: 'http://localhost:3000.evil.com' },
    { origin: 'file://localhost:3000' }, { origin: '' }, { origin: ['http://localhost:3000'] }, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, { 'sec-fetch-site': 'same-site' }]) {
    t.ok(isForeign(headers, host), JSON.stringify(headers))
  }
  t.ok(isForeign({ origin: 'http://localhost:3000' }, ''), 'without a host nothing is its own')
})

t.test('whoever is not let in is answered as if nothing were there', async (t) => {
  for (const environment of ['production', 'development']) {
    const before = process.env.NODE_ENV
    process.env.NODE_ENV = environment
    t.teardown(() => { process.env.NODE_ENV = before ?? '' })
    const app = await appOf(t)
    for (const url of URLS) {
      const refused = await app.inject({ url, headers: { host: 'evil.com', accept: 'text/event-stream' } })
      const missing = await app.inject({ url: `${url.split('?')[0]}/nothing`, headers: { host: 'evil.com' } })
      t.equal(refused.statusCode, 404, url)
      t.same({ ...refused.json(), message: '' }, { ...missing.json(), message: '' })
      t.same(Object.keys(refused.headers).sort(), Object.keys(missing.headers).sort(), 'no header tells of it either')
      t.notMatch(refused.body, /inspector page|secret\/|realtime:/)
    }
    t.equal((await app.inject(PAGE)).statusCode, 200, `${environment}: inject comes from 127.0.0.1, and names localhost`)
  }
})

t.test('trustProxy and a forwarding header change nothing', async (t) => {
  const app = await appOf(t, {}, { trustProxy: true })
  for (const headers of [{ 'x-forwarded-for': '127.0.0.1', host: 'localhost' }, { 'x-forwarded-host': 'localhost', host: 'evil.com' }, { 'x-forwarded-for': '10.0.0.1', host: 'localhost' }]) {
    t.equal((await app.inject({ url: PAGE, headers, remoteAddress: '127.0.0.1' })).statusCode, 404)
  }
  t.equal((await app.inject({ url: PAGE, headers: { host: 'localhost', 'x-forwarded-for': '127.0.0.1' }, remoteAddress: '203.0.113.7' })).statusCode, 404)
  t.equal((await app.inject({ url: PAGE, headers: { host: 'localhost' }, remoteAddress: '203.0.113.7' })).statusCode, 404)
})

t.test('a request without a Host is not let in', async (t) => {
  const app = await appOf(t)
  await listen(app)
  const socket = connect(portOf(app), '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.write(`GET ${PAGE} HTTP/1.0\r\n\r\n`)
  const [answer] = await once(socket.setEncoding('utf8'), 'data')
  t.match(answer, /^HTTP\/1\.1 404 /)
})

t.test('an upgrade from another origin, and by another name, is answered 404', async (t) => {
  const app = await appOf(t)
  await listen(app)
  const port = portOf(app)
  for (const headers of [{ origin: 'http://evil.com' }, { origin: 'null' }, { host: 'evil.com' }, { host: `evil.com:${port}`, origin: `http://evil.com:${port}` }]) {
    const { statusCode } = await refusalOf(connectChannel(app, `${PAGE}/live`, { t, headers }))
    t.equal(statusCode, 404, JSON.stringify(headers))
  }
  const client = await connectChannel(app, `${PAGE}/live`, { t, format: 'envelope', headers: { origin: `http://127.0.0.1:${port}` } })
  t.match(await client.request('describe', {}), { value: { topics: [{ pattern: 'secret/:name' }] } })
})

t.test('nothing is to be had by POST, and nothing by a form of another site', async (t) => {
  const app = await appOf(t)
  for (const url of [...URLS, `${PAGE}/live`]) {
    const { statusCode } = await app.inject({ method: 'POST', url, headers: { host: 'localhost', origin: 'http://evil.com', 'content-type': 'application/x-www-form-urlencoded' }, payload: 'act=restart' })
    t.ok(statusCode === 404 || statusCode === 415, `${url}: ${statusCode}`)
  }
})

t.test('with a hook of one\'s own that hook decides alone; pages of other sites stay out', async (t) => {
  const app = await appOf(t, { onRequest: async (request, reply) => { if (request.headers.key !== 'right') return await reply.code(401).send({ error: 'no' }) } })
  const ask = async (headers: Record<string, string>) => (await app.inject({ url: PAGE, headers, remoteAddress: '203.0.113.7' })).statusCode
  t.equal(await ask({ host: 'admin.example', key: 'right' }), 200, 'from anywhere, by any name')
  t.equal(await ask({ host: 'localhost' }), 401, 'loopback alone is not enough any more')
  t.equal(await ask({ host: 'admin.example', key: 'right', origin: 'https://evil.com' }), 404)
  await listen(app)
  const { statusCode } = await refusalOf(connectChannel(app, `${PAGE}/live`, { t, headers: { key: 'right', origin: 'https://evil.com' } }))
  t.equal(statusCode, 404)
  t.equal((await refusalOf(connectChannel(app, `${PAGE}/live`, { t, headers: HANDSHAKE }))).statusCode, 401)
})

t.test('a page that was rebound to this address is refused by its name, before a hook that looks at addresses', async (t) => {
  const fromHere: InspectorOptions['onRequest'] = (request, reply, done) => { if (request.ip === '127.0.0.1') done(); else reply.callNotFound() }
  const cases: Array<[by: string, plugin: RealtimeOptions, options: InspectorOptions]> = [
    ['the inspector', {}, { hosts: ['Localhost:3000'] }],
    ['the plugin', { hosts: ['localhost:3000'] }, {}],
    ['the inspector, whatever the plugin says', { hosts: ['evil.com:3000'] }, { hosts: ['localhost:3000'] }]
  ]
  for (const [by, plugin, options] of cases) {
    const app = await live(t, plugin)
    const asked: string[] = []
    await app.register(inspector, { ...options, onRequest: [(request, _reply, done) => { asked.push(request.host); done() }, fromHere] })
    await listen(app)
    for (const url of URLS) t.equal((await app.inject({ url, headers: { host: 'evil.com:3000' } })).statusCode, 404, `${by}: ${url}`)
    const rebound = { host: 'evil.com:3000', origin: 'http://evil.com:3000', 'sec-fetch-site': 'same-origin' }
    t.equal((await refusalOf(connectChannel(app, `${PAGE}/live`, { t, headers: rebound }))).statusCode, 404, by)
    t.same(asked, [], 'the hook was not called')
    const own = { host: 'localhost:3000', origin: 'http://localhost:3000' }
    t.equal((await app.inject({ url: PAGE, headers: own })).statusCode, 200)
    const client = await connectChannel(app, `${PAGE}/live`, { t, format: 'envelope', headers: own })
    t.match(await client.request('describe', {}), { value: { topics: [] } })
  }
})

t.test('without a hook the plugin\'s hosts keep nobody out who calls it by a loopback name', async (t) => {
  const app = await live(t, { hosts: ['app.example'] })
  await app.register(inspector)
  await listen(app)
  const client = await connectChannel(app, `${PAGE}/live`, { t, format: 'envelope' })
  t.match(await client.request('describe', {}), { value: { topics: [] } })
  t.equal((await app.inject({ url: PAGE, headers: { host: 'app.example' } })).statusCode, 404)
})

t.test('one warning tells who listens on the network that a proxy opens it, where no hook decides', async (t) => {
  const warnings = async (host: string, options: InspectorOptions): Promise<string[]> => {
    const lines: string[] = []
    const app = await appOf(t, options, { logger: { level: 'warn', stream: { write: (line: string) => { lines.push((JSON.parse(line) as { msg: string }).msg) } } } })
    await listen(app, host)
    return lines
  }
  const [warning, ...more] = await warnings('0.0.0.0', {})
  t.match(warning, /listens on 0\.0\.0\.0, .*no "onRequest" hook.*give the inspector a hook/)
  t.same(more, [])
  t.same(await warnings('127.0.0.1', {}), [])
  t.same(await warnings('localhost', {}), [])
  t.same(await warnings('0.0.0.0', { onRequest: (_request, _reply, done) => { done() } }), [])
})

t.test('the plugin\'s origins: "*" does not open it', async (t) => {
  const app = await live(t, { origins: '*' })
  await app.register(inspector)
  await listen(app)
  t.equal((await refusalOf(connectChannel(app, `${PAGE}/live`, { t, headers: { origin: 'http://evil.com' } }))).statusCode, 404)
})

t.test('it lies below the prefix it is given, and below that of its scope', async (t) => {
  const app = await live(t)
  await app.register(async (scope) => { await scope.register(inspector, { prefix: '/look' }) }, { prefix: '/admin/:tenant' })
  const headers = { host: 'localhost' }
  t.match((await app.inject({ url: '/admin/a/look', headers })).body, 'src="./look/inspector/page/main.js"')
  t.match((await app.inject({ url: '/admin/a/look/', headers })).body, 'src="./inspector/page/main.js"')
  t.equal((await app.inject({ url: '/admin/a/look/inspector/page/style.css', headers })).headers['content-type'], 'text/css; charset=utf-8')
  t.equal((await app.inject({ url: PAGE, headers })).statusCode, 404)
})

t.test('what stands in the URL does not become markup', async (t) => {
  const app = await live(t)
  await app.register(inspector, { prefix: '/:any' })
  const { body } = await app.inject({ url: '/"><script>alert(1)</script>', headers: { host: 'localhost' } })
  t.notMatch(body, '<script>alert')
})

t.test('wrong options are refused, and so are a second one and an app without the plugin', async (t) => {
  for (const options of [{ prefx: '/a' }, { prefix: 'a' }, { prefix: '/' }, { onRequest: 'yes' }, { onRequest: null }, { hosts: [] }, { hosts: null }, { hosts: 'localhost' }, { hosts: ['http://localhost'] }, { jsonSchema: 1 }, { answerTimeout: 1 }, { maxNodes: 0 }, { maxRows: 1.5 }, { stallTimeout: Infinity }]) {
    const app = await live(t)
    // As whoever writes JavaScript may.
    const wrong = options as object as InspectorOptions
    t.equal(await codeOf(async () => { await app.register(inspector, wrong) }), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
  }
  const twice = await live(t)
  await twice.register(inspector)
  t.equal(await codeOf(async () => { await twice.register(inspector, { prefix: '/again' }) }), 'FST_ERR_REALTIME_OPTION_INVALID')
  const without = bare(t)
  t.match(await codeOf(async () => { await without.register(inspector) }), /FST_ERR_PLUGIN|FP_ERR/)
})

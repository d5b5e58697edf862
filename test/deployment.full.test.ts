/** What docs/guides/deployment.md says, tried: the ACL user and TLS under the adapter's whole contract, and the readiness check. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { redis, type RedisAdapterOptions } from '../lib/adapters/redis/index.ts'
import realtime from '../lib/index.ts'
import { connectChannel } from '../lib/testing/index.ts'
import { adapterConformance } from './helpers/suites.ts'
import { cert, key } from './helpers/certificate.ts'
import { freePort, RedisCluster, RedisServer, until } from './helpers/redis.ts'

const page = readFileSync(new URL('../docs/guides/deployment.md', import.meta.url), 'utf8')
const credentials = { username: 'realtime', password: 'secret' }
const [server, cluster] = await Promise.all([RedisServer.start(t), RedisCluster.start(t)])

/** The page's ACL rules, with their continued lines. */
const [, rules] = /^```\nACL SETUSER realtime ([^`]*)```/m.exec(page) as unknown as [string, string]
const acl = rules.replace(/\\\n/g, ' ').trim().split(/\s+/)
for (const one of [server, ...cluster.masters]) await one.ask(async (admin) => await admin.call('ACL', 'SETUSER', 'realtime', ...acl))

let prefixes = 0
const twoNodes = (options: RedisAdapterOptions) => () => {
  // Each test has a log of its own, within what the user may touch.
  const prefix = `realtime:${prefixes++}:`
  return [redis({ ...options, prefix }), redis({ ...options, prefix })]
}
adapterConformance('Redis, as the ACL user', twoNodes({ url: `redis://realtime:secret@127.0.0.1:${server.port}` }))
adapterConformance('Redis Cluster, as the ACL user', twoNodes({ cluster: { nodes: cluster.nodes, options: { redisOptions: credentials } } }))

const folder = mkdtempSync(join(tmpdir(), 'realtime-tls-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
writeFileSync(certFile, cert)
writeFileSync(keyFile, key)
const tlsPort = await freePort()
await RedisServer.start(t, ['--tls-port', String(tlsPort), '--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', certFile, '--tls-auth-clients', 'no'])
adapterConformance('Redis over TLS', twoNodes({ connection: { host: 'localhost', port: tlsPort, tls: { ca: cert } } }))

t.test('a certificate of nobody we trust is refused, and the start says so', async (t: Test) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(realtime, { adapter: redis({ url: `rediss://localhost:${tlsPort}`, connectTimeout: 500 }) })
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_REALTIME_UNAVAILABLE', message: /self-signed certificate/ })
})

t.test('presence, as the ACL user', async (t: Test) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime, { adapter: redis({ url: `redis://realtime:secret@127.0.0.1:${server.port}`, beat: 50 }), identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { authorize: 'anyone', presence: { grace: 0 } })
  app.channel('/rooms/:room', { topics: room, presence: true })
  await app.ready()
  const client = await connectChannel(app, '/rooms/1', { format: 'envelope' })
  await until('her to be there', async () => (await room.presence({ room: '1' })).size === 1)
  await client.close()
  await until('her to have left', async () => (await room.presence({ room: '1' })).size === 0)
})

t.test('nothing that the ACL user needed was refused, and nothing more is allowed', async (t: Test) => {
  for (const one of [server, ...cluster.masters]) {
    const log = await one.ask(async (admin) => await admin.call('ACL', 'LOG')) as unknown[][]
    t.same(log.map((entry) => entry[entry.indexOf('object') + 1]), [])
  }
  const user = new Redis({ port: server.port, ...credentials })
  t.teardown(() => user.disconnect())
  for (const args of [['get', 'other'], ['publish', 'other', 'x'], ['flushall'], ['config', 'get', '*'], ['keys', '*'], ['acl', 'list'], ['eval', 'return redis.call("get", KEYS[1])', '1', 'other']] as const) {
    const [command, ...rest] = args
    await t.rejects(async () => { await user.call(command, ...rest) }, /NOPERM|permissions/, args.join(' '))
  }
})

t.test('the readiness check', async (t) => {
  const [, snippet] = /^```js\n(app\.get\('\/ready'[^`]*)```/m.exec(page) as unknown as [string, string]
  const own = await RedisServer.start(t)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime, { adapter: redis(own.url) })
  // eslint-disable-next-line no-new-func -- the page's own code
  new Function('app', snippet)(app)
  await app.ready()
  const status = async (): Promise<number> => (await app.inject('/ready')).statusCode
  t.equal(await status(), 200)
  await own.kill()
  await until('not ready', async () => await status() === 503)
  await own.up()
  await until('ready again', async () => await status() === 200)
})

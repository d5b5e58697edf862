/** What docs/deployment.md says, tried: the ACL user under the adapter's whole contract, and the readiness check. */
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { redis, type RedisAdapterOptions } from '../lib/adapters/redis/index.ts'
import realtime from '../lib/index.ts'
import { adapterConformance } from './conformance/adapter.ts'
import { RedisCluster, RedisServer, until } from './helpers/redis.ts'

const page = readFileSync(new URL('../docs/deployment.md', import.meta.url), 'utf8')
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

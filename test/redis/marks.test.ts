/** Who was signed out everywhere stays so on several nodes, on those that start later, and when Redis has forgotten. */
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import realtime from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { marksOf, type Marks } from '../../lib/core/adapter.ts'
import { connectStream } from '../../lib/testing/index.ts'
import { bare, refusalOf } from '../helpers/app.ts'
import { hubOf, revocationOf } from '../helpers/insides.ts'
import { RedisCluster, RedisServer, until } from '../helpers/redis.ts'
import { bearer, holding, made, SECRET, seconds } from '../helpers/tokens.ts'
import { startNode } from './kit.ts'

const [server, cluster] = await Promise.all([RedisServer.start(t), RedisCluster.start(t)])
let prefixes = 0
const fresh = (): string => `marks${prefixes++}:`
const old = (sub: string): Record<string, string> => bearer(made(holding({ sub, iat: seconds() - 5, realtime: { subscribe: ['rooms/:id'] } })))
const REVOKED = { statusCode: 401, body: { code: 'FST_ERR_REALTIME_REVOKED' } }

function strangerOf (t: Test): Redis {
  const stranger = new Redis(server.url)
  t.teardown(() => stranger.disconnect())
  return stranger
}

async function node (t: Test, options: object): Promise<FastifyInstance> {
  const app = bare(t)
  await app.register(realtime, { adapter: redis(options as never), tokens: { secret: SECRET }, closeTimeout: 500, retry: 50 })
  app.topic('rooms/:id', { authorize: 'token' })
  app.stream('/stream/:id', { topics: 'rooms/:id' })
  await app.ready()
  return app
}

for (const [where, options] of Object.entries({ 'one server': { url: server.url }, 'a cluster': { cluster: { nodes: cluster.nodes } } })) {
  t.test(`${where}: every node refuses what is old, also one that starts later; a new login works on all`, async (t) => {
    const shared = { ...options, prefix: fresh() }
    const [one, two] = await Promise.all([node(t, shared), node(t, shared)]) as [FastifyInstance, FastifyInstance]
    const streams = await Promise.all([one, two].map(async (app) => await connectStream(app, '/stream/1', { t, headers: old('ada') })))
    await one.realtime.disconnect({ identity: 'ada' }, { revoke: true })
    await Promise.all(streams.map(async (stream) => await stream.ended))
    const three = await node(t, shared)
    for (const app of [one, two, three]) {
      t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers: old('ada') })), REVOKED)
      const login = await connectStream(app, '/stream/1', { t, headers: bearer(app.realtime.sign({ sub: 'ada', subscribe: 'rooms/:id' })) })
      await login.next('realtime:open')
    }
  })
}

t.test('a Redis that has forgotten is told again, by a node that knows', async (t) => {
  const prefix = fresh()
  const app = await node(t, { url: server.url, prefix })
  await app.realtime.disconnect({ identity: 'ada' }, { revoke: true })
  const stranger = strangerOf(t)
  await stranger.del(`${prefix}marks:{revoked}`)
  hubOf(app).resync()
  await until('Redis to know', async () => await stranger.zscore(`${prefix}marks:{revoked}`, 'ada') !== null)
  const later = await node(t, { url: server.url, prefix })
  t.equal(revocationOf(later).identities.size, 1)
})

t.test('other hands on the key: nothing fails, and what is no moment is none', async (t) => {
  const prefix = fresh()
  const { adapter } = await startNode(t, { url: server.url, prefix })
  const marks = marksOf(adapter) as Marks
  const stranger = strangerOf(t)
  const key = `${prefix}marks:{space}`
  const now = Date.now()
  for (const spoil of [async () => await stranger.set(key, 'text'), async () => await stranger.lpush(key, 'a', 'b'), async () => await stranger.hset(key, 'ada', '1'), async () => await stranger.xadd(key, '*', 'a', 'b')]) {
    await stranger.del(key)
    await spoil()
    t.equal((await marks.marks('space')).size, 0)
    t.equal(await marks.mark('space', 'ada', now, 60_000, 10), true)
    t.same([...await marks.marks('space')], [['ada', now]])
  }
  await stranger.zadd(key, '-inf', 'never', '+inf', 'ever', '-5', 'before', '0', 'zero')
  t.same([...await marks.marks('space')], [['ada', now]])
  t.ok(await stranger.pttl(key) > 0, 'it ends by itself')
})

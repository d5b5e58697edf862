/** Keyed topics on Redis: what is lost there, and what others write there. SEED repeats a run of the schedules. */
import t, { type Test } from 'tap'
import { Redis } from 'ioredis'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel, connectStream, type ChannelClient } from '../../lib/testing/index.ts'
import { live } from '../helpers/app.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { declareKeyed, KeyedSchedule, type KeyedNode } from '../random/keyed.ts'
import { Random, seedOf } from '../random/random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 12)
const server = await RedisServer.start(t)
const stranger = new Redis(server.url)
t.teardown(() => stranger.disconnect())
let prefixes = 0
const freshPrefix = (): string => `keyed${prefixes++}:`

async function startNode (t: Test, prefix: string, url = server.url): Promise<KeyedNode> {
  const node = declareKeyed(await live(t, { adapter: redis({ url, prefix }), retry: 50 }))
  await node.app.listen({ port: 0, host: '127.0.0.1' })
  return node
}

type Data = { data: { part: number, more: boolean, items: Array<{ key: string, data: unknown }> } }

/** What the next snapshot holds. */
async function snapshotOf (client: ChannelClient): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {}
  for (;;) {
    const { data: { data: { more, items } } } = await client.next('realtime:snapshot') as { data: Data }
    for (const { key, data } of items) found[key] = data
    if (!more) return found
  }
}

/** What may befall a topic's keys. */
const LOSSES: Record<string, (redis: Redis, topic: string) => Promise<unknown>> = {
  'the state is evicted': async (redis, topic) => await redis.del(`${topic}:state`),
  'the head is evicted': async (redis, topic) => await redis.del(`${topic}:head`),
  'head and log are evicted': async (redis, topic) => await redis.del(`${topic}:head`, `${topic}:log`),
  'all is gone': async (redis, topic) => await redis.del(`${topic}:head`, `${topic}:log`, `${topic}:state`),
  'the state is of another head': async (redis, topic) => await redis.hset(`${topic}:state`, '', '5-5.other 3'),
  'the state says no head': async (redis, topic) => await redis.hset(`${topic}:state`, '', 'what?'),
  'the state lacks its head': async (redis, topic) => await redis.hdel(`${topic}:state`, ''),
  'the state is of another type': async (redis, topic) => await redis.multi().del(`${topic}:state`).set(`${topic}:state`, 'x').exec(),
  'the head is of another type': async (redis, topic) => await redis.multi().del(`${topic}:head`).rpush(`${topic}:head`, 'x').exec()
}

t.test('whatever is lost of a topic, all of it begins anew, and every listener is told the new state', async (t) => {
  for (const [what, lose] of Object.entries(LOSSES)) {
    const prefix = freshPrefix()
    const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
    await one.topic.publish({}, 'set', { k: 'a', v: 1 }, { key: 'a' })
    const clients = [await connectChannel(one.app, '/ws', { t, format: 'envelope' }), await connectChannel(two.app, '/ws', { t, format: 'envelope' })]
    for (const client of clients) t.same(await snapshotOf(client), { a: { k: 'a', v: 1 } }, what)
    await lose(stranger, `${prefix}{keyed}`)
    await two.topic.publish({}, 'set', { k: 'b', v: 2 }, { key: 'b' })
    for (const client of clients) {
      t.match(await client.next('realtime:reset'), { data: { topic: 'keyed', reason: 'lost' } }, what)
      t.same(await snapshotOf(client), { b: { k: 'b', v: 2 } }, what)
    }
    t.same((await one.topic.state({})).items.map(({ key }) => key), ['b'], what)
    await Promise.all([one.app.close(), two.app.close()])
  }
})

t.test('a node that reads a state which belongs to no head begins the topic anew', async (t) => {
  const prefix = freshPrefix()
  const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
  await one.topic.publish({}, 'set', { k: 'a', v: 1 }, { key: 'a' })
  const listener = await connectChannel(one.app, '/ws', { t, format: 'envelope' })
  t.same(Object.keys(await snapshotOf(listener)), ['a'])
  await stranger.del(`${prefix}{keyed}:state`)
  t.same((await two.topic.state({})).items, [])
  t.match(await listener.next('realtime:reset'), { data: { reason: 'lost' } }, 'without another event')
  t.same(await snapshotOf(listener), {})
})

/** What others may write into a state beside what is ours. */
const STRANGERS: Record<string, [key: string, value: string | Buffer]> = {
  nothing: ['x', ''],
  'no id': ['x', 'j 3 1\nsetx1'],
  'no body': ['x', '5-5.n'],
  'a body of another key': ['x', '5-5.n j 3 1\nsety1'],
  'no key': ['x', '5-5.n j 3 -\nset1'],
  'data that is no JSON': ['x', '5-5.n j 3 1\nsetx{'],
  'a name that forges': ['x', '5-5.n j 9 1\na\n\nevent:x1'],
  'a name of ours': ['x', '5-5.n j 12 1\nrealtime:endx1'],
  'bytes that are no UTF-8': ['x', Buffer.from([0x35, 0x2d, 0x35, 0x2e, 0x6e, 0x20, 0xff, 0xfe])],
  'a huge id': ['x', `${'9'.repeat(400)}-1.n j 3 1\nsetx1`],
  'of a version to come': ['x', '5-5.n j 3 1 v=99\nsetx1']
}

t.test('what is none of ours in a state is left out and counted, and forges nothing', async (t) => {
  for (const [what, [key, value]] of Object.entries(STRANGERS)) {
    const prefix = freshPrefix()
    const node = await startNode(t, prefix)
    await node.topic.publish({}, 'set', { k: 'a', v: 1 }, { key: 'a' })
    await stranger.hset(`${prefix}{keyed}:state`, key, value)
    const client = await connectChannel(node.app, '/ws', { t, format: 'envelope' })
    t.same(await snapshotOf(client), { a: { k: 'a', v: 1 } }, what)
    t.equal((node.app.realtime.stats().adapter as { invalid?: number }).invalid, 1, what)
    await node.app.close()
  }
})

t.test('a server that lost what it had acknowledged keeps the rest of the state', async (t) => {
  const own = await RedisServer.start(t)
  const [one, two] = [await startNode(t, 'fork:', own.url), await startNode(t, 'fork:', own.url)]
  for (const k of ['a', 'b', 'c']) await one.topic.publish({}, 'set', { k, v: 1 }, { key: k })
  const clients = [await connectChannel(one.app, '/ws', { t, format: 'envelope' }), await connectChannel(two.app, '/ws', { t, format: 'envelope' })]
  for (const client of clients) t.same(Object.keys(await snapshotOf(client)), ['a', 'b', 'c'])
  await own.ask(async (redis) => await redis.save())
  await one.topic.publish({}, 'set', { k: 'a', v: 2 }, { key: 'a' })
  await one.topic.remove({}, 'c')
  for (const client of clients) await client.next('realtime:removed')
  await own.kill()
  await own.up()
  for (const client of clients) {
    await client.next('realtime:reset')
    t.same(await snapshotOf(client), { a: { k: 'a', v: 1 }, b: { k: 'b', v: 1 }, c: { k: 'c', v: 1 } })
  }
  await two.topic.publish({}, 'set', { k: 'd', v: 1 }, { key: 'd' })
  for (const client of clients) t.match(await client.next('set'), { data: { k: 'a', v: 2 } })
  for (const client of clients) t.match(await client.next('set'), { data: { k: 'd' } }, 'and on it goes behind it')
  const late = await connectChannel((await startNode(t, 'fork:', own.url)).app, '/ws', { t, format: 'envelope' })
  t.same(Object.keys(await snapshotOf(late)).sort(), ['a', 'b', 'c', 'd'], 'nothing of it counts as newer than the new beginning')
})

t.test('Redis gone while a state is read: who joins waits, and is given it when Redis is back', async (t) => {
  const own = await RedisServer.start(t)
  const node = await startNode(t, 'gone:', own.url)
  await node.topic.publish({}, 'set', { k: 'a', v: 1 }, { key: 'a' })
  // The topic is heard here; its state is not read yet.
  const early = await connectStream(node.app, '/one', { t })
  await early.next('realtime:snapshot')
  const { size } = await node.topic.state({})
  t.equal(size, 1)
  own.signal('SIGSTOP')
  const joining = connectStream(node.app, '/one', { t })
  own.signal('SIGCONT')
  t.match((await (await joining).next('realtime:snapshot')).data, { topic: 'keyed', data: { items: [{ key: 'a' }] } })
})

t.test('10,000 keys are joined without blocking Redis or the node for long, and one read serves all', { timeout: 120_000 }, async (t) => {
  const own = await RedisServer.start(t)
  const [one, two] = [await startNode(t, 'large:', own.url), await startNode(t, 'large:', own.url)]
  const keys = Array.from({ length: 10_000 }, (_, i) => `key-${i}`)
  for (let i = 0; i < keys.length; i += 500) {
    await Promise.all(keys.slice(i, i + 500).map(async (k) => await one.topic.publish({}, 'set', { k, v: 1 }, { key: k })))
  }
  await t.rejects(one.topic.publish({}, 'set', { k: 'x', v: 1 }, { key: 'x' }), { code: 'FST_ERR_REALTIME_STATE_FULL' })
  await own.ask(async (redis) => {
    await redis.config('RESETSTAT')
  })
  const clients = await Promise.all(Array.from({ length: 20 }, async () => await connectChannel(two.app, '/ws', { t, format: 'envelope', timeout: 30_000 })))
  for (const client of clients) t.equal(Object.keys(await snapshotOf(client)).length, 10_000)
  await own.ask(async (redis) => {
    const stats = await redis.info('commandstats')
    const callsOf = (command: string): number => Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0)
    const calls = callsOf('hscan')
    t.ok(calls >= 20 && calls <= 110, `${calls} parts were read, once for all`)
    // Its work, and not its time: a busy machine stops Redis for longer than a command takes.
    t.ok(callsOf('evalsha') + callsOf('eval') >= calls, 'a part in each script')
    t.notMatch(stats, /^cmdstat_(hgetall|hkeys|hvals|hmget|keys|lrange|smembers|sort|zrange):/m, 'and nothing that reads more at once')
  })
  await until('all connections to have been let be', () => two.app.realtime.stats().closing === 0)
})

t.test('a client\'s map is the model\'s at each quiet point, on two nodes', { timeout: 600_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let n = 0; n < SCHEDULES; n++) {
    const one = (seed + n) >>> 0
    const prefix = freshPrefix()
    try {
      const nodes = [await startNode(t, prefix), await startNode(t, prefix)]
      const lose = async (random: Random): Promise<void> => {
        const key = random.pick(['head', 'state'])
        await stranger.del(`${prefix}{keyed}:${key}`)
      }
      const schedule = new KeyedSchedule({ nodes, lose }, new Random(one))
      await schedule.run(120)
      await Promise.all(nodes.map(async ({ app }) => await app.close()))
    } catch (error) {
      return t.fail(`SEED=${one} SCHEDULES=1: ${(error as Error).stack}`)
    }
  }
  t.pass('all of them')
})

/** Presence on Redis: members over several nodes, and what becomes of those of a node that dies, pauses or leaves. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel, type ChannelClient } from '../../lib/testing/index.ts'
import type { PresenceOptions } from '../../lib/index.ts'
import { live } from '../helpers/app.ts'
import { RedisServer } from '../helpers/redis.ts'
import { Roster } from '../helpers/roster.ts'
import { Random, seedOf } from '../random/random.ts'
import { PresenceSchedule } from './presence-random.ts'

const server = await RedisServer.start(t)
const stranger = new Redis(server.url)
t.teardown(() => stranger.disconnect())
const SCHEDULES = Number(process.env.SCHEDULES ?? 6)
let prefixes = 0
const freshPrefix = (): string => `presence${prefixes++}:`

interface NodeOfTest { app: FastifyInstance, told: string[], join (user: string, path?: string): Promise<ChannelClient>, watch (): Promise<Roster> }

async function startNode (t: Test, prefix: string, presence: PresenceOptions = {}, url = server.url): Promise<NodeOfTest> {
  const told: string[] = []
  const app = await live(t, { adapter: redis({ url, prefix, beat: 200 }), identify: (request) => ({ id: String(request.headers.user) }), retry: 50 })
  const room = app.topic('rooms/:room', {
    authorize: () => true,
    presence: {
      grace: 0,
      onJoin: ({ id }) => told.push(`+${id}`),
      onLeave: ({ id }, { reason }) => told.push(`-${id} ${reason}`),
      ...presence
    }
  })
  app.channel('/rooms/:room', { topics: room, presence: true })
  app.channel('/watch/:room', { topics: room, presence: 'watch' })
  await app.ready()
  const join = async (user: string, path = '/rooms/1') => await connectChannel(app, path, { t, format: 'envelope', headers: { user } })
  return { app, told, join, watch: async () => new Roster(await join('watcher', '/watch/1')) }
}

t.test('members are one list over all nodes, each told once, by identity', async (t) => {
  const prefix = freshPrefix()
  const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
  const rosters = [await one.watch(), await two.watch()]
  const ada = await one.join('ada')
  for (const roster of rosters) await roster.untilIds('ada')
  const twin = await two.join('ada')
  const bob = await two.join('bob')
  for (const roster of rosters) await roster.untilIds('ada', 'bob')
  await ada.close()
  await bob.close()
  for (const roster of rosters) await roster.untilIds('ada')
  await twin.close()
  for (const roster of rosters) await roster.untilIds()
  for (const { changes } of rosters) t.same(changes, ['+ada', '+bob', '-bob', '-ada'])
  t.same([...one.told, ...two.told].sort(), ['+ada', '+bob', '-ada left', '-bob left'])
})

t.test('FLUSHALL: all of them come back by themselves, and no join or leave is told that nobody made', { timeout: 60_000 }, async (t) => {
  const own = await RedisServer.start(t)
  const [one, two] = [await startNode(t, 'flush:', {}, own.url), await startNode(t, 'flush:', {}, own.url)]
  const rosters = [await one.watch(), await two.watch()]
  await one.join('ada')
  await two.join('bob')
  for (const roster of rosters) await roster.untilIds('ada', 'bob')
  await own.ask(async (redis) => await redis.flushall())
  const late = await two.join('carl')
  t.ok(late)
  for (const roster of rosters) await roster.until('three', ({ ids }) => ids.join() === 'ada,bob,carl', 20_000)
  for (const { changes } of rosters) t.same(changes.filter((change) => /ada|bob/.test(change)).sort(), ['+ada', '+bob'])
  t.same([...one.told, ...two.told].sort(), ['+ada', '+bob', '+carl'])
})

t.test('a node that closes: its members leave after the grace, with the reason left', { timeout: 60_000 }, async (t) => {
  const prefix = freshPrefix()
  const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
  const roster = await one.watch()
  await two.join('ada')
  await roster.untilIds('ada')
  await two.app.close()
  await roster.until('nobody', ({ ids }) => ids.length === 0, 30_000)
  t.same(roster.changes.filter((change) => change.startsWith('-')), ['-ada'])
  t.same(one.told, ['-ada left'])
})

t.test('tokens that Redis has lost: each node that has members says so again at once, and none of them is gone', { timeout: 60_000 }, async (t) => {
  const prefix = freshPrefix()
  const nodes = [await startNode(t, prefix), await startNode(t, prefix), await startNode(t, prefix)] as const
  const [one, two, three] = nodes
  await one.join('ada')
  await two.join('bob')
  const roster = await three.watch()
  await roster.untilIds('ada', 'bob')
  await stranger.del(`${prefix}{realtime:presence/rooms/1}:nodes`)
  await three.join('carl')
  for (const { app } of nodes) {
    const all = new Roster(await connectChannel(app, '/watch/1', { t, format: 'envelope', headers: { user: 'watcher' } }))
    await all.until('all of them', ({ ids }) => ids.join() === 'ada,bob,carl', 20_000)
  }
  await roster.until('all of them', ({ ids }) => ids.join() === 'ada,bob,carl', 20_000)
  t.same(nodes.flatMap(({ told }) => told).sort(), ['+ada', '+bob', '+carl'])
})

for (const { how, holds, blockedMs } of [
  { how: 'beside members of its own', holds: true, blockedMs: 0 },
  { how: 'where it only watches', holds: false, blockedMs: 0 },
  { how: 'where the process stood still meanwhile', holds: false, blockedMs: 4000 }
]) {
  t.test(`a closed node whose mark Redis has lost: its members are no ghosts for another node, ${how}`, { timeout: 60_000 }, async (t) => {
    const prefix = freshPrefix()
    const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
    const roster = await one.watch()
    if (holds) await one.join('bob')
    await two.join('ada')
    await roster.untilIds(...holds ? ['ada', 'bob'] : ['ada'])
    await two.app.close()
    await stranger.del(`${prefix}{realtime:nodes}`)
    // It has found out that its own name is lost: from here on it looks.
    while (await stranger.hlen(`${prefix}{realtime:nodes}`) === 0);
    for (const start = performance.now(); performance.now() - start < blockedMs;);
    await roster.until('her gone', ({ ids }) => !ids.includes('ada'), 20_000)
    t.same(roster.changes.filter((change) => change.startsWith('-')), ['-ada'])
  })
}

t.test('more than maxMembers are not shown; whoever waits on any node is shown once others leave', { timeout: 60_000 }, async (t) => {
  const prefix = freshPrefix()
  const [one, two] = [await startNode(t, prefix, { maxMembers: 2 }), await startNode(t, prefix, { maxMembers: 2 })]
  const roster = await one.watch()
  const [ada, bob] = [await one.join('ada'), await two.join('bob')]
  await roster.untilIds('ada', 'bob')
  await two.join('carl')
  const dora = await one.join('dora')
  t.same(roster.ids, ['ada', 'bob'])
  await ada.close()
  await roster.until('another', ({ ids }) => ids.length === 2 && !ids.includes('ada'))
  const [first = ''] = roster.ids.filter((id) => id !== 'bob')
  await dora.close()
  await bob.close()
  await roster.untilIds('carl')
  t.same(roster.changes.filter((change) => change === '+carl'), ['+carl'])
  t.ok(['carl', 'dora'].includes(first))
  t.same([...one.told, ...two.told].filter((told) => told.startsWith('+carl')), ['+carl'])
})

t.test('Redis that loses a full topic costs nobody a place, and those who wait come in their order', { timeout: 60_000 }, async (t) => {
  const prefix = freshPrefix()
  const one = await startNode(t, prefix, { maxMembers: 2 })
  const roster = await one.watch()
  const ada = await one.join('ada')
  const bob = await one.join('bob')
  await roster.untilIds('ada', 'bob')
  for (const name of ['carl', 'dora', 'emil']) await one.join(name)
  const topic = `${prefix}{realtime:presence/rooms/1}`
  const lists = roster.lists
  await stranger.del(...['state', 'head', 'nodes', 'log'].map((key) => `${topic}:${key}`))
  await one.join('fred')
  await roster.until('the list anew', ({ ids, lists: now }) => now > lists && ids.length === 2)
  t.same(roster.ids, ['ada', 'bob'])
  await ada.close()
  await roster.untilIds('bob', 'carl')
  await bob.close()
  await roster.untilIds('carl', 'dora')
  t.same(one.told, ['+ada', '+bob', '-ada left', '+carl', '-bob left', '+dora'])
})

for (const { room, maxMembers, schedules } of [
  { room: 'room for all', maxMembers: undefined, schedules: SCHEDULES },
  { room: 'room for three', maxMembers: 3, schedules: Math.ceil(SCHEDULES / 3) }
]) {
  t.test(`with ${room}, at each quiet point every list is the model's, whatever nodes and Redis did`, { timeout: 60_000 + schedules * 20_000 }, async (t) => {
    const seed = seedOf()
    t.comment(`SEED=${seed}`)
    let checks = 0
    let audited = 0
    for (let n = 0; n < schedules; n++) {
      const one = (seed + n) >>> 0
      const world = { t, port: server.port, prefix: freshPrefix(), stranger, ...(maxMembers !== undefined && { maxMembers }) }
      const schedule = new PresenceSchedule(world, new Random(one))
      try {
        await schedule.run(60)
        checks += schedule.checks
        if (schedule.audited) audited++
      } catch (error) {
        return t.fail(`SEED=${one} SCHEDULES=1: ${(error as Error).stack}`)
      } finally {
        await schedule.close()
      }
    }
    t.ok(checks >= schedules)
    t.comment(`${schedules} schedules, ${checks} quiet points, ${audited} audited`)
  })
}

t.test('of a room that everybody has left little stays, and not for long', async (t) => {
  const prefix = freshPrefix()
  const one = await startNode(t, prefix)
  const client = await one.join('ada')
  await new Roster(client).untilIds('ada')
  const topics = async (): Promise<string[]> => (await Promise.all((await stranger.keys(`${prefix}{realtime:nodes}:t:*`)).map(async (key) => await stranger.smembers(key)))).flat()
  t.same(await topics(), ['realtime:presence/rooms/1'])
  await client.close()
  while ((await topics()).length > 0) await new Promise((resolve) => setTimeout(resolve, 10))
  for (const part of ['head', 'state', 'nodes', 'log']) {
    const ms = await stranger.pttl(`${prefix}{realtime:presence/rooms/1}:${part}`)
    t.ok(ms > 0 && ms <= 3_600_000, `${part}: ${ms}`)
  }
})

t.test('whatever others write into the keys of presence, members are shown all the same', { timeout: 60_000 }, async (t) => {
  const spoil: Record<string, (key: string) => Promise<unknown>> = {
    'the registry is a list': async (prefix) => await stranger.multi().del(`${prefix}{realtime:nodes}`).rpush(`${prefix}{realtime:nodes}`, 'x').exec(),
    'the registry holds rubbish': async (prefix) => await stranger.hset(`${prefix}{realtime:nodes}`, 'x', 'what?', 'y', 'x', 'z', 'x9 a left'),
    'the tokens are a list': async (prefix) => await stranger.multi().del(`${prefix}{realtime:presence/rooms/1}:nodes`).rpush(`${prefix}{realtime:presence/rooms/1}:nodes`, 'x').exec(),
    'the state is a list': async (prefix) => await stranger.multi().del(`${prefix}{realtime:presence/rooms/1}:state`).rpush(`${prefix}{realtime:presence/rooms/1}:state`, 'x').exec(),
    'a member is rubbish': async (prefix) => await stranger.hset(`${prefix}{realtime:presence/rooms/1}:state`, 'ada', 'rubbish'),
    'the log is a list': async (prefix) => await stranger.multi().del(`${prefix}{realtime:presence/rooms/1}:log`).rpush(`${prefix}{realtime:presence/rooms/1}:log`, 'x').exec(),
    'the topics of the node are a list': async (prefix) => {
      for (const key of await stranger.keys(`${prefix}{realtime:nodes}:t:*`)) await stranger.multi().del(key).rpush(key, 'x').exec()
    }
  }
  for (const [what, run] of Object.entries(spoil)) {
    const prefix = freshPrefix()
    const [one, two] = [await startNode(t, prefix), await startNode(t, prefix)]
    const roster = await two.watch()
    await one.join('bob')
    await roster.untilIds('bob')
    await run(prefix)
    await one.join('ada')
    await roster.until(what, ({ ids }) => ids.join() === 'ada,bob', 20_000)
    await Promise.all([one.app.close(), two.app.close()])
    t.pass(what)
  }
})

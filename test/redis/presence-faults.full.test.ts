/** What becomes of members when nodes stand still or die, and when Redis forgets, restarts, or is another server. */
import t, { type Test } from 'tap'
import { setTimeout as sleep } from 'node:timers/promises'
import { slotOf } from '../../lib/adapters/redis/keys.ts'
import type { RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import type { Roster } from '../helpers/roster.ts'
import { agree, RoomNode } from '../helpers/rooms.ts'
import { RedisCluster, RedisSentinels, RedisServer, until } from '../helpers/redis.ts'

t.setTimeout(600_000)

const REGISTRY = 'realtime:{realtime:nodes}'
/** Longer than the lease and the grace of 10 s; and shorter than the lease. */
const [LONG_MS, SHORT_MS] = [30_000, 2000]
/** Where the lease is not what is tested; and where a busy machine is no dead node yet. */
const SOON = { beat: 1000, grace: 5000 }

interface Stage { nodes: [RoomNode, RoomNode], child: RoomNode, all: RoomNode[] }

/** Ada is on the first node, bob on the second; carl, dora and emil on one in a process of its own, and its twin ada. */
const STAYING = ['ada', 'bob']
const HELD = ['carl', 'dora', 'emil']

async function open (t: Test, redis: RedisAdapterOptions, grace?: number, room = '1'): Promise<Stage> {
  const options = { redis, ...grace !== undefined && { grace } }
  const nodes = [await RoomNode.start(t, options), await RoomNode.start(t, options)] as Stage['nodes']
  const child = await RoomNode.spawn(t, options)
  const all = [...nodes, child]
  for (const node of all) await node.watch(room)
  await agree(all, [], room)
  await nodes[0].join('ada', `/rooms/${room}`)
  await nodes[1].join('bob', `/rooms/${room}`)
  for (const user of [...HELD, 'ada']) await child.join(user, `/rooms/${room}`)
  await agree(all, [...STAYING, ...HELD], room)
  return { nodes, child, all }
}

/** How often each change was told. */
function counted (changes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const change of changes) counts[change] = (counts[change] ?? 0) + 1
  return counts
}

/** Where the list is told anew it may have been told of her already. */
function besidesZoe (changes: readonly string[]): Record<string, number> {
  return counted(changes.filter((change) => change !== '+zoe'))
}

const once = (...changes: string[]): Record<string, number> => counted(changes)
const joinsOf = (ids: readonly string[]): string[] => ids.map((id) => `+${id}`)
const leavesOf = (ids: readonly string[]): string[] => ids.map((id) => `-${id}`)
const lost = (ids: readonly string[]): string[] => ids.map((id) => `-${id} lost`)
const rostersOf = (nodes: readonly RoomNode[]): Roster[] => nodes.flatMap((node) => node.rosters())
const toldBy = (nodes: readonly RoomNode[]): Record<string, number> => counted(nodes.flatMap(({ told }) => told))

async function registered (server: RedisServer): Promise<Record<string, string>> {
  return await server.ask(async (redis) => await redis.hgetall(REGISTRY))
}

/** So many nodes are alive, and nobody is being reaped. */
async function settled (server: RedisServer, nodes: number): Promise<void> {
  await until('the nodes alone', async () => {
    const values = Object.values(await registered(server))
    return values.length === nodes && values.every((value) => /^\d+ /.test(value))
  }, 60_000)
}

/** Nothing that was on its way is left: one more joins behind it. */
async function quiet (server: RedisServer, nodes: readonly RoomNode[], present: readonly string[], room = '1'): Promise<void> {
  await settled(server, nodes.length)
  await (nodes.at(-1) as RoomNode).join('zoe', `/rooms/${room}`)
  await agree(nodes, [...present, 'zoe'], room)
}

t.test('a node that stands still for less than its lease: nobody is told anything', async (t) => {
  const server = await RedisServer.start(t)
  const { child, all } = await open(t, { url: server.url })
  const names = Object.keys(await registered(server)).sort()
  child.signal('SIGSTOP')
  await sleep(SHORT_MS)
  child.signal('SIGCONT')
  const before = await registered(server)
  // Whoever would have taken it for dead has had the time to do so.
  await until('six beats of each', async () => {
    const now = await registered(server)
    return names.every((name) => parseInt(now[name] as string) >= parseInt(before[name] as string) + 6)
  }, 60_000)
  await quiet(server, all, [...STAYING, ...HELD])
  t.same(Object.keys(await registered(server)).sort(), names, 'it has kept its name')
  for (const { changes } of rostersOf(all)) t.same(counted(changes), once(...joinsOf([...STAYING, ...HELD, 'zoe'])))
  t.same(toldBy(all), once(...joinsOf([...STAYING, ...HELD, 'zoe'])))
})

t.test('a node that stands still for 30 s: its members are lost once, and there again once', async (t) => {
  const server = await RedisServer.start(t)
  const { nodes, child, all } = await open(t, { url: server.url })
  const since = performance.now()
  child.signal('SIGSTOP')
  await agree(nodes, STAYING)
  t.comment(`told after ${((performance.now() - since) / 1000).toFixed(1)} s`)
  await sleep(LONG_MS - (performance.now() - since))
  await settled(server, nodes.length)
  const gone = [...joinsOf([...STAYING, ...HELD]), ...leavesOf(HELD)]
  for (const { changes } of rostersOf(nodes)) t.same(counted(changes), once(...gone), 'each was lost once, and ada is there')
  await agree(nodes, STAYING)
  child.signal('SIGCONT')
  await agree(all, [...STAYING, ...HELD])
  await quiet(server, all, [...STAYING, ...HELD])
  const back = once(...gone, ...joinsOf(HELD), '+zoe')
  for (const { changes } of rostersOf(nodes)) t.same(counted(changes), back, 'each has come back once')
  for (const { changes } of child.rosters()) {
    t.ok(Object.entries(counted(changes)).every(([change, times]) => times <= (back[change] ?? 0)), `to those on it nothing more: ${changes.join(' ')}`)
  }
  t.same(toldBy(all), once(...joinsOf([...STAYING, ...HELD]), ...lost(HELD), ...joinsOf(HELD), '+zoe'))
})

const FORGETTING: Record<string, { args?: string[], forgets: boolean, run: (server: RedisServer, meanwhile: () => Promise<void>) => Promise<void> }> = {
  'FLUSHALL as a node dies': {
    forgets: true,
    run: async (server, meanwhile) => {
      await meanwhile()
      await server.ask(async (redis) => await redis.flushall())
    }
  },
  'a restart without data, while which a node dies': { forgets: true, run: restart },
  'a restart with data, while which a node dies': { args: ['--appendonly', 'yes', '--appendfsync', 'always'], forgets: false, run: restart }
}

async function restart (server: RedisServer, meanwhile: () => Promise<void>): Promise<void> {
  await server.kill()
  await meanwhile()
  await server.up()
}

for (const [what, { args, forgets, run }] of Object.entries(FORGETTING)) {
  t.test(`${what}: its members are no ghosts, and of the others nothing is told`, async (t) => {
    const server = await RedisServer.start(t, args)
    const { nodes, child } = await open(t, { url: server.url, beat: SOON.beat }, SOON.grace)
    await run(server, async () => await child.kill())
    await agree(nodes, STAYING)
    await quiet(server, nodes, STAYING)
    const told = joinsOf([...STAYING, ...HELD])
    for (const { changes } of rostersOf(nodes)) {
      // Of those that Redis has forgotten nobody can say that they leave: the list is told anew.
      t.same(besidesZoe(changes), once(...told, ...forgets ? [] : leavesOf(HELD)))
    }
    t.same(toldBy([...nodes, child]), once(...told, '+zoe', ...forgets ? [] : lost(HELD)))
  })
}

t.test('a restart without data: all of them come back by themselves', async (t) => {
  const server = await RedisServer.start(t)
  const { all } = await open(t, { url: server.url, beat: SOON.beat }, SOON.grace)
  await restart(server, async () => {})
  await until('the list anew', () => rostersOf(all).every((roster) => roster.ids.length > 0 && roster.lists > 1), 60_000)
  await quiet(server, all, [...STAYING, ...HELD])
  const told = joinsOf([...STAYING, ...HELD])
  for (const { changes } of rostersOf(all)) t.same(besidesZoe(changes), once(...told))
  t.same(toldBy(all), once(...told, '+zoe'))
})

/** A room for each master, the one of the registry first. */
async function roomsOf (cluster: RedisCluster): Promise<Map<RedisServer, string>> {
  const rooms = new Map<RedisServer, string>()
  const first = await cluster.ownerOf(slotOf(REGISTRY))
  for (let n = 1; rooms.size < cluster.masters.length; n++) {
    const owner = await cluster.ownerOf(slotOf(`realtime:{realtime:presence/rooms/${n}}`))
    if (!rooms.has(owner) && (rooms.size > 0 || owner === first)) rooms.set(owner, String(n))
  }
  return rooms
}

t.test('a cluster: joins, leaves and the death of a node, in rooms on each of its masters', async (t) => {
  const cluster = await RedisCluster.start(t)
  const rooms = [...(await roomsOf(cluster)).values()]
  const options = { redis: { cluster: { nodes: cluster.nodes } }, grace: 0 }
  const nodes = [await RoomNode.start(t, options), await RoomNode.start(t, options)] as const
  const child = await RoomNode.spawn(t, options)
  const all = [...nodes, child]
  const registry = await cluster.ownerOf(slotOf(REGISTRY))
  const check = async (alive: readonly RoomNode[], wanted: readonly string[]): Promise<void> => {
    for (const room of rooms) await agree(alive, wanted, room)
  }
  for (const room of rooms) for (const node of all) await node.watch(room)
  await check(all, [])
  const guests = []
  for (const room of rooms) {
    await nodes[0].join('ada', `/rooms/${room}`)
    guests.push(await nodes[1].join('bob', `/rooms/${room}`))
    for (const user of [...HELD, 'ada']) await child.join(user, `/rooms/${room}`)
  }
  await check(all, [...STAYING, ...HELD])
  for (const guest of guests) await guest.leave()
  await check(all, ['ada', ...HELD])
  await child.kill()
  // Carl comes back on another node: he was never away.
  for (const room of rooms) await nodes[1].join('carl', `/rooms/${room}`)
  await check(nodes, ['ada', 'carl'])
  await settled(registry, nodes.length)
  const changes = once(...joinsOf([...STAYING, ...HELD]), '-bob', '-dora', '-emil')
  for (const roster of rostersOf(nodes)) t.same(counted(roster.changes), changes)
  const told = [...joinsOf([...STAYING, ...HELD]), '-bob left', ...lost(['dora', 'emil'])]
  t.same(toldBy(all), counted(rooms.flatMap(() => told)))
})

/** All that was written so far. */
async function replicated (master: RedisServer): Promise<void> {
  await master.ask(async (redis) => {
    await redis.set('realtime:{realtime:nodes}:replicated', '1')
    await redis.wait(1, 0)
  })
}

t.test('a master of a cluster dies, and a node with it: its replica has the members, and lets the node\'s go', async (t) => {
  const cluster = await RedisCluster.start(t)
  const rooms = await roomsOf(cluster)
  const [[master, room]] = [...rooms] as [[RedisServer, string]]
  const replica = await cluster.replicate(t, master)
  const { nodes, child } = await open(t, { cluster: { nodes: cluster.nodes }, beat: SOON.beat, publishTimeout: 30_000 }, SOON.grace, room)
  await replicated(master)
  await master.kill()
  await child.kill()
  await agree(nodes, STAYING, room)
  await quiet(replica, nodes, STAYING, room)
  for (const { changes } of rostersOf(nodes)) {
    t.same(counted(changes), once(...joinsOf([...STAYING, ...HELD]), ...leavesOf(HELD), '+zoe'))
  }
  t.same(toldBy([...nodes, child]), once(...joinsOf([...STAYING, ...HELD]), ...lost(HELD), '+zoe'))
})

/** With a `publishTimeout` that lasts until there is a master again. */
async function openSentinels (t: Test): Promise<Stage & { master: RedisServer, replica: RedisServer }> {
  const { name, sentinels, servers: [master, replica] } = await RedisSentinels.start(t) as RedisSentinels & { servers: [RedisServer, RedisServer] }
  const stage = await open(t, { connection: { sentinels, name }, beat: SOON.beat, publishTimeout: 30_000 }, SOON.grace)
  return { ...stage, master, replica }
}

t.test('Sentinel: the master dies, and a node with it: its members are no ghosts, and of the others nothing is told', async (t) => {
  const { nodes, child, master, replica } = await openSentinels(t)
  await replicated(master)
  await master.kill()
  await child.kill()
  await agree(nodes, STAYING)
  await quiet(replica, nodes, STAYING)
  for (const { changes } of rostersOf(nodes)) {
    t.same(counted(changes), once(...joinsOf([...STAYING, ...HELD]), ...leavesOf(HELD), '+zoe'))
  }
  t.same(toldBy([...nodes, child]), once(...joinsOf([...STAYING, ...HELD]), ...lost(HELD), '+zoe'))
})

t.test('Sentinel: a replica that lacks members: they come back by themselves, and who has left does not', async (t) => {
  const { nodes, all, master, replica } = await openSentinels(t)
  const guests = [await nodes[0].join('gina'), await nodes[1].join('ivan', '/rooms/2')]
  await nodes[0].watch('2')
  await agree(all, [...STAYING, ...HELD, 'gina'])
  await agree(all, ['ivan'], '2')
  await replicated(master)
  // It cannot come back for what follows: it stands still until its master is gone.
  replica.signal('SIGSTOP')
  await master.ask(async (redis) => await redis.call('client', 'kill', 'type', 'replica'))
  await nodes[1].join('hugo')
  for (const guest of guests) await guest.leave()
  await agree(all, [...STAYING, ...HELD, 'hugo'])
  await agree(all, [], '2')
  await master.kill()
  replica.signal('SIGCONT')
  await until('a master', async () => await replica.ask(async (redis) => (await redis.role())[0] === 'master'))
  await agree(all, [...STAYING, ...HELD, 'hugo'])
  await agree(all, [], '2')
  await quiet(replica, all, [...STAYING, ...HELD, 'hugo'])
  for (const { changes } of all.flatMap((node) => node.rosters('1'))) {
    t.same(besidesZoe(changes), once(...joinsOf([...STAYING, ...HELD, 'gina', 'hugo']), '-gina'))
  }
  t.same(toldBy(all), once(...joinsOf([...STAYING, ...HELD, 'gina', 'hugo', 'ivan']), '-gina left', '-ivan left', '+zoe'))
})

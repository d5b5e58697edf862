/** What goes wrong in a schedule. Each fault ends by itself, and leaves nothing behind that would have to be healed by hand. */
import type { RedisServer } from '../helpers/redis.ts'
import { until } from '../helpers/redis.ts'
import { slotOf } from '../../lib/adapters/redis/keys.ts'
import { TOPICS, sleep, tear, wipe, type ChaosWorld, type Topology } from './world.ts'

export interface FaultKind {
  readonly name: string
  readonly on: readonly Topology[]
  /** Acknowledged events go. */
  readonly lossy?: boolean
  /** Takes seconds: met now and then only. */
  readonly slow?: boolean
  readonly run: (world: ChaosWorld) => Promise<void>
}

const ALL: readonly Topology[] = ['single', 'sentinel', 'cluster']
const ALONE: readonly Topology[] = ['single', 'cluster']

const anyNode = (world: ChaosWorld): ChaosWorld['nodes'][number] => world.random.pick(world.running)
const anyServer = (world: ChaosWorld): RedisServer => world.random.pick(world.servers)

async function killNode (world: ChaosWorld): Promise<void> {
  const node = anyNode(world)
  await node.kill()
  const successor = await world.startNode(node.proxies)
  successor.send({ do: 'go' })
}

async function restart (world: ChaosWorld, between: (server: RedisServer) => void): Promise<void> {
  const server = anyServer(world)
  await server.kill()
  between(server)
  await sleep(world.random.int(0, 1200))
  await server.up()
}

async function halt (world: ChaosWorld, ms: number): Promise<void> {
  const server = anyServer(world)
  server.signal('SIGSTOP')
  await sleep(ms)
  server.signal('SIGCONT')
}

async function haltNode (world: ChaosWorld, ms: number): Promise<void> {
  const node = anyNode(world)
  node.child.kill('SIGSTOP')
  await sleep(ms)
  node.child.kill('SIGCONT')
}

async function withLinks (world: ChaosWorld, ms: number, run: (proxy: ChaosWorld['nodes'][number]['proxies'][number]) => void): Promise<void> {
  const { proxies } = anyNode(world)
  for (const proxy of proxies) run(proxy)
  await sleep(ms)
  for (const proxy of proxies) proxy.heal()
}

async function onAll (world: ChaosWorld, ...command: [string, ...string[]]): Promise<void> {
  for (const server of world.servers) await server.ask(async (redis) => await redis.call(...command)).catch(() => {})
}

/** An event from a time to come, linked as it should be: as if the clock had been an hour ahead, and was set back. */
const FROM_THE_FUTURE = `
local state = redis.call('GET', KEYS[2])
if not state then return end
local id, rest = string.match(state, '^(%S+) (.*)$')
local total = string.match(rest, '^%d+')
local time = redis.call('TIME')
local ms = string.format('%.0f', math.max(time[1] * 1000 + 3600000, tonumber(string.match(id, '^%d+')) + 1))
local short, body = ms .. '-0', ARGV[2] .. ms .. '}'
redis.call('XADD', KEYS[1], short, 'n', 'clock', 'p', id, 'c', total, 'e', body)
redis.call('SET', KEYS[2], short .. '.clock ' .. rest, 'PX', 86400000)
redis.call(ARGV[3], ARGV[1], short .. '.clock ' .. id .. ' ' .. body)
`

async function setClockBack (world: ChaosWorld): Promise<void> {
  for (const topic of TOPICS) {
    const channel = `${world.prefix}{${topic}}`
    const body = `j 1 -\ne{"t":"${topic}","p":"clock","n":`
    const announce = world.cluster ? 'SPUBLISH' : 'PUBLISH'
    for (const server of world.servers) {
      // Those that do not have the slot refuse it; so does a replica.
      await server.ask(async (redis) => await redis.eval(FROM_THE_FUTURE, 2, `${channel}:log`, `${channel}:head`, channel, body, announce)).catch(() => {})
    }
  }
}

async function masterOf (world: ChaosWorld): Promise<{ master: RedisServer, replica: RedisServer }> {
  let roles: boolean[] = []
  await until('one master and one replica', async () => {
    roles = await Promise.all(world.servers.map(async (server) => await server.ask(async (redis) => (await redis.info('replication')).includes('role:master'))))
    return roles.includes(true) && roles.includes(false)
  })
  const master = world.servers[roles.indexOf(true)]
  const replica = world.servers[roles.indexOf(false)]
  return { master, replica } as { master: RedisServer, replica: RedisServer }
}

/** The replica falls behind, the master dies, the replica takes its place: what it had not got is gone. */
async function failOver (world: ChaosWorld, lag: number, deaf = false): Promise<void> {
  const { master, replica } = await masterOf(world)
  if (lag > 0) {
    // A password where none is asked for: the replica is refused, and does not get back on.
    await replica.ask(async (redis) => await redis.config('SET', 'masterauth', 'unwanted'))
    await master.ask(async (redis) => await redis.call('client', 'kill', 'type', 'replica'))
    // It does not hear what is about to be lost: when it is back, nothing it knows of is missing.
    if (deaf) for (const proxy of anyNode(world).proxies) proxy.freeze()
    await sleep(lag)
  }
  await master.kill()
  await until('the promotion', async () => await replica.ask(async (redis) => (await redis.info('replication')).includes('role:master')))
  await replica.ask(async (redis) => await redis.config('SET', 'masterauth', ''))
  await master.up()
  // Sentinel would do so too, some ten seconds later.
  await master.ask(async (redis) => await redis.replicaof('127.0.0.1', replica.port))
  // Sentinel may have thought of something else meanwhile.
  await until('a replica again', async () => {
    const infos = await Promise.all(world.servers.map(async (server) => await server.ask(async (redis) => await redis.info('replication'))))
    return infos.some((info) => info.includes('role:master')) && infos.some((info) => info.includes('master_link_status:up'))
  })
}

/** One topic's slot goes to another master, and sometimes back. */
async function migrate (world: ChaosWorld): Promise<void> {
  const { cluster } = world
  if (!cluster) return
  const slot = slotOf(`${world.prefix}{${world.random.pick(TOPICS)}}`)
  const moves = world.random.int(1, 2)
  for (let i = 0; i < moves; i++) {
    const from = await cluster.ownerOf(slot)
    await cluster.migrate(slot, from, world.random.pick(cluster.masters.filter((one) => one !== from)), world.random.int(0, 300))
  }
}

export const FAULTS: readonly FaultKind[] = [
  { name: 'a node is killed', on: ALL, run: killNode },
  { name: 'Redis is killed, and comes back with its data', on: ALONE, run: async (world) => await restart(world, () => {}) },
  { name: 'Redis is killed, and comes back without its last writes', on: ALONE, lossy: true, run: async (world) => await restart(world, (server) => tear(server, world.random.next() * 0.3)) },
  { name: 'Redis is killed, and comes back empty', on: ALONE, lossy: true, run: async (world) => await restart(world, wipe) },
  { name: 'Redis stands still', on: ALL, run: async (world) => await halt(world, world.random.int(50, 700)) },
  { name: 'Redis stands still for long', on: ['single', 'cluster'], slow: true, run: async (world) => await halt(world, 5500) },
  { name: 'a node stands still', on: ALL, run: async (world) => await haltNode(world, world.random.int(50, 1500)) },
  { name: 'a node stands still for long', on: ALL, slow: true, run: async (world) => await haltNode(world, 5500) },
  { name: 'links are cut', on: ALL, run: async (world) => await withLinks(world, 0, (proxy) => proxy.cut()) },
  { name: 'links are cut for a while', on: ALL, run: async (world) => await withLinks(world, world.random.int(100, 1500), (proxy) => { proxy.door = 'refusing'; proxy.cut() }) },
  { name: 'links are half open', on: ALL, slow: true, run: async (world) => await withLinks(world, 0, (proxy) => proxy.freeze()) },
  { name: 'links are slow', on: ALL, run: async (world) => await withLinks(world, world.random.int(300, 1200), (proxy) => { proxy.delay = world.random.int(10, 120) }) },
  { name: 'answers are held back, and links cut', on: ALL, run: async (world) => await holdAndCut(world, 'down') },
  { name: 'requests are held back, and links cut', on: ALL, run: async (world) => await holdAndCut(world, 'up') },
  { name: 'Redis is silent in the handshake', on: ALL, slow: true, run: async (world) => await withLinks(world, world.random.int(100, 1000), (proxy) => { proxy.door = 'silent'; proxy.cut() }) },
  { name: 'pub/sub connections are killed', on: ALL, run: async (world) => await onAll(world, 'client', 'kill', 'type', 'pubsub') },
  { name: 'all connections are killed', on: ALL, run: async (world) => { await onAll(world, 'client', 'kill', 'type', 'normal'); await onAll(world, 'client', 'kill', 'type', 'pubsub') } },
  { name: 'FLUSHALL', on: ALL, lossy: true, run: async (world) => await onAll(world, 'flushall') },
  { name: 'SCRIPT FLUSH', on: ALL, run: async (world) => await onAll(world, 'script', 'flush') },
  { name: 'the clock is set back', on: ALL, run: setClockBack },
  { name: 'a failover', on: ['sentinel'], lossy: true, run: async (world) => await failOver(world, 0) },
  { name: 'a failover to a replica that lags', on: ['sentinel'], lossy: true, run: async (world) => await failOver(world, world.random.int(100, 600)) },
  { name: 'a failover to a replica that lags, and a deaf node', on: ['sentinel'], lossy: true, run: async (world) => await failOver(world, world.random.int(100, 600), true) },
  { name: 'a slot moves', on: ['cluster'], run: migrate }
]

/** Answers that never come; or requests that arrive after their sender has given up on the link. */
async function holdAndCut (world: ChaosWorld, direction: 'up' | 'down'): Promise<void> {
  const { proxies } = anyNode(world)
  for (const proxy of proxies) proxy.hold(direction)
  await sleep(world.random.int(20, 200))
  for (const proxy of proxies) proxy.cut()
  await sleep(world.random.int(20, 200))
  for (const proxy of proxies) proxy.heal()
}

/** What each rule of the Redis adapter is for: a scenario rejects where the rule is not kept. */
import { deepEqual, equal, rejects } from 'node:assert/strict'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import type { EventId } from '../../lib/core/adapter.ts'
import { RedisServer, until, type Teardown } from '../helpers/redis.ts'
import { RETENTION, startNode, type MakeRedis, type Node } from './kit.ts'
import { FaultProxy } from './proxy.ts'

/** Runs its own teardowns, in reverse. */
export class Stage implements Teardown {
  readonly redis: MakeRedis
  /** How long what must happen is waited for, ms. */
  readonly patience: number
  readonly #ends: Array<() => unknown> = []

  constructor (redis: MakeRedis, patience: number) {
    this.redis = redis
    this.patience = patience
  }

  async soon (what: string, holds: () => unknown): Promise<void> {
    await until(what, holds, this.patience)
  }

  teardown (run: () => unknown): void {
    this.#ends.unshift(run)
  }

  async server (args: string[] = []): Promise<RedisServer> {
    return await RedisServer.start(this, args)
  }

  async proxy (server: RedisServer): Promise<FaultProxy> {
    return await FaultProxy.start(this, server.port)
  }

  async node (url: string, options: { publishTimeout?: number, connectTimeout?: number } = {}): Promise<Node> {
    return await startNode(this, { url, ...options }, this.redis)
  }

  async end (): Promise<void> {
    for (const end of this.#ends) await end()
  }
}

export type Scenario = (stage: Stage) => Promise<void>

const linked = async (node: Node, topic: string, after: EventId): Promise<boolean> => (await node.adapter.read(topic, after, { count: 100, bytes: 1 << 20 })).linked
const length = async (server: RedisServer, topic: string): Promise<number> => await server.ask(async (redis) => await redis.xlen(`realtime:{${topic}}:log`))

export const appliedOnce: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const node = await stage.node(proxy.url)
  await node.publish('a', '0')
  proxy.hold('down')
  const published = Promise.all([node.publish('a', '1'), node.publish('a', '2')])
  await until('the batch in Redis', async () => await length(server, 'a') === 3)
  proxy.cut()
  await published
  deepEqual(await node.history('a'), ['0', '1', '2'])
}

/** Several on their way, all of them applied and none acknowledged. */
export const eachAppliedOnce: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const node = await stage.node(proxy.url, { publishTimeout: stage.patience })
  await node.publish('a', '0')
  proxy.hold('down')
  const published: Array<Promise<EventId>> = []
  for (const text of ['1', '2', '3']) {
    published.push(node.publish('a', text))
    await turn()
  }
  const ids = Promise.all(published)
  ids.catch(() => {})
  await until('the batches in Redis', async () => await length(server, 'a') === 4)
  proxy.cut()
  await ids
  const page = await node.adapter.read('a', null, { count: 100, bytes: 1 << 20 })
  deepEqual(await ids, page.events.slice(1).map(({ id }) => id))
  deepEqual(await node.history('a'), ['0', '1', '2', '3'])
}

/** The first has to be sent again, since Redis does not know its script; the second's it knows. */
export const behindTheOneBefore: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url)
  const [unknown, known] = [{ ...RETENTION, maxAge: 50_000 }, { ...RETENTION, maxAge: 60_000 }]
  await node.publish('b', '0', { retention: known })
  await Promise.all([node.publish('a', '1', { retention: unknown }), node.publish('a', '2', { retention: known })])
  deepEqual(await node.history('a'), ['1', '2'])
}

export const neverBehindALaterOne: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const node = await stage.node(proxy.url, { publishTimeout: 1000 })
  await node.publish('a', '1')
  proxy.hold('up')
  await rejects(node.publish('a', 'late'))
  proxy.cut()
  await until('the link', async () => await node.publish('a', '2'))
  proxy.release()
  await sleep(100)
  deepEqual(await node.history('a'), ['1', '2'])
}

export const orderOverRetries: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url, { publishTimeout: 10_000 })
  const refusals = async (): Promise<number> => await server.ask(async (redis) => Number(/errorstat_OOM:count=(\d+)/.exec(await redis.info('errorstats'))?.[1] ?? 0))
  await server.ask(async (redis) => await redis.config('SET', 'maxmemory', '1'))
  const first = node.publish('a', '1')
  await until('some attempts', async () => await refusals() >= 6)
  // Right behind an attempt: the next one is a while away.
  await server.ask(async (redis) => await redis.config('SET', 'maxmemory', '0'))
  let answered = false
  Promise.all([first, node.publish('a', '2')]).then(() => { answered = true }, () => {})
  await stage.soon('both to be published', () => answered)
  deepEqual(await node.history('a'), ['1', '2'])
}

async function fork (stage: Stage): Promise<{ node: Node, other: Node, kept: EventId }> {
  const args = ['--repl-diskless-sync-delay', '0']
  const [master, replica] = [await stage.server(args), await stage.server(args)]
  await replica.ask(async (redis) => await redis.replicaof('127.0.0.1', master.port))
  await until('the replica', async () => await replica.ask(async (redis) => (await redis.info('replication')).includes('master_link_status:up')))
  const [near, far] = [await stage.proxy(master), await stage.proxy(master)]
  const [node, other] = [await stage.node(near.url), await stage.node(far.url)]
  await other.adapter.subscribe('a', true)
  const kept = await node.publish('a', 'kept')
  await until('both to have it', async () => other.heard('a').length === 1 && await length(replica, 'a') === 1)
  await replica.ask(async (redis) => await redis.replicaof('NO', 'ONE'))
  far.freeze()
  await node.publish('a', 'lost')
  far.target = near.target = replica.port
  far.cut()
  // The one that has heard nothing of it is there first, and finds nothing amiss.
  await until('the other node to listen', async () => await replica.ask(async (redis) => (await redis.pubsub('CHANNELS')).length === 1))
  await until('the other node to have looked', async () => (await other.adapter.heads(['a']))[0] === kept)
  await sleep(100)
  deepEqual(other.suspects, [])
  near.cut()
  return { node, other, kept }
}

export const forkIsNoticed: Scenario = async (stage) => {
  const { node, kept } = await fork(stage)
  await stage.soon('another log', async () => !await linked(node, 'a', kept))
}

export const forkIsToldOf: Scenario = async (stage) => {
  const { other } = await fork(stage)
  await stage.soon('the suspicion', () => other.suspects.includes('a'))
}

export const trimmedIsNotLost: Scenario = async (stage) => {
  const server = await stage.server(['--appendonly', 'yes', '--appendfsync', 'always'])
  const [node, other] = [await stage.node(server.url), await stage.node(server.url)]
  const retention = { ...RETENTION, limit: 3 }
  await node.publish('a', 'acknowledged, and trimmed since', { retention })
  let last = ''
  for (const text of ['1', '2', '3', '4']) last = await other.publish('a', text, { retention })
  // The first restart is before anything is published, the second behind it.
  for (let i = 0; i < 2; i++) {
    await server.kill()
    await server.up()
    await node.publish('b', 'it has looked')
    equal(await linked(node, 'a', last), true)
    last = await other.publish('a', 'more', { retention })
  }
}

export const checkedWhenLiveAgain: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const [node, other] = [await stage.node(proxy.url), await stage.node(server.url)]
  await node.adapter.subscribe('a', true)
  proxy.door = 'refusing'
  proxy.cut()
  await other.publish('a', 'missed')
  proxy.door = 'open'
  await stage.soon('the suspicion', () => node.suspects.includes('a'))
}

export const quietTopicsAreComparedToo: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url)
  await node.adapter.subscribe('a', true)
  // An event that was announced to nobody.
  await server.ask(async (redis) => await redis.set('realtime:{a}:head', '1-1.n 0 0'))
  await stage.soon('the suspicion', () => node.suspects.includes('a'))
}

export const anotherGenesis: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url)
  for (const lose of [async () => { await node.publish('a', 'in another log') }, async () => { await node.adapter.read('a', null, { count: 1, bytes: 1 }) }]) {
    const genesis = await node.adapter.subscribe('a', true)
    await node.publish('a', 'never heard')
    await server.ask(async (redis) => await redis.flushall())
    await lose()
    equal(await linked(node, 'a', genesis), false)
    await server.ask(async (redis) => await redis.flushall())
  }
}

export const headOutlivesHistory: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url)
  const id = await node.publish('a', '1', { retention: { ...RETENTION, maxAge: 50 } })
  await until('its history to go', async () => await length(server, 'a') === 0)
  equal(await linked(node, 'a', id), true)
}

export const fullIsAllOrNothing: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url, { publishTimeout: 1000 })
  await node.adapter.subscribe('a', true)
  await server.ask(async (redis) => await redis.config('SET', 'maxmemory', '1'))
  for (const topic of ['a', 'b']) await rejects(node.publish(topic, 'x'))
  deepEqual(node.heard('a'), [])
  deepEqual(await server.ask(async (redis) => await redis.keys('*')), ['realtime:{a}:head'])
}

export const idsNeverGoBack: Scenario = async (stage) => {
  const server = await stage.server()
  const node = await stage.node(server.url)
  const ahead = `${Date.now() + 3_600_000}-7`
  await server.ask(async (redis) => {
    await redis.xadd('realtime:{a}:log', ahead, 'n', 'n', 'p', '0-0.g', 'c', '0', 'e', 'j 1 -\ne"1"')
    await redis.set('realtime:{a}:head', `${ahead}.n 3 0`)
  })
  await node.publish('a', '2')
  deepEqual(await node.history('a'), ['1', '2'])
}

export const nonceTellsLogsApart: Scenario = async (stage) => {
  const node = await stage.node((await stage.server()).url)
  const id = await node.publish('a', '1')
  equal(await linked(node, 'a', id), true)
  equal(await linked(node, 'a', `${id.slice(0, id.indexOf('.'))}.elsewhere`), false)
}

export const atMostOnce: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const [node, other] = [await stage.node(proxy.url), await stage.node(server.url)]
  await other.adapter.subscribe('a', false)
  const say = async (text: string): Promise<void> => await node.adapter.ephemeral('a', { name: 'e', data: Buffer.from(text), format: 'json' })
  proxy.hold('down')
  const first = say('1').catch(() => {})
  await until('it to be heard', () => other.ephemerals.length === 1)
  proxy.cut()
  await first
  await until('the link', async () => { await say('2'); return true })
  await until('the second', () => other.ephemerals.includes('2'))
  deepEqual(other.ephemerals, ['1', '2'])
}

export const silentLinksAreFound: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const node = await stage.node(proxy.url, { publishTimeout: stage.patience })
  proxy.freeze()
  await node.publish('a', '1')
}

export const silentListenersAreFound: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const [node, other] = [await stage.node(proxy.url), await stage.node(server.url)]
  await node.adapter.subscribe('a', true)
  proxy.freeze()
  await node.publish('b', 'the other link is back')
  await stage.soon('the event', async () => {
    await other.publish('a', '1')
    return node.heard('a').length > 0
  })
}

export const silentHandshakesAreFound: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const node = await stage.node(proxy.url, { publishTimeout: stage.patience })
  const { accepted } = proxy
  proxy.door = 'silent'
  proxy.cut()
  await until('both to try', () => proxy.accepted >= accepted + 2)
  proxy.door = 'open'
  await node.publish('a', '1')
}

export const leftAndJoinedInOneTurn: Scenario = async (stage) => {
  const node = await stage.node((await stage.server()).url, { connectTimeout: stage.patience })
  await node.adapter.subscribe('a', true)
  node.adapter.unsubscribe('a')
  await node.adapter.subscribe('a', true)
}

export const headIsReadWhenLive: Scenario = async (stage) => {
  const server = await stage.server()
  const proxy = await stage.proxy(server)
  const [node, other] = [await stage.node(proxy.url), await stage.node(server.url)]
  // The second connection is the one that listens.
  proxy.hold('up', 1)
  const joining = node.adapter.subscribe('a', true)
  await sleep(100)
  const id = await other.publish('a', '1')
  proxy.release()
  equal(await joining, id)
}

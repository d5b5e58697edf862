/** Every default and check of the Redis adapter's options, once. */
import type { Cluster, ClusterNode, ClusterOptions, Redis, RedisOptions as ConnectionOptions } from 'ioredis'
import { OptionInvalid } from '../../errors.ts'
import { onlyKnown, record } from '../../known.ts'
import { peerMissing } from '../../peers.ts'
import { failure, ioredis } from './driver.cjs'

export interface RedisAdapterOptions {
  /** Where Redis is: `redis://…`, or `rediss://…` for TLS. */
  url?: string
  /** What ioredis takes to connect: host, port, tls, username, password, db, sentinels … */
  connection?: ConnectionOptions
  /** A cluster: some of its nodes, and what ioredis' Cluster takes. Shard channels are used. */
  cluster?: { nodes: ClusterNode[], options?: ClusterOptions }
  /**
   * The app's own client (@fastify/redis: `fastify.redis`). It is duplicated, with settings of ours, and left alone.
   */
  client?: Redis | Cluster
  /** What all keys and channels start with. Default `realtime:`. Nodes with the same prefix are one. */
  prefix?: string
  /** How long a publish is tried, ms. Default 5000. Then it rejects with FST_ERR_REALTIME_UNAVAILABLE. */
  publishTimeout?: number
  /** How long a start, a read or a subscription waits for Redis, ms. Default 5000. */
  connectTimeout?: number
  /** Bytes of events that may wait for Redis. Default 16777216. Past it a publish rejects at once. */
  maxPending?: number
  /**
   * ms between two signs of life of a node, where topics have presence. A node that gives none for three of them is
   * taken for dead, and its members leave. Default 2000, at most 30000.
   */
  beat?: number
  /** A publish resolves when so many replicas have it (Redis' WAIT). Not on a cluster. Default: none. */
  wait?: { replicas: number, timeout?: number }
}

export interface RedisSettings {
  readonly prefix: string
  readonly publishTimeout: number
  readonly connectTimeout: number
  readonly maxPending: number
  readonly beat: number
  readonly wait: { readonly replicas: number, readonly timeout: number } | undefined
}

/** What is ours; `replyMapping` is named because ioredis' types depend on it. */
export type SingleSettings = Omit<ConnectionOptions, 'replyMapping'> & { replyMapping: 'legacy' }
export type ClusterSettings = Omit<ClusterOptions, 'redisOptions'> & {
  redisOptions: Omit<
    SingleSettings,
    'retryStrategy' | 'enableOfflineQueue' | 'host' | 'port' | 'path' | 'sentinels' | 'readOnly' | 'himportFieldsets'
  >
}

export type Target =
  | { type: 'single', client: Redis }
  | { type: 'cluster', client: Cluster }

const KNOWN: ReadonlySet<string> = new Set([
  'url', 'connection', 'cluster', 'client', 'prefix', 'publishTimeout', 'connectTimeout', 'maxPending', 'beat', 'wait'
] satisfies Array<keyof RedisAdapterOptions>)
const WAIT: ReadonlySet<string> = new Set(['replicas', 'timeout'])
const CLUSTER: ReadonlySet<string> = new Set(['nodes', 'options'])
const PLACES = ['url', 'connection', 'cluster', 'client'] as const

export function readSettings (options: RedisAdapterOptions): RedisSettings {
  record('redis', options)
  onlyKnown('redis', options, KNOWN)
  const { prefix = 'realtime:', publishTimeout = 5000, connectTimeout = 5000 } = options
  const { maxPending = 16 << 20, beat = 2000, wait } = options
  // Threat: a brace would be taken for the hash tag.
  if (typeof prefix !== 'string' || prefix === '' || prefix.length > 64 || /[{}\s]/.test(prefix)) {
    throw new OptionInvalid('redis.prefix', 'must be 1 to 64 characters without braces and spaces')
  }
  return Object.freeze({
    prefix,
    publishTimeout: whole('publishTimeout', publishTimeout, 100),
    connectTimeout: whole('connectTimeout', connectTimeout, 100),
    maxPending: whole('maxPending', maxPending, 1024),
    beat: whole('beat', beat, 50, 30_000),
    wait: readWait(wait, options)
  })
}

function readWait (wait: RedisAdapterOptions['wait'], { cluster, client }: RedisAdapterOptions): RedisSettings['wait'] {
  if (wait === undefined) return undefined
  record('redis.wait', wait)
  onlyKnown('redis.wait', wait, WAIT)
  if (cluster || isCluster(client)) throw new OptionInvalid('redis.wait', 'cannot be used on a cluster')
  return { replicas: whole('wait.replicas', wait.replicas, 1), timeout: whole('wait.timeout', wait.timeout ?? 1000, 1) }
}

function whole (name: string, value: unknown, min: number, max = Infinity): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw new OptionInvalid(`redis.${name}`,
      `must be a whole number from ${min}${max === Infinity ? '' : ` to ${max}`}, not ${String(value)}`)
  }
  return value as number
}

/** By what it can do: the app's ioredis may be another copy than ours. */
function isCluster (client: unknown): client is Cluster {
  return typeof (client as { nodes?: unknown } | undefined)?.nodes === 'function'
}

/** The connection commands are to go over; nothing is connected yet. */
export function readTarget (options: RedisAdapterOptions, single: SingleSettings, cluster: ClusterSettings): Target {
  const given = PLACES.filter((place) => options[place] !== undefined)
  if (given.length > 1) throw new OptionInvalid('redis', `takes only one of ${given.join(' and ')}`)
  if (options.client !== undefined) return ofClient(options.client, single, cluster)
  if (options.cluster !== undefined) {
    record('redis.cluster', options.cluster)
    onlyKnown('redis.cluster', options.cluster, CLUSTER)
    const { nodes, options: own = {} } = options.cluster
    if (!Array.isArray(nodes) || nodes.length === 0) {
      throw new OptionInvalid('redis.cluster.nodes', 'must be an array of at least one node')
    }
    const { Cluster } = driver()
    return {
      type: 'cluster',
      client: new Cluster(nodes, { ...own, ...cluster, redisOptions: { ...own.redisOptions, ...cluster.redisOptions } })
    }
  }
  const url = options.url === undefined ? undefined : checkedUrl(options.url)
  const { Redis } = driver()
  if (url !== undefined) return { type: 'single', client: new Redis(url, single) }
  return { type: 'single', client: new Redis({ ...options.connection, ...single }) }
}

/** An app that gives a client of its own needs no ioredis here. @throws FST_ERR_REALTIME_PEER_MISSING */
function driver (): NonNullable<typeof ioredis> {
  if (!ioredis) throw peerMissing('redis()', 'ioredis', failure?.error)
  return ioredis
}

function ofClient (client: Redis | Cluster, single: SingleSettings, cluster: ClusterSettings): Target {
  if (isCluster(client)) {
    const redisOptions = { ...client.options.redisOptions, ...cluster.redisOptions }
    return { type: 'cluster', client: client.duplicate([], { ...cluster, redisOptions }) }
  }
  if (typeof client?.duplicate !== 'function') throw new OptionInvalid('redis.client', 'must be an ioredis client')
  return { type: 'single', client: client.duplicate(single) }
}

function checkedUrl (url: unknown): string {
  if (typeof url !== 'string' || !/^rediss?:\/\//.test(url) || !URL.canParse(url)) {
    throw new OptionInvalid('redis.url', 'must be a URL like "redis://localhost:6379", or "rediss://…" for TLS')
  }
  return url
}

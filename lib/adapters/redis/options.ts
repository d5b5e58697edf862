/** Every default and check of the Redis adapter's options, once. */
import type { Cluster, ClusterNode, ClusterOptions, Redis, RedisOptions as ConnectionOptions } from 'ioredis'
import { OptionInvalid } from '../../errors.ts'
import { onlyKnown, record } from '../../known.ts'
import { peerMissing } from '../../peers.ts'
import { failure, ioredis } from './driver.cjs'

/**
 * Options of `redis()`. Give at most one of `url`, `connection`, `cluster` and `client`. An unknown or wrong option is
 * FST_ERR_REALTIME_OPTION_INVALID.
 */
export interface RedisAdapterOptions {
  /** The URL of a server: `redis://…`, or `rediss://…` for TLS. Default `redis://localhost:6379`. */
  url?: string
  /** Options of ioredis: host, port, tls, username, password, db, sentinels and name, … */
  connection?: ConnectionOptions
  /** A cluster: some of its nodes, and options of ioredis' `Cluster`. It uses sharded channels (`SPUBLISH`). */
  cluster?: { nodes: ClusterNode[], options?: ClusterOptions }
  /** Your own ioredis client (`fastify.redis` of @fastify/redis). The adapter duplicates it and does not change it. */
  client?: Redis | Cluster
  /**
   * The beginning of all keys and channels, 1 to 64 characters without braces and spaces. Nodes with the same prefix
   * belong together. Default `realtime:`.
   */
  prefix?: string
  /**
   * How long a publish is tried, ms, at least 100. Then it rejects with FST_ERR_REALTIME_UNAVAILABLE, and it is not
   * known whether it was published. Default 5000.
   */
  publishTimeout?: number
  /** How long the start, a read or a subscription waits for Redis, ms, at least 100. Default 5000. */
  connectTimeout?: number
  /**
   * Bytes of events that wait for Redis, at least 1024. Above it a publish rejects at once with
   * FST_ERR_REALTIME_UNAVAILABLE. Default 16777216.
   */
  maxPending?: number
  /**
   * How often a node says that it is alive, if topics have presence, ms, 50 to 30000. A node that misses three beats
   * counts as dead, and its members leave. Default 2000.
   */
  beat?: number
  /**
   * A publish resolves when this many `replicas` have it (Redis' WAIT), within `timeout` ms (default 1000). Not on a
   * cluster. Default: it does not wait for replicas.
   */
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

/** Settings of the adapter. `replyMapping` is named because ioredis' types depend on it. */
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
  // Threat: Redis would take a brace for a hash tag.
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

/** Looks at what the client can do, since the app's ioredis may be another copy. */
function isCluster (client: unknown): client is Cluster {
  return typeof (client as { nodes?: unknown } | undefined)?.nodes === 'function'
}

/** The client for commands. It is not connected yet. @throws OptionInvalid, PeerMissing */
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
  if (typeof ioredis?.Redis === 'function') return ioredis
  throw peerMissing('redis()', 'ioredis', failure ? failure.error : new Error('it has no class Redis'))
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

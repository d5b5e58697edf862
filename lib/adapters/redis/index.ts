/** `fastify-realtime/redis`: one log for several nodes. */
import type { Adapter } from '../../core/adapter.ts'
import type { ClusterOptions } from 'ioredis'
import { RedisAdapter } from './adapter.ts'
import { ClusterCommands } from './cluster-commands.ts'
import { retryDelay, SETTINGS } from './link.ts'
import { SingleMessages } from './messages.ts'
import { readSettings, readTarget, type RedisAdapterOptions } from './options.ts'
import { ShardedMessages } from './sharded-messages.ts'
import { SingleCommands } from './single-commands.ts'

export type { RedisAdapterOptions } from './options.ts'

const {
  lazyConnect: _,
  retryStrategy: __,
  enableOfflineQueue: ___,
  sentinelRetryStrategy: ____,
  sentinelCommandTimeout: _____,
  ...ofNode
} = SETTINGS

const CLUSTER_SETTINGS = {
  lazyConnect: true,
  enableOfflineQueue: false,
  clusterRetryStrategy: retryDelay,
  shardedSubscribers: false,
  maxRedirections: 8,
  retryDelayOnFailover: 100,
  retryDelayOnClusterDown: 100,
  retryDelayOnTryAgain: 50,
  slotsRefreshTimeout: 2000,
  // `ClusterCommands` refreshes the slots. In ioredis a refresh during a disconnect would restart its timer for ever.
  slotsRefreshInterval: 0,
  redisOptions: ofNode
} as const satisfies ClusterOptions

/**
 * The adapter for several nodes, through Redis 7 or Valkey 7.2 and newer: one server, Sentinel, or a cluster. Nodes
 * with the same server and `prefix` hear what any of them publishes.
 * @param options A URL (default `redis://localhost:6379`), or options.
 * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_PEER_MISSING
 */
export function redis (options: string | RedisAdapterOptions = {}): Adapter {
  const given = typeof options === 'string' ? { url: options } : options
  const settings = readSettings(given)
  const target = readTarget(given, { ...SETTINGS }, CLUSTER_SETTINGS)
  if (target.type === 'single') {
    const { client } = target
    return new RedisAdapter(settings, {
      commands: (host) => new SingleCommands(client, host),
      messages: (_commands, host) => new SingleMessages(client.duplicate(), host)
    })
  }
  const { client } = target
  return new RedisAdapter(settings, {
    commands: (host) => new ClusterCommands(client, host),
    messages: (_commands, host) => new ShardedMessages(client, (node) => node.duplicate({ ...SETTINGS }), host)
  })
}

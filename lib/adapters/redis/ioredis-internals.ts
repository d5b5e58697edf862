/**
 * Everything that uses ioredis beyond its API. It is looked up at run time, because the app's ioredis may be another
 * copy.
 */
import type { EventEmitter } from 'node:events'
import type { Cluster, Redis } from 'ioredis'

interface Connector {
  connect (...args: unknown[]): Promise<EventEmitter>
  /** Only of a Sentinel connector: makes a client that asks a sentinel for the master. */
  connectToSentinel? (endpoint: unknown, options?: object): Redis
}

const ignore = (): void => {}
const guarded = new WeakSet<Redis>()

/** The present socket. It is another one after each reconnect. */
export function streamOf (redis: Redis): unknown {
  return Reflect.get(redis, 'stream')
}

/**
 * Gives each socket a listener for errors: those of this client, of its duplicates and of the sentinels that it asks.
 *
 * Threat: ioredis listens only for the first error of a socket. A second one would end the process, for example a TLS
 * alert after a refused certificate while the client is being closed. Errors that matter also arrive as events of the
 * client.
 *
 * Call it before the client connects.
 */
export function guardSockets (redis: Redis): Redis {
  if (guarded.has(redis)) return redis
  guarded.add(redis)
  const connector = Reflect.get(redis, 'connector') as Connector | undefined
  if (connector) guardConnector(connector)
  const duplicate = redis.duplicate.bind(redis)
  redis.duplicate = (options) => guardSockets(duplicate(options))
  return redis
}

function guardConnector (connector: Connector): void {
  const connect = connector.connect.bind(connector)
  connector.connect = async (...args) => (await connect(...args)).on('error', ignore)
  const ask = connector.connectToSentinel?.bind(connector)
  if (!ask) return
  connector.connectToSentinel = (endpoint, options) => {
    // Without `lazyConnect` the client would be connecting already. Its first command connects it.
    return guardSockets(ask(endpoint, { ...options, lazyConnect: true })).on('error', ignore)
  }
}

/** Does the same for every node of a cluster. */
export function guardCluster (cluster: Cluster): Cluster {
  // The event comes before the node connects.
  cluster.on('+node', (node: Redis) => { guardSockets(node) })
  // The cluster's own connection for subscriptions is not started: this adapter subscribes on shards.
  const subscriber: unknown = Reflect.get(cluster, 'subscriber')
  if (typeof subscriber === 'object' && subscriber !== null) Reflect.set(subscriber, 'start', ignore)
  return cluster
}

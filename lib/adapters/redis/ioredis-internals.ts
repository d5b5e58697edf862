/**
 * What is used of ioredis beyond its API, in one place; looked for at run time, since the app's ioredis may be another
 * copy.
 */
import type { EventEmitter } from 'node:events'
import type { Cluster, Redis } from 'ioredis'

interface Connector {
  connect (...args: unknown[]): Promise<EventEmitter>
  /** Of Sentinel's: a client that asks a sentinel who is the master. */
  connectToSentinel? (endpoint: unknown, options?: object): Redis
}

const ignore = (): void => {}
const guarded = new WeakSet<Redis>()

/** Which socket it is now: another one after each reconnect. */
export function streamOf (redis: Redis): unknown {
  return Reflect.get(redis, 'stream')
}

/**
 * No socket of this client, of its duplicates and of the sentinels that it asks is ever without a listener for errors.
 *
 * Threat: ioredis listens for the first error of a socket alone. A second one (a TLS alert behind a certificate that
 * was refused, when the client is closed meanwhile) would end the process. What matters comes by way of the client's
 * own events.
 *
 * Call before it connects.
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
    // Lazily: otherwise it would be connecting already. The first command connects it.
    return guardSockets(ask(endpoint, { ...options, lazyConnect: true })).on('error', ignore)
  }
}

/** The same for every node of a cluster. */
export function guardCluster (cluster: Cluster): Cluster {
  // Told of before it connects.
  cluster.on('+node', (node: Redis) => { guardSockets(node) })
  // A connection for subscriptions of the cluster's own, which has none here: ours are on shards.
  const subscriber: unknown = Reflect.get(cluster, 'subscriber')
  if (typeof subscriber === 'object' && subscriber !== null) Reflect.set(subscriber, 'start', ignore)
  return cluster
}

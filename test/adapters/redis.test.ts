/** The Redis adapter under the contract that every adapter keeps, on each of the three topologies. */
import t from 'tap'
import { redis, type RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import { adapterConformance } from '../helpers/suites.ts'
import { RedisCluster, RedisSentinels, RedisServer } from '../helpers/redis.ts'

let prefixes = 0
const fresh = (): string => `t${prefixes++}:`

function twoNodes (options: RedisAdapterOptions): () => Array<ReturnType<typeof redis>> {
  return () => {
    const prefix = fresh()
    return [redis({ ...options, prefix }), redis({ ...options, prefix })]
  }
}

const [server, sentinels, cluster] = await Promise.all([RedisServer.start(t), RedisSentinels.start(t), RedisCluster.start(t)])
adapterConformance('Redis', twoNodes({ url: server.url }))
adapterConformance('Redis, by Sentinel', twoNodes({ connection: { name: sentinels.name, sentinels: sentinels.sentinels } }))
adapterConformance('Redis Cluster', twoNodes({ cluster: { nodes: cluster.nodes } }))

/** `fastify-realtime/metrics`: what happens on this node, for Prometheus. The main entry does not load it. */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Registry } from 'prom-client'
import { OptionInvalid } from '../errors.ts'
import { onlyKnown } from '../known.ts'
import { loadPeer } from '../peers.ts'
import { Instruments, type PromClient } from './instruments.ts'
import type { Realtime } from '../types/realtime.ts'
import { watch } from './watch.ts'

const PREFIX = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/

/** Options of the metrics plugin. An unknown or wrong one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface MetricsOptions {
  /** The registry of the metrics. Default: the global registry of `client` (`client.register`). */
  register?: Registry
  /** The exports of prom-client 15, also those of fastify-metrics (`app.metrics.client`). Default: `prom-client`. */
  client?: PromClient
  /** The beginning of each name. Default `realtime_`. Apps that share a registry need different ones. */
  prefix?: string
  /** The upper bounds of the histograms, seconds, ascending. Default: 13 bounds from 0.001 to 10. */
  buckets?: number[]
}

const KNOWN: ReadonlySet<string> = new Set(
  ['register', 'client', 'prefix', 'buckets'] satisfies Array<keyof MetricsOptions>
)
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Registers metrics of this node, labelled by the patterns of its topics. It serves no route: your route answers with
 * `register.metrics()`.
 * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_PEER_MISSING
 */
const metrics: FastifyPluginAsync<MetricsOptions> = async (app, options) => {
  const { client, register, prefix, buckets } = await read(options)
  const instruments = new Instruments(client, { register, prefix, buckets, realtime: app.realtime })
  const unwatch = watched(app.realtime, instruments)
  app.addHook('onClose', async () => {
    unwatch()
    instruments.remove()
  })
}

/** Leaves nothing in the registry where it throws. @throws OptionInvalid */
function watched (realtime: Realtime, instruments: Instruments): () => void {
  try {
    return watch(realtime, instruments)
  } catch (error) {
    instruments.remove()
    throw error
  }
}

async function read (options: MetricsOptions) {
  onlyKnown('', options, KNOWN)
  const { prefix = 'realtime_', buckets = BUCKETS } = options
  if (typeof prefix !== 'string' || !PREFIX.test(prefix)) {
    throw new OptionInvalid('prefix', 'must consist of letters, digits, "_" and ":", and not begin with a digit')
  }
  if (!Array.isArray(buckets) || !buckets.every(isBound) || buckets.length === 0) {
    throw new OptionInvalid('buckets', 'must be an ascending list of seconds')
  }
  const client = options.client === undefined ? await load() : options.client
  if (typeof client?.Registry !== 'function') throw new OptionInvalid('client', 'must be the exports of prom-client')
  const register = options.register === undefined ? client.register : options.register
  if (typeof register?.getSingleMetric !== 'function') {
    throw new OptionInvalid('register', 'must be a Registry of prom-client')
  }
  return { client, register, prefix, buckets }
}

function isBound (bound: unknown, i: number, all: number[]): boolean {
  return typeof bound === 'number' && bound > (i === 0 ? 0 : all[i - 1] as number) && bound < Infinity
}

async function load (): Promise<PromClient> {
  const loaded = await loadPeer<{ default: PromClient }>('fastify-realtime/metrics', 'prom-client')
  return loaded.default
}

const fastifyRealtimeMetrics: (app: FastifyInstance, options: MetricsOptions) => Promise<void> = fp(metrics, {
  fastify: '5.x', name: 'fastify-realtime/metrics', dependencies: ['fastify-realtime']
})

export default fastifyRealtimeMetrics
export { fastifyRealtimeMetrics as metrics }
export type { PromClient } from './instruments.ts'

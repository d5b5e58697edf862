/** fastify-realtime: live updates for Fastify, over SSE and WebSocket. */
import fp from 'fastify-plugin'
import type { FastifyPluginAsync } from 'fastify'
import { plugin } from './plugin.ts'
import type { RealtimeOptions } from './types/index.ts'

/**
 * The plugin. Register it once, at the root: `await app.register(realtime, options)`. It adds `app.topic`,
 * `app.stream`, `app.channel` and `app.realtime`.
 * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_ALREADY_REGISTERED, FST_ERR_REALTIME_PEER_MISSING
 */
const fastifyRealtime: FastifyPluginAsync<RealtimeOptions> = fp(plugin, { fastify: '5.x', name: 'fastify-realtime' })

export default fastifyRealtime
export { fastifyRealtime }
export { memory, type MemoryOptions } from './adapters/memory.ts'
export * as errors from './errors.ts'
export { defineMessages } from './messages.ts'
export { itemSchemas } from './wires/sse/item-schemas.ts'
export type * from './types/index.ts'

/** fastify-realtime: live updates for Fastify, over SSE and WebSocket. */
import fp from 'fastify-plugin'
import type { FastifyPluginAsync } from 'fastify'
import { plugin } from './plugin.ts'
import type { RealtimeOptions } from './types/index.ts'

const fastifyRealtime: FastifyPluginAsync<RealtimeOptions> = fp(plugin, { fastify: '5.x', name: 'fastify-realtime' })

export default fastifyRealtime
export { fastifyRealtime }
export { memory, type MemoryOptions } from './adapters/memory.ts'
export * as errors from './errors.ts'
export { defineMessages } from './messages.ts'
export { itemSchemas } from './wires/sse/item-schemas.ts'
export type * from './types/index.ts'

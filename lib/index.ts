/** fastify-realtime: live updates for Fastify, over SSE and WebSocket. */
import fp from 'fastify-plugin'
import type { FastifyPluginAsync, FastifySchema } from 'fastify'
import { plugin } from './plugin.ts'
import type { ChannelOptions, EventSchemas, EventsOf, ParamsOf, Realtime, RealtimeOptions, StreamOptions, Topic, TopicOptions } from './types.ts'

declare module 'fastify' {
  // The names and number of these five are the interface's own; merging demands them.
  // eslint-disable-next-line @typescript-eslint/no-unused-vars
  interface FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider> {
    /**
     * Declares a topic: a pattern of segments joined by `/`, with `:params` and a final `*`.
     * @throws FST_ERR_REALTIME_PATTERN_INVALID, FST_ERR_REALTIME_PATTERN_TAKEN, FST_ERR_REALTIME_OPTION_INVALID
     */
    topic<const Pattern extends string, const Schemas extends EventSchemas = never> (
      pattern: Pattern, options?: TopicOptions<ParamsOf<Pattern>, Schemas>
    ): Topic<ParamsOf<Pattern>, EventsOf<Schemas, TypeProvider>>
    /** An SSE route in this scope. @throws FST_ERR_REALTIME_ROUTE_INVALID, FST_ERR_REALTIME_OPTION_INVALID */
    stream<const Url extends string, const Schema extends FastifySchema = FastifySchema> (
      url: Url, options: StreamOptions<Url, Schema, TypeProvider>
    ): this
    /** A WebSocket route in this scope. @throws FST_ERR_REALTIME_ROUTE_INVALID, FST_ERR_REALTIME_OPTION_INVALID */
    channel<const Url extends string, const Schema extends FastifySchema = FastifySchema, const Messages = Record<never, never>> (
      url: Url, options: ChannelOptions<Url, Schema, Messages, TypeProvider>
    ): this
    realtime: Realtime
  }
}

const fastifyRealtime: FastifyPluginAsync<RealtimeOptions> = fp(plugin, { fastify: '5.x', name: 'fastify-realtime' })

export default fastifyRealtime
export { fastifyRealtime }
export { memory, type MemoryOptions } from './adapters/memory.ts'
export * as errors from './errors.ts'
export type * from './types.ts'
export type { Adapter, AppendOptions, EphemeralEvent, LogEvent, Ownership, Page, ReadLimits, Retention, Sink } from './core/adapter.ts'

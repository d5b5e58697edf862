/** What the plugin adds to a Fastify instance. */
import type { FastifySchema } from 'fastify'
import type { ChannelOptions } from './channel.ts'
import type { ParamsOf } from './params.ts'
import type { Realtime } from './realtime.ts'
import type { EventSchemas, EventsOf } from './schemas.ts'
import type { StreamOptions } from './stream.ts'
import type { MemberOf, Topic, TopicOptions } from './topic.ts'

declare module 'fastify' {
  // The names and number of these five are the interface's own; merging demands them.
  // eslint-disable-next-line @typescript-eslint/no-unused-vars
  interface FastifyInstance<RawServer, RawRequest, RawReply, Logger, TypeProvider> {
    /**
     * Declares a topic, before the app is ready. `pattern` is segments joined by `/`: text, `:param`, and a final `*`.
     * If a schema of its events does not compile, `app.ready()` rejects with FST_ERR_REALTIME_SCHEMA_INVALID.
     * @throws FST_ERR_REALTIME_PATTERN_INVALID, FST_ERR_REALTIME_PATTERN_TAKEN, FST_ERR_REALTIME_OPTION_INVALID,
     * FST_ERR_REALTIME_EVENT_NAME_INVALID, FST_ERR_REALTIME_ALREADY_STARTED
     */
    topic<
      const Pattern extends string, const Schemas extends EventSchemas = never,
      Info = unknown, const StateSchema = unknown
    > (
      pattern: Pattern, options?: TopicOptions<ParamsOf<Pattern>, Schemas, Info, StateSchema, TypeProvider>
    ): Topic<
      ParamsOf<Pattern>, EventsOf<Schemas, TypeProvider>, MemberOf<Info, StateSchema, TypeProvider>, Pattern
    >
    /**
     * Adds a route of Server-Sent Events (WHATWG HTML §9.2) in this scope.
     * @throws FST_ERR_REALTIME_ROUTE_INVALID, FST_ERR_REALTIME_OPTION_INVALID
     */
    stream<const Url extends string, const Schema extends FastifySchema = FastifySchema> (
      url: Url, options: StreamOptions<Url, Schema, TypeProvider>
    ): this
    /**
     * Adds a WebSocket route (RFC 6455) in this scope.
     * @throws FST_ERR_REALTIME_ROUTE_INVALID, FST_ERR_REALTIME_OPTION_INVALID
     */
    channel<
      const Url extends string, const Schema extends FastifySchema = FastifySchema,
      const Messages = Record<never, never>
    > (
      url: Url, options: ChannelOptions<Url, Schema, Messages, TypeProvider>
    ): this
    /** What concerns all topics and connections. */
    realtime: Realtime
  }
}

/** What streams and channels have in common. */
import type {
  ContextConfigDefault, FastifyBaseLogger, FastifyRequest, FastifySchema, FastifyTypeProvider,
  FastifyTypeProviderDefault, HTTPMethods, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerBase,
  RawServerDefault, RouteGenericInterface, RouteShorthandOptions
} from 'fastify'
import type { CloseReason, Connection, SlowPolicy } from './connection.ts'
import type { RouteParams } from './params.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

/** A Topic (its params come from the URL), `topic.at(…)`, a name, an array of these, or a function. */
export type TopicsOption<Request> =
  | AnyTopic | AnyTopicRef | string
  | ReadonlyArray<AnyTopic | AnyTopicRef | string>
  | ((request: Request) => TopicNames | Promise<TopicNames>)

/** What a `topics` function returns: references, or full names. */
export type TopicNames = AnyTopicRef | string | ReadonlyArray<AnyTopicRef | string>

type GenericFor<Url extends string, Schema> =
  Schema extends { params: unknown } ? RouteGenericInterface : { Params: RouteParams<Url> }

type ProviderOf<Provider> = Provider extends FastifyTypeProvider ? Provider : FastifyTypeProviderDefault

/** The request of a stream or channel, typed by its URL and schema. */
export type RealtimeRequest<Url extends string, Schema extends FastifySchema, Provider> =
  FastifyRequest<
    GenericFor<Url, Schema>, RawServerBase, RawRequestDefaultExpression<RawServerDefault>, Schema, ProviderOf<Provider>
  >

/** What every Fastify route takes, except what a stream or channel sets itself. */
export type BaseRouteOptions<Url extends string, Schema extends FastifySchema, Provider> = Omit<
  RouteShorthandOptions<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression,
    GenericFor<Url, Schema>, ContextConfigDefault, Schema, ProviderOf<Provider>, FastifyBaseLogger>,
  'handler' | 'websocket' | 'schema' | 'wsHandler'
> & { schema?: Schema }

/** Options that streams and channels have in common. */
export interface LiveOptions<Request> {
  /** Time between heartbeats of a quiet connection, ms, 20 to 300000. Default: the plugin's (25000). */
  heartbeat?: number
  /** Bytes that may wait for a client that does not read, at least 1024. Default: the plugin's (1048576). */
  maxBuffered?: number
  /** What happens to a client above `maxBuffered`, see {@link SlowPolicy}. Default: the plugin's (`'close'`). */
  slow?: SlowPolicy
  /**
   * Hosts by which clients may reach this route, for example `['app.example', 'localhost:3000']`, or `'*'`. Streams,
   * and upgrades of pages, are refused with 403 under any other host. Default: the plugin's.
   */
  hosts?: string[] | '*'
  /**
   * What clients of this route are in topics that have `presence`. `true` or `'member'`: they are shown, and are told
   * who is there. `'watch'`: they are told, but not shown. `false` (default): neither. The topic's `authorize` is asked
   * with the action `presence`. A client that it refuses hears the topic without presence.
   */
  presence?: boolean | 'member' | 'watch'
  /**
   * Runs before the first event is written. If it throws, the connection is refused: a stream with an ordinary HTTP
   * error, a channel with the close code 4403. A promise is given up after `joinTimeout`.
   */
  onConnect?: (connection: Connection, request: Request) => unknown
  /** Runs exactly once for each connection that `onConnect` accepted, when it has ended. */
  onDisconnect?: (connection: Connection, reason: CloseReason) => unknown
}

/** An HTTP method. */
export type RouteMethod = HTTPMethods

/** What streams and channels have in common. */
import type {
  ContextConfigDefault, FastifyBaseLogger, FastifyRequest, FastifySchema, FastifyTypeProvider,
  FastifyTypeProviderDefault, HTTPMethods, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerBase,
  RawServerDefault, RouteGenericInterface, RouteShorthandOptions
} from 'fastify'
import type { CloseReason, Connection, SlowPolicy } from './connection.ts'
import type { RouteParams } from './params.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

export type TopicsOption<Request> =
  | AnyTopic | AnyTopicRef | string
  | ReadonlyArray<AnyTopic | AnyTopicRef | string>
  | ((request: Request) => TopicNames | Promise<TopicNames>)

/** What a `topics` function returns: references, or full names. */
export type TopicNames = AnyTopicRef | string | ReadonlyArray<AnyTopicRef | string>

type GenericFor<Url extends string, Schema> =
  Schema extends { params: unknown } ? RouteGenericInterface : { Params: RouteParams<Url> }

type ProviderOf<Provider> = Provider extends FastifyTypeProvider ? Provider : FastifyTypeProviderDefault

export type RealtimeRequest<Url extends string, Schema extends FastifySchema, Provider> =
  FastifyRequest<
    GenericFor<Url, Schema>, RawServerBase, RawRequestDefaultExpression<RawServerDefault>, Schema, ProviderOf<Provider>
  >

export type BaseRouteOptions<Url extends string, Schema extends FastifySchema, Provider> = Omit<
  RouteShorthandOptions<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression,
    GenericFor<Url, Schema>, ContextConfigDefault, Schema, ProviderOf<Provider>, FastifyBaseLogger>,
  'handler' | 'websocket' | 'schema' | 'wsHandler'
> & { schema?: Schema }

export interface LiveOptions<Request> {
  /** ms between heartbeats of a quiet connection. Default: the plugin's (25000). */
  heartbeat?: number
  /** Bytes a client that does not read may cost. Default: the plugin's (1048576). */
  maxBuffered?: number
  /** What happens past `maxBuffered`. Default `close`. */
  slow?: SlowPolicy
  /**
   * Hosts by which clients may reach this route, e.g. `['app.example', 'localhost:3000']`, or `'*'`. A stream that was
   * asked for under another host, and an upgrade of a page that was, are refused with 403. Default: the plugin's.
   */
  hosts?: string[] | '*'
  /**
   * What clients of this route are in topics that have `presence`: `true` or `'member'`: they are shown, and are told
   * who is there. `'watch'`: they are told, and not shown. Default `false`: neither. An `authorize` of the topic is
   * asked, with the action `presence`; who is refused hears the topic without it.
   */
  presence?: boolean | 'member' | 'watch'
  /** Runs before the first event is written; a throw refuses the connection. */
  onConnect?: (connection: Connection, request: Request) => unknown
  /** Runs exactly once for every connection that `onConnect` accepted. */
  onDisconnect?: (connection: Connection, reason: CloseReason) => unknown
}

export type RouteMethod = HTTPMethods

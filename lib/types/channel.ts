/** A channel: a WebSocket route, and what its clients may send. */
import type { FastifyRequest, FastifySchema } from 'fastify'
import type { Connection } from './connection.ts'
import type { DefinedMessages } from './defined-messages.ts'
import type { RouteParams } from './params.ts'
import type { BaseRouteOptions, LiveOptions, RealtimeRequest, TopicsOption } from './route.ts'
import type { Validated } from './schemas.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

export interface MessageContext<Params = Record<string, string>> {
  /**
   * Of a message that came by an HTTP request (`http: true`) it has the `identity` alone.
   * @throws FST_ERR_REALTIME_NO_CONNECTION there, by `send`, `subscribe`, `unsubscribe`, `grant` and `close`
   */
  connection: Connection
  /** The upgrade request, or the message's own over HTTP. */
  request: FastifyRequest
  params: Params
  /**
   * The full name of the topic that the client has named with its message, one of those that it has joined (envelope
   * format); of a relay, where it goes. Undefined where it has named none.
   */
  topic: string | undefined
  /**
   * The client's key for this message (envelope format): 1 to 128 characters, the same if it sends the message again
   * after a lost connection. Publish with it as `dedupe`, and the event is published once. Clients choose it: put the
   * sender's id before it if several clients write into one topic.
   */
  key: string | undefined
}

export type MessageOptions<Schema, Provider, Params> =
  | {
    /**
     * Schema of the message's data, in JSON schema or what the app's validator compiler takes. The handler gets what
     * that gives.
     */
    schema?: Schema
    /** What it returns is the reply, when the client asked for one. */
    handler: (data: Validated<Provider, Schema>, context: MessageContext<Params>) => unknown
    relay?: never
  }
  | {
    schema?: Schema
    /**
     * A client event: goes to the others in a topic, never stored. The sender must be in it, the topic's `events` must
     * declare a message of this name, and its `authorize`, if it has one, is asked with action `publish`. `true`, or a
     * function as in {@link RelayOptions.data}, where the channel has exactly one topic.
     * @throws FST_ERR_REALTIME_ROUTE_INVALID
     */
    relay: true | RelayData<Schema, Provider, Params> | RelayOptions<Schema, Provider, Params>
    handler?: never
  }

/**
 * Says what is sent in place of the client's data, e.g. with the sender's id; undefined, or a promise of it: nothing.
 */
export type RelayData<Schema, Provider, Params> =
  (data: Validated<Provider, Schema>, context: MessageContext<Params>) => unknown

export interface RelayOptions<Schema, Provider, Params> {
  /**
   * Where it goes: a Topic or a name such as `rooms/:id`, whose params are the route's, or `topic.at(…)`. Where the
   * channel offers topics of this pattern for `subscribe`, a client may name which of those that it is in (envelope
   * format).
   */
  topic: AnyTopic | AnyTopicRef | string
  data?: RelayData<Schema, Provider, Params>
}

export interface ChannelLimits {
  /** Bytes of one inbound message. Default 65536. Above it the connection closes with 1009. */
  messageBytes?: number
  /** Inbound messages per second, on average. Default 50. Above it an `error` frame answers. */
  messagesPerSecond?: number
  /** Inbound messages in one burst. Default 100. */
  burst?: number
  /**
   * Topics that a client joins by `subscribe` in a minute, on average; as many as `maxTopics` at once. Default 240.
   * Above it an `error` frame answers, `RATE_LIMITED`, and the topic is not joined.
   */
  topicsPerMinute?: number
  /**
   * Faults within a minute before the connection is closed with 4429 (too many messages) or 4400 (all others). Default
   * 50. A fault is bad JSON, a message that is unknown or invalid, a topic or a right that is refused (`FORBIDDEN`,
   * 401, 403), and a handler that fails. An error of a handler's with a `code` and another status below 500 is none,
   * nor is one with 503.
   */
  faults?: number
  /** Messages that may wait while one is handled. Default 64. */
  queue?: number
}

export interface ChannelRoute<Url extends string, Schema extends FastifySchema, Messages, Provider>
  extends LiveOptions<RealtimeRequest<Url, Schema, Provider>> {
  topics?: TopicsOption<RealtimeRequest<Url, Schema, Provider>>
  /**
   * Topics (patterns) the client may join and leave at run time with `subscribe` (envelope format). It chooses their
   * params, so each must have `authorize`. @throws FST_ERR_REALTIME_ROUTE_INVALID
   */
  subscribe?: AnyTopic | ReadonlyArray<AnyTopic>
  /** What clients may send. */
  messages?:
    | { [K in keyof Messages]: MessageOptions<Messages[K], Provider, ChannelParams<Url, Schema, Provider>> }
    /** What `defineMessages` gives. */
    | DefinedMessages<unknown>
  /** Inbound binary messages. Without it they are refused. */
  binary?: (data: Uint8Array, context: MessageContext<ChannelParams<Url, Schema, Provider>>) => unknown
  limits?: ChannelLimits
  /**
   * Origins (RFC 6454) whose pages may open this channel besides those of the request's own host, e.g.
   * `['https://app.example', 'capacitor://localhost']`; `'*'` allows all. Default: the plugin's.
   */
  origins?: string[] | '*'
  /**
   * The same channel for clients without WebSockets: a `POST` of an `open` frame is answered by a stream of the frames
   * that a WebSocket would carry, and a `POST` of a message by its reply (PROTOCOL.md, section 4.9). Default false.
   */
  http?: boolean
}

export type ChannelParams<Url extends string, Schema, Provider> =
  Schema extends { params: infer P } ? Validated<Provider, P> : RouteParams<Url>

export type ChannelOptions<Url extends string, Schema extends FastifySchema, Messages, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & ChannelRoute<Url, Schema, Messages, Provider>

/** A channel: a WebSocket route, and what its clients may send. */
import type { FastifyRequest, FastifySchema } from 'fastify'
import type { Connection } from './connection.ts'
import type { DefinedMessages } from './defined-messages.ts'
import type { RouteParams } from './params.ts'
import type { BaseRouteOptions, LiveOptions, RealtimeRequest, TopicsOption } from './route.ts'
import type { Validated } from './schemas.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

/** What a handler is told about a message, besides its data. */
export interface MessageContext<Params = Record<string, string>> {
  /**
   * The connection that sent the message. For a message that came by an HTTP request (`http: true`), only its
   * `identity` can be used.
   * @throws FST_ERR_REALTIME_NO_CONNECTION there, by `send`, `subscribe`, `unsubscribe`, `grant` and `close`
   */
  connection: Connection
  /** The upgrade request; for a message over HTTP, the request that brought it. */
  request: FastifyRequest
  /** Params of the channel's URL. */
  params: Params
  /**
   * The full name of the topic that the client named with its message (envelope format). The client has joined it. For
   * a relay: the topic that the message goes to. Undefined if the client named none.
   */
  topic: string | undefined
  /**
   * The client's key for this message (envelope format), 1 to 128 characters. It stays the same if the client sends the
   * message again after a lost connection. Publish with it as `dedupe`, and the event is published only once. Clients
   * choose it: if several clients write into one topic, put the sender's id before it.
   */
  key: string | undefined
}

/** How a channel takes one kind of message: by a `handler`, or by a `relay`. */
export type MessageOptions<Schema, Provider, Params> =
  | {
    /**
     * Schema of the message's data: JSON schema, or what the app's validator compiler accepts. The handler gets the
     * validated data.
     */
    schema?: Schema
    /** Handles the message. If the client asked for a reply, it gets what this returns. */
    handler: (data: Validated<Provider, Schema>, context: MessageContext<Params>) => unknown
    relay?: never
  }
  | {
    schema?: Schema
    /**
     * Sends the message on to the others in a topic. It is never stored. The sender must be in the topic, and the
     * topic's `events`, if it has some, must include this name. The topic's `authorize` is asked with the action
     * `publish`. `true`, or a function as in {@link RelayOptions.data}, works only in a channel with exactly one topic.
     * @throws FST_ERR_REALTIME_ROUTE_INVALID
     */
    relay: true | RelayData<Schema, Provider, Params> | RelayOptions<Schema, Provider, Params>
    handler?: never
  }

/**
 * Returns the data that is sent instead of the client's, for example with the sender's id. If it returns undefined, or
 * a promise of it, nothing is sent.
 */
export type RelayData<Schema, Provider, Params> =
  (data: Validated<Provider, Schema>, context: MessageContext<Params>) => unknown

/** Where a relay goes, and with which data. */
export interface RelayOptions<Schema, Provider, Params> {
  /**
   * The topic that the message goes to: a Topic or a name such as `rooms/:id`, with the params of the route, or
   * `topic.at(…)`. If the channel's `subscribe` has this pattern, a client may name one of the topics that it has
   * joined (envelope format).
   */
  topic: AnyTopic | AnyTopicRef | string
  /** Returns the data to send. Default: the client's data. */
  data?: RelayData<Schema, Provider, Params>
}

/** Limits of one connection to a channel. */
export interface ChannelLimits {
  /** Bytes of one message from a client, 1 to 536870912. Default 65536. Above it the connection closes with 1009. */
  messageBytes?: number
  /**
   * Messages per second, on average, at least 1. Default 50. Above it a message is dropped and answered by an error
   * `RATE_LIMITED`.
   */
  messagesPerSecond?: number
  /** Messages at once, at least 1. Default 100. Above it the same happens. */
  burst?: number
  /**
   * Topics per minute that a client joins by `subscribe`, on average, at least 1; as many as `maxTopics` at once.
   * Default 240. Above it the topic is not joined, and an error `RATE_LIMITED` answers.
   */
  topicsPerMinute?: number
  /**
   * Faults within a minute, at least 1. Default 50. Above it the connection closes with 4429 (too many messages) or
   * 4400 (all other faults). These are faults: bad JSON, an unknown or invalid message, a refused topic or right
   * (`FORBIDDEN`, 401, 403), a handler that fails. A handler's error with a `code` and another status below 500 is not
   * a fault, and neither is one with 503.
   */
  faults?: number
  /** Messages that wait while one is handled, at least 1. Default 64. Above it the socket is not read. */
  queue?: number
}

/** Options of a channel, besides those that every Fastify route has. */
export interface ChannelRoute<Url extends string, Schema extends FastifySchema, Messages, Provider>
  extends LiveOptions<RealtimeRequest<Url, Schema, Provider>> {
  /** Topics that every client of this channel hears. Default: none. */
  topics?: TopicsOption<RealtimeRequest<Url, Schema, Provider>>
  /**
   * Topics (patterns) that a client may join and leave while it is connected (envelope format). The client chooses
   * their params, so each topic must have `authorize`. Default: none.
   * @throws FST_ERR_REALTIME_ROUTE_INVALID
   */
  subscribe?: AnyTopic | ReadonlyArray<AnyTopic>
  /** What clients may send, by name. Default: nothing. */
  messages?:
    | { [K in keyof Messages]: MessageOptions<Messages[K], Provider, ChannelParams<Url, Schema, Provider>> }
    /** What `defineMessages` returns. */
    | DefinedMessages<unknown>
  /** Handles binary messages from clients. Without it they are refused. */
  binary?: (data: Uint8Array, context: MessageContext<ChannelParams<Url, Schema, Provider>>) => unknown
  /** Default: the plugin's `limits`. */
  limits?: ChannelLimits
  /**
   * Origins (RFC 6454 §6.2) whose pages may open this channel, besides those of the request's own host, for example
   * `['https://app.example', 'capacitor://localhost']`. `'*'`: all. Default: the plugin's `origins`.
   */
  origins?: string[] | '*'
  /**
   * Serves the channel over HTTP too, for clients without WebSockets (PROTOCOL.md, section 4.9). A `POST` of an `open`
   * frame is answered by a stream of the frames that a WebSocket would carry, a `POST` of a message by its reply.
   * Default false.
   */
  http?: boolean
}

/** Params of a channel: what its `schema` says of them, or those of its URL. */
export type ChannelParams<Url extends string, Schema, Provider> =
  Schema extends { params: infer P } ? Validated<Provider, P> : RouteParams<Url>

/** What `app.channel(url, options)` takes. */
export type ChannelOptions<Url extends string, Schema extends FastifySchema, Messages, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & ChannelRoute<Url, Schema, Messages, Provider>

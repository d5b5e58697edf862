/** The public vocabulary: what an app writes and reads. Holds no code. */
import type {
  FastifyReply, FastifyRequest, FastifySchema, FastifyTypeProvider, FastifyTypeProviderDefault,
  RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerBase, RawServerDefault,
  RouteGenericInterface, RouteShorthandOptions, ContextConfigDefault, FastifyBaseLogger, HTTPMethods
} from 'fastify'
import type { Adapter } from './core/adapter.ts'

/**
 * Who a client is. Declare your own fields by merging:
 * `declare module 'fastify-realtime' { interface RealtimeIdentity { name: string } }`.
 */
export interface RealtimeIdentity {
  /** Unique for the person or machine behind the connection. */
  id: string
  /** True when `identify` named nobody; `id` is then unique to the connection. */
  anonymous?: boolean
}

/** What `identify` may give: a {@link RealtimeIdentity} whose id may be a number or a bigint too, of which it is the text. */
export type IdentityInput = Omit<RealtimeIdentity, 'id'> & { id: string | number | bigint }

/** An event's id, `<ms>-<seq>.<nonce>`. Opaque: compare it for equality only. */
export type EventId = string

/** Which wire carries a connection. */
export type WireKind = 'sse' | 'websocket'

/** What to do with a client that does not read, once `maxBuffered` is reached. */
export type SlowPolicy = 'close' | 'latest' | 'reset'

type Simplify<T> = { [K in keyof T]: T[K] }
type SegmentParam<S extends string> =
  S extends `:${infer Name}` ? Name : S extends '*' ? '*' : never
type ParamNames<P extends string> =
  P extends `${infer Head}/${infer Rest}` ? SegmentParam<Head> | ParamNames<Rest> : SegmentParam<P>

/** The params of a topic pattern: `'a/:b/*'` → `{ b: string, '*': string }`. */
export type ParamsOf<P extends string> =
  string extends P ? Record<string, string> : Simplify<{ [K in ParamNames<P>]: string }>

/** A route's params: its own by name, and whatever its prefix brings. */
export type RouteParams<Url extends string> = ParamsOf<Url> & { [fromPrefix: string]: string }

/** Event name → JSON schema. */
export type EventSchemas = Record<string, unknown>

/** What a schema makes of data that is written. */
export type Written<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['serializer'] : unknown

/** What a schema makes of data that was validated. */
export type Validated<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['validator'] : unknown

/** Event name → data type; anything goes when a topic declares no events. */
export type EventsOf<Schemas, Provider> =
  [Schemas] extends [never] ? Record<string, unknown> : { [K in keyof Schemas]: Written<Provider, Schemas[K]> }

export interface HistoryOptions {
  /** Events kept per topic. Default 256. Size it ≥ rate × the longest outage to survive. */
  limit?: number
  /** How long an event is kept, ms. Default 120000. */
  maxAge?: number
  /** Bytes of data kept per topic. Default 1048576. */
  maxBytes?: number
}

export interface AuthorizeContext<Params> {
  /** The topic's full name. */
  topic: string
  params: Params
  /** `subscribe` at each subscription, `publish` at each relayed client event. */
  action: 'subscribe' | 'publish'
}

/** What `snapshot` may return to name its event or say how far it reaches. */
export interface Snapshot {
  data: unknown
  /** The id `publish` returned for the last event this state contains: makes the join exact. */
  at?: EventId
  /** Sends the state as this event of the topic; otherwise it is `realtime:snapshot` (SSE) or `op: snapshot`. */
  event?: string
}

export interface TopicOptions<Params, Schemas> {
  /**
   * Event name → schema, in JSON schema or what the app's compilers take. `publish` is typed from it, data is serialized by
   * the app's serializer compiler, and in development what is to be sent is checked (`validate`). `message` is SSE's unnamed
   * event. An event not named here is refused.
   */
  events?: Schemas
  /** What a reconnecting client can be given. Default `{ limit: 256, maxAge: 120000, maxBytes: 1048576 }`. `false`: at most once, no ids. */
  history?: HistoryOptions | false
  /**
   * Asked at every subscription, on both wires, and for each relayed message. Only `true`, or a promise of it, allows;
   * anything else and a throw refuse: 403, unless the error has a `statusCode` of its own. `'anyone'`: every client may
   * subscribe, and none may relay. A topic without it is guarded by the hooks of the routes that carry it, and cannot be
   * offered for a channel's `subscribe`.
   */
  authorize?: ((request: FastifyRequest, context: AuthorizeContext<Params>) => boolean | Promise<boolean>) | 'anyone'
  /** The topic's present state, sent first to a client that has no usable cursor. */
  snapshot?: (params: Params) => unknown
  /** Listeners are written to at most once in so many ms, all events since in one piece. Default 0: once a turn of the event loop. At most 1000. */
  coalesce?: number
}

export interface PublishOptions {
  /** Publishing again with this key inside the history's age returns the first event's id and publishes nothing. At most 255 bytes. */
  dedupe?: string
  /** Which older event of this name it replaces for a conflating (`slow: 'latest'`) listener. At most 255 bytes. */
  key?: string
  /**
   * The id of a connection that does not get this event: its sender's, which knows it already. All others get it, and it is
   * in the history as any event is. A sender that reconnects has another id: it may then be given its own event. At most 255 bytes.
   */
  except?: string
}

export interface Published {
  /** Undefined for a topic without history. */
  id: EventId | undefined
}

/** One past event. */
export interface HistoryEvent {
  id: EventId
  event: string
  data: unknown
}

export interface HistoryPage {
  events: HistoryEvent[]
  /** False when `after` is no longer (or never was) in the log: events between may be gone. */
  linked: boolean
  /** True when `limit` cut the page. */
  more: boolean
}

/** One topic of a pattern: what `topic.at(params)` returns. */
export interface TopicRef<Params = Record<string, string>> {
  readonly topic: Topic<Params, never>
  readonly params: Readonly<Params>
  readonly name: string
}

/** A declared topic. */
export interface Topic<Params = Record<string, string>, Events = Record<string, unknown>> {
  readonly pattern: string
  /** False for `history: false`. */
  readonly durable: boolean
  /** The full name; params are percent-encoded. @throws FST_ERR_REALTIME_TOPIC_PARAMS */
  name (params: Params): string
  at (params: Params): TopicRef<Params>
  /**
   * Resolves when the adapter has taken the event.
   * @throws FST_ERR_REALTIME_EVENT_UNKNOWN, FST_ERR_REALTIME_EVENT_DATA, FST_ERR_REALTIME_EVENT_TOO_LARGE,
   * FST_ERR_REALTIME_TOPIC_PARAMS, FST_ERR_REALTIME_PUBLISH_OPTION, FST_ERR_REALTIME_CLOSED
   */
  publish <K extends keyof Events & string>(params: Params, event: K, data: Events[K] | Uint8Array, options?: PublishOptions): Promise<Published>
  /**
   * Past events in order. `after`: an event id; default the oldest kept. `limit`: 1 to 10000, default 100.
   * @throws FST_ERR_REALTIME_HISTORY_UNAVAILABLE, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS
   */
  history (params: Params, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
}

/** Any topic, whatever its params and events. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- variance: a concrete Topic is assignable to no narrower type
export type AnyTopic = Topic<any, any>
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type AnyTopicRef = TopicRef<any>

/** Why a connection ended: a row of the close-reasons table. */
export interface CloseReason {
  /** A stable word, e.g. `client-left`, `slow-client`, `shutting-down`. */
  readonly name: string
  /** The WebSocket close code (RFC 6455 §7.4). */
  readonly code: number
  readonly text: string
  /** May the client come back? */
  readonly reconnect: boolean
}

/** One client on one wire. */
export interface Connection {
  readonly id: string
  readonly kind: WireKind
  readonly identity: RealtimeIdentity
  /** The app's own: whatever it wants to know of this connection. */
  data: Record<string, unknown>
  /** The names of the topics it listens to now. */
  readonly topics: string[]
  /** Aborted once, when the connection has ended for whatever reason. */
  readonly signal: AbortSignal
  readonly closed: boolean
  /** Bytes that wait for this client to read: those in its socket's buffer, and those that are kept for it. At most about `maxBuffered`. */
  readonly buffered: number
  /** Sends an event to this client alone. It carries no id and is not replayed. @throws FST_ERR_REALTIME_EVENT_DATA, FST_ERR_REALTIME_EVENT_NAME_INVALID */
  send (event: string, data: unknown): void
  /**
   * Joins one more topic; its `authorize`, if it has one, is asked. Resolves when live, or when it was left meanwhile.
   * @throws FST_ERR_REALTIME_FORBIDDEN where that refused or `realtime.unsubscribe()` has taken it, FST_ERR_REALTIME_TOPIC_UNKNOWN,
   * FST_ERR_REALTIME_TOO_MANY_TOPICS, FST_ERR_REALTIME_CONNECTION_CLOSED, FST_ERR_REALTIME_UNAVAILABLE
   */
  subscribe (topic: AnyTopicRef | string): Promise<void>
  unsubscribe (topic: AnyTopicRef | string): void
  /**
   * Ends the connection, with the WebSocket code 1000 unless told otherwise. `reconnect: true` asks an envelope client
   * (and an SSE client, which knows nothing else) to come back. `text` takes at most 123 bytes of UTF-8, as a close frame
   * does (RFC 6455 §5.5). @throws FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON,
   * FST_ERR_REALTIME_OPTION_INVALID
   */
  close (reason?: { code?: number, text?: string, reconnect?: boolean }): void
}

/** What one client may be told by `source`, and nothing beside it. Strings and undefined data are sent as they are, all else as JSON. */
export interface SourceEvent {
  /** The event's name; without it the client's `onmessage` gets it. */
  event?: string
  data?: unknown
  id?: string
  /** Reconnection time, ms. */
  retry?: number
  comment?: string
}

export interface SourceContext {
  /** The client's Last-Event-ID, or undefined. */
  cursor: string | undefined
  /** Aborted when the client has left; of a resumable source, when it is stopped. */
  signal: AbortSignal
}

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
  FastifyRequest<GenericFor<Url, Schema>, RawServerBase, RawRequestDefaultExpression<RawServerDefault>, Schema, ProviderOf<Provider>>

type BaseRouteOptions<Url extends string, Schema extends FastifySchema, Provider> = Omit<
  RouteShorthandOptions<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression,
    GenericFor<Url, Schema>, ContextConfigDefault, Schema, ProviderOf<Provider>, FastifyBaseLogger>,
  'handler' | 'websocket' | 'schema' | 'wsHandler'
> & { schema?: Schema }

interface LiveOptions<Request> {
  /** ms between heartbeats of a quiet connection. Default: the plugin's (25000). */
  heartbeat?: number
  /** Bytes a client that does not read may cost. Default: the plugin's (1048576). */
  maxBuffered?: number
  /** What happens past `maxBuffered`. Default `close`. */
  slow?: SlowPolicy
  /**
   * Hosts by which clients may reach this route, e.g. `['app.example', 'localhost:3000']`, or `'*'`. A stream that was asked
   * for under another host, and an upgrade of a page that was, are refused with 403. Default: the plugin's.
   */
  hosts?: string[] | '*'
  /** Runs before the first event is written; a throw refuses the connection. */
  onConnect?: (connection: Connection, request: Request) => unknown
  /** Runs exactly once for every connection that `onConnect` accepted. */
  onDisconnect?: (connection: Connection, reason: CloseReason) => unknown
}

export interface ResumableOptions<Request> {
  /** How long an ended source is kept, ms. Default 600000, at most a day. */
  maxAge?: number
  /** Bytes one source may yield. Default 1048576; past it, it is aborted with the reason `too-large`. */
  maxBytes?: number
  /**
   * Whose run a request asks for: requests with the same key share one, and **whoever has the key reads it**. Put the user
   * in it unless the run is meant to be shared. Any non-empty string, of any length; also a promise of one, given up after
   * `joinTimeout`.
   *
   * Default: the identity's id and the URL's decoded params, without its query, so that no two users share a run. A `POST`, an anonymous
   * client, and a param that a schema made an object of need a `key`: they are refused without one.
   * @throws FST_ERR_REALTIME_RUN_KEY_MISSING, FST_ERR_REALTIME_RUN_KEY_INVALID (500, to the client)
   */
  key?: (request: Request) => string | Promise<string>
  /**
   * Where the key holds. Routes share runs only where they name the same space. Any non-empty string, of any length.
   *
   * Default: the route's pattern with its prefix, e.g. `/answers/:id`; with the method before it where that is not `GET`
   * alone (`POST /answers`), and its constraints behind.
   */
  space?: string
}

export interface StopOptions {
  /** The runs' space: its name, or the pattern of its route. Default: the only one there is. */
  space?: string
}

export interface StreamRoute<Url extends string, Schema extends FastifySchema, Provider>
  extends LiveOptions<RealtimeRequest<Url, Schema, Provider>> {
  /** `GET` (default) or `POST`. */
  method?: 'GET' | 'POST' | Array<'GET' | 'POST'>
  /** What is heard. Up to `maxTopics`. Either this or `source`. */
  topics?: TopicsOption<RealtimeRequest<Url, Schema, Provider>>
  /**
   * Events for this one client, pulled with backpressure; its `finally` runs when the client leaves. The response's head
   * waits for the first event, for a second at most: what is thrown until then is an ordinary HTTP error, with the
   * `statusCode` of what was thrown. What is thrown later is logged and told as `realtime:aborted`, and the response is cut,
   * not ended. What is thrown after `signal` was aborted is no error. A source is not bound by `joinTimeout`.
   */
  source?: (request: RealtimeRequest<Url, Schema, Provider>, context: SourceContext) =>
    AsyncIterable<SourceEvent> | Iterable<SourceEvent> | Promise<AsyncIterable<SourceEvent> | Iterable<SourceEvent>>
  /**
   * With `source`: what it yields is kept, so that whoever asks again, with or without a cursor, gets what was said and
   * then the rest; the source runs once. It ends with an event `realtime:end`, or `realtime:aborted`. What it throws before
   * its first event, within a second, is an ordinary HTTP error to all who wait for it, and nothing is kept.
   */
  resumable?: boolean | ResumableOptions<RealtimeRequest<Url, Schema, Provider>>
  /** What a client gets that does not accept `text/event-stream`; without it 406. */
  handler?: (request: RealtimeRequest<Url, Schema, Provider>, reply: FastifyReply) => unknown
  /** Reconnection time told to the client, ms (jittered by a fifth). Default: the plugin's (2000). */
  retry?: number
  /** How the opening cursor is sent: an event `realtime:open` (default), an id-only block, or not. */
  open?: 'event' | 'id' | false
}

export type StreamOptions<Url extends string, Schema extends FastifySchema, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & StreamRoute<Url, Schema, Provider>

export interface MessageContext<Params = Record<string, string>> {
  connection: Connection
  /** The upgrade request. */
  request: FastifyRequest
  params: Params
}

export type MessageOptions<Schema, Provider, Params> =
  | {
    /** Schema of the message's data, in JSON schema or what the app's validator compiler takes. The handler gets what that gives. */
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

/** Says what is sent in place of the client's data, e.g. with the sender's id; undefined, or a promise of it: nothing. */
export type RelayData<Schema, Provider, Params> = (data: Validated<Provider, Schema>, context: MessageContext<Params>) => unknown

export interface RelayOptions<Schema, Provider, Params> {
  /**
   * Where it goes: a Topic or a name such as `rooms/:id`, whose params are the route's, or `topic.at(…)`. Where the channel
   * offers topics of this pattern for `subscribe`, a client may name which of those that it is in (envelope format).
   */
  topic: AnyTopic | AnyTopicRef | string
  data?: RelayData<Schema, Provider, Params>
}

export interface ChannelLimits {
  /** Bytes of one inbound message. Default 65536. Past it the connection closes with 1009. */
  messageBytes?: number
  /** Inbound messages per second, on average. Default 50. Past it an `error` frame answers. */
  messagesPerSecond?: number
  /** Inbound messages in one burst. Default 100. */
  burst?: number
  /**
   * Topics that a client joins by `subscribe` in a minute, on average; as many as `maxTopics` at once. Default 240. Past it
   * an `error` frame answers, `RATE_LIMITED`, and the topic is not joined.
   */
  topicsPerMinute?: number
  /**
   * Faults within a minute before the connection is closed with 4429 (too many messages) or 4400 (all others). Default 50. A
   * fault is bad JSON, a message that is unknown or invalid, a topic or a right that is refused (`FORBIDDEN`, 401, 403), and
   * a handler that fails. An error of a handler's with a `code` and another status below 500 is none, nor is one with 503.
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
  messages?: { [K in keyof Messages]: MessageOptions<Messages[K], Provider, ChannelParams<Url, Schema, Provider>> }
  /** Inbound binary messages. Without it they are refused. */
  binary?: (data: Uint8Array, context: MessageContext<ChannelParams<Url, Schema, Provider>>) => unknown
  limits?: ChannelLimits
  /**
   * Origins (RFC 6454) whose pages may open this channel besides those of the request's own host, e.g.
   * `['https://app.example', 'capacitor://localhost']`; `'*'` allows all. Default: the plugin's.
   */
  origins?: string[] | '*'
}

export type ChannelParams<Url extends string, Schema, Provider> =
  Schema extends { params: infer P } ? Validated<Provider, P> : RouteParams<Url>

export type ChannelOptions<Url extends string, Schema extends FastifySchema, Messages, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & ChannelRoute<Url, Schema, Messages, Provider>

export interface RealtimeOptions {
  /** What joins nodes and keeps history. Default: `memory()`, one process. */
  adapter?: Adapter
  /**
   * Who a request is; null or undefined: nobody. Anything else than an object with an `id` (a non-empty string of at most
   * 4096 characters, a finite number, a bigint) is FST_ERR_REALTIME_IDENTITY_INVALID (500). Default: `request.user`, when it
   * has such an `id` or `sub`.
   */
  identify?: (request: FastifyRequest) => IdentityInput | null | undefined | Promise<IdentityInput | null | undefined>
  /** History of topics that do not say. `false`: none. */
  history?: HistoryOptions | false
  /** Bytes of recent events (and their encodings) kept on this node for all topics. Default 67108864. */
  ringBytes?: number
  /** ms between heartbeats of a quiet connection. Default 25000; 1000 to 300000. */
  heartbeat?: number
  /** SSE reconnection time, ms, jittered by a fifth. Default 2000. */
  retry?: number
  /** See {@link StreamRoute.open}. Default `event`. */
  open?: 'event' | 'id' | false
  /** Bytes a client that does not read may cost. Default 1048576. At least `maxEventBytes` × 1.5. */
  maxBuffered?: number
  /** Bytes of one published event's data. Default 65536. */
  maxEventBytes?: number
  /**
   * Topics of one connection, 1 to 1000. Default 64. A stream carries at most 128 with history, since its one cursor of 4 kB
   * has to name them; a channel's client in the envelope format names as many cursors as it has topics.
   */
  maxTopics?: number
  /** Connections on this node, those on their way in and those on their way out among them. Default 50000. Past it: a temporary refusal. */
  maxConnections?: number
  /**
   * Connections of one address (`request.ip`; an IPv6 address stands for its /64), of at least 1. Default 1000: an office
   * behind one address. Past it: a temporary refusal. Private and loopback peers are not counted, since without
   * `trustProxy` they are a proxy; of theirs, an HTTP/2 session may have so many streams.
   */
  maxConnectionsPerAddress?: number
  /** Connections of one identity (`identity.id`) on this node. Default 100. Past it: a temporary refusal. Those with `anonymous: true` are not counted. */
  maxConnectionsPerIdentity?: number
  /** See {@link SlowPolicy}. Default `close`. */
  slow?: SlowPolicy
  /** How long `app.close()` waits for clients to take their leave, ms. Less than Fastify's `pluginTimeout`. Default 5000. */
  closeTimeout?: number
  /** How long a client that was closed may take to go, ms, before it is cut. It is counted until then. Default 5000; 1 to 300000. */
  leaveTimeout?: number
  /**
   * How long a client waits for its topics' history, and for each promise of `topics`, `authorize`, `identify`,
   * `snapshot` and `onConnect`, ms. Default 5000; 1 to 300000. Past it: a temporary refusal.
   */
  joinTimeout?: number
  /** Check published data, as it is to be sent, against its schema. Default: true unless NODE_ENV is production. */
  validate?: boolean
  /** Cross-origin upgrades allowed on channels: a list, or `'*'`. Default: only http and https pages of the request's own host. */
  origins?: string[] | '*'
  /**
   * The hosts of this server, as clients write them: `['app.example', 'localhost:3000']`, with the port unless it is 80 or
   * 443. Guards streams and channels against DNS rebinding. Default `'*'`: any.
   */
  hosts?: string[] | '*'
  /** Limits of every channel that does not say. */
  limits?: ChannelLimits
  /**
   * `false`: channels' upgrades are left to @fastify/websocket, which the app must have. Default true: those that no other
   * listener has taken by the end of the turn are dispatched here. What nobody takes within `joinTimeout` the app answers.
   *
   * An object: the options of @fastify/websocket, which is registered with them unless the app has it already, so that plain
   * `websocket: true` routes and `app.injectWS` are there beside channels. It must be installed, and not be registered again.
   * @throws FST_ERR_REALTIME_OPTION_INVALID where it is not installed
   */
  websocket?: boolean | Record<string, unknown>
}

/** Whose connections: all that is given must fit. */
export interface RealtimeTarget {
  /** `identity.id`, or what `identify` gave for it. */
  identity?: string | number | bigint
  /** `connection.id` */
  connection?: string
  /** A topic that it listens to, or is about to: `topic.at(…)`, or the full name. */
  topic?: AnyTopicRef | string
}

export interface RealtimeStats {
  connections: { sse: number, websocket: number }
  /** On their way in: hooks of the plugin's are asked about them, or their topics are being read. They count in `maxConnections`. */
  arriving: number
  /** Closed by this side, and not gone yet. They count in `maxConnections`. */
  closing: number
  /** Topics with a listener on this node. */
  topics: number
  subscriptions: number
  published: number
  delivered: number
  /** Clients that resumed without loss / that had to be told `reset`. */
  recovered: number
  resets: number
  repairs: number
  slowClosed: number
  dropped: number
  refused: number
  ringBytes: number
  /** Orders and questions that came over the adapter and were not understood: of a newer version, or of a stranger. */
  ignored: number
  /** What the adapter says of itself: its name, and for Redis its state, links, outages and what waits. */
  adapter: { name: string, [key: string]: unknown }
}

export interface Realtime {
  /** As `topic.publish`, by full name. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN */
  publish (topic: string, event: string, data: unknown, options?: PublishOptions): Promise<Published>
  history (topic: string, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
  /**
   * Stops the run of a resumable source, whichever node runs it, by what its `key` returned. Resolves with whether one ran.
   * The runs of a route without a `key` cannot be stopped so.
   * @throws FST_ERR_REALTIME_RUN_SPACE where the space is not given and there is not exactly one, or where its pattern is
   * that of several; FST_ERR_REALTIME_RUN_KEY_INVALID, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_UNAVAILABLE
   */
  stop (key: string, options?: StopOptions): Promise<boolean>
  /** Listeners of a topic on all nodes; of those that answer within a second. */
  count (topic: string): Promise<number>
  /** Listeners of a topic on this node. */
  countLocal (topic: string): number
  /**
   * Ends connections on every node, also of clients whose hooks are still running: of an identity, one connection, or the
   * listeners of a topic; where several are given, all must fit. Resolves when the order is given.
   * `reason` as in `connection.close()`.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON, FST_ERR_REALTIME_OPTION_INVALID,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  disconnect (target: RealtimeTarget, reason?: { code?: number, text?: string, reconnect?: boolean }): Promise<void>
  /**
   * Takes a topic from connections on every node, also of clients whose hooks are still running. It stays taken from a
   * connection for as long as that lasts: neither the client nor `connection.subscribe()` can join it again.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_UNAVAILABLE
   */
  unsubscribe (target: RealtimeTarget, topic: AnyTopicRef | string): Promise<void>
  /** The connections of this node now. */
  connections (): Connection[]
  stats (): RealtimeStats
}

export type RouteMethod = HTTPMethods

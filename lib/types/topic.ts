/** A topic: how it is declared, published to and read. */
import type { FastifyRequest } from 'fastify'
import type { RealtimeIdentity } from './identity.ts'
import type { SlowPolicy } from '../core/connection/slow-client.ts'
import type { EventId } from '../core/adapter.ts'
import type { HistoryPage, Published, PublishOptions, StatePage } from '../core/published.ts'
import type { ResetReason } from '../protocol.ts'
import type { RealtimeClaims } from './claims.ts'
import type { Validated } from './schemas.ts'

export type { EventId } from '../core/adapter.ts'
export type { HistoryEvent, HistoryPage, Published, PublishOptions, StateItem, StatePage } from '../core/published.ts'

/** What is kept of each topic, for clients that resume. Above a limit the oldest events are dropped. */
export interface HistoryOptions {
  /** Events, at least 1. Default 256. Set it to the rate of events × the longest outage that clients may have. */
  limit?: number
  /** How long an event is kept, ms, at least 1. Default 120000. */
  maxAge?: number
  /** Bytes of data, at least 1. Default 1048576. */
  maxBytes?: number
}

/** Limits of a keyed topic. Above `maxKeys` or `maxBytes` a publish rejects with FST_ERR_REALTIME_STATE_FULL. */
export interface KeyedOptions {
  /** Keys of one topic, 1 to 1000000. Default 10000. */
  maxKeys?: number
  /** Bytes of data in the state of one topic, at least 1. Default 16777216. */
  maxBytes?: number
  /** How long the state is kept after the topic's last event, ms; `Infinity`: for ever. Default 604800000 (a week). */
  lifetime?: number
  /**
   * The name of the event that sends the state. Without it the state is `realtime:snapshot` (SSE) or `op: snapshot`,
   * and clients of the flat format do not get it.
   */
  event?: string
}

/** Somebody who is in a topic. */
export interface Member<Info = unknown, State = unknown> {
  /** The member's public id. */
  id: string
  /** What the server says of the member: `presence.info`, or else its grant or token. */
  info?: Info
  /** What the member's client says of itself. Undefined until it has said something. */
  state?: State
}

/** A member that always has `info`. */
export interface InformedMember<Info, State = unknown> extends Member<Info, State> {
  info: Info
}

/** What a client may say of itself. Without a schema no type provider is asked, so that apps stay assignable. */
type StateOf<Schema, Provider> = unknown extends Schema ? unknown : Validated<Provider, Schema>

/** The members of a topic, typed by what `presence.info` returns (awaited) and the schema of `presence.state`. */
export type MemberOf<Info, Schema, Provider> =
  undefined extends Awaited<Info>
    ? Member<Exclude<Awaited<Info>, undefined>, StateOf<Schema, Provider>>
    : InformedMember<Awaited<Info>, StateOf<Schema, Provider>>

/** A page of the members of a topic. */
export interface MemberPage<Shown extends Member = Member> {
  /** In the order of their ids. */
  members: Shown[]
  /** How many members the topic has. */
  size: number
  /** True if `limit` cut the page. Read the next page with `after: <the last id>`. */
  more: boolean
}

/** Who is shown in a topic, and with what. */
export interface PresenceOptions<Info = unknown, Schema = unknown, Provider = unknown> {
  /** How long a member stays after it has lost its last connection, ms, 0 to 600000. Default 10000. */
  grace?: number
  /** `'count'`: clients are told how many members there are, not who. Default `'members'`. */
  mode?: 'members' | 'count'
  /** Members of one topic, 1 to 1000000. Default 10000. Clients above it are not shown. */
  maxMembers?: number
  /** Bytes of `info` of one member as JSON, 2 to 65536. Default 1024. */
  maxInfoBytes?: number
  /** Bytes of what a client says of itself as JSON, 2 to 65536. Default 1024. */
  maxStateBytes?: number
  /** The name of the events that tell clients who is there. Default `realtime:presence`. */
  event?: string
  /**
   * Returns a member's public id. Null or undefined: the client is not shown. Default: the identity's id, which may be
   * an e-mail address.
   */
  id?: (identity: RealtimeIdentity) => string | null | undefined | Promise<string | null | undefined>
  /**
   * Returns what is shown of a member besides its id, as JSON. Members are typed by it. Default: the `info` of its
   * grant or token, or nothing.
   */
  info?: (identity: RealtimeIdentity, request: FastifyRequest) => Info
  /** Schema of what clients may say of themselves (`op: presence`). Without it they may say nothing. */
  state?: Schema
  /**
   * Called when a member joins, at most once in all nodes together. Write it after `info`: TypeScript reads them in
   * this order, and `info` is `unknown` if this comes first.
   */
  onJoin?: (member: MemberOf<Info, Schema, Provider>, context: { topic: string }) => unknown
  /**
   * Called when a member leaves, as `onJoin`. `reason`: `left`, `lost` (its node has died), or `removed` by the app.
   */
  onLeave?: (member: { id: string }, context: { topic: string, reason: 'left' | 'lost' | 'removed' }) => unknown
}
/** What a client wants to do in a topic: hear it, relay an event into it, or take part in its presence. */
export type Action = 'subscribe' | 'publish' | 'presence'

/** What `authorize` is told, besides the request. */
export interface AuthorizeContext<Params> {
  /** The topic's full name. */
  topic: string
  params: Params
  /**
   * `subscribe` at each subscription, `publish` for each relayed message, `presence` before the client is shown or told
   * who is there.
   */
  action: Action
  /** The claims of the client's token, if it sent one and the plugin has `tokens`. */
  claims: RealtimeClaims | undefined
}

/** Allows a client, with more to say about it. */
export interface Grant {
  allow: true
  /**
   * When it expires, ms since the epoch. If the client sends no newer token, it loses the topic `expiryGrace` later.
   * The client gets FST_ERR_REALTIME_EXPIRY_INVALID (500) if it is not in ms since the epoch, FST_ERR_REALTIME_EXPIRED
   * (401) if it is past. Default: never.
   */
  expiresAt?: number
  /** What the server says of the client in this topic. You read it as `connection.grant(topic).info`. */
  info?: unknown
}

/** What `authorize` returns. Only `true` and a grant allow. */
export type Authorized = boolean | Grant

/** What `snapshot` may return instead of the bare state. */
export interface Snapshot {
  /** The state. */
  data: unknown
  /** The id, as `publish` returned it, of the last event that the state contains. It makes the join exact. */
  at?: EventId
  /** The event that sends the state. Default: `realtime:snapshot` (SSE) or `op: snapshot`. */
  event?: string
}

/** What `app.topic(pattern, options)` takes. An unknown option is FST_ERR_REALTIME_OPTION_INVALID. */
export interface TopicOptions<Params, Schemas, Info = unknown, StateSchema = unknown, Provider = unknown> {
  /**
   * A schema for each event name: JSON schema, or what the app's compilers accept. It types `publish` and serializes
   * the data. In development the serialized data is validated (`validate`). Events that are not listed are refused.
   * `message` is the unnamed event of SSE. Default: any event, any data.
   */
  events?: Schemas
  /**
   * What is kept for clients that resume. `false`: events have no ids and are delivered at most once. Default: the
   * plugin's (`{ limit: 256, maxAge: 120000, maxBytes: 1048576 }`).
   */
  history?: HistoryOptions | false
  /**
   * Asked at each subscription on any wire, for each relayed message, and for presence. Only `true`, a {@link Grant},
   * or a promise of one allows. Anything else refuses with 403. If it throws, the error's `statusCode` counts. A
   * promise is given up after `joinTimeout`. A grant with an unknown member is FST_ERR_REALTIME_GRANT_INVALID (500).
   *
   * `'token'`: the client needs a token that names the topic, and the plugin needs `tokens`. `'anyone'`: every client
   * may subscribe, none may relay. Default: the hooks of the routes decide, and no channel may have the topic in
   * `subscribe`.
   */
  authorize?:
    | ((request: FastifyRequest, context: AuthorizeContext<Params>) => Authorized | Promise<Authorized>)
    | 'anyone'
    | 'token'
  /** Returns the topic's present state, which is sent first to a client without a usable cursor. Needs history. */
  snapshot?: (params: Params) => unknown
  /**
   * Keeps the newest event of each `key`. This state is sent first to a client without a usable cursor, in parts if it
   * is large. Needs history. `memory()` and `redis()` support it. Default false.
   */
  keyed?: boolean | KeyedOptions
  /**
   * Whether the topic knows who is there, and tells clients of routes that have `presence` too. `memory()` and
   * `redis()` support it. Default false.
   */
  presence?: boolean | PresenceOptions<Info, StateSchema, Provider>
  /**
   * Writes to each listener at most once in this time, ms, 0 to 1000. It then gets all events since the last write in
   * one piece. Default 0: once for each turn of the event loop.
   */
  coalesce?: number
}

/** How a topic is heard in the process. */
export interface SubscribeOptions {
  /** The id of the last event that the consumer has. What follows it comes first. Default: only new events. */
  after?: EventId | null | undefined
  /** Ends the iteration without an error. */
  signal?: AbortSignal | undefined
  /**
   * The client that the subscription is for. `identify`, `authorize`, the limits of connections, `disconnect` and
   * `revoke` then apply as on any other wire, and the subscription ends with the request's socket. Default: it belongs
   * to the app itself, and nothing is asked.
   */
  request?: FastifyRequest | undefined
  /** What happens above `maxBuffered`. Default `'replay'`: what was missed is read from the history. */
  slow?: SlowPolicy
  /** Bytes that may wait for a consumer that does not read. Default: the plugin's (1048576). */
  maxBuffered?: number
}

/** Items that are no declared event of the topic. */
export type RealtimeItem =
  /** Events were lost. What the consumer holds may be out of date: load it anew. */
  | { id: EventId | undefined, event: 'realtime:reset', data: { topic: string, reason: ResetReason } }
  /** The topic's `snapshot`, if that names no event of its own. For a keyed topic: a {@link StatePart}. */
  | { id: EventId | undefined, event: 'realtime:snapshot', data: unknown }
  /** A key of a keyed topic was removed. */
  | { id: EventId | undefined, event: 'realtime:removed', data: { topic: string, key: string }, key?: string }

/** Any item of a subscription, untyped. */
export interface AnyItem {
  id: EventId | undefined
  event: string
  data: unknown
  /** The event's key, in a keyed topic. */
  key?: string
}

/** One part of a keyed topic's state, as it is sent to clients. */
export interface StatePart {
  /** From 0. At part 0 the client drops what it has of the topic. */
  part: number
  /** True if another part follows. */
  more: boolean
  /** If an item has an `encoding`, its `data` is bytes as base64. */
  items: Array<{ key: string, event: string, data: unknown, encoding?: 'base64' }>
}

/** What a subscription yields. `id` is undefined for events that are in no history. */
export type TopicItem<Events> =
  | {
    [K in keyof Events & string]: { id: EventId | undefined, event: K, data: Events[K], key?: string }
  }[keyof Events & string]
  | RealtimeItem

/** Events of a topic, for a consumer within the process. It can be iterated over once. */
export interface TopicSubscription<Item> extends AsyncIterableIterator<Item, undefined, undefined> {
  /**
   * Resolves when the subscription is live. The consumer has everything up to `id`: if it is cut before its first item,
   * it goes on from there. `id` is undefined without history, and if a snapshot comes first. Rejects if the
   * subscription cannot begin.
   */
  readonly ready: Promise<{ id: EventId | undefined }>
  /** Ends at once, also while `next()` waits. */
  return (): Promise<IteratorResult<Item, undefined>>
  throw (error: unknown): Promise<IteratorResult<Item, undefined>>
  /** Returns the same subscription with each item changed. If `change` throws, the subscription ends. */
  map<Changed> (change: (item: Item) => Changed | Promise<Changed>): TopicSubscription<Changed>
  [Symbol.asyncIterator] (): this
  [Symbol.asyncDispose] (): Promise<void>
}

/** One topic of a pattern: what `topic.at(params)` returns. */
export interface TopicRef<Params = Record<string, string>> {
  readonly topic: Topic<Params, never>
  readonly params: Readonly<Params>
  readonly name: string
}

/** A declared topic. `Shown` is the type of its members, if it has presence. */
export interface Topic<
  Params = Record<string, string>, Events = Record<string, unknown>, Shown extends Member = Member,
  Pattern extends string = string
> {
  /** The pattern that it was declared with. */
  readonly pattern: Pattern
  /** Whether it has a history. False for `history: false`. */
  readonly durable: boolean
  /** Returns the full name, with percent-encoded params (RFC 3986 §2.1). @throws FST_ERR_REALTIME_TOPIC_PARAMS */
  name (params: Params): string
  /** Returns this one topic, for `topics` and `connection.subscribe()`. @throws FST_ERR_REALTIME_TOPIC_PARAMS */
  at (params: Params): TopicRef<Params>
  /**
   * Publishes an event to all listeners, on all nodes. Resolves when the adapter has stored it.
   * @throws FST_ERR_REALTIME_EVENT_UNKNOWN, FST_ERR_REALTIME_EVENT_DATA, FST_ERR_REALTIME_EVENT_TOO_LARGE,
   * FST_ERR_REALTIME_TOPIC_PARAMS, FST_ERR_REALTIME_PUBLISH_OPTION, FST_ERR_REALTIME_CONFLICT,
   * FST_ERR_REALTIME_STATE_FULL, FST_ERR_REALTIME_CLOSED, FST_ERR_REALTIME_UNAVAILABLE
   */
  publish <K extends keyof Events & string>(
    params: Params, event: K, data: Events[K] | Uint8Array, options?: PublishOptions
  ): Promise<Published>
  /**
   * Removes a key of a keyed topic. Listeners get `realtime:removed` with `{ topic, key }`. If the key held nothing,
   * the id is undefined, and listeners get nothing.
   * @throws FST_ERR_REALTIME_NOT_KEYED, FST_ERR_REALTIME_PUBLISH_OPTION, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_CONFLICT, FST_ERR_REALTIME_CLOSED, FST_ERR_REALTIME_UNAVAILABLE
   */
  remove (params: Params, key: string, options?: Pick<PublishOptions, 'dedupe' | 'expect'>): Promise<Published>
  /**
   * Reads a page of the state of a keyed topic, in the order of the keys. `after`: the last key of the page before.
   * `limit`: 1 to 10000, default 100. Each page is exact. A key that changes between two pages may be in both or in
   * none.
   * @throws FST_ERR_REALTIME_NOT_KEYED, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  state (params: Params, options?: { after?: string, limit?: number }): Promise<StatePage>
  /**
   * Reads a page of the members, in the order of their ids. `after`: the last id of the page before. `limit`: 1 to
   * 10000, default 100. It includes all who joined before the call, on any node.
   * @throws FST_ERR_REALTIME_NO_PRESENCE, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  presence (params: Params, options?: { after?: string, limit?: number }): Promise<MemberPage<Shown>>
  /**
   * Reads past events in order. `after`: the id of an event; default: from the oldest one that is kept. `limit`: 1 to
   * 10000, default 100.
   * @throws FST_ERR_REALTIME_HISTORY_UNAVAILABLE, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  history (params: Params, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
  /**
   * Hears the topic in this process as a client does: in order, without a gap or a duplicate, also after `after`. It
   * ends with `return()` (a `break`), with `signal`, and when the app closes. It throws if the consumer should
   * subscribe again: the adapter is not available, or the connection of a `request` was closed with `reconnect`, also
   * at shutdown.
   * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS; while it is iterated over
   * FST_ERR_REALTIME_SUBSCRIPTION_ENDED, FST_ERR_REALTIME_UNAVAILABLE, FST_ERR_REALTIME_FORBIDDEN,
   * FST_ERR_REALTIME_TOO_MANY_CONNECTIONS, FST_ERR_REALTIME_CLOSED
   */
  // Its own type parameter: an app under another type provider, whose events are others, must stay assignable.
  subscribe<Item extends AnyItem = TopicItem<Events>> (
    params: Params, options?: SubscribeOptions
  ): TopicSubscription<Item>
}

/** Any topic. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a concrete Topic is assignable to no narrower type
export type AnyTopic = Topic<any, any>
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type AnyTopicRef = TopicRef<any>

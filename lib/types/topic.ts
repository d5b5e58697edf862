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

export interface HistoryOptions {
  /** Events kept per topic. Default 256. Size it ≥ rate × the longest outage to survive. */
  limit?: number
  /** How long an event is kept, ms. Default 120000. */
  maxAge?: number
  /** Bytes of data kept per topic. Default 1048576. */
  maxBytes?: number
}

export interface KeyedOptions {
  /** Keys of one topic. A publish with one more is refused. Default 10000, at most 1000000. */
  maxKeys?: number
  /** Bytes of data that the state of one topic may hold. A publish that exceeds it is refused. Default 16777216. */
  maxBytes?: number
  /** How long after its last event a topic's state is kept, ms. Default 604800000 (a week); `Infinity` for ever. */
  lifetime?: number
  /**
   * Sends the state as this event. Without it the state is `realtime:snapshot` (SSE) or `op: snapshot`, and clients of
   * the flat format do not get it.
   */
  event?: string
}

/** Somebody who is there. */
export interface Member<Info = unknown, State = unknown> {
  id: string
  /** What the server says of it: `presence.info`, or else its grant or token. */
  info?: Info
  /** What its client says of itself; it may have said nothing yet. */
  state?: State
}

/** Somebody of whom the server always says something. */
export interface InformedMember<Info, State = unknown> extends Member<Info, State> {
  info: Info
}

/** What a client may say of itself. Without a schema no type provider is asked: an app under one stays an app. */
type StateOf<Schema, Provider> = unknown extends Schema ? unknown : Validated<Provider, Schema>

/** A member of a topic whose `presence.info` returns this, a promise or not, under the schema of `presence.state`. */
export type MemberOf<Info, Schema, Provider> =
  undefined extends Awaited<Info>
    ? Member<Exclude<Awaited<Info>, undefined>, StateOf<Schema, Provider>>
    : InformedMember<Awaited<Info>, StateOf<Schema, Provider>>

export interface MemberPage<Shown extends Member = Member> {
  /** In the order of their ids. */
  members: Shown[]
  /** How many there are. */
  size: number
  /** True when `limit` cut the page: the next starts `after` the last id. */
  more: boolean
}

export interface PresenceOptions<Info = unknown, Schema = unknown, Provider = unknown> {
  /**
   * How long a member stays that has lost its last connection, ms: it may be reloading. Default 10000, at most 600000.
   */
  grace?: number
  /** `count`: clients are told how many are there, not who. Default `members`. */
  mode?: 'members' | 'count'
  /** Members of one topic. Clients above it are not shown. Default 10000, at most 1000000. */
  maxMembers?: number
  /** Bytes of JSON that `info` of one member may be. Default 1024, at most 65536. */
  maxInfoBytes?: number
  /** Bytes of JSON that a client may say of itself. Default 1024, at most 65536. */
  maxStateBytes?: number
  /**
   * The name of the events that say who is there. Default `realtime:presence`. Clients of the flat format need no
   * other.
   */
  event?: string
  /**
   * A member's public id. Default: the identity's, which may be an e-mail address. Null or undefined: it is not shown.
   */
  id?: (identity: RealtimeIdentity) => string | null | undefined | Promise<string | null | undefined>
  /**
   * What is shown of a member besides its id, as JSON. Default: what its grant or its token says, or nothing. Members
   * are typed by what it returns.
   */
  info?: (identity: RealtimeIdentity, request: FastifyRequest) => Info
  /** Schema of what clients may say of themselves (`op: presence`), by which members are typed. Default: nothing. */
  state?: Schema
  /**
   * Called when a member joins: at most once in all nodes, by the node that stored it first. Write it after `info`:
   * TypeScript reads the two in their order, and does not know the type of `info` if this comes first.
   */
  onJoin?: (member: MemberOf<Info, Schema, Provider>, context: { topic: string }) => unknown
  /** Called when a member leaves, likewise. `reason`: `left`, `lost` (its node has died), or `removed` by the app. */
  onLeave?: (member: { id: string }, context: { topic: string, reason: 'left' | 'lost' | 'removed' }) => unknown
}
/** What a client is about to do in a topic: to hear it, to relay an event into it, to be seen in it. */
export type Action = 'subscribe' | 'publish' | 'presence'

export interface AuthorizeContext<Params> {
  /** The topic's full name. */
  topic: string
  params: Params
  /**
   * `subscribe` at each subscription, `publish` at each relayed client event, `presence` where it would be shown or see
   * who is there.
   */
  action: Action
  /** The claims of the client's token, if it sent one and the plugin has `tokens`. */
  claims: RealtimeClaims | undefined
}

/** Allows a client, for a while. */
export interface Grant {
  allow: true
  /**
   * When it expires, ms since the epoch. If the client sends no newer token, it loses the topic `expiryGrace` later.
   * @throws FST_ERR_REALTIME_EXPIRY_INVALID if it is not ms since the epoch, FST_ERR_REALTIME_EXPIRED if it is past
   */
  expiresAt?: number
  /** What the server says of the client in this topic; `connection.grant(topic).info`. */
  info?: unknown
}

/** Only `true` and a grant allow. */
export type Authorized = boolean | Grant

/** What `snapshot` may return, to name its event or the newest event that it contains. */
export interface Snapshot {
  data: unknown
  /** The id `publish` returned for the last event this state contains: makes the join exact. */
  at?: EventId
  /** Sends the state as this event of the topic; otherwise it is `realtime:snapshot` (SSE) or `op: snapshot`. */
  event?: string
}

export interface TopicOptions<Params, Schemas, Info = unknown, StateSchema = unknown, Provider = unknown> {
  /**
   * Event name → schema, in JSON schema or what the app's compilers take. `publish` is typed from it, data is
   * serialized by the app's serializer compiler, and in development what is to be sent is checked (`validate`).
   * `message` is SSE's unnamed event. An event not named here is refused.
   */
  events?: Schemas
  /**
   * What a reconnecting client can be given. Default `{ limit: 256, maxAge: 120000, maxBytes: 1048576 }`. `false`: at
   * most once, no ids.
   */
  history?: HistoryOptions | false
  /**
   * Asked at every subscription, on both wires, and for each relayed message. Only `true` or a {@link Grant}, or a
   * promise of one, allows. Anything else and a throw refuse: 403, unless the error has a `statusCode` of its own. A
   * grant with an unknown member is FST_ERR_REALTIME_GRANT_INVALID (500). `'token'`: the client needs a token that
   * names the topic, and the plugin needs `tokens`. `'anyone'`: every client may subscribe, and none may relay.
   * Without it the hooks of the routes decide, and the topic cannot be in a channel's `subscribe`.
   */
  authorize?:
    | ((request: FastifyRequest, context: AuthorizeContext<Params>) => Authorized | Promise<Authorized>)
    | 'anyone'
    | 'token'
  /** The topic's present state, sent first to a client that has no usable cursor. */
  snapshot?: (params: Params) => unknown
  /**
   * Each event has a `key`, and the newest event of each key is kept: the topic's state, which is sent first to a
   * client that has no usable cursor, in parts if it is large. Needs history. `memory()` and `redis()` support it.
   */
  keyed?: boolean | KeyedOptions
  /**
   * The topic knows who is there, and tells clients of routes that have `presence` too. `memory()` and `redis()`
   * support it.
   */
  presence?: boolean | PresenceOptions<Info, StateSchema, Provider>
  /**
   * Each listener is written to at most once in so many ms, and gets all events since then in one piece. Default 0:
   * once a turn of the event loop. At most 1000.
   */
  coalesce?: number
}

export interface SubscribeOptions {
  /** The id of the last event that the consumer has: what follows it comes first. Default: from now on. */
  after?: EventId | null | undefined
  /** Ends the iteration, without a throw. */
  signal?: AbortSignal | undefined
  /**
   * For whom it is. The topic's `authorize`, `identify`, the limits of connections, `disconnect` and `revoke` then
   * apply as on any other wire, and the subscription ends with the request's socket. Without it nothing is asked: the
   * subscription is the app's own.
   */
  request?: FastifyRequest | undefined
  /** What happens past `maxBuffered`. Default `replay`: what was missed is read from the history. */
  slow?: SlowPolicy
  /** Bytes that may wait for a consumer that does not read. Default: the plugin's (1048576). */
  maxBuffered?: number
}

/** Events that an item may be besides those declared: what the protocol says, and what `connection.send()` sends. */
export type RealtimeItem =
  /** Events were lost: what the consumer holds may be out of date. */
  | { id: EventId | undefined, event: 'realtime:reset', data: { topic: string, reason: ResetReason } }
  /** The topic's `snapshot`, where that names no event of its own; for a keyed topic a `StatePart`. */
  | { id: EventId | undefined, event: 'realtime:snapshot', data: unknown }
  /** The key of a keyed topic holds nothing any more. */
  | { id: EventId | undefined, event: 'realtime:removed', data: { topic: string, key: string }, key?: string }

/** Whatever a subscription may yield. */
export interface AnyItem {
  id: EventId | undefined
  event: string
  data: unknown
  /** In a keyed topic. */
  key?: string
}

/** The data of a keyed topic's state, as clients are sent it. */
export interface StatePart {
  /** From 0. At the first part, the client throws away what it has of the topic. */
  part: number
  /** Another part follows. */
  more: boolean
  /** `encoding`: `data` is bytes, as base64. */
  items: Array<{ key: string, event: string, data: unknown, encoding?: 'base64' }>
}

/** What a subscription yields. `id` is undefined for what is in no history. */
export type TopicItem<Events> =
  | {
    [K in keyof Events & string]: { id: EventId | undefined, event: K, data: Events[K], key?: string }
  }[keyof Events & string]
  | RealtimeItem

/** Events of a topic, for a consumer within the process. It can be iterated over once. */
export interface TopicSubscription<Item> extends AsyncIterableIterator<Item, undefined, undefined> {
  /**
   * Resolves once the subscription is live, with the id up to which the consumer has everything: a consumer that is cut
   * before its first item goes on from there. `id` is undefined without history, and where a snapshot comes first.
   * Rejects where it cannot begin.
   */
  readonly ready: Promise<{ id: EventId | undefined }>
  /** Ends at once, also while `next()` waits. */
  return (): Promise<IteratorResult<Item, undefined>>
  throw (error: unknown): Promise<IteratorResult<Item, undefined>>
  /** The same subscription, each item changed; what `change` throws ends it. */
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

/** A declared topic. `Shown`: who is in it, where it has presence. */
export interface Topic<
  Params = Record<string, string>, Events = Record<string, unknown>, Shown extends Member = Member,
  Pattern extends string = string
> {
  readonly pattern: Pattern
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
  publish <K extends keyof Events & string>(
    params: Params, event: K, data: Events[K] | Uint8Array, options?: PublishOptions
  ): Promise<Published>
  /**
   * Removes a key of a keyed topic: listeners get `realtime:removed` with `{ topic, key }`. If the key held nothing,
   * the id is undefined, and nobody is told.
   * @throws FST_ERR_REALTIME_NOT_KEYED, FST_ERR_REALTIME_PUBLISH_OPTION, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_CONFLICT, FST_ERR_REALTIME_CLOSED, FST_ERR_REALTIME_UNAVAILABLE
   */
  remove (params: Params, key: string, options?: Pick<PublishOptions, 'dedupe' | 'expect'>): Promise<Published>
  /**
   * The state of a keyed topic, by pages in the order of their keys (by UTF-16 code units). `after`: the last key of
   * the page before. `limit`: 1 to 10000, default 100. Each page is exact; what changes between two is in neither or
   * both.
   * @throws FST_ERR_REALTIME_NOT_KEYED, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  state (params: Params, options?: { after?: string, limit?: number }): Promise<StatePage>
  /**
   * Who is there, by pages in the order of their ids. `after`: the last id of the page before. `limit`: 1 to 10000,
   * default 100. It contains everybody who joined before the call, on whichever node.
   * @throws FST_ERR_REALTIME_NO_PRESENCE, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  presence (params: Params, options?: { after?: string, limit?: number }): Promise<MemberPage<Shown>>
  /**
   * Past events in order. `after`: an event id; default the oldest kept. `limit`: 1 to 10000, default 100.
   * @throws FST_ERR_REALTIME_HISTORY_UNAVAILABLE, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS
   */
  history (params: Params, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
  /**
   * Hears the topic within the process, as a client does: in order, without a gap or a duplicate, also behind `after`.
   * Ends with `return()` (a `break`), `signal`, and the app. It throws where the consumer should come back: the adapter
   * is away, or the connection of a `request` is closed so, also because the app closes.
   * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_PARAMS; while it is iterated over
   * FST_ERR_REALTIME_SUBSCRIPTION_ENDED, FST_ERR_REALTIME_UNAVAILABLE, FST_ERR_REALTIME_FORBIDDEN,
   * FST_ERR_REALTIME_TOO_MANY_CONNECTIONS, FST_ERR_REALTIME_CLOSED
   */
  // Its own type parameter: an app under another type provider, whose events are others, must stay assignable.
  subscribe<Item extends AnyItem = TopicItem<Events>> (
    params: Params, options?: SubscribeOptions
  ): TopicSubscription<Item>
}

/** Any topic, whatever its params and events. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a concrete Topic is assignable to no narrower type
export type AnyTopic = Topic<any, any>
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type AnyTopicRef = TopicRef<any>

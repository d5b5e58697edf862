/** `app.realtime`: what concerns all topics and connections. */
import type { Counters } from '../core/observe.ts'
import type { Connection } from './connection.ts'
import type { RealtimeDescription } from './description.ts'
import type { SignOptions } from './tokens.ts'
import type {
  AnyItem, AnyTopicRef, EventId, HistoryPage, Published, PublishOptions, StatePage, SubscribeOptions,
  TopicSubscription
} from './topic.ts'

/** Whose connections: all that is given must fit. */
export interface RealtimeTarget {
  /** `identity.id`, or what `identify` gave for it. */
  identity?: string | number | bigint
  /** `connection.id` */
  connection?: string
  /** A topic that it listens to, or is about to: `topic.at(…)`, or the full name. */
  topic?: AnyTopicRef | string
}

export interface StopOptions {
  /** The runs' space: its name, or the pattern of its route. Default: the only one there is. */
  space?: string
}

export interface RealtimeStats extends Counters {
  connections: { sse: number, websocket: number, process: number }
  /**
   * On their way in: hooks of the plugin's are asked about them, or their topics are being read. They count in
   * `maxConnections`.
   */
  arriving: number
  /** Closed by this side, and not gone yet. They count in `maxConnections`. */
  closing: number
  /** Topics with a listener on this node. */
  topics: number
  /** `subscriptions`, by what the topics were declared as; those of the plugin's own as well. */
  subscriptionsByPattern: Record<string, number>
  /** What the adapter says of itself: its name, and for Redis its state, links, outages and what waits. */
  adapter: { name: string, [key: string]: unknown }
}

export interface Realtime {
  /** As `topic.publish`, by full name. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN */
  publish (topic: string, event: string, data: unknown, options?: PublishOptions): Promise<Published>
  /** As `topic.remove`, by full name. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN */
  remove (topic: string, key: string, options?: Pick<PublishOptions, 'dedupe' | 'expect'>): Promise<Published>
  /** As `topic.state`, by full name. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN */
  state (topic: string, options?: { after?: string, limit?: number }): Promise<StatePage>
  history (topic: string, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
  /** As `topic.subscribe`, by full name. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_OPTION_INVALID */
  subscribe (topic: string, options?: SubscribeOptions): TopicSubscription<AnyItem>
  /**
   * Stops the run of a resumable source, whichever node runs it, by what its `key` returned. Resolves with whether one
   * ran. The runs of a route without a `key` cannot be stopped so.
   * @throws FST_ERR_REALTIME_RUN_SPACE where the space is not given and there is not exactly one, or where its pattern
   * is that of several; FST_ERR_REALTIME_RUN_KEY_INVALID, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_UNAVAILABLE
   */
  stop (key: string, options?: StopOptions): Promise<boolean>
  /** Listeners of a topic on all nodes; of those that answer within a second. */
  count (topic: string): Promise<number>
  /** Listeners of a topic on this node. */
  countLocal (topic: string): number
  /**
   * Ends connections on every node, also of clients whose hooks are still running: of an identity, one connection, or
   * the listeners of a topic; where several are given, all must fit. Resolves when the order is given. `reason` as in
   * `connection.close()`.
   *
   * `revoke: true`, for an identity alone: what was issued to it before (tokens by their `iat`, identities by their
   * `issuedAt`) is refused as well, on every node, for `revocationAge`. A new login works.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON,
   * FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_REVOCATIONS_FULL, FST_ERR_REALTIME_UNAVAILABLE
   */
  disconnect (
    target: RealtimeTarget, reason?: { code?: number, text?: string, reconnect?: boolean, revoke?: boolean }
  ): Promise<void>
  /**
   * A token for a client, signed by the plugin's key.
   * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_UNKNOWN
   */
  sign (options: SignOptions): string
  /**
   * Takes a topic from connections on every node, also of clients whose hooks are still running. It stays taken from a
   * connection for as long as that lasts: neither the client nor `connection.subscribe()` can join it again.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_UNAVAILABLE
   */
  revoke (target: RealtimeTarget, topic: AnyTopicRef | string): Promise<void>
  /** The connections of this node now. */
  connections (): Connection[]
  stats (): RealtimeStats
  /** What the app has declared, with the schemas as they were given. Complete once the app is ready. */
  describe (): RealtimeDescription
}

/** `app.realtime`: what concerns all topics and connections. */
import type { Counters } from '../core/observe.ts'
import type { Connection } from './connection.ts'
import type { RealtimeDescription } from './description.ts'
import type { SignOptions } from './tokens.ts'
import type {
  AnyItem, AnyTopicRef, EventId, HistoryPage, Published, PublishOptions, StatePage, SubscribeOptions,
  TopicSubscription
} from './topic.ts'

/** Names connections. Give at least one member. If you give several, all must match. */
export interface RealtimeTarget {
  /** The `id` of an identity, as `identify` returned it or as the string that it became. */
  identity?: string | number | bigint
  /** The `id` of one connection. */
  connection?: string
  /** A topic that the connection listens to or is about to join: `topic.at(…)`, or the full name. */
  topic?: AnyTopicRef | string
}

/** What `realtime.stop()` takes. */
export interface StopOptions {
  /** The space of the run: its name, or the pattern of its route. Default: the only space, if there is only one. */
  space?: string
}

/** What this node has done and holds. Counters begin at 0 when the process starts. */
export interface RealtimeStats extends Counters {
  /** Connections that are open now, by wire. */
  connections: { sse: number, websocket: number, process: number }
  /**
   * Connections that are being opened: their hooks run, or the history of their topics is read. They count in
   * `maxConnections`.
   */
  arriving: number
  /** Connections that this node has closed and that are not gone yet. They count in `maxConnections`. */
  closing: number
  /** Topics with a listener on this node. */
  topics: number
  /** `subscriptions` by the pattern of the topic. The plugin's own topics are included. */
  subscriptionsByPattern: Record<string, number>
  /** What the adapter says of itself: its name; for Redis its state, links, outages and what waits. */
  adapter: { name: string, [key: string]: unknown }
}

/** `app.realtime`. Each method also works by itself: `const { publish } = app.realtime`. */
export interface Realtime {
  /**
   * Publishes as `topic.publish`, by full name, untyped.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, and what `topic.publish` throws
   */
  publish (topic: string, event: string, data: unknown, options?: PublishOptions): Promise<Published>
  /**
   * Removes a key as `topic.remove`, by full name.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, and what `topic.remove` throws
   */
  remove (topic: string, key: string, options?: Pick<PublishOptions, 'dedupe' | 'expect'>): Promise<Published>
  /**
   * Reads the state as `topic.state`, by full name.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, and what `topic.state` throws
   */
  state (topic: string, options?: { after?: string, limit?: number }): Promise<StatePage>
  /**
   * Reads past events as `topic.history`, by full name.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, and what `topic.history` throws
   */
  history (topic: string, options?: { after?: EventId, limit?: number }): Promise<HistoryPage>
  /**
   * Hears a topic in this process as `topic.subscribe`, by full name, untyped.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_OPTION_INVALID
   */
  subscribe (topic: string, options?: SubscribeOptions): TopicSubscription<AnyItem>
  /**
   * Stops the run of a resumable source on whichever node runs it. `key` is what the route's `key` returned. Resolves
   * with true if a run was stopped. A route without a `key` has runs that cannot be stopped in this way.
   * @throws FST_ERR_REALTIME_RUN_SPACE if no space is given and there is not exactly one, or if several spaces have
   * the given pattern; FST_ERR_REALTIME_RUN_KEY_INVALID, FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_UNAVAILABLE
   */
  stop (key: string, options?: StopOptions): Promise<boolean>
  /**
   * Resolves with the number of a topic's listeners on all nodes that answer within a second.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN
   */
  count (topic: string): Promise<number>
  /** Returns the number of a topic's listeners on this node. @throws FST_ERR_REALTIME_TOPIC_UNKNOWN */
  countLocal (topic: string): number
  /**
   * Ends the connections that `target` names, on every node. It also covers clients whose hooks are still running.
   * Resolves when the order is given. `reason` is that of `connection.close()`.
   *
   * `revoke: true` also refuses what was issued to an identity before: tokens by their `iat`, identities by their
   * `issuedAt`. This holds on every node for `revocationAge`. A new login works. `target` must then be an `identity`
   * alone.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON,
   * FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_REVOCATIONS_FULL, FST_ERR_REALTIME_UNAVAILABLE
   */
  disconnect (
    target: RealtimeTarget, reason?: { code?: number, text?: string, reconnect?: boolean, revoke?: boolean }
  ): Promise<void>
  /**
   * Returns a token for a client (RFC 7519), signed with the plugin's key.
   * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_TOPIC_UNKNOWN
   */
  sign (options: SignOptions): string
  /**
   * Takes a topic from the connections that `target` names, on every node. It also covers clients whose hooks are still
   * running. Such a connection cannot get the topic back, neither by its client nor by `connection.subscribe()`.
   * @throws FST_ERR_REALTIME_TARGET, FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_UNAVAILABLE
   */
  revoke (target: RealtimeTarget, topic: AnyTopicRef | string): Promise<void>
  /** Returns the connections of this node. */
  connections (): Connection[]
  /** Returns what this node has done and holds. */
  stats (): RealtimeStats
  /** Returns what the app has declared, with the schemas as they were given. It is complete once the app is ready. */
  describe (): RealtimeDescription
}

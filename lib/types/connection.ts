/** A client's connection, and why it ends. */
import type { WireKind } from '../core/wire.ts'
import type { TopicGrant } from '../core/connection/face.ts'
import type { RealtimeIdentity } from './identity.ts'
import type { AnyTopicRef } from './topic.ts'

export type { CloseReason } from '../core/close-reasons.ts'
export type { TopicGrant } from '../core/connection/face.ts'
export type { SlowPolicy } from '../core/connection/slow-client.ts'
export type { WireKind } from '../core/wire.ts'

/** One client, on one wire. */
export interface Connection {
  /** Unique for this connection. A client that reconnects gets another one. */
  readonly id: string
  /** `'sse'`, `'websocket'` or `'process'`. */
  readonly kind: WireKind
  /** Who the client is. */
  readonly identity: RealtimeIdentity
  /** An object for whatever your app wants to keep with this connection. */
  data: Record<string, unknown>
  /** The full names of the topics that it listens to now. */
  readonly topics: string[]
  /** Aborts once, when the connection has ended for any reason. */
  readonly signal: AbortSignal
  /** True once the connection has ended. */
  readonly closed: boolean
  /**
   * Bytes that wait for this client to read: those in its socket's buffer, and those kept for it. At most about
   * `maxBuffered`.
   */
  readonly buffered: number
  /**
   * Sends an event to this client alone. It has no id and is not replayed. A `Uint8Array` is sent as bytes, as by
   * `publish`. Does nothing if the connection has ended.
   * @throws FST_ERR_REALTIME_EVENT_DATA, FST_ERR_REALTIME_EVENT_NAME_INVALID
   */
  send (event: string, data: unknown): void
  /**
   * Joins one more topic. Its `authorize`, if it has one, is asked. Resolves when the topic is live, or when it was
   * left meanwhile.
   * @throws FST_ERR_REALTIME_FORBIDDEN if `authorize` refused or `realtime.revoke()` has taken the topic,
   * FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_TOO_MANY_TOPICS, FST_ERR_REALTIME_CONNECTION_CLOSED,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  subscribe (topic: AnyTopicRef | string): Promise<void>
  /** Leaves a topic. Does nothing if the connection is not in it. */
  unsubscribe (topic: AnyTopicRef | string): void
  /**
   * Returns what `authorize`, or the client's token, has said of the client in a topic. Undefined if that was only
   * `true`.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN
   */
  grant (topic: AnyTopicRef | string): TopicGrant | undefined
  /**
   * Ends the connection. A WebSocket closes with `code` (default 1000) and `text` (at most 123 bytes of UTF-8, RFC 6455
   * §5.5). `reconnect: true` tells an envelope client, and an SSE client, when to come back. An SSE client comes back
   * in any case.
   * @throws FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON, FST_ERR_REALTIME_OPTION_INVALID
   */
  close (reason?: { code?: number, text?: string, reconnect?: boolean }): void
}

/** A client's connection, and why it ends. */
import type { WireKind } from '../core/wire.ts'
import type { TopicGrant } from '../core/connection/face.ts'
import type { RealtimeIdentity } from './identity.ts'
import type { AnyTopicRef } from './topic.ts'

export type { CloseReason } from '../core/close-reasons.ts'
export type { TopicGrant } from '../core/connection/face.ts'
export type { SlowPolicy } from '../core/connection/slow-client.ts'
export type { WireKind } from '../core/wire.ts'

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
  /**
   * Bytes that wait for this client to read: those in its socket's buffer, and those that are kept for it. At most
   * about `maxBuffered`.
   */
  readonly buffered: number
  /**
   * Sends an event to this client alone. It carries no id and is not replayed. A `Uint8Array` is sent as bytes, like
   * those of a publish.
   * @throws FST_ERR_REALTIME_EVENT_DATA, FST_ERR_REALTIME_EVENT_NAME_INVALID
   */
  send (event: string, data: unknown): void
  /**
   * Joins one more topic; its `authorize`, if it has one, is asked. Resolves when live, or when it was left meanwhile.
   * @throws FST_ERR_REALTIME_FORBIDDEN where that refused or `realtime.revoke()` has taken it,
   * FST_ERR_REALTIME_TOPIC_UNKNOWN, FST_ERR_REALTIME_TOO_MANY_TOPICS, FST_ERR_REALTIME_CONNECTION_CLOSED,
   * FST_ERR_REALTIME_UNAVAILABLE
   */
  subscribe (topic: AnyTopicRef | string): Promise<void>
  unsubscribe (topic: AnyTopicRef | string): void
  /**
   * What `authorize`, or the client's token, has said of the client in a topic; undefined where that was `true` alone.
   * @throws FST_ERR_REALTIME_TOPIC_UNKNOWN
   */
  grant (topic: AnyTopicRef | string): TopicGrant | undefined
  /**
   * Ends the connection, with the WebSocket code 1000 unless told otherwise. `reconnect: true` asks an envelope client
   * (and an SSE client, which knows nothing else) to come back. `text` takes at most 123 bytes of UTF-8, as a close
   * frame does (RFC 6455 §5.5).
   * @throws FST_ERR_REALTIME_CLOSE_CODE, FST_ERR_REALTIME_CLOSE_REASON, FST_ERR_REALTIME_OPTION_INVALID
   */
  close (reason?: { code?: number, text?: string, reconnect?: boolean }): void
}

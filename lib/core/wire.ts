/**
 * The wire contract: how a connection's bytes are made and written. Proven by test/conformance/wire.ts.
 *
 * A wire frames an event once per `Encoder`; the hub writes the same bytes to every member of that encoder's
 * group. What differs by connection (openings, resets, snapshots, replays of several topics) is asked of the
 * connection's own `Outlet`.
 */
import type { Id } from './adapter.ts'
import type { CloseReason } from './close-reasons.ts'
import type { Entry } from './event.ts'
import type { Room } from './room.ts'
import type { Subscription } from './connection.ts'

export type { CloseReason } from './close-reasons.ts'

export type ResetReason = 'unknown-cursor' | 'expired' | 'lost' | 'slow'

/** Makes the bytes of a group. */
export interface Encoder {
  /** The bytes of one event depend on nothing but the event and its topic: they are kept with it. */
  readonly shared: boolean
  /** `room.position` is still the one before these events. Of a place (`isPlace`) the wire tells where it is, if it has words for that. */
  encode (entries: readonly Entry[], room: Room): Uint8Array
}

/** What a client is told besides events. */
export type Notice =
  | { type: 'opened', subscriptions: readonly Subscription[] }
  | { type: 'subscribed', subscription: Subscription, recovered: boolean | undefined, snapshot: boolean, ref: unknown }
  | { type: 'reset', subscription: Subscription, reason: ResetReason }
  | { type: 'snapshot', subscription: Subscription, data: Uint8Array, event: string | undefined }
  | { type: 'at', subscription: Subscription, why: 'conflated' }
  /** The server took it from the client. */
  | { type: 'revoked', topic: string }
  | { type: 'direct', event: string, data: Uint8Array }

/** One connection's end of a wire. */
export interface Outlet {
  readonly kind: 'sse' | 'websocket'
  /** The group encoder for a connection with these subscriptions: all are live but those that are held, whose topics have no position yet. */
  encoder (subscriptions: readonly Subscription[]): Encoder
  /** The encoder is not used by this connection any more. */
  release (encoder: Encoder): void
  /** One event for this client alone; its subscription stands at the event already. */
  encodeOne (entry: Entry, subscription: Subscription): Uint8Array
  /** Undefined where this wire has no words for it. */
  notice (notice: Notice): Uint8Array | undefined
  /** False when the peer's buffer is full: the wire calls `connection.drained()` later. Never throws. */
  write (bytes: Uint8Array): boolean
  /** Bytes handed to the socket and not yet taken by the kernel. */
  readonly buffered: number
  /** Tells the client why (and, in ms, when to come back), and ends. Calls `connection.gone()` when it is over. */
  close (reason: CloseReason, retry: number | undefined): void
  /** Cuts. */
  destroy (): void
  /** A sign of life. For SSE only when nothing was written since the last. */
  beat (quiet: boolean): void
}

export type { Entry, Id, Room, Subscription }

/**
 * The wire contract: how a connection's bytes are made and written. Proven by the suite of lib/conformance/wire.ts.
 *
 * A wire frames an event once for each `Encoder`; the same bytes are written to every member of that encoder's group.
 * What differs by connection (openings, resets, snapshots, replays of several topics) is asked of the connection's own
 * `Outlet`.
 */
import type { EventId, Format } from './adapter.ts'
import type { CloseReason } from './close-reasons.ts'
import type { Entry } from './event.ts'
import type { LapseReason, ResetReason } from '../protocol.ts'

export type { LapseReason, ResetReason } from '../protocol.ts'

/** What a wire writes: bytes, or whatever else has a size. The core makes nothing of it, and never looks inside. */
export interface Chunk {
  readonly byteLength: number
}

/** A topic that somebody listens to here. */
export interface HeardTopic {
  /** Its full name. */
  readonly name: string
  /** What it was declared as. */
  readonly pattern: string
  /** It has a history: its events have ids. */
  readonly durable: boolean
  /** Its events have keys that clients are to know. */
  readonly keyed: boolean
  /** Its clients are told where events were published, by wires that have a place for it. */
  readonly tracesTold: boolean
  /** The id up to which the groups have been written to; empty without history. */
  readonly position: EventId
  /** Free for a wire to keep what it derives from the name, under an object of its own. */
  readonly derived: Map<object, unknown>
}

/** A topic that one client listens to. */
export interface HeardSubscription {
  readonly topic: HeardTopic
  /**
   * The id up to which the client has been told everything. Undefined while it waits for a snapshot, and without
   * history.
   */
  readonly position: EventId | undefined
  /** It waits for a snapshot: it is in no group, and has no position to tell. */
  readonly held: boolean
  /** The client's cursor, not found, of which it has not been told yet; empty where it named no id. */
  readonly lost: EventId | undefined
}

/** Makes the bytes of a group. */
export interface Encoder<Bytes extends Chunk = Chunk> {
  /** The bytes of one event depend on nothing but the event and its topic: they are kept with it. */
  readonly shared: boolean
  /**
   * Called while `topic.position` is still the place before these events. For a place (`isPlace`) the wire tells where
   * the client is, if it has words for that.
   */
  encode (entries: readonly Entry[], topic: HeardTopic): Bytes
}

/** What a client is told besides events. */
export type Notice =
  | { type: 'opened', subscriptions: readonly HeardSubscription[] }
  /** `recovered`: was it given what it had missed? Undefined where it named no cursor. */
  | {
    type: 'subscribed',
    subscription: HeardSubscription,
    recovered: boolean | undefined,
    snapshot: boolean,
    /** ms from now until what allows it ends; undefined where nothing says that it does. */
    expires: number | undefined,
    ref: unknown
  }
  | { type: 'reset', subscription: HeardSubscription, reason: ResetReason }
  | { type: 'snapshot', subscription: HeardSubscription, data: Uint8Array, event: string | undefined }
  | { type: 'at', subscription: HeardSubscription, why: 'conflated' }
  /** The server took it from the client. `reason`: why, where the client may join it again. */
  | { type: 'revoked', topic: string, reason?: LapseReason }
  | { type: 'direct', event: string, data: Uint8Array, format: Format }

/** The connection, as its outlet sees it. */
export interface OutletHost {
  readonly id: string
  /** ms between two signs of life. */
  readonly heartbeat: number
  /** It has been told that it is open. */
  readonly begun: boolean
  /** The peer's buffer is full. */
  readonly full: boolean
  readonly subscriptions: readonly HeardSubscription[]
  /** Bytes for this client alone: kept while its buffer is full. */
  write (bytes: Chunk): void
  /** The peer takes bytes again. */
  drained (): void
  /** The wire's end of it is over. */
  gone (reason: CloseReason): void
}

/** Which wire carries a connection. `process`: a subscriber within the process. */
export type WireKind = 'sse' | 'websocket' | 'process'

/** One connection's end of a wire. */
export interface Outlet {
  readonly kind: WireKind
  /** Its client can be told that it has one topic less. Where it cannot, the connection ends instead. */
  readonly sheds?: boolean
  /** The group encoder for a connection with these subscriptions: all are live but those that are held. */
  encoder (subscriptions: readonly HeardSubscription[]): Encoder
  /** The encoder is not used by this connection any more. */
  release (encoder: Encoder): void
  /** One event for this client alone; its subscription stands at the event already. */
  encodeOne (entry: Entry, subscription: HeardSubscription): Chunk
  /** Several that follow each other, as one. */
  join (chunks: readonly Chunk[]): Chunk
  /** Undefined where this wire has no words for it. */
  notice (notice: Notice): Chunk | undefined
  /** False when the peer's buffer is full: the wire calls `drained()` of its host later. Never throws. */
  write (bytes: Chunk): boolean
  /** Bytes handed to the socket and not yet taken by the kernel. */
  readonly buffered: number
  /** Tells the client why (and, in ms, when to come back), and ends. Calls `gone()` of its host when it is over. */
  close (reason: CloseReason, retry: number | undefined): void
  /** Ends at once, without a word. */
  destroy (): void
  /** A sign of life. For SSE only when nothing was written since the last. */
  beat (quiet: boolean): void
}

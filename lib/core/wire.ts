/**
 * The wire contract: how a connection's bytes are made and written. The suite of lib/conformance/wire.ts tests it.
 *
 * A wire encodes an event once for each `Encoder`, and the same bytes are written to every member of that encoder's
 * group. What differs by connection (openings, resets, snapshots, replays of several topics) is asked of the
 * connection's own `Outlet`.
 */
import type { EventId, Format } from './adapter.ts'
import type { CloseReason } from './close-reasons.ts'
import type { Entry } from './event.ts'
import type { LapseReason, ResetReason } from '../protocol.ts'

export type { LapseReason, ResetReason } from '../protocol.ts'

/** What a wire writes: bytes, or anything else that has a size. Core never looks inside. */
export interface Chunk {
  readonly byteLength: number
}

/** A topic that somebody listens to here. */
export interface HeardTopic {
  /** The topic's full name. */
  readonly name: string
  /** The pattern that the topic was declared with. */
  readonly pattern: string
  /** The topic has a history: its events have ids. */
  readonly durable: boolean
  /** Clients are told the keys of the topic's events. */
  readonly keyed: boolean
  /** Clients are told where events were published, by wires that have a place for it. */
  readonly tracesTold: boolean
  /** The last id that was written to the groups; empty without history. */
  readonly position: EventId
  /** A wire may keep here what it derives from the name, under an object of its own. */
  readonly derived: Map<object, unknown>
}

/** A topic that one client listens to. */
export interface HeardSubscription {
  readonly topic: HeardTopic
  /**
   * The id up to which the client has been told everything. Undefined while the client waits for a snapshot, and
   * without history.
   */
  readonly position: EventId | undefined
  /** The subscription waits for a snapshot: it is in no group, and has no position to tell. */
  readonly held: boolean
  /** The client's cursor, if it was not found and the client has not been told so; empty if the cursor has no id. */
  readonly lost: EventId | undefined
}

/** Encodes events for a group. */
export interface Encoder<Bytes extends Chunk = Chunk> {
  /** The bytes of one event depend only on the event and its topic, so they are kept with the event. */
  readonly shared: boolean
  /**
   * Called while `topic.position` is still the place before these events. For a place (`isPlace`) the wire tells the
   * client's position, if it can.
   */
  encode (entries: readonly Entry[], topic: HeardTopic): Bytes
}

/** What a client is told besides events. */
export type Notice =
  | { type: 'opened', subscriptions: readonly HeardSubscription[] }
  /** `recovered`: did the client get everything after its cursor? Undefined if it gave no cursor. */
  | {
    type: 'subscribed',
    subscription: HeardSubscription,
    recovered: boolean | undefined,
    snapshot: boolean,
    /** ms from now until the client's right to the topic ends; undefined if no end is known. */
    expires: number | undefined,
    ref: unknown
  }
  | { type: 'reset', subscription: HeardSubscription, reason: ResetReason }
  | { type: 'snapshot', subscription: HeardSubscription, data: Uint8Array, event: string | undefined }
  | { type: 'at', subscription: HeardSubscription, why: 'conflated' }
  /** The server took the topic from the client. `reason`: why, if the client may join the topic again. */
  | { type: 'revoked', topic: string, reason?: LapseReason }
  | { type: 'direct', event: string, data: Uint8Array, format: Format }

/** What an outlet needs of the connection. */
export interface OutletHost {
  readonly id: string
  /** ms between two heartbeats. */
  readonly heartbeat: number
  /** The client has been told that the connection is open. */
  readonly begun: boolean
  /** The peer's buffer is full. */
  readonly full: boolean
  readonly subscriptions: readonly HeardSubscription[]
  /** Writes bytes for this client alone. They are kept while its buffer is full. */
  write (bytes: Chunk): void
  /** The peer takes bytes again. */
  drained (): void
  /** The wire of this connection is gone. */
  gone (reason: CloseReason): void
}

/** Which wire carries a connection. `process`: a subscriber within the process. */
export type WireKind = 'sse' | 'websocket' | 'process'

/** One connection's end of a wire. */
export interface Outlet {
  readonly kind: WireKind
  /** The client can be told that it has one topic less. If it cannot, the connection ends instead. */
  readonly sheds?: boolean
  /** The group encoder for a connection with these subscriptions. All of them are live, except those that are held. */
  encoder (subscriptions: readonly HeardSubscription[]): Encoder
  /** This connection does not use the encoder any more. */
  release (encoder: Encoder): void
  /** Encodes one event for this client alone. Its subscription stands at the event already. */
  encodeOne (entry: Entry, subscription: HeardSubscription): Chunk
  /** Joins chunks that follow each other. */
  join (chunks: readonly Chunk[]): Chunk
  /** Encodes a notice; undefined if this wire cannot express it. */
  notice (notice: Notice): Chunk | undefined
  /** False if the peer's buffer is full: then the wire calls `drained()` of its host later. Never throws. */
  write (bytes: Chunk): boolean
  /** Bytes handed to the socket and not yet taken by the kernel. */
  readonly buffered: number
  /** Tells the client why (and, in ms, when to come back), and ends. Calls `gone()` of its host when that is done. */
  close (reason: CloseReason, retry: number | undefined): void
  /** Ends at once, without a word. */
  destroy (): void
  /** Sends a heartbeat. `quiet`: nothing was written since the last one; SSE sends one only then. */
  beat (quiet: boolean): void
}

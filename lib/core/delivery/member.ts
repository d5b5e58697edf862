/** A listener of a topic, as delivery sees it. */
import type { EventId } from '../adapter.ts'
import type { CloseReason } from '../close-reasons.ts'
import type { Entry, Receiver } from '../event.ts'
import type { Chunk, Encoder, ResetReason } from '../wire.ts'

/** Listeners that get the same bytes. */
export interface Group {
  readonly encoder: Encoder
  readonly members: Member[]
}

export interface Member {
  readonly receiver: Receiver
  /** The member's group, and its index in `members`. */
  group: Group | undefined
  slot: number
  /** Bytes that wait for the member's client. */
  readonly buffered: number
  /** `bytes` are the encoded `entries`. */
  deliver (bytes: Chunk, entries: readonly Entry[]): void
  /** Writing to the member has failed. Its client may have got some of the bytes, or none. */
  fail (error: unknown): void
  /** Takes the client out of its groups, before it is told something of its own. `settle` must follow. */
  leaveGroups (): void
  /** The events after `id` could not be written to the group. The member stands at `id`, and pulls them by itself. */
  standBefore (id: EventId): void
  /**
   * The member leaves its groups, and joins them again when it has everything. It gets `passing` first: events that are
   * in no history.
   */
  takeSingly (passing: readonly Entry[]): void
  /** Events were lost for good. */
  reset (reason: ResetReason): void
  /** No more events follow in the topic. */
  finish (reason: CloseReason): void
  /** Ends the connection, and tells the client to come back. */
  sendAway (reason: CloseReason): void
}

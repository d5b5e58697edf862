/** A listener of a topic, as those see it who deliver. */
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
  /** The group that it is in, and where. */
  group: Group | undefined
  slot: number
  /** Bytes that wait for it. */
  readonly buffered: number
  /** `bytes` are those of `entries`. */
  deliver (bytes: Chunk, entries: readonly Entry[]): void
  /** Writing to it has failed. It may have got some of it, or nothing. */
  fail (error: unknown): void
  /** Takes it out of its groups: it is about to be told something that no other is. `settle` must follow. */
  leaveGroups (): void
  /** What follows `id` could not be given to its group: the member gets it by itself, from there. */
  standBefore (id: EventId): void
  /**
   * The member goes back into its groups when it has everything. `passing` is given to it first: those events are in no
   * history.
   */
  takeSingly (passing: readonly Entry[]): void
  /** Events were lost for good. */
  reset (reason: ResetReason): void
  /** Nothing follows in its topic. */
  finish (reason: CloseReason): void
  /** Tells its client to come back. */
  sendAway (reason: CloseReason): void
}

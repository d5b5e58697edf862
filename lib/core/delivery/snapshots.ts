/** A topic's state for clients that join. Clients that ask at the same time share one snapshot. */
import type { EventId } from '../adapter.ts'
import { inNobodysName } from '../async-context.ts'
import { toError, type AppLog } from '../callbacks.ts'
import type { TopicLog } from '../log/topic-log.ts'
import { CallbackTimeout } from '../../errors.ts'

/** What the app returned. `at`: the id of the last event that the state contains. */
export interface TakenSnapshot {
  readonly data: Uint8Array
  readonly event: string | undefined
  readonly at: EventId | undefined
}

export interface SnapshotPart {
  readonly data: Uint8Array
  readonly event: string | undefined
}

export interface TopicSnapshot {
  /** At least one part. Empty when the snapshot was dropped and must be taken again. */
  readonly parts: readonly SnapshotPart[]
  /** The client's position after the snapshot: the next event's `prev`. */
  readonly from: EventId
}

export interface SnapshotHost {
  readonly name: string
  readonly log: AppLog
  /** The app is closing, and the waiting clients have been told to come back. */
  readonly stopping: boolean
  place (): Promise<TopicSnapshot>
}

export class Snapshots {
  readonly #host: SnapshotHost
  #underWay: Promise<TopicSnapshot> | undefined

  constructor (host: SnapshotHost) {
    this.#host = host
  }

  take (): Promise<TopicSnapshot> {
    this.#underWay ??= inNobodysName(() => this.#takeOne())
    return this.#underWay
  }

  /** A failure is logged once, however many callers wait. The next call takes another snapshot. */
  async #takeOne (): Promise<TopicSnapshot> {
    try {
      return await this.#host.place()
    } catch (error) {
      if (!this.#host.stopping) this.#logFailure(error)
      throw error
    } finally {
      this.#underWay = undefined
    }
  }

  #logFailure (error: unknown): void {
    const failed = toError(error) instanceof CallbackTimeout
      ? 'realtime: a snapshot took too long'
      : 'realtime: a snapshot failed'
    this.#host.log.error({ err: error, topic: this.#host.name }, failed)
  }
}

/** Places a snapshot of the app. The position is read before the app is asked, so that no later event is missed. */
export async function placed (log: TopicLog, take: () => Promise<TakenSnapshot>): Promise<TopicSnapshot> {
  const from = log.last
  const { data, event, at } = await take()
  const parts = [{ data, event }]
  if (at === undefined) return { parts, from }
  // The state may be newer than this node's log, or older than its recent events. If its place is not found, the state
  // counts as at least as new as `from`.
  if (log.locate(at) === undefined) await log.reach(at)
  if (log.locate(at) !== undefined) return { parts, from: at }
  // Where events after `at` are gone, the client is told so: from that place it cannot go on without a reset.
  return { parts, from: log.lacksAfter(at) ? at : from }
}

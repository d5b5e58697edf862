/** A topic's state, as it is sent to those who join: taken once for all who ask at the same moment. */
import type { EventId } from '../adapter.ts'
import { inNobodysName } from '../async-context.ts'
import { toError, type AppLog } from '../callbacks.ts'
import type { TopicLog } from '../log/topic-log.ts'
import { CallbackTimeout } from '../../errors.ts'

/** What the app has said of it. `at`: the id of the last event that it contains. */
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
  /** One at least; none once it is given up, and is to be taken anew. */
  readonly parts: readonly SnapshotPart[]
  /** Where the live events start for whoever is given this. */
  readonly from: EventId
}

export interface SnapshotHost {
  readonly name: string
  readonly log: AppLog
  /** Those who wait have been told to come back. */
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

  /** A failure is logged once, however many wait; whoever asks after it starts another. */
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

/** One that the app takes. The position is fixed before it is asked. */
export async function placed (log: TopicLog, take: () => Promise<TakenSnapshot>): Promise<TopicSnapshot> {
  const from = log.last
  const { data, event, at } = await take()
  const parts = [{ data, event }]
  if (at === undefined) return { parts, from }
  // The state may be ahead of this node, or older than the recent events. A state whose place is not found is at
  // least as new as `from`.
  if (log.locate(at) === undefined) await log.reach(at)
  return { parts, from: log.locate(at) === undefined ? from : at }
}

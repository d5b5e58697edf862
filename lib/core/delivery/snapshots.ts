/** A topic's state, as it is sent to those who join: taken once for all who ask at the same moment. */
import type { Id } from '../adapter.ts'
import { inNobodysName } from '../async-context.ts'
import { toError, type AppLog } from '../callbacks.ts'
import type { TopicLog } from '../log/topic-log.ts'
import { CallbackTimeout } from '../../errors.ts'

/** What the app has said of it. `at`: the id of the last event that it contains. */
export interface TakenSnapshot {
  readonly data: Uint8Array
  readonly event: string | undefined
  readonly at: Id | undefined
}

export interface SnapshotPart {
  readonly data: Uint8Array
  readonly event: string | undefined
}

export interface TopicSnapshot {
  /** One at least. */
  readonly parts: readonly SnapshotPart[]
  /** Where the live events start for whoever is given this. */
  readonly from: Id
}

export interface SnapshotHost {
  readonly name: string
  readonly log: AppLog
  /** Those who wait have been told to come back. */
  readonly stopping: boolean
  /** Asks the app. */
  take (): Promise<TakenSnapshot>
}

export class Snapshots {
  readonly #host: SnapshotHost
  readonly #log: TopicLog
  #underWay: Promise<TopicSnapshot> | undefined

  constructor (host: SnapshotHost, log: TopicLog) {
    this.#host = host
    this.#log = log
  }

  /** Takes one. The position is fixed before the app is asked. */
  take (): Promise<TopicSnapshot> {
    this.#underWay ??= inNobodysName(() => this.#takeOne())
    return this.#underWay
  }

  /** A failure is logged once, however many wait; whoever asks after it starts another. */
  async #takeOne (): Promise<TopicSnapshot> {
    try {
      return await this.#place()
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

  async #place (): Promise<TopicSnapshot> {
    const log = this.#log
    const from = log.last
    const { data, event, at } = await this.#host.take()
    const parts = [{ data, event }]
    if (at === undefined) return { parts, from }
    // The state may be ahead of this node, or older than the recent events. A state whose place is not found is at
    // least as new as `from`.
    if (log.locate(at) === undefined) await log.reach(at)
    return { parts, from: log.locate(at) === undefined ? from : at }
  }
}

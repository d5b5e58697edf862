/**
 * Compares topics that this node listens to with their heads in Redis. If the head is not the last id that was heard,
 * events may have been missed.
 */
import type { EventId } from '../../core/adapter.ts'
import type { ListenedTopic } from './listened-topics.ts'
import { sleep } from './sleep.ts'

export interface ComparisonHost {
  /** True if heads can be read now. */
  up (): boolean
  heads (topics: readonly string[]): Promise<Array<EventId | null>>
  suspect (topics: string[]): void
}

/** Heads that are read at once. */
export const COMPARED_AT_ONCE = 500
const RETRY_MS = 200

export class HeadComparison {
  readonly #host: ComparisonHost
  /** Topics that are listened to again after a gap, and wait for their comparison. */
  readonly #due = new Set<ListenedTopic>()
  #state: 'rests' | 'compares' = 'rests'

  constructor (host: ComparisonHost) {
    this.#host = host
  }

  add (topic: ListenedTopic): void {
    this.#due.add(topic)
  }

  delete (topic: ListenedTopic): void {
    this.#due.delete(topic)
  }

  /** Compares until no topic is due. */
  work (): void {
    if (this.#state === 'compares' || this.#due.size === 0 || !this.#host.up()) return
    this.#state = 'compares'
    this.#compareDue().catch(() => sleep(RETRY_MS)).finally(() => {
      this.#state = 'rests'
      this.work()
    })
  }

  async #compareDue (): Promise<void> {
    const some = [...this.#due].slice(0, COMPARED_AT_ONCE)
    await this.compare(some)
    for (const topic of some) this.#due.delete(topic)
  }

  async compare (some: readonly ListenedTopic[]): Promise<void> {
    const before = some.map(({ last }) => last)
    const heads = await this.#host.heads(some.map(({ topic }) => topic))
    const suspect: string[] = []
    for (const [i, one] of some.entries()) {
      const head = heads[i]
      // An event that came during the read shows by its link whether others are missing.
      if (head === one.last || one.last !== before[i]) continue
      // The hub is about to read up to this head, so it is not suspected again.
      one.last = head ?? one.last
      suspect.push(one.topic)
    }
    if (suspect.length > 0) this.#host.suspect(suspect)
  }
}

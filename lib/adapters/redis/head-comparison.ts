/**
 * Topics that are listened to, compared with their heads in Redis: where the head is not what was heard last, something
 * may have been missed.
 */
import type { EventId } from '../../core/adapter.ts'
import type { ListenedTopic } from './listened-topics.ts'
import { sleep } from './sleep.ts'

export interface ComparisonHost {
  /** Heads can be asked for. */
  up (): boolean
  heads (topics: readonly string[]): Promise<Array<EventId | null>>
  suspect (topics: string[]): void
}

/** Heads asked for in one turn. */
export const COMPARED_AT_ONCE = 500
const RETRY_MS = 200

export class HeadComparison {
  readonly #host: ComparisonHost
  /** Listened to again, and to be compared. */
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

  /** Compares what is due, until nothing is. */
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
      // What was heard meanwhile shows by its link whether something is missing.
      if (head === one.last || one.last !== before[i]) continue
      // What the hub is about to read need not be suspected again.
      one.last = head ?? one.last
      suspect.push(one.topic)
    }
    if (suspect.length > 0) this.#host.suspect(suspect)
  }
}

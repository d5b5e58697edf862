/** Inbound limits of one client: token buckets, and a tally of faults. */
import { Bucket } from '../../core/bucket.ts'
import type { Limits } from '../../options.ts'

const FAULT_WINDOW_MS = 60_000

export class Rate {
  readonly #limits: Limits
  readonly #messages: Bucket
  /** Made for the first topic that is joined: most clients join none. */
  #topics: Bucket | undefined
  #faults = 0
  #faultsSince = 0

  constructor (limits: Limits) {
    this.#limits = limits
    this.#messages = new Bucket(limits.burst, limits.messagesPerSecond)
  }

  /** True when one more message is within the rate. */
  take (): boolean {
    return this.#messages.take()
  }

  // Threat: each name costs room here, and a key in Redis for a while. Whoever joins and leaves without end would fill
  // both.
  /** True when joining one more topic is within the rate. As many as a client may be in can be joined at once. */
  takeTopic (maxTopics: number): boolean {
    const { topicsPerMinute } = this.#limits
    this.#topics ??= new Bucket(Math.max(maxTopics, topicsPerMinute), topicsPerMinute / 60)
    return this.#topics.take()
  }

  /** Counts a fault. True when it was one too many. */
  fault (): boolean {
    const now = performance.now()
    if (now - this.#faultsSince > FAULT_WINDOW_MS) {
      this.#faults = 0
      this.#faultsSince = now
    }
    return ++this.#faults > this.#limits.faults
  }
}

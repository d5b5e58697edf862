/** Inbound limits of one client: a token bucket for messages, and a tally of faults. */
import type { Limits } from '../../options.ts'

const FAULT_WINDOW_MS = 60_000

export class Rate {
  readonly #limits: Limits
  #tokens: number
  #filledAt = performance.now()
  #faults = 0
  #faultsSince = 0

  constructor (limits: Limits) {
    this.#limits = limits
    this.#tokens = limits.burst
  }

  /** True when one more message is within the rate. */
  take (): boolean {
    const now = performance.now()
    const { burst, messagesPerSecond } = this.#limits
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#filledAt) / 1000 * messagesPerSecond)
    this.#filledAt = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
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

/** Clients that are stalled: each is released again by itself, however its page ends. */
import type { Insight } from '../insight.ts'

/** More at a time are refused. */
const MAX_STALLED = 1000

export class Stalls {
  readonly #insight: Insight
  readonly #timeoutMs: number
  readonly #timers = new Map<string, NodeJS.Timeout>()

  constructor (insight: Insight, timeoutMs: number) {
    this.#insight = insight
    this.#timeoutMs = timeoutMs
  }

  stall (id: string): boolean {
    if (this.#timers.size >= MAX_STALLED || !this.#insight.stall(id)) return false
    clearTimeout(this.#timers.get(id))
    this.#timers.set(id, setTimeout(() => { this.release(id) }, this.#timeoutMs).unref())
    return true
  }

  /** False where it was not stalled by this. */
  release (id: string): boolean {
    const timer = this.#timers.get(id)
    clearTimeout(timer)
    this.#timers.delete(id)
    return this.#insight.release(id) && timer !== undefined
  }

  end (): void {
    for (const id of [...this.#timers.keys()]) this.release(id)
  }
}

/** Clients that are stalled: each is released again by itself, however its page ends. */
import type { Insight } from '../insight.ts'

/** More at a time are refused. */
const MAX_STALLED = 1000

type Stallable = Pick<Insight, 'stall' | 'release'> & { connections (): Iterable<{ readonly id: string }> }

export class Stalls {
  readonly #insight: Stallable
  readonly #timeoutMs: number
  readonly #timers = new Map<string, NodeJS.Timeout>()

  constructor (insight: Stallable, timeoutMs: number) {
    this.#insight = insight
    this.#timeoutMs = timeoutMs
  }

  stall (id: string): boolean {
    if (!this.#timers.has(id) && !this.#hasRoom()) return false
    if (!this.#insight.stall(id)) return false
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

  #hasRoom (): boolean {
    if (this.#timers.size >= MAX_STALLED) this.#forgetGone()
    return this.#timers.size < MAX_STALLED
  }

  /** Clients leave without a word to this: they are looked for where their places are needed. */
  #forgetGone (): void {
    const here = new Set(Array.from(this.#insight.connections(), ({ id }) => id))
    for (const [id, timer] of this.#timers) {
      if (here.has(id)) continue
      clearTimeout(timer)
      this.#timers.delete(id)
    }
  }

  end (): void {
    for (const id of [...this.#timers.keys()]) this.release(id)
  }
}

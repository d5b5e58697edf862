/** A token bucket: holds `size` tokens, and gets `perSecond` tokens a second. */
export class Bucket {
  readonly #size: number
  readonly #perSecond: number
  #tokens: number
  #filledAt = performance.now()

  constructor (size: number, perSecond: number) {
    this.#size = this.#tokens = size
    this.#perSecond = perSecond
  }

  /** False if no token is left. */
  take (): boolean {
    this.#fill()
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** A full bucket is like a new one: nothing is lost if it is dropped. */
  get full (): boolean {
    this.#fill()
    return this.#tokens >= this.#size
  }

  #fill (): void {
    const now = performance.now()
    this.#tokens = Math.min(this.#size, this.#tokens + Math.max(0, now - this.#filledAt) / 1000 * this.#perSecond)
    this.#filledAt = now
  }
}

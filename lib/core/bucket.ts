/** A token bucket: holds so many tokens, and gets so many a second. */
export class Bucket {
  readonly #size: number
  readonly #perSecond: number
  #tokens: number
  #filledAt = performance.now()

  constructor (size: number, perSecond: number) {
    this.#size = this.#tokens = size
    this.#perSecond = perSecond
  }

  /** False when none is left. */
  take (): boolean {
    this.#fill()
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** It is as it was when it was made: nothing is lost where it is forgotten. */
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

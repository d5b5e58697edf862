/**
 * Keeps the orders of the last minute, for clients that were still connecting when an order was given. Orders are
 * counted, and a client keeps the count of its arrival. So no clock is needed to know which orders came later.
 */
const REMEMBER_MS = 60_000
const MAX_REMEMBERED = 10_000

interface Given<T> { readonly order: T, readonly at: number }

export class Revocations<T> {
  #kept: Array<Given<T>> = []
  /** How many of the kept orders are too old. They are removed once they are more than half of all. */
  #aged = 0
  /** How many orders were dropped, and when the last of them was given (performance.now). */
  #forgotten = 0
  #forgottenAt = -Infinity

  /** How many orders were given so far. */
  get count (): number { return this.#forgotten + this.#kept.length - this.#aged }

  /** How many orders were given by then (performance.now). */
  countAt (time: number): number {
    // How many of the dropped orders were given by then is not known. A number that is too low is the safe one.
    if (time < this.#forgottenAt) return -1
    let count = this.count
    for (let index = this.#kept.length - 1; index >= this.#aged && this.#given(index).at > time; index--) count--
    return count
  }

  add (order: T): void {
    const at = performance.now()
    this.#kept.push({ order, at })
    while (at - this.#given(this.#aged).at >= REMEMBER_MS || this.#kept.length - this.#aged > MAX_REMEMBERED) {
      this.#forget()
    }
    if (this.#aged * 2 > this.#kept.length) this.#drop()
  }

  /** Orders may have been given that did not reach this node. */
  lose (): void {
    this.#forgotten = this.count + 1
    this.#forgottenAt = performance.now()
    this.#kept = []
    this.#aged = 0
  }

  /** The orders that were given after the first `count`. Undefined if some of them were dropped. */
  after (count: number): T[] | undefined {
    if (count < this.#forgotten) return undefined
    return count >= this.count ? NONE : this.#kept.slice(this.#aged + count - this.#forgotten).map(({ order }) => order)
  }

  #given (index: number): Given<T> {
    return this.#kept[index] as Given<T>
  }

  #forget (): void {
    this.#forgottenAt = this.#given(this.#aged).at
    this.#forgotten++
    this.#aged++
  }

  #drop (): void {
    this.#kept = this.#kept.slice(this.#aged)
    this.#aged = 0
  }
}

const NONE: never[] = []

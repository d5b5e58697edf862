/**
 * Orders that concern whoever is on the way in when they are given, kept for so long. They are counted, so that "given
 * since this client arrived" needs no clock: a client bears how many there were when its request arrived.
 */
const REMEMBER_MS = 60_000
const MAX_REMEMBERED = 10_000

interface Given<T> { readonly order: T, readonly at: number }

export class Revocations<T> {
  #kept: Array<Given<T>> = []
  /** How many of those kept have aged: they are dropped when they are half of all. */
  #aged = 0
  /** Orders that nobody knows any more, and when the last of them was given (performance.now). */
  #forgotten = 0
  #forgottenAt = -Infinity

  /** Orders given so far. */
  get count (): number { return this.#forgotten + this.#kept.length - this.#aged }

  /** Orders given by then (performance.now). */
  countAt (time: number): number {
    // How many of the forgotten came before is not known: too few is the safe side.
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

  /** Others may have been given of which this node has not heard. */
  lose (): void {
    this.#forgotten = this.count + 1
    this.#forgottenAt = performance.now()
    this.#kept = []
    this.#aged = 0
  }

  /** Those given after so many. Undefined where some of them are not known any more. */
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

/** What came, taken in order, and a way to wait for what has not. */
const GIVE_UP_MS = 20_000

export class Arrivals<T> {
  readonly all: T[] = []
  readonly #untaken: T[] = []
  #waiting: Array<(item: T) => void> = []

  push (item: T): void {
    this.all.push(item)
    const next = this.#waiting.shift()
    if (next) next(item)
    else this.#untaken.push(item)
  }

  /** The next that was not taken yet. */
  take (): Promise<T> {
    if (this.#untaken.length > 0) return Promise.resolve(this.#untaken.shift() as T)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing more came')), GIVE_UP_MS)
      this.#waiting.push((item) => {
        clearTimeout(timer)
        resolve(item)
      })
    })
  }
}

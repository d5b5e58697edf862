/** How long to wait before the next connection. Pure. */

/** ms after an attempt that failed, doubled with each that follows. */
const FIRST_WAIT = 500
/** ms after a connection, whatever the server says; doubled while connections are brief. */
const LEAST_WAIT = 100
const LAST_WAIT = 30_000
/** ms: a connection that has lived for less is brief. */
const BRIEF = 1000

export class Pauses {
  #failed = FIRST_WAIT
  #least = LEAST_WAIT

  /** There was no connection. */
  failed (): number {
    this.#failed = Math.min(this.#failed * 2, LAST_WAIT)
    return this.#failed
  }

  /** A connection has `lived` so many ms, and the server `said` when to come back, in ms. */
  ended (lived: number, said: number): number {
    this.#failed = FIRST_WAIT
    if (lived >= BRIEF) this.#least = LEAST_WAIT
    const pause = Math.max(said, this.#least)
    if (lived < BRIEF) this.#least = Math.min(this.#least * 2, LAST_WAIT)
    return pause
  }
}

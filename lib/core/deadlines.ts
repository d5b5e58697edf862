/**
 * Calls each target when its moment has come, with one timer for all of them.
 *
 * Moments are given by the wall clock, as tokens and databases have them, and kept on a steady clock. So setting the
 * wall clock makes nothing due too early, and keeps nothing for longer.
 */
import { inNobodysName } from './async-context.ts'

export interface Due {
  /** The target's moment has come. Its deadline is not kept any more. */
  due (): void
}

/** A target, and the moment at which it is due. */
export interface Deadline {
  readonly target: Due
  /** On the clock of `Deadlines.now`. */
  readonly at: number
}

interface Kept extends Deadline {
  at: number
  /** The index in the heap; -1 if the deadline is not kept any more. */
  index: number
}

export interface Clock {
  /** ms since the epoch. */
  wall (): number
  /** ms since some moment; nobody can set this clock. */
  steady (): number
}

const CLOCK: Clock = { wall: () => Date.now(), steady: () => performance.now() }
/** A timer takes 31 bits of ms, and does not run exactly as the clock does. So the clock is checked this often, ms. */
const LONGEST_MS = 3_600_000
/** How many targets are called in one turn of the event loop. */
const STRIDE = 256

export class Deadlines {
  readonly #failed: (error: unknown) => void
  readonly #clock: Clock
  /** A binary heap, the earliest deadline first. */
  readonly #heap: Kept[] = []
  #timer: NodeJS.Timeout | undefined
  #wakesAt = Infinity

  /** `failed` is called with what a target throws. The other targets are called all the same. */
  constructor (failed: (error: unknown) => void, clock = CLOCK) {
    this.#failed = failed
    this.#clock = clock
  }

  get size (): number { return this.#heap.length }
  /** How many timers run: one, or none if nothing is kept. */
  get timers (): number { return this.#timer ? 1 : 0 }
  /** Now, on the steady clock. */
  get now (): number { return this.#clock.steady() }

  /** A moment of the wall clock, on the steady clock. */
  momentOf (wall: number): number {
    return this.#clock.steady() + (wall - this.#clock.wall())
  }

  /** True if this moment of the wall clock is over. */
  isOver (wall: number): boolean {
    return wall <= this.#clock.wall()
  }

  /** `at`: on the clock of `now`. */
  add (target: Due, at: number): Deadline {
    const kept: Kept = { target, at, index: this.#heap.length }
    this.#heap.push(kept)
    this.#rise(kept)
    this.#arm()
    return kept
  }

  remove (deadline: Deadline): void {
    const kept = deadline as Kept
    if (kept.index === -1) return
    this.#take(kept)
    if (this.#heap.length === 0) this.stop()
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#wakesAt = Infinity
  }

  #arm (): void {
    const first = this.#heap[0]
    if (!first || (this.#timer && first.at >= this.#wakesAt)) return
    clearTimeout(this.#timer)
    this.#wakesAt = first.at
    this.#sleep(Math.min(LONGEST_MS, Math.max(1, Math.ceil(first.at - this.now))))
  }

  #sleep (ms: number): void {
    this.#timer = inNobodysName(() => setTimeout(() => this.#wake(), ms).unref())
  }

  /** Spreads many targets over several turns: each of them may be a client that is told to go. */
  #wake (): void {
    this.stop()
    const now = this.now
    for (let done = 0; done < STRIDE; done++) {
      const first = this.#heap[0]
      if (!first || first.at > now) break
      this.#take(first)
      this.#tell(first)
    }
    this.#arm()
  }

  #tell ({ target }: Kept): void {
    try {
      target.due()
    } catch (error) {
      this.#failed(error)
    }
  }

  // --- the heap --------------------------------------------------------------------

  #take (kept: Kept): void {
    const last = this.#heap.pop() as Kept
    if (last !== kept) {
      this.#put(last, kept.index)
      this.#rise(last)
      this.#sink(last)
    }
    kept.index = -1
  }

  #put (kept: Kept, index: number): void {
    this.#heap[index] = kept
    kept.index = index
  }

  #rise (kept: Kept): void {
    while (kept.index > 0) {
      const parent = this.#heap[(kept.index - 1) >> 1] as Kept
      if (parent.at <= kept.at) return
      this.#swap(parent, kept)
    }
  }

  #sink (kept: Kept): void {
    for (;;) {
      const child = this.#earlierChild(kept)
      if (!child || child.at >= kept.at) return
      this.#swap(kept, child)
    }
  }

  #earlierChild ({ index }: Kept): Kept | undefined {
    const left = this.#heap[2 * index + 1]
    const right = this.#heap[2 * index + 2]
    return left && right && right.at < left.at ? right : left
  }

  /** `above` moves down to the place of `below`. */
  #swap (above: Kept, below: Kept): void {
    const { index } = above
    this.#put(above, below.index)
    this.#put(below, index)
  }
}

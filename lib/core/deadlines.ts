/**
 * What is due at a moment, however many there are: one timer for all.
 *
 * Moments are given by the wall clock, as tokens and databases have them, and kept by the one that never jumps. So a
 * wall clock that is set makes nothing due that is not, and keeps nothing for longer.
 */
import { inNobodysName } from './async-context.ts'

export interface Due {
  /** Its moment has come. It is not kept any more. */
  due (): void
}

/** One that is kept. */
export interface Deadline {
  readonly target: Due
  /** On `Deadlines.now`. */
  readonly at: number
}

interface Kept extends Deadline {
  at: number
  /** Its place in the heap; -1 when it is not kept. */
  index: number
}

export interface Clock {
  /** ms since the epoch. */
  wall (): number
  /** ms since whenever, never set back or forth. */
  steady (): number
}

const CLOCK: Clock = { wall: () => Date.now(), steady: () => performance.now() }
/** A timer takes 31 bits of ms, and counts other ms than the clock does: it looks again this often. */
const LONGEST_MS = 3_600_000
/** So many in one turn of the event loop. */
const STRIDE = 256

export class Deadlines {
  readonly #failed: (error: unknown) => void
  readonly #clock: Clock
  /** The earliest first: a binary heap. */
  readonly #heap: Kept[] = []
  #timer: NodeJS.Timeout | undefined
  #wakesAt = Infinity

  /** `failed`: what becomes of an error of one that is due. The others are told all the same. */
  constructor (failed: (error: unknown) => void, clock = CLOCK) {
    this.#failed = failed
    this.#clock = clock
  }

  get size (): number { return this.#heap.length }
  /** Timers alive: one, or none where nothing is kept. */
  get timers (): number { return this.#timer ? 1 : 0 }
  /** Now, on the clock that never jumps. */
  get now (): number { return this.#clock.steady() }

  /** A moment of the wall clock, on the clock that never jumps. */
  momentOf (wall: number): number {
    return this.#clock.steady() + (wall - this.#clock.wall())
  }

  /** Is this moment of the wall clock over? */
  isOver (wall: number): boolean {
    return wall <= this.#clock.wall()
  }

  /** `at`: on `now`. */
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

  /** Those that are many are spread over turns: each of them may be a client that is told to go. */
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

  /** `above` goes down to where `below` was. */
  #swap (above: Kept, below: Kept): void {
    const { index } = above
    this.#put(above, below.index)
    this.#put(below, index)
  }
}

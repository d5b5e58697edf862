/**
 * One timer for all connections. Each connection has a slot on a wheel, and one heartbeat per period. So heartbeats are
 * spread, and a tick costs only what is due.
 */
import { inNobodysName } from '../async-context.ts'

export interface Beating {
  /** Called once per period. */
  beat (): void
}

/** A place on the wheel. */
export interface Hand { target: Beating | undefined, readonly every: number, rounds: number }

const SLOTS = 256
/** Few ticks, so that the answers to the heartbeats of a tick arrive together, and are read together. */
const TICKS_PER_PERIOD = 16
const MAX_TICK_MS = 2000
/** How long one turn of the event loop sends heartbeats, ms. */
const SLICE_MS = 3
/** Heartbeats between two checks of the clock. */
const STRIDE = 32

export class Heartbeat {
  readonly #wheel: Hand[][] = Array.from({ length: SLOTS }, () => [])
  #now = 0
  #tickMs = MAX_TICK_MS
  #timer: NodeJS.Timeout | undefined
  #count = 0
  readonly #sliceMs: number

  /** `sliceMs`: how long one turn of the event loop sends heartbeats. */
  constructor (sliceMs = SLICE_MS) {
    this.#sliceMs = sliceMs
  }

  /** How many timers run: one, whatever the number of connections; none without connections. */
  get timers (): number { return this.#timer ? 1 : 0 }

  /** Makes ticks short enough for this period. Call this before the first connection that has it. */
  allow (periodMs: number): void {
    this.#tickMs = Math.max(5, Math.min(this.#tickMs, Math.floor(periodMs / TICKS_PER_PERIOD)))
    if (!this.#timer) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#start()
  }

  add (target: Beating, periodMs: number): Hand {
    const every = Math.max(1, Math.round(periodMs / this.#tickMs))
    // The first heartbeat comes at a random time in the period: clients that came together get theirs apart.
    const hand: Hand = { target, every, rounds: 0 }
    this.#place(hand, 1 + Math.floor(Math.random() * every))
    this.#count++
    this.#start()
    return hand
  }

  /** Frees the target at once: it may take long until the wheel comes to this hand. */
  remove (hand: Hand): void {
    if (!hand.target) return
    hand.target = undefined
    if (--this.#count === 0) this.stop()
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #start (): void {
    this.#timer ??= inNobodysName(() => setInterval(() => this.#tick(), this.#tickMs).unref())
  }

  #place (hand: Hand, ticks: number): void {
    hand.rounds = Math.floor((ticks - 1) / SLOTS)
    this.#wheel[(this.#now + ticks) % SLOTS]?.push(hand)
  }

  #tick (): void {
    this.#now = (this.#now + 1) % SLOTS
    const slot = this.#now
    const due = this.#wheel[slot] as Hand[]
    this.#wheel[slot] = []
    this.#serve(due, slot, 0)
  }

  #serve (due: readonly Hand[], slot: number, from: number): void {
    const end = performance.now() + this.#sliceMs
    for (let i = from; i < due.length; i++) {
      this.#pass(due[i] as Hand, slot)
      if (i % STRIDE === STRIDE - 1 && performance.now() >= end) {
        setImmediate(() => this.#serve(due, slot, i + 1))
        return
      }
    }
  }

  #pass (hand: Hand, slot: number): void {
    if (!hand.target) return
    if (hand.rounds > 0) {
      hand.rounds--
      this.#wheel[slot]?.push(hand)
    } else {
      hand.target.beat()
      this.#place(hand, hand.every)
    }
  }
}

/**
 * One clock for all connections. Each has a slot on a wheel and is beaten once a turn of its period, so that
 * beats are spread and a tick costs only what is due.
 */
export interface Beating {
  /** Once a period. */
  beat (): void
}

/** A place on the wheel. */
export interface Hand { target: Beating | undefined, readonly every: number, rounds: number }

const SLOTS = 256
const TICKS_PER_PERIOD = 50
const MAX_TICK_MS = 500

export class Heartbeat {
  readonly #wheel: Hand[][] = Array.from({ length: SLOTS }, () => [])
  #now = 0
  #tickMs = MAX_TICK_MS
  #timer: NodeJS.Timeout | undefined
  #count = 0

  /** Timers alive: one, whatever the number of connections; none without. */
  get timers (): number { return this.#timer ? 1 : 0 }

  /** The clock ticks finely enough for this period. Call before the first connection that has it. */
  allow (periodMs: number): void {
    this.#tickMs = Math.max(5, Math.min(this.#tickMs, Math.floor(periodMs / TICKS_PER_PERIOD)))
    if (!this.#timer) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#start()
  }

  add (target: Beating, periodMs: number): Hand {
    const every = Math.max(1, Math.round(periodMs / this.#tickMs))
    // The first beat falls anywhere in the period: clients that came together are not beaten together.
    const hand: Hand = { target, every, rounds: 0 }
    this.#place(hand, 1 + Math.floor(Math.random() * every))
    this.#count++
    this.#start()
    return hand
  }

  /** Lets go of it at once: a turn of the wheel can be long. */
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
    this.#timer ??= setInterval(() => this.#tick(), this.#tickMs).unref()
  }

  #place (hand: Hand, ticks: number): void {
    hand.rounds = Math.floor((ticks - 1) / SLOTS)
    this.#wheel[(this.#now + ticks) % SLOTS]?.push(hand)
  }

  #tick (): void {
    this.#now = (this.#now + 1) % SLOTS
    const due = this.#wheel[this.#now] as Hand[]
    this.#wheel[this.#now] = []
    for (const hand of due) {
      if (!hand.target) continue
      if (hand.rounds > 0) {
        hand.rounds--
        this.#wheel[this.#now]?.push(hand)
      } else {
        hand.target.beat()
        this.#place(hand, hand.every)
      }
    }
  }
}

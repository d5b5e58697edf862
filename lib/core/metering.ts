/**
 * Where features measure each publish and each delivery. They are called directly, with plain numbers: a message on
 * `node:diagnostics_channel` for each of them costs several microseconds.
 */

/** Throws nothing, publishes nothing, and closes nobody: it is called while groups are written to. */
export interface Meter {
  /** The adapter has taken an event. `ms`: from the call; undefined where nobody watched when it began. */
  published (pattern: string, bytes: number, ms: number | undefined): void
  delivered (delivery: Delivery, ms: number | undefined): void
}

/** Events were written to listeners that share their bytes, the last of them now. */
export interface Delivery {
  readonly pattern: string
  readonly events: number
  readonly listeners: number
  /** Of each listener. */
  readonly bytes: number
  /** Of the first event that has one. */
  readonly id: string | undefined
}

/** A node's place for meters. */
export class Metering {
  #meters: readonly Meter[] = []

  get used (): boolean { return this.#meters.length > 0 }

  /** Returns what takes it away again. */
  add (meter: Meter): () => void {
    this.#meters = [...this.#meters, meter]
    return () => { this.#meters = this.#meters.filter((other) => other !== meter) }
  }

  published (pattern: string, bytes: number, ms: number | undefined): void {
    for (const meter of this.#meters) meter.published(pattern, bytes, ms)
  }

  delivered (delivery: Delivery, ms: number | undefined): void {
    for (const meter of this.#meters) meter.delivered(delivery, ms)
  }
}

/** By what the app holds: `app.realtime`. */
const places = new WeakMap<object, Metering>()

export function offerMetering (realtime: object, metering: Metering): void {
  places.set(realtime, metering)
}

/** Undefined for what is no `app.realtime`. */
export function meteringOf (realtime: unknown): Metering | undefined {
  return typeof realtime === 'object' && realtime !== null ? places.get(realtime) : undefined
}

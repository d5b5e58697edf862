/**
 * Where features measure each publish and each delivery. Meters are called directly, with plain numbers: a message on
 * `node:diagnostics_channel` for each of them costs several microseconds.
 */

/** A meter must not throw, publish, or close connections: it is called while groups are written to. */
export interface Meter {
  /** The adapter has taken an event. `ms`: from the call; undefined if nobody measured when it began. */
  published (pattern: string, bytes: number, ms: number | undefined): void
  delivered (delivery: Delivery, ms: number | undefined): void
}

/** Events that were written to listeners that share their bytes. The last listener was written to just now. */
export interface Delivery {
  readonly pattern: string
  readonly events: number
  readonly listeners: number
  /** Bytes that each listener got. */
  readonly bytes: number
  /** The id of the first event that has one. */
  readonly id: string | undefined
}

/** The meters of a node. */
export class Metering {
  #meters: readonly Meter[] = []

  get used (): boolean { return this.#meters.length > 0 }

  /** Returns a function that removes the meter. */
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

/** By the object `app.realtime`. */
const places = new WeakMap<object, Metering>()

export function offerMetering (realtime: object, metering: Metering): void {
  places.set(realtime, metering)
}

/** Undefined for anything that is not an `app.realtime`. */
export function meteringOf (realtime: unknown): Metering | undefined {
  return typeof realtime === 'object' && realtime !== null ? places.get(realtime) : undefined
}

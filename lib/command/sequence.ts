/** What many clients of one URL hear, compared: each must hear the same, in one order. Pure. */
import type { Heard } from './dial.ts'

export interface Faults { gaps: number, duplicates: number, disorder: number }

/** Ids that are remembered of a topic: a client that is further behind is taken for one with a gap. */
const MAX_IDS = 500_000
/** Of those that a client has missed, so many may still come late. */
const MAX_SKIPPED = 10_000
/** Ids of a stream of several topics are cursors, each client's own. */
const ID = /^(\d{13})-\d+\./

/** The order of a topic, as it is first heard by anybody. */
class Order {
  /** The older half is forgotten as a whole: a Map whose oldest is deleted each time is walked through its holes. */
  #older = new Map<string, number>()
  #places = new Map<string, number>()
  /** Places so far. */
  size = 0

  placeOf (id: string): number {
    const known = this.#places.get(id) ?? this.#older.get(id)
    if (known !== undefined) return known
    if (this.#places.size === MAX_IDS / 2) {
      this.#older = this.#places
      this.#places = new Map()
    }
    this.#places.set(id, this.size)
    return this.size++
  }
}

export class Orders {
  readonly faults: Faults = { gaps: 0, duplicates: 0, disorder: 0 }
  /** Events that could be compared. */
  compared = 0
  readonly #topics = new Map<string, Order>()

  of (topic: string): Order {
    let order = this.#topics.get(topic)
    if (!order) this.#topics.set(topic, order = new Order())
    return order
  }
}

/** One client: how far it is in each topic. */
export class Sequence {
  readonly #orders: Orders
  readonly #last = new Map<string, number>()
  readonly #skipped = new Map<string, Set<number>>()

  constructor (orders: Orders) {
    this.#orders = orders
  }

  /** From here on anything may come: it is behind a loss that it was told of. */
  lost (topic: string): void {
    this.#last.delete(topic)
    this.#skipped.delete(topic)
  }

  heard ({ id, topic = '' }: Pick<Heard, 'id' | 'topic'>): void {
    if (id === undefined || !ID.test(id)) return
    const { faults } = this.#orders
    const place = this.#orders.of(topic).placeOf(id)
    const last = this.#last.get(topic)
    this.#orders.compared++
    if (last === undefined || place === last + 1) {
      this.#last.set(topic, place)
    } else if (place > last) {
      faults.gaps += place - last - 1
      this.#skip(topic, last + 1, place)
      this.#last.set(topic, place)
    } else if (this.#skipped.get(topic)?.delete(place)) {
      faults.gaps--
      faults.disorder++
    } else {
      faults.duplicates++
    }
  }

  #skip (topic: string, from: number, to: number): void {
    const skipped = this.#skipped.get(topic) ?? new Set()
    for (let place = from; place < to && skipped.size < MAX_SKIPPED; place++) skipped.add(place)
    this.#skipped.set(topic, skipped)
  }
}

/** ms since the epoch at which an id was given; undefined for an id that does not say it. */
export function givenAt (id: string | undefined): number | undefined {
  const found = id === undefined ? undefined : ID.exec(id)?.[1]
  return found === undefined ? undefined : Number(found)
}

/** Times in whole ms, counted: as much memory for a thousand as for a billion. */
export class Latencies {
  readonly #counts = new Float64Array(60_001)
  #count = 0

  add (ms: number): void {
    this.#counts[Math.min(60_000, Math.max(0, Math.round(ms)))]!++
    this.#count++
  }

  /** Undefined where there are none. */
  percentile (share: number): number | undefined {
    let left = Math.ceil(this.#count * share)
    if (left === 0) return undefined
    for (const [ms, count] of this.#counts.entries()) if ((left -= count) <= 0) return ms
    return undefined
  }
}

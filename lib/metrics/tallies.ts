/**
 * What is counted for each publish and each delivery, by the pattern of the topic. Plain numbers: the library's own
 * instruments look their labels up anew for each value, which costs more than the publish. They are filled when
 * somebody asks.
 */
import type { Delivery } from '../core/metering.ts'

/** Digits of a moment in ms since 1970, with which an id of ours begins; a hyphen follows. */
const TIME_DIGITS = 13
const ZERO = 48
const HYPHEN = 45

/** How long something took, as a histogram has it. */
export class Durations {
  readonly bounds: readonly number[]
  /** One more than there are bounds: what took longer than the last. */
  readonly counts: number[]
  /** Seconds. */
  sum = 0

  /** `bounds`: seconds, each more than the one before. */
  constructor (bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  add (ms: number): void {
    const seconds = ms / 1000
    let i = 0
    while (i < this.bounds.length && seconds > (this.bounds[i] as number)) i++
    this.counts[i] = (this.counts[i] as number) + 1
    this.sum += seconds
  }
}

/** Of the topics of one pattern. */
export class Tally {
  published = 0
  publishedBytes = 0
  delivered = 0
  deliveredBytes = 0
  readonly publish: Durations
  readonly delivery: Durations
  readonly fanOut: Durations

  constructor (bounds: readonly number[]) {
    this.publish = new Durations(bounds)
    this.delivery = new Durations(bounds)
    this.fanOut = new Durations(bounds)
  }

  addPublished (bytes: number, ms: number | undefined): void {
    this.published++
    this.publishedBytes += bytes
    if (ms !== undefined) this.publish.add(ms)
  }

  addDelivered ({ events, listeners, bytes, id }: Delivery, ms: number | undefined): void {
    this.delivered += events * listeners
    this.deliveredBytes += bytes * listeners
    if (ms !== undefined) this.fanOut.add(ms)
    // By the clock of whoever gave the id: another's may be ahead of this one's.
    const given = timeOf(id ?? '')
    if (given > 0) this.delivery.add(Math.max(0, Date.now() - given))
  }
}

export class Tallies {
  readonly bounds: readonly number[]
  readonly #byPattern = new Map<string, Tally>()

  constructor (bounds: readonly number[]) {
    this.bounds = bounds
  }

  get all (): ReadonlyMap<string, Tally> { return this.#byPattern }

  /** All begin at 0 again. */
  forget (): void {
    this.#byPattern.clear()
  }

  of (pattern: string): Tally {
    const known = this.#byPattern.get(pattern)
    if (known) return known
    const made = new Tally(this.bounds)
    this.#byPattern.set(pattern, made)
    return made
  }
}

/** 0 where there is none: another adapter's ids may be anything. By hand: a RegExp costs more than all of the rest. */
function timeOf (id: string): number {
  if (id.charCodeAt(TIME_DIGITS) !== HYPHEN) return 0
  let ms = 0
  for (let i = 0; i < TIME_DIGITS; i++) {
    const digit = id.charCodeAt(i) - ZERO
    if (digit < 0 || digit > 9) return 0
    ms = ms * 10 + digit
  }
  return ms
}

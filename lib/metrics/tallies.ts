/**
 * What is counted for each publish and each delivery, by the pattern of the topic. Plain numbers: the library's own
 * instruments look their labels up anew for each value, which costs more than the publish. They are filled when
 * somebody asks.
 */

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

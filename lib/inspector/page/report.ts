/** What a client that came back was given of what it had missed. Pure. */

const MAX_IDS = 2000

/** The ids that were seen last. The older half is forgotten as a whole. */
class Seen {
  #older = new Set<string>()
  #ids = new Set<string>()

  has (id: string): boolean { return this.#ids.has(id) || this.#older.has(id) }

  add (id: string): void {
    if (this.#ids.size === MAX_IDS / 2) {
      this.#older = this.#ids
      this.#ids = new Set()
    }
    this.#ids.add(id)
  }

  clear (): void {
    this.#ids.clear()
    this.#older.clear()
  }
}

export class Report {
  resuming = false
  /** Which events were missed could not be found out. */
  unknown = false
  /** What the server has said of the client's places, where the wire can say it. */
  recovered: boolean | undefined
  readonly resets: Array<{ topic: string, reason: string }> = []
  readonly #seen = new Seen()
  readonly #missed = new Set<string>()
  #replayed = 0
  #again = 0

  forget (): void {
    this.begin()
    this.resuming = false
    this.#seen.clear()
  }

  /** It is about to come back. */
  begin (): void {
    this.resuming = true
    this.unknown = false
    this.recovered = undefined
    this.resets.length = 0
    this.#missed.clear()
    this.#replayed = 0
    this.#again = 0
  }

  /** These were published while it was away. */
  expect (ids: readonly string[]): void {
    for (const id of ids) if (!this.#seen.has(id)) this.#missed.add(id)
  }

  reset (topic: string, reason: string): void { this.resets.push({ topic, reason }) }
  told (recovered: boolean): void { this.recovered = recovered && this.recovered !== false }

  see (id: string): { replayed: boolean, again: boolean } {
    const again = this.#seen.has(id)
    const replayed = !again && this.#missed.has(id)
    if (replayed) this.#replayed++
    if (again) this.#again++
    if (!again) this.#seen.add(id)
    return { replayed, again }
  }

  get missed (): number { return this.#missed.size }
  get replayed (): number { return this.#replayed }

  /** In words, and whether all is well. Undefined where it has not come back. */
  get words (): { text: string, fine: boolean } | undefined {
    if (!this.resuming) return undefined
    if (this.resets.length > 0) {
      const told = this.resets.map(({ topic, reason }) => `${topic} (${reason})`)
      return { fine: false, text: `Events were lost, reset: ${told.join(', ')}` }
    }
    if (this.#again > 0) return { fine: false, text: `${this.#again} came twice, which must not happen` }
    if (this.unknown) return { fine: true, text: 'Resumed. Which events it had missed cannot be found out here.' }
    const left = this.#missed.size - this.#replayed
    return {
      fine: left === 0,
      text: this.#missed.size === 0
        ? 'Resumed: nothing was missed'
        : `Resumed: ${this.#missed.size} missed, ${this.#replayed} replayed${left > 0 ? `, ${left} still missing` : ''}`
    }
  }
}

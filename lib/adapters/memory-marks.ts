/** Marks in memory: the latest moment of each key. A mark expires some time after its moment. */

interface Mark { at: number, until: number }

export class MemoryMarks {
  readonly #spaces = new Map<string, Map<string, Mark>>()

  /** False if `most` other keys are kept already. */
  mark (space: string, key: string, at: number, ms: number, most: number): boolean {
    const marks = this.#live(space)
    const known = marks.get(key)
    if (!known && marks.size >= most) return false
    if (!known || known.at < at) marks.set(key, { at, until: at + ms })
    this.#spaces.set(space, marks)
    return true
  }

  of (space: string): ReadonlyMap<string, number> {
    return new Map([...this.#live(space)].map(([key, { at }]) => [key, at]))
  }

  clear (): void {
    this.#spaces.clear()
  }

  #live (space: string): Map<string, Mark> {
    const marks = this.#spaces.get(space) ?? new Map<string, Mark>()
    const now = Date.now()
    for (const [key, { until }] of marks) if (until <= now) marks.delete(key)
    return marks
  }
}

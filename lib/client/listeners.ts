/** Those who listen to one thing: each by an event's name, or to all of them. */
import { quietly } from './callbacks.ts'

export class Listeners<Told extends { event: string }> {
  readonly #all = new Set<(told: Told) => void>()

  get size (): number { return this.#all.size }

  /**
   * `event`: `*` for all of them. `first`: what it is told in a moment, if it is still there. `left`: called by
   * what is returned, once.
   */
  add (event: string, run: (told: Told) => void, left: () => void, first?: Told): () => void {
    const hear = (told: Told): void => {
      if (this.#all.has(hear) && (event === '*' || event === told.event)) quietly(() => run(told))
    }
    this.#all.add(hear)
    if (first) queueMicrotask(() => hear(first))
    return () => { if (this.#all.delete(hear)) left() }
  }

  clear (): void { this.#all.clear() }

  /** Who leaves meanwhile is told nothing more, and who comes meanwhile hears the next. */
  tell (told: Told): void { for (const hear of [...this.#all]) hear(told) }
}

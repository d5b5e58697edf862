/** The listeners of one topic or connection. Each listens to one event name, or to all. */
import { quietly } from './callbacks.ts'

export class Listeners<Told extends { event: string }> {
  readonly #all = new Set<(told: Told) => void>()

  get size (): number { return this.#all.size }

  /**
   * `event`: `*` for all. `first`: an event for this listener, told in a microtask if it still listens. `left` is
   * called once, when the listener is removed.
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

  /** A listener that is removed during this call is not called any more. One that is added hears the next event. */
  tell (told: Told): void { for (const hear of [...this.#all]) hear(told) }
}

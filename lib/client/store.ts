/** A value that you can read at any time, and that says when it changes. React's useSyncExternalStore takes it. */
import { quietly } from './callbacks.ts'

export interface Store<T> {
  /** Returns the value. It is the same object until something changes. */
  get (): T
  /** Calls `changed` at each change. Returns a function that ends this. */
  subscribe (changed: () => void): () => void
}

/** A store whose value is computed when it is read, not at each change. */
export class Derived<T> implements Store<T> {
  readonly #make: () => T
  readonly #held: (held: boolean) => void
  readonly #listeners = new Set<{ run: () => void }>()
  #value: { is: T } | undefined

  /** `held`: called with true for each new listener, and with false for each that leaves. */
  constructor (make: () => T, held: (held: boolean) => void) {
    this.#make = make
    this.#held = held
  }

  readonly get = (): T => (this.#value ??= { is: this.#make() }).is

  readonly subscribe = (run: () => void): (() => void) => {
    const listener = { run }
    this.#listeners.add(listener)
    this.#held(true)
    return () => { if (this.#listeners.delete(listener)) this.#held(false) }
  }

  changed (): void {
    this.#value = undefined
    for (const { run } of [...this.#listeners]) quietly(run)
  }
}

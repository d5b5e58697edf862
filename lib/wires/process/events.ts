/** What a consumer iterates over. */
import type { MaybePromise } from '../../core/maybe-promise.ts'

/** Where items come from, and who is told that no more are wanted. */
export interface Source<T> {
  readonly ready: Promise<{ id: string | undefined }>
  next (): Promise<IteratorResult<T, undefined>>
  leave (): void
}

/**
 * An iterator that is written out, since the `return()` of an async generator would wait for the `next()` before it,
 * and with that for an event that may never come.
 */
export class TopicEvents<T> implements AsyncIterableIterator<T, undefined, undefined> {
  readonly #source: Source<T>

  constructor (source: Source<T>) {
    this.#source = source
  }

  get ready (): Promise<{ id: string | undefined }> { return this.#source.ready }

  next (): Promise<IteratorResult<T, undefined>> {
    return this.#source.next()
  }

  async return (): Promise<IteratorResult<T, undefined>> {
    this.#source.leave()
    return { done: true, value: undefined }
  }

  async throw (error: unknown): Promise<never> {
    this.#source.leave()
    throw error
  }

  [Symbol.asyncIterator] (): this {
    return this
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    this.#source.leave()
  }

  map<R> (change: (item: T) => MaybePromise<R>): TopicEvents<R> {
    return new TopicEvents(new Mapped(this.#source, change))
  }
}

class Mapped<T, R> implements Source<R> {
  readonly #source: Source<T>
  readonly #change: (item: T) => MaybePromise<R>

  constructor (source: Source<T>, change: (item: T) => MaybePromise<R>) {
    this.#source = source
    this.#change = change
  }

  get ready (): Promise<{ id: string | undefined }> { return this.#source.ready }

  async next (): Promise<IteratorResult<R, undefined>> {
    const result = await this.#source.next()
    if (result.done) return result
    try {
      return { done: false, value: await this.#change(result.value) }
    } catch (error) {
      // As in a generator: what throws has ended.
      this.leave()
      throw error
    }
  }

  leave (): void {
    this.#source.leave()
  }
}

/**
 * Reads a source: an iterable of the app, which is asked for one event after the other and returned at most once. When
 * the signal aborts, the source is over: nobody waits for an event any longer, and what the source throws from then on
 * (as it should) is ignored.
 */
import { callApart, quiet, toError, type AppLog } from './callbacks.ts'
import { keepContext } from './async-context.ts'
import type { MaybePromise } from './maybe-promise.ts'
import { EventDataInvalid } from '../errors.ts'

export type Events<T> = AsyncIterable<T> | Iterable<T>
/** The next event, as the reader's `encode` made it, or the end. */
export type Step<E> = { readonly done: true } | { readonly done: false, readonly value: E }

export interface SourceReading<T, E> {
  /** Asks the app for its iterable. */
  open (): MaybePromise<Events<T>>
  /** If this throws, the source has failed. */
  encode (event: T): E
  readonly signal: AbortSignal
  readonly log: AppLog
}

/** How long a response waits for the first event, ms. What the source throws until then can still become its status. */
export const FIRST_EVENT_MS = 1000

// The timers of when this is loaded: if a test stops the clock, the head of a response must not wait for it.
const { setTimeout: after, clearTimeout: cancel } = globalThis
const DONE = Object.freeze({ done: true })

export class SourceReader<T, E> {
  readonly #reading: SourceReading<T, E>
  /** The async context in which the source was asked for. The source is returned in it too. */
  readonly #origin = keepContext()
  readonly #aborted = (): void => this.return()
  #iterator: AsyncIterator<T> | Iterator<T> | undefined
  /** The source is asked for nothing more. */
  #over = false
  /** The first step, until it is taken. */
  #first: Promise<Step<E>> | undefined
  /** Ends the wait for the step under way. */
  #giveUp: (() => void) | undefined

  /** Asks for the iterable, and for the first event, at once. */
  constructor (reading: SourceReading<T, E>) {
    this.#reading = reading
    this.#over = reading.signal.aborted
    reading.signal.addEventListener('abort', this.#aborted, { once: true })
    const first = this.#first = this.#step(async () => await this.#open())
    // The step may be taken later, or never: until then its rejection must not be unhandled.
    first.catch(() => {})
  }

  /** The first step; undefined if it takes longer than FIRST_EVENT_MS. Rejects with what the source threw instead. */
  async first (): Promise<Step<E> | undefined> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => { timer = after(() => resolve(undefined), FIRST_EVENT_MS) })
    try {
      const step = await Promise.race([this.#first, late])
      if (step) this.#first = undefined
      return step
    } finally {
      cancel(timer)
    }
  }

  /** Rejects with an Error: what the source threw, or why one of its events could not be encoded. */
  async next (): Promise<Step<E>> {
    const first = this.#first
    this.#first = undefined
    if (first) return await first
    return await this.#step(() => this.#iterator?.next())
  }

  /** Returns the source's iterator, unless the source is over. */
  return (): void {
    if (this.#over) return
    this.#end()
    this.#giveUp?.()
    // An iterator that is not there yet is returned when it comes.
    if (this.#iterator) this.#letGo(this.#iterator)
  }

  async #open (): Promise<IteratorResult<T>> {
    const iterator = iteratorOf(await this.#reading.open())
    if (!this.#over) {
      this.#iterator = iterator
      return await iterator.next()
    }
    this.#letGo(iterator)
    return { done: true, value: undefined }
  }

  // Not `Promise.race` with a promise of the end: that promise would live as long as the source, and keep each event
  // until then.
  #step (ask: () => IteratorResult<T> | PromiseLike<IteratorResult<T>> | undefined): Promise<Step<E>> {
    if (this.#over) return Promise.resolve(DONE as Step<E>)
    return new Promise((resolve, reject) => {
      this.#giveUp = () => resolve(DONE as Step<E>)
      this.#take(ask).then(resolve, reject)
    })
  }

  async #take (ask: () => IteratorResult<T> | PromiseLike<IteratorResult<T>> | undefined): Promise<Step<E>> {
    let value: T
    try {
      const result = await ask() as IteratorResult<T>
      if (this.#over) return DONE as Step<E>
      if (result.done) {
        this.#end()
        return DONE as Step<E>
      }
      value = result.value
    } catch (thrown) {
      return this.#threw(thrown)
    }
    return this.#encoded(value)
  }

  #threw (thrown: unknown): Step<E> {
    const error = toError(thrown)
    if (this.#over) {
      quiet(this.#reading.log).debug({ err: error }, 'realtime: a source ended')
      return DONE as Step<E>
    }
    this.#end()
    throw error
  }

  #encoded (value: T): Step<E> {
    try {
      return { done: false, value: this.#reading.encode(value) }
    } catch (thrown) {
      // The wait for this step ends with the throw.
      this.#giveUp = undefined
      this.return()
      throw toError(thrown)
    }
  }

  #end (): void {
    this.#over = true
    this.#reading.signal.removeEventListener('abort', this.#aborted)
  }

  #letGo (iterator: AsyncIterator<T> | Iterator<T>): void {
    // In a microtask: the source itself may have caused the abort, and a generator cannot be returned while it runs.
    queueMicrotask(() => this.#origin.runInAsyncScope(() => {
      callApart(this.#reading.log, 'realtime: a source ended', () => iterator.return?.(), 'debug')
    }))
  }
}

/** @throws EventDataInvalid */
function iteratorOf<T> (events: Events<T>): AsyncIterator<T> | Iterator<T> {
  if (typeof events === 'object' && events !== null) {
    if (Symbol.asyncIterator in events) return events[Symbol.asyncIterator]()
    if (Symbol.iterator in events) return events[Symbol.iterator]()
  }
  throw new EventDataInvalid('source', 'message', 'must return an iterable of events, e.g. be an async generator')
}

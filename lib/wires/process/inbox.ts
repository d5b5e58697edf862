/** What waits for one consumer, and the consumer that waits for it. */
import { itemOf, sizeOf, type Batch, type Item, type Parcel } from './batch.ts'

/** The topic that it hears, and what that was declared as. */
export interface HeardName { readonly name: string, readonly pattern: string }

type Result = IteratorResult<Item, undefined>

interface Waiter {
  resolve (result: Result): void
  reject (error: Error): void
}

type State =
  | { readonly is: 'open' }
  /** What waits is still handed over. Whoever asks first after that is told the error, if there is one. */
  | { readonly is: 'ending', readonly error: Error | undefined }
  | { readonly is: 'over' }

export class Inbox {
  /** Of what waits. */
  bytes = 0
  /** Called when nothing waits any more. */
  onEmpty: (() => void) | undefined
  readonly #topic: HeardName
  #batches: Batch[] = []
  /** Of the first batch, the parcel that is next. */
  #next = 0
  #waiters: Waiter[] = []
  #state: State = { is: 'open' }

  constructor (topic: HeardName) {
    this.#topic = topic
  }

  put (batch: Batch): void {
    if (this.#state.is !== 'open') return
    this.#batches.push(batch)
    this.bytes += batch.byteLength
    while (this.#waiters.length > 0) {
      const parcel = this.#shift()
      if (!parcel) return
      this.#waiters.shift()?.resolve(this.#resultOf(parcel))
    }
  }

  next (): Promise<Result> {
    const parcel = this.#shift()
    if (!parcel) return this.#wait()
    const result = this.#resultOf(parcel)
    if (this.#batches.length === 0 && this.#state.is === 'open') this.onEmpty?.()
    return Promise.resolve(result)
  }

  #wait (): Promise<Result> {
    const state = this.#state
    if (state.is === 'open') return new Promise((resolve, reject) => { this.#waiters.push({ resolve, reject }) })
    this.#state = { is: 'over' }
    return state.is === 'ending' && state.error ? Promise.reject(state.error) : Promise.resolve(done())
  }

  /** Nothing more comes. What waits is still handed over. */
  end (error: Error | undefined): void {
    if (this.#state.is !== 'open') return
    const [first, ...others] = this.#waiters.splice(0)
    this.#state = first ? { is: 'over' } : { is: 'ending', error }
    if (error) first?.reject(error)
    else first?.resolve(done())
    for (const waiter of others) waiter.resolve(done())
  }

  /** The consumer wants nothing more. */
  cut (): void {
    this.end(undefined)
    this.#state = { is: 'over' }
    this.#batches = []
    this.#next = 0
    this.bytes = 0
  }

  #shift (): Parcel | undefined {
    const [batch] = this.#batches
    if (!batch) return undefined
    const parcel = batch.parcels[this.#next++] as Parcel
    this.bytes -= sizeOf(parcel)
    if (this.#next === batch.parcels.length) {
      this.#batches.shift()
      this.#next = 0
    }
    return parcel
  }

  #resultOf (parcel: Parcel): Result {
    return { done: false, value: this.#itemOf(parcel) }
  }

  /** Data that cannot be read here is a loss, and told as one. */
  #itemOf (parcel: Parcel): Item {
    try {
      return itemOf(parcel, this.#topic)
    } catch {
      return { id: parcel.id, event: 'realtime:reset', data: { topic: this.#topic.name, reason: 'lost' } }
    }
  }
}

function done (): Result {
  return { done: true, value: undefined }
}

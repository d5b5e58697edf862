/** An adapter as hard to listen to as its contract allows: late, out of order, twice, or not at all and then `suspect`. */
import {
  keyedStatesOf, type Adapter, type AppendOptions, type EphemeralEvent, type EventId, type KeyedStates, type LogEvent, type Page, type ReadLimits,
  type Sink, type StatePage
} from '../../lib/core/adapter.ts'
import { Random, later, turns } from './random.ts'

export interface Disturbance {
  /** Probabilities for each event that is announced. */
  late: number
  twice: number
  lost: number
  /** A read, once in a while, fails. */
  failing: number
  /** Events of one page of a read. */
  page: number
  /** Turns of the event loop that anything may take. */
  delay: number
}

export const NASTY: Disturbance = { late: 0.2, twice: 0.15, lost: 0.1, failing: 0.002, page: 4, delay: 4 }
export const REPEATS: Disturbance = { late: 0, twice: 1, lost: 0, failing: 0, page: 512, delay: 0 }

export class Disturbed implements Adapter, KeyedStates {
  readonly name = 'disturbed'
  reads = 0
  readonly #inner: Adapter
  readonly #how: Disturbance
  /** A row of random numbers for each topic, so that other topics do not disturb it. */
  readonly #randoms = new Map<string, Random>()
  #sink: Sink | undefined

  constructor (inner: Adapter, how: Disturbance) {
    this.#inner = inner
    this.#how = how
  }

  #random (topic: string): Random {
    let random = this.#randoms.get(topic)
    if (!random) this.#randoms.set(topic, random = new Random(topic))
    return random
  }

  async start (sink: Sink): Promise<void> {
    this.#sink = sink
    await this.#inner.start({
      event: (topic, event) => this.#announce(sink, topic, event),
      ephemeral: (topic, event) => sink.ephemeral(topic, event),
      suspect: (topics) => sink.suspect(topics),
      state: (state, why) => sink.state(state, why)
    })
  }

  #announce (sink: Sink, topic: string, event: LogEvent): void {
    const random = this.#random(topic)
    const wait = (): number => random.int(1, Math.max(1, this.#how.delay))
    const { late, twice, lost } = this.#how
    if (random.chance(lost)) {
      later(wait(), () => this.#sink?.suspect(random.chance(0.1) ? 'all' : [topic]))
      return
    }
    if (random.chance(late)) later(wait(), () => sink.event(topic, event))
    else sink.event(topic, event)
    if (random.chance(twice)) later(wait() - 1, () => this.#sink?.event(topic, event))
  }

  publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }> {
    return this.#inner.publish(topic, name, data, options)
  }

  ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    return this.#inner.ephemeral(topic, event)
  }

  async #pause (topic: string): Promise<void> {
    await turns(this.#random(topic).int(0, this.#how.delay))
  }

  async subscribe (topic: string, durable: boolean): Promise<EventId> {
    await this.#pause(topic)
    const head = await this.#inner.subscribe(topic, durable)
    await this.#pause(topic)
    return head
  }

  unsubscribe (topic: string): void {
    this.#inner.unsubscribe(topic)
  }

  async read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page> {
    this.reads++
    await this.#pause(topic)
    const random = this.#random(topic)
    if (random.chance(this.#how.failing)) throw new Error('cannot read now')
    const page = await this.#inner.read(topic, after, { count: Math.min(limits.count, random.int(1, this.#how.page)), bytes: limits.bytes })
    await this.#pause(topic)
    return page
  }

  async state (topic: string, from: string | null, count: number): Promise<StatePage> {
    await this.#pause(topic)
    const random = this.#random(topic)
    if (random.chance(this.#how.failing)) throw new Error('cannot read now')
    // Parts of the inner adapter's state, which is read anew for each: what a part shows may have changed since the last.
    const { head, events } = await (keyedStatesOf(this.#inner) as KeyedStates).state(topic, null, count)
    const keys = [...events].sort((a, b) => a.key < b.key ? -1 : 1).filter(({ key }) => from === null || key > from)
    const part = keys.slice(0, random.int(1, this.#how.page))
    await this.#pause(topic)
    return { head, events: part, next: part.length < keys.length ? part.at(-1)?.key : undefined }
  }

  heads (topics: string[]): Promise<Array<EventId | null>> {
    return this.#inner.heads(topics)
  }

  async close (): Promise<void> {
    this.#sink = undefined
    await this.#inner.close()
  }
}

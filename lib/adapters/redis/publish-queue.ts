/** Publishing: one queue for each topic that has waiting events, with one limit and one timer for all. */
import type { AppendOptions, EventId } from '../../core/adapter.ts'
import { overWithin } from '../../core/callbacks.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'
import { Unavailable } from '../../errors.ts'
import { PendingEvents, type PendingSettings } from './pending-events.ts'
import { TopicQueue, type TopicQueueHost } from './topic-queue.ts'

export type PublishQueueHost = Pick<TopicQueueHost, 'append' | 'pause' | 'acknowledged'>

const SWEEP_MS = 100

export class PublishQueue {
  readonly #host: TopicQueueHost
  readonly #pending: PendingEvents
  readonly #topics = new OrderOfUse<string, TopicQueue>()
  #number = 0
  #sweep: NodeJS.Timeout | undefined
  /** `ends`: publishes are refused, and events on their way may still arrive. */
  #state: { readonly is: 'open' } | { readonly is: 'ends', readonly empty: () => void } = { is: 'open' }

  constructor (host: PublishQueueHost, settings: PendingSettings) {
    this.#pending = new PendingEvents(settings)
    this.#host = {
      ...host,
      pending: this.#pending,
      nextNumber: () => ++this.#number,
      empty: (topic) => this.#empty(topic)
    }
  }

  /** Bytes of events that wait. */
  get bytes (): number { return this.#pending.bytes }

  /** @throws Unavailable */
  publish (topic: string, body: string | Buffer, size: number, options: AppendOptions): Promise<EventId> {
    if (this.#state.is !== 'open') return Promise.reject(new Unavailable('the adapter is closed'))
    const refusal = this.#pending.refusal(size)
    if (refusal) return Promise.reject(refusal)
    this.#sweep ??= setInterval(() => this.#expire(), SWEEP_MS).unref()
    return new Promise((resolve, reject) => {
      this.#queueOf(topic).add(this.#pending.add(body, size, options, resolve, reject))
    })
  }

  #queueOf (topic: string): TopicQueue {
    let queue = this.#topics.get(topic)
    if (!queue) {
      queue = new TopicQueue(topic, this.#host)
      this.#topics.set(topic, queue)
    }
    return queue
  }

  #empty (topic: string): void {
    this.#topics.delete(topic)
    if (this.#topics.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
    if (this.#state.is === 'ends') this.#state.empty()
  }

  #expire (): void {
    const now = performance.now()
    for (const [, queue] of this.#topics.entries()) queue.expire(now)
  }

  /** Waits at most `ms` for events on their way, and rejects the rest. */
  async close (ms: number): Promise<void> {
    await overWithin(ms, new Promise<void>((resolve) => {
      this.#state = { is: 'ends', empty: resolve }
      if (this.#topics.size === 0) resolve()
    }))
    clearInterval(this.#sweep)
    const why = (): Error => new Unavailable('the adapter was closed', { unknown: true })
    for (const [, queue] of this.#topics.entries()) queue.close(why)
    this.#topics.clear()
  }
}

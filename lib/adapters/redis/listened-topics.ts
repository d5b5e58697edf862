/**
 * The topics that this node listens to. Each gets a live channel and then its head; events that arrive are passed on.
 */
import type { EphemeralEvent, EventId, LogEvent } from '../../core/adapter.ts'
import { within } from '../../core/callbacks.ts'
import { Unavailable } from '../../errors.ts'
import type { Decoder } from './decode.ts'
import type { Keys } from './keys.ts'
import type { Messages } from './messages.ts'
import { orUnavailable } from './unavailable.ts'

export interface ListenedTopic {
  readonly topic: string
  readonly durable: boolean
  /** The last id that was heard, or the head when the topic was opened. '' until that is known. */
  last: EventId
  /** When the last event came, and when the head's life was last renewed (performance.now). */
  heardAt: number
  renewedAt: number
  /** True if the channel is subscribed, so that what is published is heard. */
  live: boolean
  waiters: Array<(error?: Error) => void>
}

export interface ListeningHost {
  readonly keys: Keys
  readonly decoder: Decoder
  readonly messages: Pick<Messages, 'add' | 'remove' | 'why'>
  readonly connectTimeout: number
  head (topic: string): Promise<EventId>
  event (topic: string, event: LogEvent): void
  ephemeral (topic: string, event: EphemeralEvent): void
  /** The topic's log began anew. */
  suspect (topic: string): void
  /** The topic is live again after a gap. What was published in the gap was not heard. */
  missed (topic: ListenedTopic): void
  left (topic: ListenedTopic): void
}

export class ListenedTopics {
  readonly #host: ListeningHost
  /** By channel. */
  readonly #topics = new Map<string, ListenedTopic>()

  constructor (host: ListeningHost) {
    this.#host = host
  }

  get size (): number { return this.#topics.size }
  get names (): string[] { return Array.from(this.#topics.values(), ({ topic }) => topic) }

  all (): Iterator<ListenedTopic> {
    return this.#topics.values()
  }

  /** @throws Unavailable */
  async subscribe (topic: string, durable: boolean): Promise<EventId> {
    const { channel } = this.#host.keys.of(topic)
    const known = this.#topics.get(channel)
    const listened = known ?? this.#add(channel, topic, durable)
    try {
      return await orUnavailable(async () => await this.#open(listened, durable))
    } catch (error) {
      // A topic that was known before is also used by other callers, so it stays.
      if (!known && this.#topics.get(channel) === listened) this.unsubscribe(topic)
      throw error
    }
  }

  #add (channel: string, topic: string, durable: boolean): ListenedTopic {
    const listened: ListenedTopic = { topic, durable, last: '', heardAt: 0, renewedAt: 0, live: false, waiters: [] }
    this.#topics.set(channel, listened)
    this.#host.messages.add(channel)
    return listened
  }

  async #open (listened: ListenedTopic, durable: boolean): Promise<EventId> {
    if (!listened.live) await this.#becomesLive(listened)
    if (!durable) return ''
    // The head is read after the subscription is acknowledged, so everything after this head is heard.
    const head = await this.#host.head(listened.topic)
    if (listened.last === '') listened.last = head
    listened.renewedAt = performance.now()
    return head
  }

  async #becomesLive (listened: ListenedTopic): Promise<void> {
    const { connectTimeout, messages } = this.#host
    const live = new Promise<void>((resolve, reject) => {
      listened.waiters.push((error) => error ? reject(error) : resolve())
    })
    await within(connectTimeout, live, () => messages.why)
  }

  unsubscribe (topic: string): void {
    const { channel } = this.#host.keys.of(topic)
    const listened = this.#topics.get(channel)
    if (!listened) return
    this.#topics.delete(channel)
    this.#host.left(listened)
    this.#host.messages.remove(channel)
    for (const wake of listened.waiters) wake(new Unavailable('the topic was left'))
  }

  close (): void {
    for (const { waiters } of this.#topics.values()) {
      for (const wake of waiters) wake(new Unavailable('the adapter is closed'))
    }
    this.#topics.clear()
  }

  // --- as the channels report --------------------------------------------------------

  /** Marks all topics as not live. */
  deafen (): void {
    for (const listened of this.#topics.values()) listened.live = false
  }

  /** `anew`: these channels were live before. */
  live (channels: readonly string[], anew: boolean): void {
    for (const channel of channels) {
      const listened = this.#topics.get(channel)
      if (!listened) continue
      listened.live = true
      if (anew && listened.durable) this.#host.missed(listened)
      for (const wake of listened.waiters) wake()
      listened.waiters = []
    }
  }

  heard (channel: string, message: Buffer): void {
    const listened = this.#topics.get(channel)
    if (!listened) return
    const { topic } = listened
    const heard = this.#host.decoder.message(topic, message)
    switch (heard.type) {
      case 'invalid': return
      case 'suspect': return this.#host.suspect(topic)
      case 'ephemeral': return this.#host.ephemeral(topic, heard.event)
      case 'events': return this.#hear(listened, heard.events)
    }
  }

  #hear (listened: ListenedTopic, events: readonly LogEvent[]): void {
    listened.heardAt = performance.now()
    for (const event of events) {
      listened.last = event.id
      this.#host.event(listened.topic, event)
    }
  }
}

/** The bytes and events that wait for a client whose buffer is full: bounded, in order, until the client reads. */
import type { EventId } from '../adapter.ts'
import type { Entry } from '../event.ts'
import { OrderOfUse } from '../order-of-use.ts'
import type { Chunk, HeardTopic, Outlet } from '../wire.ts'
import {
  slowClientOf, type Item, type Recipient, type SlowClient, type SlowPolicy, type Waiting
} from './slow-client.ts'

export interface OutboxSettings {
  /** The most bytes that may wait for a client that does not read. */
  readonly maxBuffered: number
  readonly slow: SlowPolicy
}

/** What the outbox needs of the connection. */
export interface OutboxHost {
  readonly closed: boolean
  readonly settings: OutboxSettings
  /** An event of this topic was dropped, or replaced by a newer one. */
  dropped (topic: HeardTopic): void
}

/** Where the outbox writes to. */
interface Sink {
  readonly full: boolean
  readonly outlet: Outlet
  force (bytes: Chunk): void
}

export type Fits = 'fits' | 'overflows'

export class Outbox implements Waiting {
  bytes = 0
  readonly #host: OutboxHost
  readonly #sink: Sink
  readonly #policy: SlowClient
  /** Written from the oldest on. A newer event replaces the item that has its key. */
  readonly #items = new OrderOfUse<string | number, Item>()
  #next = 0

  constructor (host: OutboxHost, sink: Sink) {
    this.#host = host
    this.#sink = sink
    this.#policy = slowClientOf(host.settings.slow, this)
  }

  /** Events were dropped, and the client has not been told yet. */
  get missing (): boolean { return this.#policy.missing }

  /** Keeps `bytes` of a group: the encoded `entries`. `overflows`: too much waits, and the client must go. */
  add (bytes: Chunk, to: Recipient, entries: readonly Entry[]): Fits {
    this.#policy.keep(bytes, to, entries)
    return this.#relieved()
  }

  /** Keeps bytes for this client alone. `told`: the bytes contain positions. */
  addOwn (bytes: Chunk, told: boolean): Fits {
    this.put({ is: 'own', bytes, size: bytes.byteLength, told })
    return this.#relieved()
  }

  #relieved (): Fits {
    return this.fits || this.#policy.relieve() ? 'fits' : 'overflows'
  }

  /** Writes what waits, while the client takes bytes. True when nothing is left. */
  drain (): boolean {
    while (this.#items.size > 0) {
      if (this.#host.closed) return true
      if (this.#sink.full) return false
      const [, item] = this.#items.shift() as [unknown, Item]
      this.bytes -= item.size
      this.#write(item)
    }
    if (!this.#sink.full) this.#makeUpMissed()
    return this.#items.size === 0 && !this.missing
  }

  #write (item: Item): void {
    if (item.is !== 'event') return this.#sink.force(item.bytes)
    const { to, entry } = item
    if (entry.prev !== undefined && entry.prev !== to.ownPlace) this.#skip(to, entry.prev)
    if (entry.id !== undefined) to.stand(entry.id)
    const bytes = to.bytesOrLoss(entry)
    // The bytes may be empty: the flat format cannot tell a position.
    if (bytes && bytes.byteLength > 0) this.#sink.force(bytes)
  }

  /** Tells the client the position `at`: newer events replaced the events before it. */
  #skip (to: Recipient, at: EventId): void {
    to.stand(at)
    const moved = this.#sink.outlet.notice({ type: 'at', subscription: to, why: 'conflated' })
    if (moved) this.#sink.force(moved)
  }

  #makeUpMissed (): void {
    for (const subscription of this.#policy.takeMissed()) {
      if (this.#host.closed) return
      this.#policy.makeUp(subscription)
    }
  }

  /** Drops the events. Those with an id are pulled from the recent events instead; those without are lost. */
  releaseEvents (): void {
    for (const [key, item] of this.#items.entries()) {
      if (item.is !== 'event') continue
      this.delete(key, item)
      if (item.entry.id === undefined) this.dropped(item.to.topic)
    }
  }

  // --- as the policy changes it ------------------------------------------------------

  get fits (): boolean {
    return this.bytes + this.#sink.outlet.buffered <= this.#host.settings.maxBuffered
  }

  put (item: Item, key: string | number = this.#next++): void {
    this.#items.set(key, item)
    this.bytes += item.size
  }

  get (key: string): Item | undefined {
    return this.#items.get(key)
  }

  delete (key: string | number, item: Item): void {
    this.#items.delete(key)
    this.bytes -= item.size
  }

  entries (): Array<[string | number, Item]> {
    return [...this.#items.entries()]
  }

  clear (): void {
    this.#items.clear()
    this.bytes = 0
  }

  dropped (topic: HeardTopic): void {
    this.#host.dropped(topic)
  }
}

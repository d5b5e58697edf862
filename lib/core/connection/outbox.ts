/** What waits for a client whose buffer is full: bounded, in order, until the client takes it. */
import type { EventId } from '../adapter.ts'
import type { Entry } from '../event.ts'
import { OrderOfUse } from '../order-of-use.ts'
import type { Chunk, HeardTopic, Outlet } from '../wire.ts'
import {
  slowClientOf, type Item, type Recipient, type SlowClient, type SlowPolicy, type Waiting
} from './slow-client.ts'

export interface OutboxSettings {
  /** Bytes that a client which does not read may cost. */
  readonly maxBuffered: number
  readonly slow: SlowPolicy
}

/** The connection, as its outbox sees it. */
export interface OutboxHost {
  readonly closed: boolean
  readonly settings: OutboxSettings
  /** An event of this topic was dropped, or replaced by a newer one. */
  dropped (topic: HeardTopic): void
}

/** Where it writes to. */
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
  /** Written from the oldest; the key is what a newer event replaces. */
  readonly #items = new OrderOfUse<string | number, Item>()
  #next = 0

  constructor (host: OutboxHost, sink: Sink) {
    this.#host = host
    this.#sink = sink
    this.#policy = slowClientOf(host.settings.slow, this)
  }

  /** Events were dropped, and the client has not been told. */
  get missing (): boolean { return this.#policy.missing }

  /** Bytes of a group, which are those of `entries`. `overflows`: past `maxBuffered`, and the client must go. */
  add (bytes: Chunk, to: Recipient, entries: readonly Entry[]): Fits {
    this.#policy.keep(bytes, to, entries)
    return this.#relieved()
  }

  /** Bytes for this client alone. `told`: the bytes tell it positions. */
  addOwn (bytes: Chunk, told: boolean): Fits {
    this.put({ is: 'own', bytes, size: bytes.byteLength, told })
    return this.#relieved()
  }

  #relieved (): Fits {
    return this.fits || this.#policy.relieve() ? 'fits' : 'overflows'
  }

  /** Writes what waits, while the client takes it. True when nothing is left. */
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
    // May be empty: the flat format has no words for a place.
    if (bytes && bytes.byteLength > 0) this.#sink.force(bytes)
  }

  /** Brings the client to `at`: what stood before it was replaced by newer events. */
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

  /** Lets go of what can be pulled from the recent events instead. */
  releaseEvents (): void {
    for (const [key, item] of this.#items.entries()) if (item.is === 'event') this.delete(key, item)
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

/** What waits for a client whose buffer is full: bounded, with the route's verdict on a client that does not read. */
import { OrderOfUse } from './order-of-use.ts'
import { report } from './diagnostics.ts'
import type { Connection, Subscription } from './connection.ts'
import { isPlace, type Entry } from './event.ts'
import { bytesOrLoss } from './singly.ts'
import type { Id } from './adapter.ts'

type Item =
  | { bytes: Uint8Array, size: number, subscription: undefined, entry: undefined, told: boolean }
  | { bytes: undefined, size: number, subscription: Subscription, entry: Entry }
  | { bytes: Uint8Array, size: number, subscription: Subscription, entry: undefined, prev: Id | undefined }

const entrySize = (entry: Entry): number => entry.data.byteLength + entry.name.length + 128

export class Backlog {
  bytes = 0
  readonly #connection: Connection
  /** Written from the oldest; the key is what a newer event replaces. */
  readonly #items = new OrderOfUse<string | number, Item>()
  #next = 0
  /** `latest`: from overflow on, an event replaces the older one of its topic, name and key. */
  #conflating = false
  /** `reset`: from overflow on, what these subscriptions miss. */
  #missed: Set<Subscription> | undefined

  constructor (connection: Connection) {
    this.#connection = connection
  }

  /** Events were dropped, and the client has not been told. */
  get missing (): boolean { return this.#missed !== undefined }

  /** False: past `maxBuffered`, and the client must go. */
  add (bytes: Uint8Array, subscription: Subscription, entries: readonly Entry[]): boolean {
    const prev = entries.find((entry) => entry.prev !== undefined)?.prev
    if (this.#missed) this.#miss(subscription, prev)
    else if (this.#connection.settings.slow === 'latest') for (const entry of entries) this.#putEntry(subscription, entry)
    else this.#put({ bytes, size: bytes.byteLength, subscription, entry: undefined, prev })
    return this.#within() || this.#relieve()
  }

  /** For this client alone. `told`: the bytes tell it positions, which count what waits before them. False as above. */
  addOwn (bytes: Uint8Array, told: boolean): boolean {
    this.#put({ bytes, size: bytes.byteLength, subscription: undefined, entry: undefined, told })
    return this.#within() || this.#relieve()
  }

  /** Writes what waits, while the client takes it. True when nothing is left. */
  drain (): boolean {
    while (this.#items.size > 0) {
      if (this.#connection.closed) return true
      if (this.#connection.full) return false
      const [, item] = this.#items.shift() as [unknown, Item]
      this.bytes -= item.size
      this.#write(item)
    }
    if (!this.#connection.full) this.#reportMissed()
    return this.#items.size === 0 && !this.#missed
  }

  /** Lets go of what can be pulled from the ring instead. */
  releaseEntries (): void {
    for (const [key, item] of this.#items.entries()) {
      if (!item.entry) continue
      this.#items.delete(key)
      this.bytes -= item.size
    }
  }

  #within (): boolean {
    return this.bytes + this.#connection.outlet.buffered <= this.#connection.settings.maxBuffered
  }

  /** Makes room as the policy says. */
  #relieve (): boolean {
    switch (this.#connection.settings.slow) {
      case 'latest': return this.#conflate()
      case 'reset': return this.#drop()
      default: return false
    }
  }

  #put (item: Item): void {
    this.#items.set(this.#next++, item)
    this.bytes += item.size
  }

  #putEntry (subscription: Subscription, entry: Entry): void {
    // The client's position from here on is this subscription's own, no longer its room's.
    if (subscription.at === undefined && entry.prev !== undefined) subscription.at = entry.prev
    const item: Item = { bytes: undefined, size: entrySize(entry), subscription, entry }
    if (!this.#conflating) return this.#put(item)
    const key = conflationKey(subscription, entry)
    const older = this.#items.get(key)
    if (older) {
      this.bytes -= older.size
      if (!isPlace(entry)) this.#dropped(subscription)
    }
    this.#items.set(key, item)
    this.bytes += item.size
  }

  #conflate (): boolean {
    if (this.#conflating) return this.#within()
    this.#conflating = true
    const items = [...this.#items.entries()].map(([, item]) => item)
    this.#items.clear()
    this.bytes = 0
    for (const item of items) {
      if (item.entry) this.#putEntry(item.subscription, item.entry)
      else this.#put(item)
    }
    return this.#within()
  }

  #drop (): boolean {
    // A position that counts what is dropped would hide the loss from a client that is cut behind it. One that goes now
    // has lost nothing: it comes back to where it is.
    if (this.#toldBehindEvents()) return false
    this.#missed ??= new Set()
    const placed = new Set<Subscription>()
    for (const [key, item] of this.#items.entries()) {
      if (!item.subscription || item.entry) continue
      this.#items.delete(key)
      this.bytes -= item.size
      // Out of its group it stood behind what waited for it.
      if (item.prev !== undefined && !placed.has(item.subscription)) item.subscription.at = item.prev
      if (item.prev !== undefined) placed.add(item.subscription)
      this.#miss(item.subscription, item.prev)
    }
    return this.#within()
  }

  #toldBehindEvents (): boolean {
    const items = [...this.#items.entries()].map(([, item]) => item)
    const first = items.findIndex(({ subscription }) => subscription !== undefined)
    return first !== -1 && items.slice(first).some((item) => item.subscription === undefined && item.told)
  }

  /** `prev`: where the client stays until it is told. */
  #miss (subscription: Subscription, prev: Id | undefined): void {
    subscription.at ??= prev
    this.#missed?.add(subscription)
    this.#dropped(subscription)
  }

  #dropped ({ room }: Subscription): void {
    this.#connection.hub.counters.dropped++
    report('drop', () => ({ connection: this.#connection, topic: room.name }))
  }

  #write (item: Item): void {
    if (!item.entry) return this.#connection.force(item.bytes)
    const { subscription, entry } = item
    const { outlet } = this.#connection
    if (entry.prev !== undefined && entry.prev !== subscription.at) {
      subscription.at = entry.prev as Id
      const moved = outlet.notice({ type: 'at', subscription, why: 'conflated' })
      if (moved) this.#connection.force(moved)
    }
    if (entry.id !== undefined) subscription.at = entry.id
    const bytes = bytesOrLoss(subscription, entry)
    // A flat client is told no places.
    if (bytes && bytes.byteLength > 0) this.#connection.force(bytes)
  }

  #reportMissed (): void {
    const missed = this.#missed
    this.#missed = undefined
    if (!missed) return
    for (const subscription of missed) {
      if (this.#connection.closed) return
      // It may have been left meanwhile.
      if (this.#connection.subscription(subscription.room.name) === subscription) this.#connection.reset(subscription, 'slow')
    }
  }
}

function conflationKey (subscription: Subscription, entry: Entry): string {
  return `${subscription.room.name}\u0000${entry.name}\u0000${entry.key ?? ''}`
}

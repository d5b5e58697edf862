/**
 * What is kept for a client that does not read, and what happens above `maxBuffered`: a class for each `SlowPolicy`.
 */
import type { EventId } from '../adapter.ts'
import { isPlace, type Entry } from '../event.ts'
import type { Chunk, HeardSubscription, HeardTopic, ResetReason } from '../wire.ts'

/**
 * What happens to a client that does not read, above `maxBuffered`.
 *
 * - `'close'`: it is closed with 4409. It reconnects and resumes.
 * - `'latest'`: of the waiting events, only the newest of each topic, name and `key` is kept. If even these are too
 *   much, it is closed.
 * - `'reset'`: the waiting events are dropped, and the client is told `reset`.
 * - `'replay'`: the waiting events are dropped, and replayed from the history when the client reads again.
 */
export type SlowPolicy = 'close' | 'latest' | 'reset' | 'replay'

/** A subscription, as the outbox sees it. */
export interface Recipient extends HeardSubscription {
  /** The subscription's own position; undefined while it stands where its topic does. */
  readonly ownPlace: EventId | undefined
  stand (at: EventId): void
  /** Stands at `id`, unless the subscription has a position of its own already. */
  standBefore (id: EventId): void
  /** Undefined if the event cannot be encoded: then the client has been told of the loss. */
  bytesOrLoss (entry: Entry): Chunk | undefined
  /** Events were lost for good. Does nothing if the client has left the topic. */
  reset (reason: ResetReason): void
  /** Replays what follows the subscription's own position. Does nothing if the client has left the topic. */
  replay (): void
}

/** An item of the outbox. */
export type Item =
  /** Bytes for this client alone. `told`: the bytes contain positions, which include the items before them. */
  | { readonly is: 'own', readonly bytes: Chunk, readonly size: number, readonly told: boolean }
  /** Bytes of a group. `prev`: the subscription's position before them. */
  | {
    readonly is: 'shared',
    readonly bytes: Chunk,
    readonly size: number,
    readonly to: Recipient,
    readonly prev: EventId | undefined
  }
  /** An event that is encoded when it is written: until then a newer one may take its place. */
  | { readonly is: 'event', readonly size: number, readonly to: Recipient, readonly entry: Entry }

/** The outbox, as the policies change it. */
export interface Waiting {
  /** What waits is within `maxBuffered`. */
  readonly fits: boolean
  /** Adds an item behind all others. It takes the place of the item with the same key. */
  put (item: Item, key?: string): void
  get (key: string): Item | undefined
  delete (key: string | number, item: Item): void
  entries (): Array<[string | number, Item]>
  clear (): void
  /** An event was dropped, or replaced by a newer one. */
  dropped (topic: HeardTopic): void
}

export interface SlowClient {
  /** Events were dropped, and the client has not been told. */
  readonly missing: boolean
  /** `bytes` are the encoded `entries`. */
  keep (bytes: Chunk, to: Recipient, entries: readonly Entry[]): void
  /** Makes room, because too much waits. False if the client must go. */
  relieve (): boolean
  /** The subscriptions whose events were dropped. Called when everything else is written; `makeUp` follows for each. */
  takeMissed (): Iterable<Recipient>
  makeUp (missed: Recipient): void
}

export function slowClientOf (policy: SlowPolicy, waiting: Waiting): SlowClient {
  switch (policy) {
    case 'close': return new Closing(waiting)
    case 'latest': return new Conflating(waiting)
    case 'reset': return new Dropping(waiting)
    case 'replay': return new Replaying(waiting)
  }
}

class Closing implements SlowClient {
  protected readonly waiting: Waiting

  constructor (waiting: Waiting) {
    this.waiting = waiting
  }

  get missing (): boolean { return false }

  keep (bytes: Chunk, to: Recipient, entries: readonly Entry[]): void {
    this.waiting.put({ is: 'shared', bytes, size: bytes.byteLength, to, prev: placeBefore(entries) })
  }

  relieve (): boolean { return false }
  takeMissed (): Iterable<Recipient> { return [] }
  makeUp (_missed: Recipient): void {}
}

/** From overflow on, an event replaces the waiting one of its topic, name and key; in a keyed topic, of its key. */
class Conflating implements SlowClient {
  readonly missing = false
  readonly #waiting: Waiting
  #full = false

  constructor (waiting: Waiting) {
    this.#waiting = waiting
  }

  keep (_bytes: Chunk, to: Recipient, entries: readonly Entry[]): void {
    for (const entry of entries) this.#put(to, entry)
  }

  #put (to: Recipient, entry: Entry): void {
    // From here on the subscription has a position of its own: its topic's position moves on without this client.
    if (entry.prev !== undefined) to.standBefore(entry.prev)
    const item: Item = { is: 'event', size: sizeOf(entry), to, entry }
    if (!this.#full) return this.#waiting.put(item)
    const key = keyOf(to, entry)
    const older = this.#waiting.get(key)
    if (older) this.#replace(key, older, to, entry)
    this.#waiting.put(item, key)
  }

  #replace (key: string, older: Item, to: Recipient, entry: Entry): void {
    this.#waiting.delete(key, older)
    if (!isPlace(entry)) this.#waiting.dropped(to.topic)
  }

  relieve (): boolean {
    if (this.#full) return this.#waiting.fits
    this.#full = true
    const items = this.#waiting.entries()
    this.#waiting.clear()
    for (const [, item] of items) {
      if (item.is === 'event') this.#put(item.to, item.entry)
      else this.#waiting.put(item)
    }
    return this.#waiting.fits
  }

  takeMissed (): Iterable<Recipient> { return [] }
  makeUp (): void {}
}

/** From overflow on, events that wait and events that follow are dropped, until the client reads again. */
class Dropping extends Closing {
  #missed: Set<Recipient> | undefined

  override get missing (): boolean { return this.#missed !== undefined }

  override keep (bytes: Chunk, to: Recipient, entries: readonly Entry[]): void {
    if (this.#missed) this.#miss(to, placeBefore(entries))
    else super.keep(bytes, to, entries)
  }

  override relieve (): boolean {
    // The waiting bytes may contain a position behind the events to be dropped. A client that is cut after them would
    // never learn of the loss. A client that is closed now has lost nothing: it resumes from where it is.
    if (this.#toldBehindEvents()) return false
    this.#missed ??= new Set()
    const placed = new Set<Recipient>()
    for (const [key, item] of this.waiting.entries()) {
      if (item.is !== 'shared') continue
      this.waiting.delete(key, item)
      // A subscription outside of its group stands behind all that waited for it. It goes back to before the first
      // event.
      if (item.prev !== undefined && !placed.has(item.to)) item.to.stand(item.prev)
      if (item.prev !== undefined) placed.add(item.to)
      this.#miss(item.to, item.prev)
    }
    return this.waiting.fits
  }

  #toldBehindEvents (): boolean {
    const items = this.waiting.entries().map(([, item]) => item)
    const first = items.findIndex(({ is }) => is !== 'own')
    return first !== -1 && items.slice(first).some((item) => item.is === 'own' && item.told)
  }

  /** `prev`: the subscription's position until the client is told. */
  #miss (to: Recipient, prev: EventId | undefined): void {
    if (prev !== undefined) to.standBefore(prev)
    this.#missed?.add(to)
    this.countDropped(to, prev)
  }

  protected countDropped (to: Recipient, _prev: EventId | undefined): void {
    this.waiting.dropped(to.topic)
  }

  override takeMissed (): Iterable<Recipient> {
    const missed = this.#missed ?? []
    this.#missed = undefined
    return missed
  }

  override makeUp (missed: Recipient): void {
    missed.reset('slow')
  }
}

/** Dropped events are read from the history again. Those of a topic without history are lost. */
class Replaying extends Dropping {
  /** If nothing waits in the outbox, only the socket holds too much. The client is kept, because it can read that. */
  override relieve (): boolean {
    return super.relieve() || this.waiting.entries().length === 0
  }

  protected override countDropped (to: Recipient, prev: EventId | undefined): void {
    if (prev === undefined) super.countDropped(to, prev)
  }

  override makeUp (missed: Recipient): void {
    if (missed.topic.durable) missed.replay()
    else super.makeUp(missed)
  }
}

/** Bytes that a waiting event costs. */
function sizeOf (entry: Entry): number {
  return entry.data.byteLength + entry.name.length + 128
}

function keyOf (to: Recipient, entry: Entry): string {
  const { name, keyed } = to.topic
  return `${name}\u0000${keyed && !isPlace(entry) ? '' : entry.name}\u0000${entry.key ?? ''}`
}

/** The client's position before it gets these entries. */
function placeBefore (entries: readonly Entry[]): EventId | undefined {
  return entries.find(({ prev }) => prev !== undefined)?.prev
}

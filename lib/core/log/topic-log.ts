/**
 * The recent events of one topic on this node: a linked log.
 *
 * Guarantee: every event that `host.append` gets links to the one before (`prev === last`), or `host.reset` was called
 * first. There is never a silent gap or a duplicate, in whatever order the adapter delivers.
 */
import type { EventId, LogEvent, Page, ReadLimits, Retention } from '../adapter.ts'
import { durableEntry, type Entry } from '../event.ts'
import { compareIds, hasOrder, isGenesis } from '../id.ts'
import { RecentEvents } from './recent-events.ts'
import { untilRead } from './until-read.ts'
import type { ResetReason } from '../wire.ts'

export interface LogHost {
  append (entry: Entry): void
  /** Events were lost. `last` has moved already. */
  reset (reason: ResetReason): void
  /** `after` null: reads from the oldest event that is kept. */
  read (after: EventId | null, limits: ReadLimits): Promise<Page>
  /** A read failed. It is repeated after a pause, for as long as the log is open. */
  readFailed (error: unknown): void
  repaired (): void
}

/** The limits of one page, in a repair or when older events are read. */
const READ: ReadLimits = { count: 512, bytes: 1 << 20 }
/** Events that may wait during a repair. Above either limit they are dropped and read again. */
const MAX_HELD = 1024
const MAX_HELD_BYTES = 1 << 20

export class TopicLog {
  /** The id of the event delivered last. */
  last: EventId
  readonly recent: RecentEvents
  readonly #host: LogHost
  #held: LogEvent[] = []
  #heldBytes = 0
  /** The current read may not return everything that is missing: another read must follow. */
  #again = false
  #repairing: Promise<void> | undefined
  #opening = true
  #closed = false
  /** The recent events reach back to the oldest event that the adapter keeps: older ones are gone. */
  #complete = false
  #wanted: EventId | undefined
  /** Older events have been read before. */
  #reached = false
  #reaching: Promise<void> | undefined
  /** The oldest recent event, if the events before it are kept but cannot be read. */
  #hole: EventId | undefined

  constructor (host: LogHost, retention: Retention) {
    this.#host = host
    this.last = ''
    this.recent = new RecentEvents(retention)
  }

  /** The adapter's subscription is live, and `head` was read after that. Events that came meanwhile were held. */
  open (head: EventId, genesis: boolean): void {
    this.last = head
    this.#complete = genesis
    this.#opening = false
    if (this.#held.length > 0 || this.#again) this.repair().catch(() => {})
  }

  close (): void {
    this.#closed = true
  }

  /** Takes events in any order, repeated, and with gaps. */
  deliver (event: LogEvent): void {
    if (this.#opening || this.#repairing) this.#hold(event)
    else if (event.prev === this.last) this.#append(event)
    else if (!this.#seen(event.id)) {
      this.#hold(event)
      this.repair().catch(() => {})
    }
  }

  /** Reads the events after `last` and appends them. A call during a repair makes the repair read once more. */
  async repair (): Promise<void> {
    this.#again = true
    // There is no `last` to read from yet: `open` will start the repair.
    if (this.#opening) return
    this.#repairing ??= this.#repair()
    await this.#repairing
  }

  /** The position of the event after `cursor`; undefined if the recent events do not reach back that far. */
  locate (cursor: EventId): number | undefined {
    this.recent.expire()
    return cursor === this.last ? this.recent.end : this.recent.after(cursor)
  }

  /**
   * Reads the events after `cursor` into the recent events, if the adapter still has them. Callers at the same time
   * share one read. Later callers need no read, or one more: see `#pastFrom`.
   */
  async reach (cursor: EventId): Promise<void> {
    if (!hasOrder(cursor)) return
    for (let round = 0; round < 3 && this.locate(cursor) === undefined && !this.#closed; round++) {
      // The client may have been on a node that was ahead of this one, and have a newer id than `last`.
      if ((compareIds(cursor, this.last) ?? 0) > 0) {
        if (round > 0) return
        await this.repair()
        continue
      }
      if (this.#complete) return
      if (this.#wanted === undefined || (compareIds(cursor, this.#wanted) ?? 0) < 0) this.#wanted = cursor
      this.#reaching ??= Promise.resolve().then(() => this.#readPast()).finally(() => { this.#reaching = undefined })
      await this.#reaching
    }
  }

  /** Why `cursor` could not be found. */
  fault (cursor: EventId): ResetReason {
    const order = compareIds(cursor, this.#oldest)
    if (order === undefined || order >= 0) return 'unknown-cursor'
    return this.#oldest === this.#hole ? 'lost' : 'expired'
  }

  /** True if some of the events after `cursor`, which was not found, are gone. */
  lacksAfter (cursor: EventId): boolean {
    const start = this.recent.first?.prev ?? this.last
    return !isGenesis(start) && (compareIds(cursor, start) ?? 0) < 0
  }

  get #oldest (): EventId {
    return this.recent.first?.id ?? this.last
  }

  /** Drops the recent events. If a client needs them, they are read again. */
  forget (): void {
    if (this.recent.size === 0) return
    this.recent.clear()
    this.#complete = false
    this.#reached = false
  }

  #append (event: LogEvent): void {
    const entry = durableEntry(event)
    this.last = event.id
    this.recent.push(entry)
    this.#host.append(entry)
  }

  #seen (id: EventId): boolean {
    return id === this.last || this.recent.has(id)
  }

  #hold (event: LogEvent): void {
    if (this.#again) return
    this.#held.push(event)
    this.#heldBytes += event.data.byteLength
    if (this.#held.length > MAX_HELD || this.#heldBytes > MAX_HELD_BYTES) {
      this.#takeHeld()
      this.#again = true
    }
  }

  #takeHeld (): LogEvent[] {
    const held = this.#held
    this.#held = []
    this.#heldBytes = 0
    return held
  }

  async #repair (): Promise<void> {
    try {
      for (let more = true; more && !this.#closed;) {
        // These events were held before the read starts: the read returns them, or they are older than `last`.
        const held = this.#takeHeld()
        this.#again = false
        const complete = await this.#readOn()
        if (this.#closed) return
        if (complete) for (const event of held) this.#appendIfNext(event)
        for (const event of this.#takeHeld()) if (!this.#appendIfNext(event) && !this.#seen(event.id)) this.#hold(event)
        more = !complete || this.#held.length > 0 || this.#again
      }
    } finally {
      // In the same synchronous step as the last check of `#held`: an event that came in between would be held for
      // ever.
      this.#repairing = undefined
    }
    this.#host.repaired()
  }

  #appendIfNext (event: LogEvent): boolean {
    if (event.prev !== this.last) return false
    this.#append(event)
    return true
  }

  /** Reads one page after `last`. True if no more events are known to follow. */
  async #readOn (): Promise<boolean> {
    const page = await this.#read(this.last)
    if (!page) return true
    if (!page.linked) {
      this.recent.clear()
      this.#complete = false
      this.last = page.head
      this.#host.reset('lost')
      return true
    }
    for (const event of page.events) this.#appendIfNext(event)
    return !page.more
  }

  /** Prepends older events, from the oldest cursor that is waited for. Events after `last` are delivered as usual. */
  async #readPast (): Promise<void> {
    const wanted = this.#wanted
    this.#wanted = undefined
    if (wanted === undefined) return
    const past: Entry[] = []
    let after = this.#pastFrom(wanted)
    let foundStart = after === null
    let hole = false
    // The limit of this loop: the adapter keeps `limit` events, and more may arrive meanwhile.
    for (let read = 0; read <= this.recent.retention.limit * 2;) {
      const page = await this.#read(after)
      if (!page || this.#closed) return
      if (!page.linked) {
        past.length = 0
        foundStart = true
        hole = page.lost === true
      }
      const met = this.#collect(page, past)
      const tail = page.events.at(-1)
      if (met || !page.more || !tail) break
      read += page.events.length
      after = tail.id
    }
    const joins = this.#joins(past)
    if (joins) this.recent.prepend(past)
    if (joins || past.length === 0) this.#complete = foundStart
    if (hole && (joins || past.length === 0)) this.#hole = this.#oldest
  }

  /**
   * Where to start reading older events; null: from the oldest that is kept. That is so if all events fit into a page,
   * or if this is not the first read. After a deploy the clients with the newest cursors may come first, and each of
   * the others would cost another read.
   */
  #pastFrom (cursor: EventId): EventId | null {
    const { limit, maxBytes } = this.recent.retention
    const whole = this.#reached || (limit <= READ.count && maxBytes <= READ.bytes)
    this.#reached = true
    return whole ? null : cursor
  }

  /** Adds the page's events to `past`. True if the page reached the recent events, or `last`. */
  #collect (page: Page, past: Entry[]): boolean {
    for (const [index, event] of page.events.entries()) {
      if (this.recent.has(event.id)) return true
      if (event.prev === this.last && past.at(-1)?.id === this.last) {
        for (const later of page.events.slice(index)) this.deliver(later)
        return true
      }
      past.push(durableEntry(event))
    }
    return false
  }

  #joins (past: Entry[]): boolean {
    const tail = past.at(-1)
    if (!tail) return false
    return tail.id === (this.recent.first?.prev ?? this.last)
  }

  async #read (after: EventId | null): Promise<Page | undefined> {
    return await untilRead(
      () => !this.#closed, async () => await this.#host.read(after, READ), (error) => this.#host.readFailed(error)
    )
  }
}

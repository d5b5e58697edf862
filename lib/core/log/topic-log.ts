/**
 * The recent events of one topic on this node: a linked log.
 *
 * Guarantee: `host.append` is called with events each of which links to the one before (`prev === last`), or
 * `host.reset` is called first. Never a silent gap, never a duplicate, whatever order the adapter delivers in.
 */
import type { EventId, LogEvent, Page, ReadLimits, Retention } from '../adapter.ts'
import { durableEntry, type Entry } from '../event.ts'
import { compareIds, hasOrder } from '../id.ts'
import { RecentEvents } from './recent-events.ts'
import { untilRead } from './until-read.ts'
import type { ResetReason } from '../wire.ts'

export interface LogHost {
  append (entry: Entry): void
  /** `last` has moved already. */
  reset (reason: ResetReason): void
  /** `null`: from the oldest kept. */
  read (after: EventId | null, limits: ReadLimits): Promise<Page>
  /** A read failed and is tried again after a pause, for as long as the log is open. */
  readFailed (error: unknown): void
  repaired (): void
}

/** A page of a repair or of a replayed past. */
const READ: ReadLimits = { count: 512, bytes: 1 << 20 }
/** Events that may wait while a repair reads; past it they are dropped and read again. */
const MAX_HELD = 1024
const MAX_HELD_BYTES = 1 << 20

export class TopicLog {
  /** The id delivered last. */
  last: EventId
  readonly recent: RecentEvents
  readonly #host: LogHost
  #held: LogEvent[] = []
  #heldBytes = 0
  /** Something may be missing that the read under way does not show: another must follow. */
  #again = false
  #repairing: Promise<void> | undefined
  #opening = true
  #closed = false
  /** The ring reaches back to the oldest event the adapter keeps: what it lacks is gone. */
  #complete = false
  #wanted: EventId | undefined
  /** The past has been read before. */
  #reached = false
  #reaching: Promise<void> | undefined
  /** The oldest event of the ring, while what came before it is kept and cannot be read. */
  #hole: EventId | undefined

  constructor (host: LogHost, retention: Retention) {
    this.#host = host
    this.last = ''
    this.recent = new RecentEvents(retention)
  }

  /** The subscription is live and the log stood at `head` after that. What came meanwhile was held. */
  open (head: EventId, genesis: boolean): void {
    this.last = head
    this.#complete = genesis
    this.#opening = false
    if (this.#held.length > 0 || this.#again) this.repair().catch(() => {})
  }

  close (): void {
    this.#closed = true
  }

  /** Takes an event in any order, repeated, with holes. */
  deliver (event: LogEvent): void {
    if (this.#opening || this.#repairing) this.#hold(event)
    else if (event.prev === this.last) this.#append(event)
    else if (!this.#seen(event.id)) {
      this.#hold(event)
      this.repair().catch(() => {})
    }
  }

  /** Reads what follows `last` and passes it on. Single flight: asked meanwhile, it reads once more. */
  async repair (): Promise<void> {
    this.#again = true
    // There is no `last` to read from yet: `open` sees to it.
    if (this.#opening) return
    this.#repairing ??= this.#repair()
    await this.#repairing
  }

  /** Where the event after `cursor` stands in the ring; undefined when the ring does not reach back that far. */
  locate (cursor: EventId): number | undefined {
    this.recent.expire()
    return cursor === this.last ? this.recent.end : this.recent.after(cursor)
  }

  /**
   * Brings what follows `cursor` into the ring, if the adapter still has it. Everybody who waits at the same time
   * shares one read, and who comes later needs none, or one more: see `#pastFrom`.
   */
  async reach (cursor: EventId): Promise<void> {
    if (!hasOrder(cursor)) return
    for (let round = 0; round < 3 && this.locate(cursor) === undefined && !this.#closed; round++) {
      // Another node may have been ahead of this one: the client can know more than we do.
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

  get #oldest (): EventId {
    return this.recent.first?.id ?? this.last
  }

  /** Frees the ring; what clients ask for is read again. */
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
        // Held before this read starts: the read shows them, or they are older than `last`.
        const held = this.#takeHeld()
        this.#again = false
        const complete = await this.#readOn()
        if (this.#closed) return
        if (complete) for (const event of held) this.#appendIfNext(event)
        for (const event of this.#takeHeld()) if (!this.#appendIfNext(event) && !this.#seen(event.id)) this.#hold(event)
        more = !complete || this.#held.length > 0 || this.#again
      }
    } finally {
      // In the same step as the last look: an event that came between the two would be held, and nobody would take it.
      this.#repairing = undefined
    }
    this.#host.repaired()
  }

  #appendIfNext (event: LogEvent): boolean {
    if (event.prev !== this.last) return false
    this.#append(event)
    return true
  }

  /** One page after `last`. True when nothing more is known to follow. */
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

  /** Prepends the adapter's past, from the oldest cursor waiting; what is beyond `last` goes to everybody. */
  async #readPast (): Promise<void> {
    const wanted = this.#wanted
    this.#wanted = undefined
    if (wanted === undefined) return
    const past: Entry[] = []
    let after = this.#pastFrom(wanted)
    let foundStart = after === null
    let hole = false
    // Bounded: the adapter keeps at most so many, give or take those that arrive meanwhile.
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
   * Reads from the oldest event kept where all fits a page, or where a second client asks for more than the first:
   * after a deploy the clients that know most may come first, and each of the others would cost another read.
   */
  #pastFrom (cursor: EventId): EventId | null {
    const { limit, maxBytes } = this.recent.retention
    const whole = this.#reached || (limit <= READ.count && maxBytes <= READ.bytes)
    this.#reached = true
    return whole ? null : cursor
  }

  /** True when the page reached what the ring (or `last`) holds already. */
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

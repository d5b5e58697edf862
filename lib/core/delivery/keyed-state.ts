/**
 * The state of a keyed topic on this node: the newest event of each key. It is read from the adapter once, joined
 * exactly to the log, and kept up with the log from then on.
 *
 * The join: the parts of the state are read at different times, while events come. The log's place before the first
 * read is the state's place. What a part holds that is newer is left out, since the log brings it; and nothing is
 * handed out before the log has brought all that was left out.
 */
import type { EventId, KeyedEvent, StatePage } from '../adapter.ts'
import type { Entry } from '../event.ts'
import { compareIds } from '../id.ts'
import type { TopicLog } from '../log/topic-log.ts'
import { untilRead } from '../log/until-read.ts'
import { Unavailable } from '../../errors.ts'
import type { Change, StateCodec } from '../state-codec.ts'
import { nextTurn } from '../turn.ts'

export interface KeyedStateHost {
  readonly maxKeys: number
  readonly codec: () => StateCodec
  /** ms that a state which has begun anew is left alone: those who keep it up may still be putting it together. */
  readonly settle: number
  read (from: string | null, count: number): Promise<StatePage>
  /** A read failed and is tried again after a pause, for as long as the topic is open. */
  readFailed (error: unknown): void
}

type State =
  | { readonly is: 'unread' }
  | { readonly is: 'closed' }
  | { readonly is: 'read', readonly from: EventId, readonly since: Map<string, Change>, readonly done: Promise<void> }
  | { readonly is: 'kept', readonly newest: Map<string, KeyedEvent> }

const UNREAD: State = Object.freeze({ is: 'unread' })
const CLOSED: State = Object.freeze({ is: 'closed' })
/** Keys of a part: Redis takes less than 1 ms for it. */
const PART_KEYS = 200
/** An adapter may answer at once, so that no other work would come between the parts: ms of them in one turn. */
const SLICE_MS = 4
/** A store may hold more than is allowed here, as after a limit was lowered: so many times as much, or as any may. */
const MOST = 4
const MOST_KEYS = 1_000_000
const TRIES = 16
/** How often the log is read on for what a part holds already. */
const REPAIRS = 3
/** What a key costs besides its data, bytes. */
const OVERHEAD_BYTES = 300

export class KeyedState {
  readonly #host: KeyedStateHost
  readonly #log: TopicLog
  #state: State = UNREAD
  codec: StateCodec
  /** How often it has changed. */
  changes = 0
  /** Its keys in order, until there are others. */
  #sorted: readonly string[] | undefined
  /** When it may be read (performance.now). */
  #settled = 0
  bytes = 0

  constructor (host: KeyedStateHost, log: TopicLog) {
    this.#host = host
    this.#log = log
    this.codec = host.codec()
  }

  /** Where the state is the log's: what it holds then. */
  get newest (): ReadonlyMap<string, KeyedEvent> | undefined {
    return this.#state.is === 'kept' ? this.#state.newest : undefined
  }

  get sortedKeys (): readonly string[] {
    this.#sorted ??= [...this.newest?.keys() ?? []].sort(byCode)
    return this.#sorted
  }

  /**
   * Reads it, unless it is here already; whoever asks meanwhile waits for the same. `use` is called in the very step in
   * which the state is the log's: behind any other the log may have begun anew.
   * @throws Unavailable, what the adapter rejects with, what `use` throws
   */
  async with<T> (use: (newest: ReadonlyMap<string, KeyedEvent>) => T): Promise<T> {
    for (let tries = 0; tries < TRIES; tries++) {
      const state = this.#state
      if (state.is === 'kept') return use(state.newest)
      if (state.is === 'closed') throw new Unavailable('the topic was closed')
      if (state.is === 'read') await state.done
      else this.#begin()
    }
    throw new Unavailable('the log of a keyed topic begins anew faster than its state can be read')
  }

  /** An event that the log has appended. */
  append (entry: Entry): void {
    const state = this.#state
    if (state.is === 'unread' || state.is === 'closed') return
    const changes = this.codec.changes(entry)
    for (const [key, change] of changes) {
      if (state.is === 'read') state.since.set(key, change)
      else this.#apply(state.newest, key, change)
    }
    if (changes.length > 0) this.changes++
  }

  /** The log has begun anew. */
  reset (): void {
    this.#settled = performance.now() + this.#host.settle
    this.forget()
  }

  /** Its memory is needed: who asks next reads it again. */
  forget (): void {
    this.#let(UNREAD)
  }

  /** Nobody is to read it any more. */
  close (): void {
    this.#let(CLOSED)
  }

  #let (state: State): void {
    if (this.#state.is !== 'closed') this.#state = state
    this.#sorted = undefined
    this.bytes = 0
  }

  // --- reading -------------------------------------------------------------------------

  #begin (): void {
    this.codec = this.#host.codec()
    const done = Promise.resolve().then(async () => await this.#read(state))
    // Those who wait see the error. There may be nobody who does.
    done.catch(() => {})
    const state: State & { is: 'read' } = { is: 'read', from: this.#log.last, since: new Map(), done }
    this.#state = state
  }

  async #read (state: State & { is: 'read' }): Promise<void> {
    try {
      const newest = await this.#readAll(state)
      if (this.#state !== state) return
      this.#state = UNREAD
      if (newest) this.#keep(newest, state.since)
    } catch (error) {
      if (this.#state === state) this.#state = UNREAD
      throw error
    }
  }

  #keep (newest: Map<string, KeyedEvent>, since: ReadonlyMap<string, Change>): void {
    this.bytes = 0
    for (const event of newest.values()) this.bytes += sizeOf(event)
    for (const [key, change] of since) this.#apply(newest, key, change)
    this.#state = { is: 'kept', newest }
    this.#sorted = undefined
    this.changes++
  }

  /** Undefined where it must be read anew. */
  async #readAll (state: State & { is: 'read' }): Promise<Map<string, KeyedEvent> | undefined> {
    const newest = new Map<string, KeyedEvent>()
    let seen = 0
    let since = performance.now()
    const wait = this.#settled - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait).unref())
    for (let next: string | null = null; ;) {
      const page = await this.#readPart(state, next)
      if (!page || this.#state !== state) return undefined
      // Another server, which has lost some: the log finds out what became of it.
      if (isNewer(state.from, page.head)) return await this.#lookAgain()
      for (const event of page.events) if (!isNewer(event.id, state.from)) gather(newest, event)
      seen += page.events.length + 1
      if (seen > Math.max(this.#host.maxKeys * MOST, MOST_KEYS)) {
        throw new Unavailable('the state of a keyed topic is endless')
      }
      if (page.next === undefined) return await this.#reached(page.head) ? newest : undefined
      next = page.next
      if (performance.now() - since > SLICE_MS) {
        await nextTurn()
        since = performance.now()
      }
    }
  }

  async #readPart (state: State, from: string | null): Promise<StatePage | undefined> {
    const { read, readFailed } = this.#host
    return await untilRead(() => this.#state === state, async () => await read(from, PART_KEYS), readFailed)
  }

  async #lookAgain (): Promise<undefined> {
    await this.#log.repair()
  }

  /** The log has come to what the last part was read behind. */
  async #reached (head: EventId): Promise<boolean> {
    for (let i = 0; i < REPAIRS && isNewer(head, this.#log.last); i++) await this.#log.repair()
    return !isNewer(head, this.#log.last)
  }

  #apply (newest: Map<string, KeyedEvent>, key: string, change: Change): void {
    const before = newest.get(key)
    if (before) this.bytes -= sizeOf(before)
    if (!before !== !change) this.#sorted = undefined
    if (change) newest.set(key, change)
    else newest.delete(key)
    if (change) this.bytes += sizeOf(change)
  }
}

/** As strings are compared, by their UTF-16 code units. */
function byCode (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function sizeOf ({ key, data }: KeyedEvent): number {
  return OVERHEAD_BYTES + key.length + data.byteLength
}

/** A key may come twice. */
function gather (newest: Map<string, KeyedEvent>, event: KeyedEvent): void {
  const known = newest.get(event.key)
  if (!known || isNewer(event.id, known.id)) newest.set(event.key, event)
}

function isNewer (id: EventId, than: EventId): boolean {
  return (compareIds(id, than) ?? 0) > 0
}

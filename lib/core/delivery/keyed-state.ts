/**
 * The state of a keyed topic on this node: the newest event of each key. It is read from the adapter once. From then on
 * it is updated by the events of the log.
 *
 * The parts of the state are read at different times, while events arrive. So the state is the one at the log's last id
 * before the first read. Newer events in a part are left out, because the log delivers them too. Nothing is handed out
 * until the log has delivered all that was left out.
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
  /** ms to wait before a state is read after its log was reset: nodes may still be rebuilding it. */
  readonly settle: number
  read (from: string | null, count: number): Promise<StatePage>
  /** A read failed. It is repeated after a pause, for as long as the topic is open. */
  readFailed (error: unknown): void
}

type State =
  | { readonly is: 'unread' }
  | { readonly is: 'closed' }
  | { readonly is: 'read', readonly from: EventId, readonly since: Map<string, Change>, readonly done: Promise<void> }
  | { readonly is: 'kept', readonly newest: Map<string, KeyedEvent> }

const UNREAD: State = Object.freeze({ is: 'unread' })
const CLOSED: State = Object.freeze({ is: 'closed' })
/** Keys per part. Redis needs less than 1 ms for so many. */
const PART_KEYS = 200
/** How long reading goes on in one turn, ms. An adapter that answers at once would otherwise block the event loop. */
const SLICE_MS = 4
/**
 * A store may hold more keys than are allowed here, for example after the limit was lowered. Reading gives up above
 * `MOST` times `maxKeys`, and never before `MOST_KEYS`.
 */
const MOST = 4
const MOST_KEYS = 1_000_000
const TRIES = 16
/** How often the log is repaired to reach the head of the last part. */
const REPAIRS = 3
/** Bytes that a key costs besides its text and data. */
const OVERHEAD_BYTES = 300

export class KeyedState {
  readonly #host: KeyedStateHost
  readonly #log: TopicLog
  #state: State = UNREAD
  codec: StateCodec
  /** How many changes there were. */
  changes = 0
  /** The keys in order; undefined after a key has come or gone. */
  #sorted: readonly string[] | undefined
  /** The earliest time to read the state (performance.now). */
  #settled = 0
  bytes = 0

  constructor (host: KeyedStateHost, log: TopicLog) {
    this.#host = host
    this.#log = log
    this.codec = host.codec()
  }

  /** The newest event of each key at the log's last id; undefined while the state is not here. */
  get newest (): ReadonlyMap<string, KeyedEvent> | undefined {
    return this.#state.is === 'kept' ? this.#state.newest : undefined
  }

  get sortedKeys (): readonly string[] {
    this.#sorted ??= [...this.newest?.keys() ?? []].sort(byCode)
    return this.#sorted
  }

  /**
   * Reads the state, unless it is here already. Callers at the same time share one read. `use` is called in the same
   * synchronous step in which the state is found to match the log: in a later step the log may have been reset.
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

  /** The log has appended an event. */
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

  /** The log was reset after a loss. */
  reset (): void {
    this.#settled = performance.now() + this.#host.settle
    this.forget()
  }

  /** Frees the memory. The next call of `with` reads the state again. */
  forget (): void {
    this.#let(UNREAD)
  }

  /** The topic is closed: the state cannot be read any more. */
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
    // Callers that wait get the error. Without a caller it must not be an unhandled rejection.
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

  /** Undefined if the state must be read again. */
  async #readAll (state: State & { is: 'read' }): Promise<Map<string, KeyedEvent> | undefined> {
    const newest = new Map<string, KeyedEvent>()
    let seen = 0
    let since = performance.now()
    const wait = this.#settled - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait).unref())
    for (let next: string | null = null; ;) {
      const page = await this.#readPart(state, next)
      if (!page || this.#state !== state) return undefined
      // The head is older than this node's log, so another server answers that has lost events. The repair finds out
      // what is missing.
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

  /** True if the log has reached the head that was read with the last part. */
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

/** Orders strings as `<` does, by their UTF-16 code units. */
function byCode (a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function sizeOf ({ key, data }: KeyedEvent): number {
  return OVERHEAD_BYTES + key.length + data.byteLength
}

/** A key may be in several parts: the newest event counts. */
function gather (newest: Map<string, KeyedEvent>, event: KeyedEvent): void {
  const known = newest.get(event.key)
  if (!known || isNewer(event.id, known.id)) newest.set(event.key, event)
}

function isNewer (id: EventId, than: EventId): boolean {
  return (compareIds(id, than) ?? 0) > 0
}

/** A bounded run of linked entries, found by id in constant time. The limits: count, bytes of data, and age. */
import type { EventId, Retention } from '../adapter.ts'
import type { Entry } from '../event.ts'

interface Slot { entry: Entry, at: number }

/** Bytes that an entry costs besides its data: objects, the id twice, the index. */
const OVERHEAD_BYTES = 300

export class RecentEvents {
  readonly retention: Retention
  bytes = 0
  #slots: Slot[] = []
  /** The first slot in use. Slots before it are removed in batches. */
  #head = 0
  /** The position of `#slots[0]`. An entry keeps its position, also when older entries are prepended. */
  #base = 0
  /** Positions by id. Made when one is first asked for, and dropped by `rest` when none was asked for in a while. */
  #index: Map<EventId, number> | undefined
  #asked = false

  constructor (retention: Retention) {
    this.retention = retention
  }

  get size (): number { return this.#slots.length - this.#head }
  get end (): number { return this.#base + this.#slots.length }
  get first (): Entry | undefined { return this.#slots[this.#head]?.entry }
  get last (): Entry | undefined { return this.size > 0 ? this.#slots.at(-1)?.entry : undefined }

  has (id: EventId): boolean {
    return this.#positions().has(id)
  }

  at (position: number): Entry | undefined {
    return this.#slots[position - this.#base]?.entry
  }

  /** The position of the entry that follows `id`. */
  after (id: EventId): number | undefined {
    const position = this.#positions().get(id)
    if (position !== undefined) return position + 1
    return this.first?.prev === id ? this.#base + this.#head : undefined
  }

  #positions (): Map<EventId, number> {
    this.#asked = true
    this.#index ??= new Map(this.#slots.slice(this.#head)
      .map(({ entry }, index) => [entry.id as EventId, this.#base + this.#head + index]))
    return this.#index
  }

  push (entry: Entry): void {
    this.#index?.set(entry.id as EventId, this.end)
    this.#slots.push({ entry, at: performance.now() })
    this.bytes += entry.data.byteLength + OVERHEAD_BYTES
    const { limit, maxBytes } = this.retention
    while (this.size > limit || (this.bytes - this.size * OVERHEAD_BYTES > maxBytes && this.size > 1)) this.#shift()
    this.#compact()
  }

  /**
   * Adds older entries, in order. The first entry here must link to the last of them. The limits may be exceeded until
   * the next push.
   */
  prepend (entries: readonly Entry[]): void {
    const at = performance.now()
    const older = entries.map((entry) => ({ entry, at }))
    this.#slots = older.concat(this.#slots.slice(this.#head))
    this.#base = this.#base + this.#head - entries.length
    this.#head = 0
    this.#index = undefined
    for (const entry of entries) this.bytes += entry.data.byteLength + OVERHEAD_BYTES
  }

  /** Drops the entries that are older than `maxAge`. */
  expire (): void {
    const oldest = performance.now() - this.retention.maxAge
    while (this.size > 0 && (this.#slots[this.#head] as Slot).at < oldest) this.#shift()
    this.#compact()
  }

  /** Called now and then. Drops the index if it was not needed since the last call: most topics never need it. */
  rest (): void {
    if (!this.#asked) this.#index = undefined
    this.#asked = false
  }

  clear (): void {
    this.#base = this.end
    this.#slots = []
    this.#head = 0
    this.#index = undefined
    this.bytes = 0
  }

  #shift (): void {
    const slot = this.#slots[this.#head++] as Slot
    this.#index?.delete(slot.entry.id as EventId)
    this.bytes -= slot.entry.data.byteLength + OVERHEAD_BYTES
  }

  /** Works in batches, so that dropping an entry takes constant time on average. */
  #compact (): void {
    if (this.#head < 32 || this.#head * 2 < this.#slots.length) return
    this.#slots = this.#slots.slice(this.#head)
    this.#base += this.#head
    this.#head = 0
  }
}

/** The state of one keyed topic in memory: the newest event of each key, and the memory that they use. */
import type { KeyedBounds, KeyedEvent, LogEvent } from '../core/adapter.ts'
import { StateFull } from '../errors.ts'

/** What a key uses in V8 besides its text and data, bytes. */
const KEY_BYTES = 300
const MAP_BYTES = 200

/** The parts of an event that a state keeps. */
type Stored = Omit<LogEvent, 'prev' | 'key' | 'except'> & { prev?: string, key?: string }

export class MemoryState {
  readonly #newest = new Map<string, KeyedEvent>()
  #bounds: KeyedBounds
  /** Bytes of data. */
  #data = 0
  /** Length of the keys' text. */
  #text = 0

  constructor (bounds: KeyedBounds) {
    this.#bounds = bounds
  }

  get lifetime (): number { return this.#bounds.lifetime }
  get size (): number { return this.#newest.size }
  /** Estimated bytes in memory. */
  get bytes (): number { return MAP_BYTES + this.#data + this.#text + this.#newest.size * KEY_BYTES }
  get (key: string): KeyedEvent | undefined { return this.#newest.get(key) }
  get events (): KeyedEvent[] { return [...this.#newest.values()] }

  has (key: string): boolean {
    return this.#newest.has(key)
  }

  /**
   * `room`: bytes that the adapter has for this state.
   * @throws StateFull if one more key, or so many more bytes of data, are too many
   */
  mustTake (topic: string, key: string, bytes: number, bounds: KeyedBounds, room: number): void {
    this.#bounds = bounds
    const before = this.#newest.get(key)
    if (!before && this.#newest.size >= bounds.maxKeys) throw new StateFull(topic, `${bounds.maxKeys} keys (maxKeys)`)
    const more = bytes - (before?.data.byteLength ?? 0)
    if (this.#data + more > bounds.maxBytes) throw new StateFull(topic, `${bounds.maxBytes} bytes (maxBytes)`)
    const all = this.bytes + more + (before ? 0 : KEY_BYTES + key.length)
    if (all > room) throw new StateFull(topic, `${Math.floor(room)} bytes in memory (maxBytes of memory())`)
  }

  put ({ id, name, data, format }: Stored, key: string): void {
    this.remove(key)
    this.#newest.set(key, { id, key, name, data, format })
    this.#data += data.byteLength
    this.#text += key.length
  }

  remove (key: string): void {
    const before = this.#newest.get(key)
    if (!before) return
    this.#newest.delete(key)
    this.#data -= before.data.byteLength
    this.#text -= key.length
  }
}

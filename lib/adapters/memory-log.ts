/**
 * One topic's log in memory: its head, its events, its dedupe keys, the state of a keyed topic, and the memory that
 * they use. A topic without events keeps only its head.
 */
import type { AppendOptions, EventId, KeyedBounds, LogEvent, ReadLimits, Retention } from '../core/adapter.ts'
import { OrderOfUse } from '../core/order-of-use.ts'
import { MemoryState } from './memory-state.ts'

/** What each uses in V8 besides its text and data, bytes. Measured: the heap with 100,000 of each. */
const HEAD_BYTES = 420
const LIST_BYTES = 300
const EVENT_BYTES = 340
const TRACE_BYTES = 150
const KEYS_BYTES = 300
const KEY_BYTES = 370
/** At most so many dedupe keys for each topic. Above it the oldest is dropped. */
const MAX_KEYS = 10_000

interface Kept {
  readonly events: LogEvent[]
  /** When each was appended (performance.now). */
  readonly times: number[]
  /** Bytes of the events' data. */
  bytes: number
  /** Bytes of the events' traces. */
  traces: number
  /** When all these events are dropped (performance.now). */
  expires: number
  retention: Retention
}

interface Keys {
  readonly known: OrderOfUse<string, { readonly id: EventId, readonly at: number }>
  maxAge: number
  /** Length of the keys' text. */
  bytes: number
}

const NONE: readonly LogEvent[] = []

function traceBytes ({ trace }: LogEvent): number {
  return trace ? TRACE_BYTES + (trace.tracestate?.length ?? 0) : 0
}

function forget (kept: Kept, event: LogEvent): void {
  kept.bytes -= event.data.byteLength
  kept.traces -= traceBytes(event)
}

export class MemoryLog {
  head: EventId
  /** When the last event was appended (performance.now). */
  touched = 0
  /** Only for a keyed topic. */
  state: MemoryState | undefined
  readonly #fixed: number
  #ms = 0
  #seq = 0
  #kept: Kept | undefined
  #keys: Keys | undefined

  constructor (topic: string, genesis: EventId) {
    this.head = genesis
    this.#fixed = HEAD_BYTES + topic.length
  }

  get events (): readonly LogEvent[] { return this.#kept?.events ?? NONE }
  get hasKeys (): boolean { return this.#keys !== undefined }

  /** Estimated bytes in memory. */
  get bytes (): number {
    const kept = this.#kept
    const keys = this.#keys
    return this.#fixed + (kept ? LIST_BYTES + kept.bytes + kept.traces + kept.events.length * EVENT_BYTES : 0) +
      (keys ? KEYS_BYTES + keys.bytes + keys.known.size * KEY_BYTES : 0) + (this.state?.bytes ?? 0)
  }

  /** `mark` is the part of the id that makes it unique. */
  append (mark: string, name: string, data: Uint8Array, options: AppendOptions): LogEvent {
    const event = this.#link(mark, name, data, options)
    this.#store(event, options)
    if (options.keyed) this.#change(event, options)
    if (options.dedupe !== undefined) this.#remember(options.dedupe, event.id, options.retention)
    return event
  }

  #change (event: LogEvent, { key = '', keyed }: AppendOptions): void {
    if (keyed?.change === 'put') (this.state ??= new MemoryState(keyed.bounds)).put(event, key)
    else this.state?.remove(key)
  }

  /** Changes many keys, because one event names several members. */
  changeMany (
    id: EventId, name: string, put: ReadonlyMap<string, string>, removed: readonly string[], bounds: KeyedBounds
  ): void {
    const state = this.state ??= new MemoryState(bounds)
    for (const [key, text] of put) state.put({ id, name, data: Buffer.from(text), format: 'json' }, key)
    for (const key of removed) state.remove(key)
  }

  /** True if the state's lifetime is over. */
  isOver (now: number): boolean {
    return this.state !== undefined && now - this.touched > this.state.lifetime
  }

  #link (mark: string, name: string, data: Uint8Array, { format, key, except, trace }: AppendOptions): LogEvent {
    // Never lower than in the head's id, even if the clock is set back.
    const ms = Math.max(Date.now(), this.#ms)
    this.#seq = ms === this.#ms ? this.#seq + 1 : 0
    this.#ms = ms
    const id = `${ms}-${this.#seq}.${mark}`
    const prev = this.head
    this.head = id
    if (key === undefined && except === undefined && !trace) return { id, prev, name, data, format }
    return {
      id,
      prev,
      name,
      data,
      format,
      ...(key === undefined ? {} : { key }),
      ...(except === undefined ? {} : { except }),
      ...(trace && { trace })
    }
  }

  #store (event: LogEvent, { retention, lifetime }: AppendOptions): void {
    const now = this.touched = performance.now()
    // The lifetime of these events is over. The new event begins a new list.
    if (this.#kept && this.#kept.expires < now) this.#kept = undefined
    const expires = now + (lifetime ?? Infinity)
    const kept = this.#kept
    if (!kept) {
      // An array literal has room for one element only. Many topics never get a second event.
      const { data: { byteLength: bytes } } = event
      this.#kept = { events: [event], times: [now], bytes, traces: traceBytes(event), expires, retention }
      return
    }
    kept.expires = expires
    kept.retention = retention
    kept.events.push(event)
    kept.times.push(now)
    kept.bytes += event.data.byteLength
    kept.traces += traceBytes(event)
    this.trim()
  }

  /** Drops the events that are above the topic's limits. */
  trim (): void {
    const kept = this.#kept
    if (!kept) return
    const now = performance.now()
    if (kept.expires < now) return this.dropEvents()
    const { limit, maxAge, maxBytes } = kept.retention
    let drop = Math.max(0, kept.events.length - limit)
    while (drop < kept.events.length && (kept.times[drop] as number) < now - maxAge) drop++
    let bytes = kept.bytes
    for (let i = 0; i < drop; i++) bytes -= (kept.events[i] as LogEvent).data.byteLength
    while (bytes > maxBytes && drop < kept.events.length - 1) bytes -= (kept.events[drop++] as LogEvent).data.byteLength
    this.#drop(kept, drop)
  }

  #drop (kept: Kept, count: number): void {
    if (count === kept.events.length) return this.dropEvents()
    if (count === 1) {
      kept.times.shift()
      forget(kept, kept.events.shift() as LogEvent)
    } else if (count > 0) {
      kept.times.splice(0, count)
      for (const event of kept.events.splice(0, count)) forget(kept, event)
    }
  }

  dropEvents (): void {
    this.#kept = undefined
  }

  /** Drops the oldest events until so many bytes are free. The newest event stays. */
  shrinkEvents (bytes: number): void {
    const kept = this.#kept
    if (!kept) return
    let drop = 0
    for (let left = bytes; left > 0 && drop < kept.events.length - 1; drop++) {
      left -= (kept.events[drop] as LogEvent).data.byteLength + EVENT_BYTES
    }
    this.#drop(kept, drop)
  }

  // --- dedupe keys -----------------------------------------------------------

  /** The id of the event that was appended with this key, if that was at most `maxAge` ms ago. */
  known (key: string, maxAge: number): EventId | undefined {
    const known = this.#keys?.known.get(key)
    return known && performance.now() - known.at <= maxAge ? known.id : undefined
  }

  #remember (key: string, id: EventId, { maxAge }: Retention): void {
    const keys = this.#keys ??= { known: new OrderOfUse(), maxAge, bytes: 0 }
    keys.maxAge = maxAge
    if (!keys.known.has(key)) keys.bytes += key.length
    keys.known.set(key, { id, at: this.touched })
    if (keys.known.size > MAX_KEYS) this.#dropOldestKey(keys)
  }

  /** Drops the keys that have expired. */
  expireKeys (): void {
    const keys = this.#keys
    if (!keys) return
    const oldest = performance.now() - keys.maxAge
    while ((keys.known.oldest?.at ?? Infinity) < oldest) this.#dropOldestKey(keys)
    if (keys.known.size === 0) this.dropKeys()
  }

  /** Drops the oldest keys until so many bytes are free. One key stays. */
  shrinkKeys (bytes: number): void {
    const keys = this.#keys
    if (!keys) return
    const enough = this.bytes - bytes
    while (keys.known.size > 1 && this.bytes > enough) this.#dropOldestKey(keys)
  }

  dropKeys (): void {
    this.#keys = undefined
  }

  #dropOldestKey (keys: Keys): void {
    const [key] = keys.known.shift() ?? ['']
    keys.bytes -= key.length
  }

  // --- reading ---------------------------------------------------------------

  /** The index of the first event after `after`. Undefined if the log does not have that id. */
  position (after: EventId): number | undefined {
    const { events } = this
    if (after === this.head) return events.length
    for (let i = events.length - 1; i >= 0; i--) if ((events[i] as LogEvent).prev === after) return i
    return undefined
  }

  /** Takes events from a position on, up to the limits, and at least one. */
  take (start: number, { count, bytes }: ReadLimits): LogEvent[] {
    const { events } = this
    let end = start
    for (let size = 0; end < events.length && end - start < count && (size < bytes || end === start); end++) {
      size += (events[end] as LogEvent).data.byteLength
    }
    return events.slice(start, end)
  }
}

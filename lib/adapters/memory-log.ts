/**
 * One topic's log in memory: its head, the events that are kept, the dedupe keys that hold, the state of a keyed topic,
 * and what all of it costs. A topic whose events are gone is its head alone.
 */
import type { AppendOptions, EventId, KeyedBounds, LogEvent, ReadLimits, Retention } from '../core/adapter.ts'
import { OrderOfUse } from '../core/order-of-use.ts'
import { MemoryState } from './memory-state.ts'

/** What each costs in V8 besides its text and data, bytes: measured with the heap of 100,000 of them. */
const HEAD_BYTES = 420
const LIST_BYTES = 300
const EVENT_BYTES = 340
const TRACE_BYTES = 150
const KEYS_BYTES = 300
const KEY_BYTES = 370
/** Dedupe keys of a topic. */
const MAX_KEYS = 10_000

interface Kept {
  readonly events: LogEvent[]
  /** When each was appended (performance.now). */
  readonly times: number[]
  /** Of data. */
  bytes: number
  /** What their traces cost. */
  traces: number
  /** When all of them go (performance.now). */
  expires: number
  retention: Retention
}

interface Keys {
  readonly known: OrderOfUse<string, { readonly id: EventId, readonly at: number }>
  maxAge: number
  /** Of the keys' own text. */
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
  /** When it was appended to last (performance.now). */
  touched = 0
  /** Of a keyed topic. */
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

  /** What it costs, estimated. */
  get bytes (): number {
    const kept = this.#kept
    const keys = this.#keys
    return this.#fixed + (kept ? LIST_BYTES + kept.bytes + kept.traces + kept.events.length * EVENT_BYTES : 0) +
      (keys ? KEYS_BYTES + keys.bytes + keys.known.size * KEY_BYTES : 0) + (this.state?.bytes ?? 0)
  }

  /** `mark`: what makes the id unique. */
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

  /** Many keys at once: what one event says of several. */
  changeMany (
    id: EventId, name: string, put: ReadonlyMap<string, string>, removed: readonly string[], bounds: KeyedBounds
  ): void {
    const state = this.state ??= new MemoryState(bounds)
    for (const [key, text] of put) state.put({ id, name, data: Buffer.from(text), format: 'json' }, key)
    for (const key of removed) state.remove(key)
  }

  /** The time for which its state is kept is over. */
  isOver (now: number): boolean {
    return this.state !== undefined && now - this.touched > this.state.lifetime
  }

  #link (mark: string, name: string, data: Uint8Array, { format, key, except, trace }: AppendOptions): LogEvent {
    // Never below the head's, whatever the clock does.
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
    // What it held is forgotten already; what is appended now is not.
    if (this.#kept && this.#kept.expires < now) this.#kept = undefined
    const expires = now + (lifetime ?? Infinity)
    const kept = this.#kept
    if (!kept) {
      // With room for just the one: often no other comes.
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

  /** Lets go of what is past the topic's bounds. */
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

  /** Lets go of its oldest events, but for the newest of all, until it costs so many bytes less. */
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

  /** Under which id something was appended with this key, within the time for which that holds. */
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

  /** Lets go of the keys whose time is over. */
  expireKeys (): void {
    const keys = this.#keys
    if (!keys) return
    const oldest = performance.now() - keys.maxAge
    while ((keys.known.oldest?.at ?? Infinity) < oldest) this.#dropOldestKey(keys)
    if (keys.known.size === 0) this.dropKeys()
  }

  /** Lets go of its oldest keys until it costs so many bytes less. */
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

  /** Where what follows `after` starts; undefined for an id that is not in the log. */
  position (after: EventId): number | undefined {
    const { events } = this
    if (after === this.head) return events.length
    for (let i = events.length - 1; i >= 0; i--) if ((events[i] as LogEvent).prev === after) return i
    return undefined
  }

  /** Events from a position on, as many as fit; one at least. */
  take (start: number, { count, bytes }: ReadLimits): LogEvent[] {
    const { events } = this
    let end = start
    for (let size = 0; end < events.length && end - start < count && (size < bytes || end === start); end++) {
      size += (events[end] as LogEvent).data.byteLength
    }
    return events.slice(start, end)
  }
}

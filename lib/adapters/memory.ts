/** One process: the log in memory. A real adapter, under the same contract and suite as any other. */
import { randomBytes } from 'node:crypto'
import type {
  Adapter, AppendOptions, EphemeralEvent, Id, LogEvent, Ownership, Page, ReadLimits, Retention, Sink
} from '../core/adapter.ts'
import { OrderOfUse } from '../core/order-of-use.ts'
import { NotOwner, OptionInvalid } from '../errors.ts'

export interface MemoryOptions {
  /** Bytes of events kept for all topics. Past it the topics published to least recently lose theirs. Default 134217728. */
  maxBytes?: number
  /** How long the position of a quiet topic is remembered after its events are gone, ms. Default a day. */
  headAge?: number
}

interface Log {
  head: Id
  ms: number
  seq: number
  events: LogEvent[]
  times: number[]
  bytes: number
  retention: Retention
  dedupe: OrderOfUse<string, { id: Id, at: number }>
  touched: number
  /** When all of its events go (performance.now). */
  expires: number
}

const EVENT_OVERHEAD = 300
const DAY_MS = 86_400_000
const SWEEP_MS = 10_000
/** Names are hashed to so many generations. */
const GENERATIONS = 4096
const MAX_DEDUPE = 10_000

export function memory (options: MemoryOptions = {}): Adapter {
  return new MemoryAdapter(options)
}

export class MemoryAdapter implements Adapter, Ownership {
  readonly name = 'memory'
  readonly #maxBytes: number
  readonly #headAge: number
  readonly #boot = randomBytes(6).toString('base64url')
  /** Least recently published first. */
  readonly #logs = new OrderOfUse<string, Log>()
  readonly #subscribed = new Map<string, Id>()
  /**
   * A topic without events needs no state: its genesis follows from its name and the number of logs lost among the
   * names of its hash. So a genesis is never used again, and a client that saw none of a topic's events can resume.
   */
  readonly #generations = new Uint32Array(GENERATIONS)
  readonly #owners = new OrderOfUse<string, { owner: string, until: number }>()
  #counter = 0
  #bytes = 0
  #sink: Sink | undefined
  #timer: NodeJS.Timeout | undefined

  constructor ({ maxBytes = 128 << 20, headAge = DAY_MS }: MemoryOptions) {
    if (!(maxBytes > 0)) throw new OptionInvalid('memory.maxBytes', 'must be a number of bytes above 0')
    if (!(headAge > 0)) throw new OptionInvalid('memory.headAge', 'must be a number of ms above 0')
    this.#maxBytes = maxBytes
    this.#headAge = headAge
  }

  async start (sink: Sink): Promise<void> {
    this.#sink = sink
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref()
  }

  async publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: Id }> {
    if (options.owner !== undefined && this.#ownerOf(topic) !== options.owner) throw new NotOwner(topic)
    const log = this.#open(topic, options.retention)
    const known = this.#deduped(log, options)
    if (known !== undefined) return { id: known }
    const event = this.#link(log, name, data, options)
    // What it held is forgotten already; what is appended now is not.
    if (log.expires < log.touched) this.#drop(log, log.events.length)
    log.expires = log.touched + (options.lifetime ?? Infinity)
    this.#store(log, event)
    if (options.dedupe !== undefined) this.#remember(log, options.dedupe, event.id)
    if (this.#bytes > this.#maxBytes) this.#evict(topic)
    if (this.#subscribed.has(topic)) this.#sink?.event(topic, event)
    return { id: event.id }
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    if (this.#subscribed.has(topic)) this.#sink?.ephemeral(topic, event)
  }

  async subscribe (topic: string): Promise<Id> {
    const head = this.#head(topic)
    // Pinned: the topic's first event links to what its listeners were told.
    this.#subscribed.set(topic, head)
    return head
  }

  unsubscribe (topic: string): void {
    this.#subscribed.delete(topic)
  }

  async read (topic: string, after: Id | null, limits: ReadLimits): Promise<Page> {
    const log = this.#logs.get(topic)
    if (!log) return { head: this.#head(topic), events: [], linked: after === null || after === this.#head(topic), more: false }
    this.#trim(log)
    const found = after === null ? 0 : position(log, after)
    const events = take(log.events, found ?? 0, limits)
    return { head: log.head, events, linked: found !== undefined, more: (found ?? 0) + events.length < log.events.length }
  }

  async heads (topics: string[]): Promise<Array<Id | null>> {
    return topics.map((topic) => this.#logs.get(topic)?.head ?? null)
  }

  async claim (topic: string, owner: string, ms: number): Promise<string> {
    const now = this.#ownerOf(topic)
    if (now !== undefined && now !== owner) return now
    this.#owners.set(topic, { owner, until: performance.now() + ms })
    return owner
  }

  async owner (topic: string): Promise<string | undefined> {
    return this.#ownerOf(topic)
  }

  async release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void> {
    if (this.#ownerOf(topic) !== owner) return
    this.#owners.delete(topic)
    if (next) await this.claim(topic, next.owner, next.ms)
  }

  #ownerOf (topic: string): string | undefined {
    const owned = this.#owners.get(topic)
    return owned && owned.until > performance.now() ? owned.owner : undefined
  }

  async close (): Promise<void> {
    clearInterval(this.#timer)
    this.#sink = undefined
    this.#logs.clear()
    this.#subscribed.clear()
    this.#bytes = 0
  }

  #head (topic: string): Id {
    return this.#logs.get(topic)?.head ?? this.#subscribed.get(topic) ?? this.#genesis(topic)
  }

  #genesis (topic: string): Id {
    const name = hash(topic)
    return `0-0.${this.#boot}g${(this.#generations[name % GENERATIONS] as number).toString(36)}h${name.toString(36)}`
  }

  #open (topic: string, retention: Retention): Log {
    const log = this.#logs.get(topic) ??
      { head: this.#head(topic), ms: 0, seq: 0, events: [], times: [], bytes: 0, retention, dedupe: new OrderOfUse(), touched: 0, expires: Infinity }
    log.retention = retention
    log.touched = performance.now()
    this.#logs.set(topic, log)
    return log
  }

  #deduped (log: Log, { dedupe, retention }: AppendOptions): Id | undefined {
    if (dedupe === undefined) return undefined
    const known = log.dedupe.get(dedupe)
    if (!known || performance.now() - known.at > retention.maxAge) return undefined
    return known.id
  }

  #remember (log: Log, key: string, id: Id): void {
    log.dedupe.set(key, { id, at: performance.now() })
    if (log.dedupe.size > MAX_DEDUPE) log.dedupe.shift()
  }

  #link (log: Log, name: string, data: Uint8Array, { format, key, except }: AppendOptions): LogEvent {
    // Never below the head's, whatever the clock does.
    const ms = Math.max(Date.now(), log.ms)
    log.seq = ms === log.ms ? log.seq + 1 : 0
    log.ms = ms
    const id = `${ms}-${log.seq}.${this.#boot}${(this.#counter++).toString(36)}`
    const prev = log.head
    log.head = id
    if (key === undefined && except === undefined) return { id, prev, name, data, format }
    return { id, prev, name, data, format, ...(key === undefined ? {} : { key }), ...(except === undefined ? {} : { except }) }
  }

  #store (log: Log, event: LogEvent): void {
    log.events.push(event)
    log.times.push(log.touched)
    this.#count(log, cost(event))
    this.#trim(log)
  }

  #count (log: Log, bytes: number): void {
    log.bytes += bytes
    this.#bytes += bytes
  }

  #trim (log: Log): void {
    if (log.expires < performance.now()) return this.#drop(log, log.events.length)
    const { limit, maxAge, maxBytes } = log.retention
    const oldest = performance.now() - maxAge
    let drop = Math.max(0, log.events.length - limit)
    while (drop < log.events.length && (log.times[drop] as number) < oldest) drop++
    let bytes = log.bytes - log.events.length * EVENT_OVERHEAD
    for (let i = 0; i < drop; i++) bytes -= (log.events[i] as LogEvent).data.byteLength
    while (bytes > maxBytes && drop < log.events.length - 1) bytes -= (log.events[drop++] as LogEvent).data.byteLength
    this.#drop(log, drop)
  }

  #drop (log: Log, count: number): void {
    if (count === 0) return
    if (count === 1) {
      log.times.shift()
      return this.#count(log, -cost(log.events.shift() as LogEvent))
    }
    log.times.splice(0, count)
    for (const event of log.events.splice(0, count)) this.#count(log, -cost(event))
  }

  /**
   * Over the node's bound: the events of topics published to least recently go first, their heads stay. The one just
   * published to is the last of them, and keeps its newest event.
   */
  #evict (current: string): void {
    const enough = this.#maxBytes * 0.9
    for (const [topic, log] of this.#logs.entries()) {
      if (topic === current) break
      if (this.#bytes <= enough) return
      this.#drop(log, log.events.length)
    }
    this.#shrink(this.#logs.get(current) as Log, enough)
  }

  #shrink (log: Log, enough: number): void {
    let drop = 0
    for (let bytes = this.#bytes; bytes > enough && drop < log.events.length - 1; drop++) bytes -= cost(log.events[drop] as LogEvent)
    this.#drop(log, drop)
  }

  /** Old events go; and so does a head nobody asked about for long, which makes its topic begin anew. */
  #sweep (): void {
    const now = performance.now()
    for (const [topic, { until }] of this.#owners.entries()) if (until <= now) this.#owners.delete(topic)
    const oldest = now - this.#headAge
    for (const [topic, log] of this.#logs.entries()) {
      this.#trim(log)
      if (log.touched > oldest || this.#subscribed.has(topic)) continue
      this.#drop(log, log.events.length)
      this.#logs.delete(topic)
      const generation = hash(topic) % GENERATIONS
      this.#generations[generation] = (this.#generations[generation] as number) + 1
    }
  }
}

const cost = (event: LogEvent): number => event.data.byteLength + EVENT_OVERHEAD

/** Where what follows `after` starts; undefined for an id that is not in the log. */
function position (log: Log, after: Id): number | undefined {
  if (after === log.head) return log.events.length
  for (let i = log.events.length - 1; i >= 0; i--) if ((log.events[i] as LogEvent).prev === after) return i
  return undefined
}

function take (events: LogEvent[], start: number, { count, bytes }: ReadLimits): LogEvent[] {
  let end = start
  for (let size = 0; end < events.length && end - start < count && (size < bytes || end === start); end++) {
    size += (events[end] as LogEvent).data.byteLength
  }
  return events.slice(start, end)
}

function hash (topic: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < topic.length; i++) value = Math.imul(value ^ topic.charCodeAt(i), 0x01000193)
  return value >>> 0
}

/** Logs in memory, for one process. It has the same contract, and passes the same suite, as every other adapter. */
import type {
  Adapter, AppendOptions, EphemeralEvent, EventId, KeyedStates, LogEvent, Marks, MemberTopic, Ownership, Page,
  ReadLimits, Sink, StatePage
} from '../core/adapter.ts'
import { isGenesis, randomId } from '../core/id.ts'
import { OrderOfUse } from '../core/order-of-use.ts'
import { Conflict, NotOwner, OptionInvalid } from '../errors.ts'
import { onlyKnown, record } from '../known.ts'
import { MemoryMarks } from './memory-marks.ts'
import { MemoryLog } from './memory-log.ts'
import { MemoryMembers, type MemberLog } from './memory-members.ts'
import { MemoryState } from './memory-state.ts'

/** Options of `memory()`. An unknown or wrong one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface MemoryOptions {
  /**
   * Bytes for all topics together: events, dedupe keys and positions, estimated as they are in memory. Default
   * 134217728. Above it events are dropped first, beginning with the topics that were published to least recently, then
   * dedupe keys, then positions. A topic without its position begins anew, and its clients are told `reset`.
   */
  maxBytes?: number
  /** How long the position of a quiet topic is kept after its last event, ms. Default 86400000. */
  headAge?: number
}

const KNOWN: ReadonlySet<string> = new Set(['maxBytes', 'headAge'] satisfies Array<keyof MemoryOptions>)
const DAY_MS = 86_400_000
const SWEEP_MS = 10_000
/** Size of the table of generations. A topic's hash picks its entry. */
const GENERATIONS = 4096
/** Share of `maxBytes` that an eviction frees, so that the next publishes need none. */
const FREED = 0.1
const OWNER_BYTES = 300
/** 48 bits tell starts of the process apart. No more: this is part of every id, and a cursor has a limit in bytes. */
const BOOT_CHARS = 8

/**
 * The adapter for one process: it keeps the history in memory.
 * @throws FST_ERR_REALTIME_OPTION_INVALID
 */
export function memory (options: MemoryOptions = {}): Adapter {
  record('memory', options)
  onlyKnown('memory', options, KNOWN)
  return new MemoryAdapter(options)
}

export class MemoryAdapter implements Adapter, Ownership, KeyedStates, Marks {
  readonly name = 'memory'
  readonly #maxBytes: number
  readonly #headAge: number
  readonly #boot = randomId().slice(0, BOOT_CHARS)
  /** All logs; those with events; those with dedupe keys. Each with the least recently published-to topic first. */
  readonly #logs = new OrderOfUse<string, MemoryLog>()
  readonly #holding = new OrderOfUse<string, MemoryLog>()
  readonly #dedupes = new OrderOfUse<string, MemoryLog>()
  /** Topics of presence that have members now. Their logs are never forgotten. */
  readonly #heldLogs = new Set<string>()
  /** Keyed topics that have a state. */
  readonly #states = new Set<string>()
  readonly #subscribed = new Map<string, EventId>()
  /**
   * The genesis of a topic is computed from its name, and from the number of lost logs in its entry of this table. So a
   * topic without events uses no memory, a genesis is never used again, and a client that has not seen an event yet can
   * resume.
   */
  readonly #generations = new Uint32Array(GENERATIONS)
  readonly #owners = new OrderOfUse<string, { owner: string, until: number }>()
  readonly members = new MemoryMembers(this.#memberLog())
  readonly #marks = new MemoryMarks()
  #counter = 0
  /** Estimated bytes of all logs. */
  #bytes = 0
  #sink: Sink | undefined
  #timer: NodeJS.Timeout | undefined

  constructor (options: MemoryOptions) {
    const { maxBytes = 128 << 20, headAge = DAY_MS } = options
    if (!(maxBytes > 0)) throw new OptionInvalid('memory.maxBytes', 'must be a number of bytes above 0')
    if (!(headAge > 0)) throw new OptionInvalid('memory.headAge', 'must be a number of ms above 0')
    this.#maxBytes = maxBytes
    this.#headAge = headAge
  }

  async start (sink: Sink): Promise<void> {
    this.#sink = sink
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref()
  }

  /** Figures for `realtime.stats()`. */
  stats (): Record<string, unknown> {
    return { bytes: this.#used, topics: this.#logs.size }
  }

  async publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }> {
    if (options.owner !== undefined && this.#ownerOf(topic) !== options.owner) throw new NotOwner(topic)
    const log = this.#logOf(topic)
    const known = options.dedupe === undefined ? undefined : log?.known(options.dedupe, options.retention.maxAge)
    if (known !== undefined) return { id: known }
    if (options.expect !== undefined) this.#mustEnd(topic, options.expect)
    // A state must not be larger than what an eviction leaves. Otherwise evicting all other topics would not be enough.
    if (options.keyed && !mayChange(topic, log?.state, data, options, this.#maxBytes * (1 - FREED))) return { id: '' }
    const event = this.#append(topic, log ?? this.#open(topic), name, data, options)
    if (this.#used > this.#maxBytes) this.#evict(topic)
    if (this.#subscribed.has(topic)) this.#sink?.event(topic, event)
    return { id: event.id }
  }

  /** Undefined if the topic has no log, or if its state has expired. */
  #logOf (topic: string): MemoryLog | undefined {
    const log = this.#logs.get(topic)
    if (!log?.isOver(performance.now())) return log
    this.#forget(topic, log)
    return undefined
  }

  /** @throws Conflict */
  #mustEnd (topic: string, expected: EventId | null): void {
    const head = this.#head(topic)
    if (expected === null ? !isGenesis(head) : head !== expected) throw new Conflict(topic, head)
  }

  #open (topic: string): MemoryLog {
    const log = new MemoryLog(topic, this.#head(topic))
    this.#bytes += log.bytes
    return log
  }

  #append (topic: string, log: MemoryLog, name: string, data: Uint8Array, options: AppendOptions): LogEvent {
    const before = log.bytes
    const event = log.append(this.#boot + (this.#counter++).toString(36), name, data, options)
    this.#bytes += log.bytes - before
    this.#logs.set(topic, log)
    this.#holding.set(topic, log)
    if (options.dedupe !== undefined) this.#dedupes.set(topic, log)
    if (log.state) this.#states.add(topic)
    return event
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    if (this.#subscribed.has(topic)) this.#sink?.ephemeral(topic, event)
  }

  async subscribe (topic: string): Promise<EventId> {
    const head = this.#head(topic)
    // Keeps the head, so that the topic's first event links to what its subscribers were told.
    this.#subscribed.set(topic, head)
    return head
  }

  unsubscribe (topic: string): void {
    this.#subscribed.delete(topic)
  }

  async read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page> {
    const log = this.#logs.get(topic)
    if (!log) {
      const head = this.#head(topic)
      return { head, events: [], linked: after === null || after === head, more: false }
    }
    this.#change(topic, log, () => log.trim())
    const found = after === null ? 0 : log.position(after)
    const start = found ?? 0
    const events = log.take(start, limits)
    return { head: log.head, events, linked: found !== undefined, more: start + events.length < log.events.length }
  }

  async state (topic: string): Promise<StatePage> {
    const log = this.#logOf(topic)
    return { head: log?.head ?? this.#head(topic), events: log?.state?.events ?? [], next: undefined }
  }

  #memberLog (): MemberLog {
    const stateOf = (topic: string): MemoryState | undefined => this.#logs.get(topic)?.state
    return {
      has: (topic, id) => stateOf(topic)?.has(id) === true,
      get: (topic, id) => stateOf(topic)?.get(id),
      size: (topic) => stateOf(topic)?.size ?? 0,
      append: (topic, text, put, removed) => this.#appendMembers(topic, text, put, removed)
    }
  }

  /** One step. A log with members is never forgotten: they stay as long as their connections. */
  #appendMembers (
    { topic, event: name, retention, maxMembers }: MemberTopic, text: string, put: ReadonlyMap<string, string>,
    removed: readonly string[]
  ): void {
    const log = this.#logs.get(topic) ?? this.#open(topic)
    const event = this.#append(topic, log, name, Buffer.from(text), { retention, format: 'json' })
    const bounds = { maxKeys: maxMembers, maxBytes: Infinity, lifetime: Infinity }
    this.#change(topic, log, () => log.changeMany(event.id, name, put, removed, bounds))
    if (log.state?.size === 0) this.#heldLogs.delete(topic)
    else this.#heldLogs.add(topic)
    if (this.#used > this.#maxBytes) this.#evict(topic)
    if (this.#subscribed.has(topic)) this.#sink?.event(topic, event)
  }

  async heads (topics: string[]): Promise<Array<EventId | null>> {
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

  async mark (space: string, key: string, at: number, ms: number, most: number): Promise<boolean> {
    return this.#marks.mark(space, key, at, ms, most)
  }

  async marks (space: string): Promise<ReadonlyMap<string, number>> {
    return this.#marks.of(space)
  }

  #ownerOf (topic: string): string | undefined {
    const owned = this.#owners.get(topic)
    return owned && owned.until > performance.now() ? owned.owner : undefined
  }

  async close (): Promise<void> {
    clearInterval(this.#timer)
    this.#sink = undefined
    for (const order of [this.#logs, this.#holding, this.#dedupes]) order.clear()
    this.#owners.clear()
    this.#states.clear()
    this.#heldLogs.clear()
    this.members.close()
    this.#marks.clear()
    this.#subscribed.clear()
    this.#bytes = 0
  }

  #head (topic: string): EventId {
    return this.#logs.get(topic)?.head ?? this.#subscribed.get(topic) ?? this.#genesis(topic)
  }

  #genesis (topic: string): EventId {
    const name = hash(topic)
    return `0-0.${this.#boot}g${(this.#generations[name % GENERATIONS] as number).toString(36)}h${name.toString(36)}`
  }

  /** Estimated bytes of all that is kept. */
  get #used (): number { return this.#bytes + this.#owners.size * OWNER_BYTES }

  /** Runs a change that removes parts of a log, and updates the byte count and the indexes. */
  #change (topic: string, log: MemoryLog, change: () => void): void {
    const before = log.bytes
    change()
    this.#bytes += log.bytes - before
    if (log.events.length === 0) this.#holding.delete(topic)
    if (!log.hasKeys) this.#dedupes.delete(topic)
  }

  /** Forgets the log. The topic begins anew from a genesis that was never used, and its subscribers are told. */
  #forget (topic: string, log: MemoryLog): void {
    this.#bytes -= log.bytes
    for (const order of [this.#logs, this.#holding, this.#dedupes, this.#states]) order.delete(topic)
    const generation = hash(topic) % GENERATIONS
    this.#generations[generation] = (this.#generations[generation] as number) + 1
    if (!this.#subscribed.has(topic)) return
    this.#subscribed.set(topic, this.#genesis(topic))
    this.#sink?.suspect([topic])
  }

  /**
   * Frees memory above `maxBytes`, beginning with what a client misses least. Events go first: a client then reads what
   * is left, or is told `reset`. Dedupe keys are next, then positions: those of topics with subscribers last. The topic
   * that was just published to keeps its newest event.
   */
  #evict (current: string): void {
    const enough = this.#maxBytes * (1 - FREED)
    const log = this.#logs.get(current) as MemoryLog
    this.#each(this.#holding, current, enough, (topic, other) => this.#change(topic, other, () => other.dropEvents()))
    this.#change(current, log, () => log.shrinkEvents(this.#used - enough))
    this.#each(this.#dedupes, current, enough, (topic, other) => this.#change(topic, other, () => other.dropKeys()))
    this.#change(current, log, () => log.shrinkKeys(this.#used - enough))
    this.#each(this.#logs, current, enough, (topic, other) => {
      if (!this.#subscribed.has(topic) && !this.#heldLogs.has(topic)) this.#forget(topic, other)
    })
    this.#each(this.#logs, current, enough, (topic, other) => {
      if (!this.#heldLogs.has(topic)) this.#forget(topic, other)
    })
  }

  /** Calls `free` for each topic of the order except one, until at most `enough` bytes are used. */
  #each (
    order: OrderOfUse<string, MemoryLog>, except: string, enough: number, free: (topic: string, log: MemoryLog) => void
  ): void {
    if (this.#used <= enough) return
    for (const [topic, log] of order.entries()) {
      if (topic !== except) free(topic, log)
      if (this.#used <= enough) return
    }
  }

  /** Drops what has expired. If nothing was published for `headAge`, the head goes too, and the topic begins anew. */
  #sweep (): void {
    const now = performance.now()
    for (const [topic, { until }] of this.#owners.entries()) if (until <= now) this.#owners.delete(topic)
    for (const [topic, log] of this.#holding.entries()) this.#change(topic, log, () => log.trim())
    for (const [topic, log] of this.#dedupes.entries()) this.#change(topic, log, () => log.expireKeys())
    for (const topic of this.#states) this.#expireState(topic, this.#logs.get(topic) as MemoryLog, now)
    const oldest = now - this.#headAge
    for (const [topic, log] of this.#logs.entries()) {
      if (log.touched > oldest) break
      // A log that still has events has not expired, however long ago the last of them was published.
      const needed = this.#subscribed.has(topic) || this.#holding.has(topic) || this.#heldLogs.has(topic)
      if (!needed && !log.state) this.#forget(topic, log)
    }
  }

  /**
   * State and log belong together: when the state expires, the topic begins anew. A state without keys is just dropped.
   */
  #expireState (topic: string, log: MemoryLog, now: number): void {
    if (log.state?.size !== 0) {
      if (log.isOver(now)) this.#forget(topic, log)
      return
    }
    this.#change(topic, log, () => { log.state = undefined })
    this.#states.delete(topic)
  }
}

/** False if the key to be removed holds nothing. @throws StateFull */
function mayChange (
  topic: string, state: MemoryState | undefined, data: Uint8Array, { key = '', keyed }: AppendOptions, room: number
): boolean {
  if (keyed?.change === 'remove') return state?.has(key) === true
  if (keyed) (state ?? new MemoryState(keyed.bounds)).mustTake(topic, key, data.byteLength, keyed.bounds, room)
  return true
}

function hash (topic: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < topic.length; i++) value = Math.imul(value ^ topic.charCodeAt(i), 0x01000193)
  return value >>> 0
}

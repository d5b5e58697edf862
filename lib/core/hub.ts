/**
 * This node's topics and who listens. The way out of a publish: hub → adapter; the way back: adapter → room → log
 * (link check) → wire (one encode) → connections.
 */
import { Admission, type AdmissionLimits } from './admission.ts'
import { callApart, Patience, quiet, toError, type AppLog } from './callbacks.ts'
import type { Adapter, AppendOptions, EphemeralEvent, Format, Id, LogEvent, Sink } from './adapter.ts'
import { readHistoryOptions, readPublishOptions, type PublishKeys } from './call-options.ts'
import { internalError, shuttingDown, type CloseReason } from './close-reasons.ts'
import type { Connection, Subscription } from './connection.ts'
import { Control, CONTROL } from './control.ts'
import { Counters } from './counters.ts'
import { report } from './diagnostics.ts'
import { checkEventName, ephemeralEntry, type Entry } from './event.ts'
import { FanOut } from './fan-out.ts'
import { Heartbeat } from './heartbeat.ts'
import { Leaving } from './leaving.ts'
import { checkSize, decode, encodeJson, type Payload } from './payload.ts'
import { isReadable } from './readable.ts'
import { Room } from './room.ts'
import { Runs } from './runs.ts'
import type { Soon } from './soon.ts'
import type { Params, TopicAt } from './topic.ts'
import { TopicRegistry } from './topic.ts'
import { nextTurn, onNextTurn } from './turn.ts'
import type { ResetReason } from './wire.ts'
import { Closed, HistoryUnavailable, OptionInvalid, Unavailable } from '../errors.ts'

export interface HubSettings extends AdmissionLimits {
  readonly maxEventBytes: number
  readonly ringBytes: number
  readonly closeTimeout: number
  readonly leaveTimeout: number
  readonly joinTimeout: number
  readonly retry: number
  readonly log: HubLog
}

export type HubLog = AppLog

export interface PublishedId { id: Id | undefined }
export interface PastEvents {
  events: Array<{ id: Id, event: string, data: unknown }>
  linked: boolean
  more: boolean
}

/** Where a client says it is in a topic. `start`: before the oldest event kept. */
export type Cursor = { id: Id } | 'unknown' | 'start' | undefined

/** A topic a connection is about to join: its room is open and its past at hand. */
export interface Joining {
  readonly at: TopicAt
  readonly room: Room
  cursor: Cursor
  /** It asked for the topic from its start: there is nothing that it could have lost. */
  fromStart?: boolean
  /** The cursor was not found, and another was put in its place. */
  lost?: ResetReason
}

export interface Joined {
  readonly subscription: Subscription
  /** Undefined when the client had no cursor. */
  readonly recovered: boolean | undefined
  readonly reason: ResetReason | undefined
}

/** A room without listeners is kept for so long: whoever comes back finds it warm. */
const LINGER_MS = 5000
const SWEEP_MS = 1000
/** A publisher that does not yield is made to, so that sockets get their turn to drain. */
const TURN_EVENTS = 128
const TURN_BYTES = 128 * 1024
/** A publisher waits for the fan-out for so many turns. */
const MAX_TURNS = 16
/** An event of another node may be as large as this, or four times what may be published here. */
const MOST_BYTES = 8 << 20
/** Clients told to come back are spread so that about so many come each second. */
const RETURNS_PER_SECOND = 1000
const MAX_SPREAD_MS = 60_000

/** Adapters that have been started, and not closed. */
const inUse = new WeakSet<Adapter>()

export class Hub implements Sink {
  readonly adapter: Adapter
  readonly settings: HubSettings
  readonly log: HubLog
  /** Of those who are let in, with the app and with the adapter. */
  readonly patience: Patience
  readonly topics = new TopicRegistry()
  readonly counters = new Counters()
  readonly heartbeat = new Heartbeat()
  readonly fanOut = new FanOut(() => this.#nextTurn(), (error, member) => this.#notGiven(error, member))
  readonly control: Control
  readonly runs: Runs
  readonly admission: Admission
  readonly connections = new Set<Connection>()
  stopping = false
  /** Nodes may differ in `maxEventBytes` while it is being changed; more than this is no event. */
  readonly #mostBytes: number
  #started = false
  #closed = false
  readonly #rooms = new Map<string, Room>()
  readonly #leaving = new Leaving()
  readonly #givenUp = new WeakSet<Entry>()
  #dirty: Room[] = []
  #scheduled = false
  #turnEvents = 0
  #turnBytes = 0
  #turn: Promise<void> | undefined
  #sweep: NodeJS.Timeout | undefined
  /** Why the adapter is away. */
  #down: string | undefined

  constructor (adapter: Adapter, settings: HubSettings) {
    this.adapter = adapter
    this.settings = settings
    this.log = quiet(settings.log)
    this.patience = new Patience(settings.joinTimeout)
    this.#mostBytes = Math.max(MOST_BYTES, settings.maxEventBytes * 4)
    this.admission = new Admission(settings)
    this.control = new Control(this)
    this.runs = new Runs(this)
  }

  async start (): Promise<void> {
    if (inUse.has(this.adapter)) throw new OptionInvalid('adapter', 'is in use already: make one for each app')
    inUse.add(this.adapter)
    this.#started = true
    await this.adapter.start(this)
    if (!this.#closed) await this.control.start()
    // Nobody waits for it any more: what has been opened meanwhile is closed.
    if (this.#closed) return await this.adapter.close()
    this.#sweep = setInterval(() => {
      this.sweep()
      this.#leaving.cut(this.settings.leaveTimeout)
    }, SWEEP_MS).unref()
  }

  // --- out -------------------------------------------------------------------

  async publish ({ topic, params }: Pick<TopicAt, 'topic' | 'params'>, event: string, data: unknown, options?: unknown): Promise<PublishedId> {
    const name = topic.name(params)
    if (this.stopping) throw new Closed()
    checkEventName(event)
    const keys = readPublishOptions(options)
    const encoding = topic.encode(name, event, data)
    const encoded = encoding instanceof Promise ? await encoding : encoding
    checkSize(encoded, name, event, this.settings.maxEventBytes)
    const size = encoded.data.byteLength
    this.counters.published++
    const published = await this.#append(topic.retention, name, event, encoded, keys)
    const id = published ? published.id : undefined
    report('publish', () => ({ topic: name, event, id, bytes: size }))
    const turn = this.#yieldAfter(size)
    if (turn) await turn
    return { id }
  }

  #append (retention: TopicAt['topic']['retention'], name: string, event: string,
    { data, format }: Payload, { key, dedupe, except: connection }: PublishKeys): Promise<{ id: Id } | void> {
    // Most have none of them.
    if (retention && key === undefined && dedupe === undefined && connection === undefined) return this.adapter.publish(name, event, data, { retention, format })
    const more = {
      ...(key === undefined ? {} : { key }), ...(connection === undefined ? {} : { except: { connection } })
    }
    if (!retention) return this.adapter.ephemeral(name, { name: event, data, format, ...more })
    return this.adapter.publish(name, event, data, { retention, format, ...more, ...(dedupe === undefined ? {} : { dedupe }) })
  }

  /** Appends what the hub itself has to say (the events of a run). */
  async append (name: string, event: string, data: Uint8Array, options: AppendOptions): Promise<void> {
    await this.adapter.publish(name, event, data, options)
    await this.#yieldAfter(data.byteLength)
  }

  /** A client's own event: to the others in the topic, never stored. */
  async relay ({ topic, name }: TopicAt, event: string, data: unknown, sender: Connection): Promise<void> {
    if (this.stopping) throw new Closed()
    // Checked in production too: it is a client's.
    const encoded = await topic.encode(name, event, data, true)
    checkSize(encoded, name, event, this.settings.maxEventBytes)
    await this.adapter.ephemeral(name, { name: event, ...encoded, except: { connection: sender.id, identity: String(sender.identity.id) } })
  }

  /** Undefined where the publisher may go on at once. */
  #yieldAfter (bytes: number): Promise<void> | undefined {
    this.#turnEvents++
    this.#turnBytes += bytes
    if (this.#turnEvents < TURN_EVENTS && this.#turnBytes < TURN_BYTES) return undefined
    this.#turn ??= this.#turns()
    return this.#turn
  }

  /** One turn, or as many as the fan-out needs to catch up: publishing must not run away from it. */
  async #turns (): Promise<void> {
    for (let turns = 0; turns === 0 || (turns < MAX_TURNS && this.fanOut.busy); turns++) await nextTurn()
    this.#turn = undefined
    this.#turnEvents = 0
    this.#turnBytes = 0
  }

  /** The bytes of an event for one connection alone. */
  encodeDirect (event: string, data: unknown): Uint8Array {
    checkEventName(event)
    return encodeJson(undefined, event, data)
  }

  async history ({ topic, name }: TopicAt, options?: unknown): Promise<PastEvents> {
    const { after, limit } = readHistoryOptions(options)
    if (!topic.durable) throw new HistoryUnavailable(topic.pattern)
    const page = await this.adapter.read(name, after, { count: limit, bytes: 16 << 20 })
    const events = page.events.flatMap((event) => past(event) ?? [])
    // One that cannot be read is missing, as if it were kept no more.
    return { events, linked: page.linked && events.length === page.events.length, more: page.more }
  }

  // --- back: the sink ------------------------------------------------------------

  event (topic: string, event: LogEvent): void {
    try {
      const room = this.#rooms.get(topic)
      if (room) room.event(event)
      else if (this.control.concerns(topic)) this.control.event(topic, event)
    } catch (error) {
      this.#deliveryFailed(error, topic)
    }
  }

  ephemeral (topic: string, event: EphemeralEvent): void {
    try {
      const room = this.#rooms.get(topic)
      if (room && room.listeners > 0) room.push(ephemeralEntry(event))
      else if (this.control.concerns(topic)) this.control.ephemeral(event)
    } catch (error) {
      this.#deliveryFailed(error, topic)
    }
  }

  readable (data: Uint8Array, format: Format): boolean {
    return data.byteLength <= this.#mostBytes && isReadable(data, format)
  }

  suspect (topics: Iterable<string> | 'all'): void {
    for (const name of topics === 'all' ? [CONTROL, ...this.#rooms.keys()] : topics) {
      if (name === CONTROL) this.control.suspect()
      this.#rooms.get(name)?.log?.repair().catch((error) => this.log.error({ err: error, topic: name }, 'realtime: a repair failed'))
    }
  }

  state (state: 'up' | 'down', why?: Error): void {
    this.#down = state === 'down' ? (why && toError(why).message) ?? 'the adapter is away' : undefined
    report('adapter', () => ({ adapter: this.adapter.name, state, error: why }))
    if (state === 'down') this.log.warn({ ...why && { err: why }, adapter: this.adapter.name }, 'realtime: the adapter is away; clients stay, and everything goes on when it is back')
    else this.log.info({ adapter: this.adapter.name }, 'realtime: the adapter is back')
  }

  /** Once for an outage is enough. */
  readFailed (error: unknown, topic: string): void {
    if (this.#down === undefined) this.log.warn({ err: error, topic }, 'realtime: history cannot be read, trying again')
  }

  /** Everything delivered in this turn of the event loop is written at its end. */
  schedule (room: Room): void {
    this.#dirty.push(room)
    this.#nextTurn()
  }

  #nextTurn (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    onNextTurn(() => this.#endTurn())
  }

  /** Rooms wait, and gather events, while those before them are being written. */
  #endTurn (): void {
    this.#scheduled = false
    if (!this.fanOut.work()) return
    const dirty = this.#dirty
    this.#dirty = []
    let done = 0
    while (done < dirty.length && (done === 0 || !this.fanOut.spent)) this.#endTurnOf(dirty[done++] as Room)
    if (done === dirty.length) return
    this.#dirty = [...dirty.slice(done), ...this.#dirty]
    this.#nextTurn()
  }

  #endTurnOf (room: Room): void {
    try {
      room.endTurn()
    } catch (error) {
      this.#deliveryFailed(error, room.name)
    }
  }

  #deliveryFailed (error: unknown, topic: string): void {
    this.log.error({ err: error, topic }, 'realtime: a delivery failed')
  }

  /** It may have got some of it, or nothing: it comes back to where it was. */
  #notGiven (error: unknown, { connection, room }: Subscription): void {
    this.#deliveryFailed(error, room.name)
    connection.end(internalError)
  }

  /** An event whose bytes cannot be made is left out. Once for an event is enough. */
  gaveUp (entry: Entry, topic: string, error: unknown): void {
    if (this.#givenUp.has(entry)) return
    this.#givenUp.add(entry)
    this.log.error({ err: error, topic, event: entry.name, id: entry.id }, 'realtime: an event cannot be written, and is left out; its listeners are told of a loss')
  }

  /** Everything that waits is written now. */
  flush (): void {
    for (const room of this.#rooms.values()) room.flush()
    for (const room of this.#dirty.splice(0)) this.#endTurnOf(room)
    this.fanOut.finish()
  }

  // --- rooms ------------------------------------------------------------------

  room (name: string): Room | undefined {
    return this.#rooms.get(name)
  }

  #hold ({ topic, params, name }: TopicAt): Room {
    let room = this.#rooms.get(name)
    if (!room) {
      room = new Room(this, topic, params as Params, name)
      this.#rooms.set(name, room)
    }
    room.holds++
    return room
  }

  #let (room: Room): void {
    room.holds--
    this.#idle(room)
  }

  entered (room: Room): void {
    room.listeners++
    this.counters.subscriptions++
  }

  left (room: Room): void {
    room.listeners--
    this.counters.subscriptions--
    this.#idle(room)
  }

  #idle (room: Room): void {
    if (room.listeners === 0 && room.holds === 0) room.idleSince = performance.now()
  }

  /** Lets go of idle rooms and aged events, and keeps the rings within the node's bound. */
  sweep (lingerMs = LINGER_MS): void {
    const now = performance.now()
    let bytes = 0
    for (const room of this.#rooms.values()) {
      if (room.listeners === 0 && room.holds === 0 && now - room.idleSince >= lingerMs) this.#release(room)
      else bytes += this.#ringBytes(room)
    }
    for (const room of this.#rooms.values()) {
      if (bytes <= this.settings.ringBytes) break
      // Somebody is about to join, and has been told that it finds there what it has missed.
      if (room.holds > 0) continue
      bytes -= room.log?.ring.bytes ?? 0
      room.log?.forget()
    }
    this.counters.ringBytes = bytes
  }

  #ringBytes (room: Room): number {
    const ring = room.log?.ring
    ring?.expire()
    ring?.rest()
    return ring?.bytes ?? 0
  }

  #release (room: Room): void {
    this.#rooms.delete(room.name)
    room.close()
    callApart(this.log, 'realtime: the adapter could not let go of a topic', () => this.adapter.unsubscribe(room.name))
  }

  get listenedTopics (): number {
    let count = 0
    for (const room of this.#rooms.values()) if (room.listeners > 0) count++
    return count
  }

  // --- connections ---------------------------------------------------------------

  /** Closed from this side, and not gone yet. */
  get closingConnections (): number { return this.#leaving.size }

  /** From here on orders find it. @throws Unavailable */
  admit (connection: Connection): void {
    const missed = this.control.missedBy(connection)
    this.connections.add(connection)
    this.control.catchUp(connection, missed)
  }

  /** Somebody was not let in. */
  refused (error: unknown, address: () => string): void {
    this.counters.refused++
    report('refuse', () => ({ address: address(), error }))
  }

  /** Opens the rooms of the topics and brings what follows the cursors within reach. `let` must follow. */
  prepare (wanted: ReadonlyArray<{ at: TopicAt, cursor: Cursor }>): Soon<Joining[]> {
    const joining = wanted.map(({ at, cursor }): Joining => ({ at, cursor, room: this.#hold(at) }))
    return joining.every(atHand) ? joining : this.#reachAll(joining)
  }

  async #reachAll (joining: Joining[]): Promise<Joining[]> {
    try {
      await this.#soon(Promise.all(joining.map((one) => this.#reach(one))))
    } catch (error) {
      this.let(joining)
      throw error
    }
    return joining
  }

  /** A client waits for the adapter only so long, and not at all for one that is known to be away: it is to come back. */
  async #soon (work: Promise<unknown>): Promise<void> {
    work.catch(() => {})
    if (this.#down) throw new Unavailable(this.#down)
    await this.patience.wait(work, () => new Unavailable('the adapter did not answer in time'))
  }

  async #reach (one: Joining): Promise<void> {
    const { room, at } = one
    await this.#ready(room)
    one.fromStart = one.cursor === 'start'
    if (one.fromStart) await this.#reachStart(one)
    else if (typeof one.cursor === 'object') await room.log?.reach(one.cursor.id)
    // What is only of use as a whole is told from its start to whoever lost the thread.
    if (!at.topic.policy.whole || one.cursor === undefined || found(one)) return
    one.lost = resetReason(room, one.cursor)
    await this.#reachStart(one)
  }

  async #reachStart (one: Joining): Promise<void> {
    const { room: { log }, at } = one
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
    if (found(one)) return
    // The log has begun anew, and this node has not heard of it.
    await log?.repair()
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
  }

  /** The id before the oldest event. Where there is none yet, the one that the first will link to: both from one read. */
  async #startOf (name: string): Promise<Id> {
    const { events, head } = await this.adapter.read(name, null, { count: 1, bytes: 1 })
    return events[0]?.prev ?? head
  }

  let (joining: readonly Joining[]): void {
    for (const { room } of joining) this.#let(room)
  }

  /** A room that could not be opened is not kept: the next one who asks tries again. */
  async #ready (room: Room): Promise<void> {
    try {
      await room.ready
    } catch (error) {
      if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name)
      room.close()
      throw error
    }
  }

  /** Joins in one synchronous step: every subscription stands at its cursor, or where its room is. */
  join (connection: Connection, joining: readonly Joining[]): Joined[] {
    const joined = joining
      // Threat: a topic may have been taken from it since the app was asked. Every way into a topic comes through here.
      .filter(({ room }) => !connection.has(room.name) && connection.admits(room.name))
      .map((one) => this.#join(connection, one))
    this.let(joining)
    return joined
  }

  #join (connection: Connection, one: Joining): Joined {
    const { room, cursor } = one
    const recovered = one.lost === undefined && !one.fromStart && found(one)
    const reason = one.lost ?? (cursor === undefined || found(one) || !room.log ? undefined : resetReason(room, cursor))
    if (recovered) this.counters.recovered++
    if (reason) this.counters.resets++
    if (recovered || reason) report('resume', () => ({ connection, topic: room.name, recovered }))
    report('subscribe', () => ({ connection, topic: room.name }))
    const at = typeof cursor === 'object' && found(one) ? cursor.id : undefined
    const subscription = connection.add(room, at, !recovered && room.topic.snapshot !== undefined)
    if (reason !== undefined) subscription.lost = typeof one.cursor === 'object' ? one.cursor.id : ''
    return { subscription, recovered: reason ? false : recovered || undefined, reason }
  }

  /** The connection has ended; its wire may still be saying so. */
  closing (connection: Connection): void {
    if (this.connections.delete(connection)) this.#leaving.add(connection)
  }

  /** Its wire is gone. */
  ended (connection: Connection): void {
    connection.place.left()
    this.#leaving.delete(connection)
  }

  /** When a client should come back (ms): spread over a window that grows with their number. */
  retryAfter (clients = this.connections.size): number {
    const window = Math.min(MAX_SPREAD_MS, Math.max(this.settings.retry, clients * 1000 / RETURNS_PER_SECOND))
    return Math.round(this.settings.retry / 2 + Math.random() * window)
  }

  /** Tells every client to come back, and cuts those that have not left in time. */
  async stop (): Promise<void> {
    const since = performance.now()
    const { closeTimeout } = this.settings
    this.stopping = true
    const ended = this.runs.close()
    if (ended) await within(closeTimeout / 2, ended)
    this.flush()
    const clients = this.connections.size
    for (const connection of [...this.connections]) this.#farewell(connection, shuttingDown, clients)
    // Who is not let in yet waits for nothing now.
    this.patience.end(() => new Closed())
    if (this.#leaving.size > 0) await this.#waitForLeaving(closeTimeout - (performance.now() - since))
    this.heartbeat.stop()
  }

  #farewell (connection: Connection, reason: CloseReason, clients: number): void {
    connection.end(reason, this.retryAfter(clients))
  }

  async #waitForLeaving (ms: number): Promise<void> {
    await within(ms, this.#leaving.emptied())
    this.#leaving.cut(0)
  }

  async close (): Promise<void> {
    this.#closed = true
    clearInterval(this.#sweep)
    this.control.close()
    for (const room of this.#rooms.values()) room.close()
    this.#rooms.clear()
    // Another's is not closed here.
    if (!this.#started) return
    inUse.delete(this.adapter)
    await this.adapter.close()
  }
}

function past (event: LogEvent): PastEvents['events'][number] | undefined {
  try {
    return { id: event.id, event: event.name, data: decode(event) }
  } catch {
    return undefined
  }
}

/** Nothing need be asked of the adapter. */
function atHand (one: Joining): boolean {
  const { room, cursor, at } = one
  if (!room.opened || cursor === 'start') return false
  if (cursor === undefined || found(one)) return true
  return cursor === 'unknown' && !at.topic.policy.whole
}

/** The log still holds the cursor's place. */
function found ({ room, cursor }: Joining): boolean {
  return typeof cursor === 'object' && room.log?.locate(cursor.id) !== undefined
}

function resetReason (room: Room, cursor: Cursor): ResetReason {
  return typeof cursor === 'object' && room.log ? room.log.fault(cursor.id) : 'unknown-cursor'
}

/** Resolves when the work is over, or has taken so many ms. */
async function within (ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => { timer = setTimeout(resolve, ms) })
  await Promise.race([work.catch(() => {}), late])
  clearTimeout(timer)
}

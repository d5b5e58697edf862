/** This node. The hub composes the rooms of core, and is the adapter's sink. */
import { Admission, type AdmissionLimits } from './admission.ts'
import {
  keyedStatesOf, type Adapter, type EphemeralEvent, type EventId, type Format, type LogEvent, type Page,
  type ReadLimits, type Sink, type StatePage
} from './adapter.ts'
import { callApart, overWithin, Patience, quiet, toError, type AppLog } from './callbacks.ts'
import { CONTROL, Node } from './cluster/node.ts'
import type { Connection, ConnectionNode } from './connection/connection.ts'
import { Deadlines } from './deadlines.ts'
import { Heartbeat } from './connection/heartbeat.ts'
import { Entrance, type Joined, type Joiner, type Joining } from './connection/joining.ts'
import { Connections } from './connection/connections.ts'
import type { Departed, Listener } from './connection/listening.ts'
import type { ActiveTopic, DeliveryHost } from './delivery/active-topic.ts'
import { ActiveTopics } from './delivery/active-topics.ts'
import type { FanOut } from './delivery/fan-out.ts'
import { StateReader } from './delivery/state-reader.ts'
import { Turns } from './delivery/turns.ts'
import type { Entry } from './event.ts'
import { IdentityRates } from './identity-rates.ts'
import { Observer } from './observe.ts'
import { Publisher } from './topics/publisher.ts'
import { isReadable } from './readable.ts'
import { TopicRegistry } from './topics/registry.ts'
import { Tracing } from './tracing.ts'
import type { DeclaredTopic, TopicHost } from './topics/topic.ts'
import { Closed, KeyedUnsupported, OptionInvalid, Unavailable } from '../errors.ts'

export interface HubSettings extends AdmissionLimits {
  readonly maxEventBytes: number
  readonly ringBytes: number
  readonly closeTimeout: number
  readonly leaveTimeout: number
  readonly messagesPerSecondPerIdentity: number
  readonly joinTimeout: number
  readonly retry: number
  readonly log: AppLog
  /** Every diagnostics message has this, to tell apps apart. */
  readonly app?: unknown
}

export type { Departed, Listener } from './connection/listening.ts'

/** A feature built on topics and connections, which do not know it. */
export interface Feature {
  /** A connection listens to a topic from here on. */
  joined? (connection: Listener, topic: ActiveTopic): void
  /** A connection does not listen to a topic any more. */
  left? (connection: Listener, topic: ActiveTopic, how: Departed): void
  /** The log of a topic that is heard here was reset after a loss. */
  begunAnew? (topic: ActiveTopic): void
  /** The node receives the orders of others from here on. The app starts when the promise resolves. */
  start? (): Promise<void>
  /** Orders of other nodes may have been missed, or the adapter may have lost what it keeps. */
  resync? (): void
  /** The app closes. Resolves when the feature's clients may be sent away. */
  closing? (): Promise<unknown> | undefined
}

const SWEEP_MS = 1000
/** An event of another node may have so many bytes, or four times what may be published here, if that is more. */
const MOST_BYTES = 8 << 20

/** Adapters that have been started, and not closed. */
const inUse = new WeakSet<Adapter>()

export class Hub implements Sink, DeliveryHost, ConnectionNode, TopicHost {
  readonly adapter: Adapter
  readonly settings: HubSettings
  readonly log: AppLog
  readonly observe: Observer
  readonly tracing = new Tracing()
  /** How long clients wait for the app and the adapter while they are let in. */
  readonly patience: Patience
  readonly topics = new TopicRegistry()
  readonly heartbeat = new Heartbeat()
  readonly turns = new Turns((error, topic) => this.deliveryFailed(error, topic))
  /** When rights of clients expire. */
  readonly deadlines = new Deadlines((error) => this.log.error({ err: error }, 'realtime: an expiry failed'))
  readonly active: ActiveTopics
  readonly publisher: Publisher
  readonly states: StateReader
  readonly entrance: Entrance
  readonly connections: Connections
  readonly admission: Admission
  readonly rates: IdentityRates
  readonly node: Node
  /** The app is closing. */
  stopping = false
  /** Why the adapter is not available; undefined if it is. */
  down: string | undefined
  readonly #features: Feature[] = []
  /** The features that are told who joins and leaves. */
  readonly #watchers: Feature[] = []
  readonly #givenUp = new WeakSet<Entry>()
  /** The most bytes of an event of another node. Nodes may differ in `maxEventBytes` while it is being changed. */
  readonly #mostBytes: number
  #state: 'new' | 'started' | 'closed' = 'new'
  #sweep: NodeJS.Timeout | undefined

  constructor (adapter: Adapter, settings: HubSettings) {
    this.adapter = adapter
    this.settings = settings
    this.log = quiet(settings.log)
    this.observe = new Observer(settings.app)
    this.patience = new Patience(settings.joinTimeout)
    this.#mostBytes = Math.max(MOST_BYTES, settings.maxEventBytes * 4)
    this.active = new ActiveTopics(this, settings.ringBytes)
    this.publisher = new Publisher(this)
    this.states = new StateReader(this)
    this.entrance = new Entrance(this)
    this.connections = new Connections(settings.retry)
    this.admission = new Admission(settings)
    this.rates = new IdentityRates(settings.messagesPerSecondPerIdentity)
    this.node = new Node(this)
  }

  attach (feature: Feature): void {
    this.#features.push(feature)
    if (feature.joined || feature.left) this.#watchers.push(feature)
  }

  async start (): Promise<void> {
    if (inUse.has(this.adapter)) throw new OptionInvalid('adapter', 'is already in use: make one for each app')
    inUse.add(this.adapter)
    if (!this.#closed) this.#state = 'started'
    await this.adapter.start(this)
    if (!this.#closed) await this.node.start()
    if (!this.#closed) await Promise.all(this.#features.map(async (feature) => await feature.start?.()))
    // The hub was closed meanwhile, so the adapter that was just started is closed here.
    if (this.#closed) return await this.adapter.close()
    this.#sweep = setInterval(() => {
      this.active.sweep()
      this.connections.leaving.cut(this.settings.leaveTimeout)
    }, SWEEP_MS).unref()
  }

  get #closed (): boolean { return this.#state === 'closed' }

  // --- the adapter's sink ----------------------------------------------------------

  event (topic: string, event: LogEvent): void {
    try {
      const active = this.active.get(topic)
      if (active) active.event(event)
      else if (this.node.concerns(topic)) this.node.event(topic, event)
    } catch (error) {
      this.deliveryFailed(error, topic)
    }
  }

  ephemeral (topic: string, event: EphemeralEvent): void {
    try {
      const active = this.active.get(topic)
      if (active) active.ephemeral(event)
      else if (this.node.concerns(topic)) this.node.ephemeral(event)
    } catch (error) {
      this.deliveryFailed(error, topic)
    }
  }

  readable (data: Uint8Array, format: Format): boolean {
    return data.byteLength <= this.#mostBytes && isReadable(data, format)
  }

  suspect (topics: Iterable<string> | 'all'): void {
    for (const name of topics === 'all' ? [CONTROL, ...this.active.names] : topics) {
      if (name === CONTROL) this.node.suspect()
      this.active.get(name)?.log?.repair()
        .catch((error) => this.log.error({ err: error, topic: name }, 'realtime: a repair failed'))
    }
  }

  state (state: 'up' | 'down', why?: Error): void {
    const { name } = this.adapter
    this.down = state === 'down' ? (why && toError(why).message) ?? 'the adapter is not available' : undefined
    this.observe.adapterIs(state, name, why)
    if (state === 'up') return this.#back()
    this.log.warn({ ...why && { err: why }, adapter: name },
      'realtime: the adapter is not available; clients stay connected, and delivery resumes when it is back')
  }

  #back (): void {
    this.log.info({ adapter: this.adapter.name }, 'realtime: the adapter is back')
    this.resync()
  }

  /** Orders that were given meanwhile may have been missed. */
  resync (): void {
    for (const feature of this.#features) feature.resync?.()
  }

  // --- what the rooms ask and report -------------------------------------------------

  get maxEventBytes (): number { return this.settings.maxEventBytes }
  get fanOut (): FanOut { return this.turns.fanOut }
  get busy (): boolean { return this.turns.fanOut.busy }
  get clients (): ReadonlySet<Connection> { return this.connections.open }

  owner (name: string): DeclaredTopic | undefined { return this.topics.owner(name) }
  listenersHere (name: string): number { return this.active.get(name)?.listeners ?? 0 }
  listen (name: string, durable: boolean): Promise<EventId> { return this.adapter.subscribe(name, durable) }

  entered (topic: ActiveTopic, listener: Listener): void {
    this.active.entered(topic)
    for (const feature of this.#watchers) feature.joined?.(listener, topic)
  }

  begunAnew (topic: ActiveTopic): void {
    for (const feature of this.#watchers) feature.begunAnew?.(topic)
  }

  left (topic: ActiveTopic, listener: Listener, how: Departed): void {
    this.active.left(topic)
    for (const feature of this.#watchers) feature.left?.(listener, topic, how)
  }

  join (client: Joiner, joining: readonly Joining[]): Joined[] { return this.entrance.join(client, joining) }
  release (joining: readonly Joining[]): void { this.entrance.release(joining) }
  closing (connection: Connection): void { this.connections.closing(connection) }
  ended (connection: Connection): void { this.connections.ended(connection) }
  retryAfter (clients?: number): number { return this.connections.retryAfter(clients) }

  unlisten (name: string): void {
    callApart(this.log, 'realtime: the adapter could not leave a topic', () => this.adapter.unsubscribe(name))
  }

  read (name: string, after: EventId | null, limits: ReadLimits): Promise<Page> {
    return this.adapter.read(name, after, limits)
  }

  async readState (name: string, from: string | null, count: number): Promise<StatePage> {
    const states = keyedStatesOf(this.adapter)
    if (!states) throw new KeyedUnsupported(name, this.adapter.name)
    // A read that is never answered would hold up all clients that join.
    return await this.patience.wait(
      states.state(name, from, count), () => new Unavailable('the adapter did not answer in time')
    )
  }

  /** Not logged while the adapter is known to be unavailable: one line for an outage is enough. */
  readFailed (error: unknown, topic: string): void {
    if (this.down === undefined) this.log.warn({ err: error, topic }, 'realtime: history cannot be read, trying again')
  }

  historyFailed (error: unknown, topic: string): void {
    this.log.error({ err: error, topic }, 'realtime: history could not be read')
  }

  deliveryFailed (error: unknown, topic: string): void {
    this.log.error({ err: error, topic }, 'realtime: a delivery failed')
  }

  /** An event cannot be encoded, and is left out. Logged once for each event. */
  gaveUp (entry: Entry, topic: string, error: unknown): void {
    if (this.#givenUp.has(entry)) return
    this.#givenUp.add(entry)
    this.log.error({ err: error, topic, event: entry.name, id: entry.id },
      'realtime: an event could not be written and is skipped; its listeners get a reset')
  }

  // --- clients -----------------------------------------------------------------------

  /** From here on orders find the connection. @throws Unavailable */
  admit (connection: Connection): void {
    const missed = this.node.missedBy(connection)
    this.connections.open.add(connection)
    this.node.catchUp(connection, missed)
  }

  /** Admits a subscription of the app's own. @throws Closed */
  admitOwn (connection: Connection): void {
    if (this.stopping) throw new Closed()
    this.connections.own.add(connection)
  }

  /** A client was not let in. */
  refused (error: unknown, address: () => string): void {
    this.observe.refused(address, error)
  }

  // --- the end -----------------------------------------------------------------------

  /** Tells every client to come back, and cuts those that have not left in time. */
  async stop (): Promise<void> {
    const since = performance.now()
    const { closeTimeout } = this.settings
    this.stopping = true
    const ends = this.#features.flatMap((feature) => feature.closing?.() ?? [])
    if (ends.length > 0) await overWithin(closeTimeout / 2, Promise.all(ends))
    this.active.flush()
    this.connections.sendAll()
    // Clients that have not been let in need not wait any longer.
    this.patience.end(() => new Closed())
    await this.#waitForLeaving(closeTimeout - (performance.now() - since))
    this.heartbeat.stop()
    this.deadlines.stop()
  }

  async #waitForLeaving (ms: number): Promise<void> {
    const { leaving } = this.connections
    if (leaving.size === 0) return
    await overWithin(ms, leaving.emptied())
    leaving.cut(0)
  }

  async close (): Promise<void> {
    const started = this.#state === 'started'
    this.#state = 'closed'
    clearInterval(this.#sweep)
    this.node.close()
    this.active.close()
    // An adapter that was not started here is not closed here.
    if (!started) return
    inUse.delete(this.adapter)
    await this.adapter.close()
  }
}

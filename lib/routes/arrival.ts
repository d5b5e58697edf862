/** A client on its way in, on whichever wire: who it is, and what it comes for. */
import type { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import type { Place } from '../core/admission.ts'
import { keepContext } from '../core/async-context.ts'
import { callApart } from '../core/callbacks.ts'
import { clientLeft, type CloseReason } from '../core/close-reasons.ts'
import { Connection, type Client, type ConnectionSettings } from '../core/connection/connection.ts'
import type { Cursor, Wanted } from '../core/connection/joining.ts'
import type { Join } from '../core/connection/joins.ts'
import type { Hub } from '../core/hub.ts'
import { randomId } from '../core/id.ts'
import { readIdentity, type Identity } from '../core/identity.ts'
import { andThen, onFailure, type MaybePromise } from '../core/maybe-promise.ts'
import type { TopicAt } from '../core/topics/topic.ts'
import type { WireKind } from '../core/wire.ts'
import { Closed, ConnectionClosed, Forbidden } from '../errors.ts'
import type { Connection as PublicConnection } from '../types/connection.ts'
import { authorize, authorizeAgain, authorizeAll } from './authorize.ts'
import type { WireContext } from './context.ts'
import { addressOf } from './peer.ts'
import { companionsOf, haveCompanions, show, type PresenceMode } from './presence.ts'
import type { TopicLimit } from './topic-limit.ts'
import { resolveTopic, type TopicsFor } from './topics-option.ts'

/** The app's callbacks for the connections of a route. */
export type LiveCallbacks = {
  onConnect?: ((connection: PublicConnection, request: FastifyRequest) => unknown) | undefined
  onDisconnect?: ((connection: PublicConnection, reason: CloseReason) => unknown) | undefined
}

/** What a route calls of the app for one connection. */
export interface RouteCallbacks extends LiveCallbacks {
  /** The app has other callbacks, which run while it is open: handlers, a source. */
  readonly more: boolean
}

/** By which wire clients come, and what they come for. */
export interface ArrivalPlan {
  readonly context: WireContext
  readonly kind: WireKind
  readonly topicsFor: TopicsFor
  readonly live: ConnectionSettings
  /** What its clients are in topics with presence. */
  readonly presence: PresenceMode
}

const NO_TOPICS: TopicAt[] = []

export function identify ({ hub, settings }: WireContext, request: FastifyRequest): MaybePromise<Identity | undefined> {
  return andThen(hub.patience.call<unknown>('"identify"', () => settings.identify(request)), readIdentity)
}

const anonymous = (id: string): Identity => ({ id: `anonymous:${id}`, anonymous: true })

/** A client on its way in: registered, allowed, with the topics that `connect` added. */
export class Arrival implements Client {
  readonly id: string
  readonly kind: WireKind
  readonly identity: Identity
  readonly settings: ConnectionSettings
  readonly since: number
  readonly connection: Connection
  readonly place: Place
  /** Those it came for; none once `begun` was called. */
  topics: TopicAt[]
  readonly #context: WireContext
  readonly #request: FastifyRequest
  readonly #limit: TopicLimit
  readonly #presence: PresenceMode
  #address: string | undefined
  /** The app has accepted the client. A topic that the app adds from now on joins by itself. */
  #accepted = false
  #accepting: Promise<void> | undefined
  /** The request's async context; kept only where something may be called in it later. */
  #origin: AsyncResource | undefined

  private constructor (
    { context, kind, topicsFor, live, presence }: ArrivalPlan, request: FastifyRequest, place: Place, identity: Identity,
    id: string, topics: TopicAt[]
  ) {
    this.#context = context
    this.#request = request
    this.#limit = topicsFor.limit
    this.#presence = presence
    this.kind = kind
    this.place = place
    this.topics = topics
    this.id = id
    this.identity = identity
    this.settings = live
    this.since = context.arrivals.of(request)
    this.connection = new Connection(context.hub, this)
  }

  /** Found when first asked for, and kept: a socket that has closed has none. */
  get address (): string {
    this.#address ??= addressOf(this.#request) ?? ''
    return this.#address
  }

  /** Takes a place for the client; then asks topics, `authorize` and `identify`. */
  static of (plan: ArrivalPlan, request: FastifyRequest): MaybePromise<Arrival> {
    const { context } = plan
    const place = context.peers.admit(request)
    const arriving = onFailure(() => andThen(plan.topicsFor(request), (topics) =>
      andThen(authorizeAll(context.hub, request, topics), () =>
        andThen(identify(context, request), (identity) => {
          const id = randomId()
          const client = identity ?? anonymous(id)
          context.peers.identify(request, place, client)
          const arrival = new Arrival(plan, request, place, client, id, topics)
          return andThen(arrival.#withCompanions(topics), () => arrival.#admitted())
        }))), () => place.giveBack())
    if (arriving instanceof Promise) place.keepOrigin()
    return arriving
  }

  /** @throws Closed, Unavailable */
  #admitted (): this {
    const { hub } = this.#context
    if (hub.stopping) throw new Closed()
    hub.admit(this.connection)
    return this
  }

  /** Who is in its topics it hears too, where the route says so. */
  #withCompanions (topics: readonly TopicAt[]): MaybePromise<void> {
    if (!haveCompanions(this.#context.presence, topics, this.#presence)) return
    return this.#companionsOf(topics).then((companions) => {
      this.topics = [...this.topics, ...companions]
      this.#limit.check(1, () => this.topics.filter(({ topic }) => topic.durable).length)
    })
  }

  #companionsOf (topics: readonly TopicAt[]): Promise<TopicAt[]> {
    return companionsOf(this.#context, this.#request, this.connection, topics, this.#presence)
  }

  /** Lets the app accept it. From then on `onDisconnect` will run, exactly once. */
  connect ({ onConnect, onDisconnect, more }: RouteCallbacks): MaybePromise<void> {
    if (this.connection.condemned) return
    if (more || onConnect || onDisconnect || this.#context.hub.topics.asks) this.#origin = keepContext()
    const asked = onConnect && this.#context.hub.patience.call<unknown>('"onConnect"', () =>
      onConnect(this.connection.face, this.#request))
    const accepting = andThen(asked, () => {
      this.#accepted = true
      if (onDisconnect) this.#onEnd(onDisconnect)
    })
    if (!accepting) return
    this.#accepting = accepting
    this.place.keepOrigin()
    return accepting
  }

  /**
   * Its way in is over. A client that has left meanwhile is counted for as long as the app's `onConnect` runs for it.
   */
  arrived (): void {
    const over = (): void => this.place.arrived()
    const accepting = this.#accepting
    this.#accepting = undefined
    if (accepting) accepting.then(over, over)
    else over()
  }

  #onEnd (onDisconnect: NonNullable<LiveCallbacks['onDisconnect']>): void {
    const { log } = this.#request
    this.connection.whenEnded((reason) =>
      callApart(log, 'realtime: onDisconnect failed', () => onDisconnect(this.connection.face, reason)))
  }

  /** Runs app code in the request's async context, whoever causes it. */
  run<T> (code: () => T): T {
    return this.#origin ? this.#origin.runInAsyncScope(code) : code()
  }

  /** The client has left before its connection could begin. */
  abandon (): void {
    this.place.arrived()
    this.connection.gone(clientLeft)
  }

  /** What it came for is in its subscriptions from here on. */
  begun (): void {
    this.topics = NO_TOPICS
  }

  authorizeAgain (): void {
    this.run(() => authorizeAgain(this.#context.hub, this.#request, this.connection))
  }

  resolve (topic: unknown): string {
    return resolveTopic(this.#context.hub.topics, topic).name
  }

  /**
   * The app joins the client to a topic: at once while the client is on its way in; later without what it missed
   * meanwhile.
   */
  async subscribe (topic: unknown): Promise<void> {
    const at = resolveTopic(this.#context.hub.topics, topic)
    if (!this.#names().has(at.name)) await this.join(at)
  }

  /**
   * The one way into a topic at run time.
   * @throws Forbidden, TooManyTopics, ConnectionClosed, Unavailable
   */
  async join (at: TopicAt, cursor?: Cursor, ref?: unknown): Promise<Entered> {
    const { connection } = this
    this.#mustHaveRoom(at.name)
    const join = connection.joining(at.name)
    try {
      await this.run(() => authorize(this.#context.hub, this.#request, at, 'subscribe'))
      const companions = haveCompanions(this.#context.presence, [at], this.#presence) ? await this.#companionsOf([at]) : []
      if (hasLeft(join, connection)) return 'left'
      if (!this.#accepted && !connection.begun) return this.#add(at, companions)
      // Its topics are being joined already: this one comes behind them.
      await connection.whenBegun()
      const wanted = [{ at, cursor }, ...companions.map((one) => ({ at: one, cursor: undefined }))]
      return await joinLater(this.#context.hub, connection, join, wanted, ref)
    } finally {
      connection.joined(join)
    }
  }

  /** Adds a topic to those that the client begins with. */
  #add (at: TopicAt, companions: readonly TopicAt[]): Entered {
    if (this.awaits(at.name)) return 'there'
    this.topics.push(at, ...companions)
    return 'in'
  }

  /** What the client says of itself. Resolves with why it does not fit. @throws Forbidden */
  async show (at: TopicAt, state: unknown): Promise<string | undefined> {
    return await this.run(() => show(this.#context.presence, this.connection, at, state))
  }

  forget (name: string): boolean {
    if (this.#accepted) return false
    const index = this.topics.findIndex((at) => at.name === name)
    if (index === -1) return true
    const [{ topic, params }] = this.topics.splice(index, 1) as [TopicAt]
    const companion = this.#context.presence.companionOf(topic)?.declared.name(params)
    this.topics = this.topics.filter((at) => at.name !== companion)
    return true
  }

  awaits (name: string): boolean {
    return this.topics.some((at) => at.name === name)
  }

  /** The names of the topics that the client has, or will have once it is in. */
  #names (): Set<string> {
    const { connection } = this
    return new Set(connection.begun
      ? connection.topics
      : this.topics.flatMap(({ name, topic }) => topic.policy.companion || !connection.admits(name) ? [] : [name]))
  }

  /** What is being joined counts already. */
  #mustHaveRoom (name: string): void {
    const names = [...new Set([...this.#names(), ...this.connection.pending, name])]
    const { topics } = this.#context.hub
    this.#limit.check(names.length, () => names.filter((one) => topics.resolve(one).topic.durable).length)
  }
}

/** `there`: the client was joined to the topic by another call meanwhile. `left`: the topic was left meanwhile. */
export type Entered = 'in' | 'there' | 'left'

/** True when the topic was left meanwhile. @throws Forbidden when it was taken, ConnectionClosed */
function hasLeft ({ name, fate }: Join, connection: Connection): boolean {
  if (connection.closed) throw new ConnectionClosed()
  if (fate === 'taken') throw new Forbidden(name, 'subscribed to')
  return fate === 'left'
}

export async function joinLater (
  { entrance }: Hub, connection: Connection, join: Join, wanted: readonly Wanted[], ref: unknown
): Promise<Entered> {
  if (hasLeft(join, connection)) return 'left'
  const joining = await entrance.prepare(wanted)
  if (join.fate !== 'pending' || connection.closed) {
    entrance.release(joining)
    hasLeft(join, connection)
    return 'left'
  }
  const joined = entrance.join(connection, joining)
  connection.announce(joined, ref)
  connection.settle()
  return joined.length > 0 ? 'in' : 'there'
}

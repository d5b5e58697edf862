/** A client on its way in, on whichever wire: who it is, and what it comes for. */
import type { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import type { Place } from '../core/admission.ts'
import { keepContext } from '../core/async-context.ts'
import { callApart, statusOf } from '../core/callbacks.ts'
import { clientLeft, forbidden, tryAgainLater, type CloseReason } from '../core/close-reasons.ts'
import { Connection, type Client, type ConnectionSettings } from '../core/connection/connection.ts'
import type { Cursor } from '../core/connection/joining.ts'
import type { Join } from '../core/connection/joins.ts'
import type { Hub } from '../core/hub.ts'
import { randomId } from '../core/id.ts'
import { readIdentity, type Identity } from '../core/identity.ts'
import { andThen, onFailure, type MaybePromise } from '../core/maybe-promise.ts'
import type { Action, TopicAt } from '../core/topics/topic.ts'
import type { WireKind } from '../core/wire.ts'
import { Closed, ConnectionClosed, Forbidden } from '../errors.ts'
import type { Grant } from '../features/grants/grant.ts'
import type { Holding } from '../features/grants/holding.ts'
import type { Connection as PublicConnection } from '../types/connection.ts'
import { authorize, authorizeAll, type Asking } from './authorize.ts'
import type { WireContext } from './context.ts'
import { addressOf } from './peer.ts'
import { logRefusal } from './refusal.ts'
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
}

const NO_TOPICS: TopicAt[] = []

export function identify (
  { hub, settings, grants }: WireContext, request: FastifyRequest
): MaybePromise<Identity | undefined> {
  return andThen(hub.patience.call<unknown>('"identify"', () => settings.identify(request)), (given) =>
    grants.checked(readIdentity(given)))
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
  #address: string | undefined
  /** The app has accepted the client. A topic that the app adds from now on joins by itself. */
  #accepted = false
  #accepting: Promise<void> | undefined
  /** What allows it; kept only where something of that ends, or says something. */
  #holding: Holding | undefined
  /** The request's async context; kept only where something may be called in it later. */
  #origin: AsyncResource | undefined

  private constructor (
    { context, kind, topicsFor, live }: ArrivalPlan, request: FastifyRequest, place: Place, identity: Identity,
    id: string, topics: TopicAt[]
  ) {
    this.#context = context
    this.#request = request
    this.#limit = topicsFor.limit
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
      andThen(authorizeAll({ hub: context.hub, request, claims: undefined }, topics), (grants) =>
        andThen(identify(context, request), (identity) => {
          const id = randomId()
          const client = identity ?? anonymous(id)
          context.peers.identify(request, place, client)
          const arrival = new Arrival(plan, request, place, client, id, topics)
          if (context.hub.stopping) throw new Closed()
          context.hub.admit(arrival.connection)
          arrival.#isAllowed(grants)
          return arrival
        }))), () => place.giveBack())
    if (arriving instanceof Promise) place.keepOrigin()
    return arriving
  }

  /** What its identity and its topics are allowed by. */
  #isAllowed (grants: ReadonlyMap<string, Grant> | undefined): void {
    const { expiresAt } = this.identity
    if (typeof expiresAt === 'number') this.#hold.identityEnds(expiresAt)
    for (const [name, grant] of grants ?? []) this.#allow(name, grant)
  }

  /** Nothing is kept of a grant that says nothing. */
  #allow (name: string, grant: Grant): void {
    if (this.#holding || grant.expiresAt !== undefined || grant.info !== undefined) this.#hold.hold(name, grant)
  }

  get #hold (): Holding {
    this.#holding ??= this.#context.grants.holding(this.connection)
    return this.#holding
  }

  expires (name: string): number | undefined {
    return this.#holding?.expires(name)
  }

  grant (name: string): Grant | undefined {
    return this.#holding?.grant(name)
  }

  ended (): void {
    this.#holding?.end()
  }

  get #asking (): Asking {
    return { hub: this.#context.hub, request: this.#request, claims: undefined }
  }

  /** Asks the topic's `authorize`. @throws Forbidden, and what that throws with a status */
  authorize (at: TopicAt, action: Action): Promise<Grant> {
    return authorize(this.#asking, at, action)
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

  /** Rights may have been taken while nobody could say so. */
  authorizeAgain (): void {
    this.run(() => this.#askAgain()).catch((error: unknown) => {
      logRefusal(this.#request.log, error, 'realtime: refused by authorize, asked again')
      if (statusOf(error) === 503) this.connection.sendAway(tryAgainLater)
      else this.connection.end(forbidden)
    })
  }

  async #askAgain (): Promise<void> {
    const topics = this.connection.subscriptions.map(({ topic: { declared, params } }) => declared.at(params))
    const grants = await authorizeAll(this.#asking, topics)
    if (!this.connection.closed) for (const [name, grant] of grants ?? []) this.#allow(name, grant)
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
      const grant = await this.run(() => this.authorize(at, 'subscribe'))
      if (hasLeft(join, connection)) return 'left'
      this.#allow(at.name, grant)
      if (!this.#accepted && !connection.begun) return this.#add(at)
      // Its topics are being joined already: this one comes behind them.
      await connection.whenBegun()
      return await joinLater(this.#context.hub, connection, join, at, cursor, ref)
    } finally {
      connection.joined(join)
    }
  }

  /** Adds a topic to those that the client begins with. */
  #add (at: TopicAt): Entered {
    if (this.awaits(at.name)) return 'there'
    this.topics.push(at)
    return 'in'
  }

  forget (name: string): boolean {
    if (this.#accepted) return false
    const index = this.topics.findIndex((at) => at.name === name)
    if (index !== -1) this.topics.splice(index, 1)
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
      : this.topics.map(({ name }) => name).filter((name) => connection.admits(name)))
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
  { entrance }: Hub, connection: Connection, join: Join, at: TopicAt, cursor: Cursor, ref: unknown
): Promise<Entered> {
  if (hasLeft(join, connection)) return 'left'
  const joining = await entrance.prepare([{ at, cursor }])
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

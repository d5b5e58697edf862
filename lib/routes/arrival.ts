/** A client on its way in, on whichever wire: who it is, and what it comes for. */
import type { AsyncResource } from 'node:async_hooks'
import type { FastifyRequest } from 'fastify'
import type { Place } from '../core/admission.ts'
import { keepContext } from '../core/async-context.ts'
import { callApart, statusOf } from '../core/callbacks.ts'
import { clientLeft, forbidden, tryAgainLater, type CloseReason } from '../core/close-reasons.ts'
import { Connection, type Client, type ConnectionSettings } from '../core/connection/connection.ts'
import { randomId } from '../core/id.ts'
import type { Identity } from '../core/identity.ts'
import { andThen, onFailure, type MaybePromise } from '../core/maybe-promise.ts'
import type { Action, TopicAt } from '../core/topics/topic.ts'
import type { WireKind } from '../core/wire.ts'
import { Closed } from '../errors.ts'
import type { Claims } from '../features/grants/claims.ts'
import type { Grant } from '../features/grants/grant.ts'
import type { Connection as PublicConnection } from '../types/connection.ts'
import { authorize, authorizeAll, isAsked } from './authorize.ts'
import type { WireContext } from './context.ts'
import { hasLeft, joinLater, type Entered, type Wish } from './join-later.ts'
import { addressOf } from './peer.ts'
import { companionsOf, haveCompanions, show, type PresenceMode } from './presence.ts'
import { logRefusal } from './refusal.ts'
import { sparing } from './sparing-log.ts'
import { judge, judgedNow, Standing, type Judged } from './standing.ts'
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

/** A client on its way in: registered, allowed, with the topics that `connect` added. */
export class Arrival implements Client {
  readonly id = randomId()
  readonly kind: WireKind
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
  readonly #standing: Standing
  /** The request's async context; kept only where something may be called in it later. */
  #origin: AsyncResource | undefined

  private constructor (
    { context, kind, topicsFor, live, presence }: ArrivalPlan, request: FastifyRequest, place: Place, judged: Judged
  ) {
    this.#context = context
    this.#request = request
    this.#limit = topicsFor.limit
    this.#presence = presence
    this.#standing = new Standing(context, request, this.id, judged)
    this.kind = kind
    this.place = place
    this.topics = judged.topics
    this.settings = live
    this.since = context.arrivals.of(request)
    this.connection = new Connection(context.hub, this)
  }

  get identity (): Identity { return this.#standing.identity }
  get issuedAt (): number | undefined { return this.#standing.issuedAt }
  get request (): FastifyRequest { return this.#request }
  /** What it may bring with its `open`: a token, and by that who it is. */
  get brings (): 'nothing' | 'token' | 'identity' { return this.#standing.awaits }

  /** Found when first asked for, and kept: a socket that has closed has none. */
  get address (): string {
    this.#address ??= addressOf(this.#request) ?? ''
    return this.#address
  }

  /** Takes a place for the client; then asks the app about it. `opens`: it may bring a token with its `open`. */
  static of (plan: ArrivalPlan, request: FastifyRequest, opens = false): MaybePromise<Arrival> {
    const { context } = plan
    const place = context.peers.admit(request)
    const arriving = onFailure(() => andThen(judge(context, request, plan.topicsFor, opens), (judged) => {
      const arrival = new Arrival(plan, request, place, judged)
      context.peers.identify(request, place, arrival.identity)
      const companions = arrival.#withCompanions(judgedNow(judged))
      return andThen(companions, () => arrival.#admitted(judged))
    }), () => place.giveBack())
    if (arriving instanceof Promise) place.keepOrigin()
    return arriving
  }

  /** @throws Closed, Unavailable */
  #admitted ({ allowed }: Judged): this {
    const { hub } = this.#context
    if (hub.stopping) throw new Closed()
    hub.admit(this.connection)
    this.#standing.begin(this.connection, allowed)
    return this
  }

  /** Who is in its topics it hears too, where the route says so. */
  #withCompanions (topics: readonly TopicAt[] = this.topics): MaybePromise<void> {
    if (!haveCompanions(this.#context.presence, topics, this.#presence)) return
    return this.#companionsOf(topics).then((companions) => {
      this.topics = [...this.topics, ...companions]
      this.#limit.check(1, () => this.topics.filter(({ topic }) => topic.durable).length)
    })
  }

  #companionsOf (topics: readonly TopicAt[], claims?: Claims): Promise<TopicAt[]> {
    return this.run(() => companionsOf(
      this.#context.presence, this.#standing.asking(claims), this.connection, topics, this.#presence))
  }

  expires (name: string): number | undefined { return this.#standing.expires(name) }
  grant (name: string): Grant | undefined { return this.#standing.grant(name) }
  ended (): void { this.#standing.end() }

  /** Asks the topic's `authorize`. @throws Forbidden, and what that throws with a status */
  authorize (at: TopicAt, action: Action): Promise<Grant> {
    return authorize(this.#standing.asking(), at, action)
  }

  /**
   * The client says `open`, and may bring a token with it. What waited for that is judged.
   * @throws TokenInvalid, Expired, Revoked, Forbidden, TooManyConnections, and what the app refuses it by
   */
  async open (token: string | undefined): Promise<void> {
    const standing = this.#standing
    const { awaits } = standing
    if (awaits === 'nothing') return token === undefined ? undefined : await this.refresh(token).then(() => {})
    const { hub, peers } = this.#context
    standing.bear(this.connection, await standing.open(token))
    if (awaits === 'identity') {
      peers.identify(this.#request, this.place, this.identity)
      // Orders did not know whom they concern.
      hub.node.catchUp(this.connection, hub.node.missedBy(this.connection))
    }
    const byToken = this.topics.filter(({ topic }) => topic.policy.authorize === 'token')
    await this.#judge(byToken)
    await this.#withCompanions(awaits === 'identity' ? this.topics : byToken)
  }

  async #judge (topics: readonly TopicAt[]): Promise<void> {
    const allowed = await this.run(() => authorizeAll(this.#standing.asking(), topics))
    for (const [name, grant] of allowed ?? []) this.#allow(name, grant)
  }

  #allow (name: string, grant: Grant): void {
    if (!this.connection.closed) this.#standing.allow(this.connection, name, grant)
  }

  /**
   * A newer token in place of the one that came before. What it does not allow any more is taken. Resolves with the ms
   * until the first end of what allows the client. @throws TokenInvalid, Expired, Revoked
   */
  async refresh (token: string): Promise<number | undefined> {
    const standing = this.#standing
    standing.bear(this.connection, await standing.check(token))
    const asked = this.#heard().filter(isAsked)
    // Those that a token opens first: nobody need be waited for.
    asked.sort((a, b) => Number(b.topic.policy.authorize === 'token') - Number(a.topic.policy.authorize === 'token'))
    for (const at of asked) await this.#askAnew(at)
    return standing.firstEnd
  }

  /** Where nobody can say now, what was said before holds until it ends. */
  async #askAnew (at: TopicAt): Promise<void> {
    try {
      this.#allow(at.name, await this.run(() => this.authorize(at, 'subscribe')))
    } catch (error) {
      if (statusOf(error) < 500) this.connection.lapse(at.name, 'refused')
      else logRefusal(sparing(this.#request), error, 'realtime: authorize could not be asked again')
    }
  }

  /** What it hears, is about to hear, or is to begin with. */
  #heard (): TopicAt[] {
    const { topics } = this.#context.hub
    return [...new Set([...this.#names(), ...this.connection.pending])]
      .map((name) => topics.resolve(name))
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
      logRefusal(this.#request.log, error, 'realtime: authorize was asked again and refused')
      if (statusOf(error) === 503) this.connection.sendAway(tryAgainLater)
      else this.connection.end(forbidden)
    })
  }

  async #askAgain (): Promise<void> {
    await this.#judge(this.connection.subscriptions.map(({ topic: { declared, params } }) => declared.at(params)))
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
  async join (at: TopicAt, { cursor, ref, token }: Wish = {}): Promise<Entered> {
    const { connection } = this
    this.#mustHaveRoom(at.name)
    const join = connection.joining(at.name)
    try {
      const claims = token === undefined ? undefined : await this.#standing.check(token)
      const grant = await this.run(() => authorize(this.#standing.asking(claims), at, 'subscribe'))
      const companions = haveCompanions(this.#context.presence, [at], this.#presence)
        ? await this.#companionsOf([at], claims)
        : NO_TOPICS
      if (hasLeft(join, connection)) return 'left'
      this.#allow(at.name, grant)
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
    const companion = this.#context.presence.nameIn(topic, params)
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

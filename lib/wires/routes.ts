/** What a stream and a channel have in common: which topics a request hears, whether it may, and who it is. */
import type { AsyncResource } from 'node:async_hooks'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { callApart, quiet, statusAsked, statusOf, toError, type AppLog } from '../core/callbacks.ts'
import type { Place } from '../core/admission.ts'
import { Connection, type ConnectionInit, type ConnectionSettings } from '../core/connection.ts'
import { clientLeft, forbidden, tryAgainLater, type CloseReason } from '../core/close-reasons.ts'
import { keepContext } from '../core/context.ts'
import type { Hub, Cursor } from '../core/hub.ts'
import { readIdentity, type Identity } from '../core/identity.ts'
import type { Join } from '../core/joins.ts'
import { randomId } from '../core/random-id.ts'
import { after, onFailure, type Soon } from '../core/soon.ts'
import type { RunSettings } from '../core/runs.ts'
import { DeclaredTopic, type Params, type TopicAt } from '../core/topic.ts'
import type { Check } from '../core/validation.ts'
import { CallbackTimeout, Closed, ConnectionClosed, Forbidden, RouteInvalid, TopicParamsInvalid, TopicParamsMissing, TopicUndeclared } from '../errors.ts'
import type { Limits, LiveSettings, Settings } from '../options.ts'
import type { ChannelLimits, Connection as PublicConnection } from '../types.ts'
import type { Arrivals } from './arrivals.ts'
import type { Hosts } from './hosts.ts'
import type { Peers } from './peer.ts'
import { sparing } from './sparing.ts'
import { TopicLimit } from './topic-limit.ts'

/** What the plugin gives its wires. */
export interface WireContext {
  readonly hub: Hub
  readonly peers: Peers
  readonly arrivals: Arrivals
  readonly settings: Settings
  /** The settings that a route may override, checked. */
  readonly live: (options: Partial<LiveSettings>) => LiveSettings
  readonly limits: (options: ChannelLimits | undefined) => Limits
  readonly retry: (value: unknown) => number
  readonly resumable: (value: unknown) => RunSettings & { readonly key: ((request: FastifyRequest) => unknown) | undefined, readonly space: string | undefined }
  readonly open: (value: unknown) => 'event' | 'id' | false
  readonly origins: (value: unknown) => readonly string[] | '*'
  readonly hosts: (value: unknown) => Hosts
  /** A check for what clients send, made from its schema when the app becomes ready. */
  readonly validator: (scope: FastifyInstance, what: string, schema: unknown, own: unknown) => Check
  /** Does the app describe its routes by JSON schema? */
  readonly plainSchemas: (scope: FastifyInstance) => boolean
  /** Runs when every plugin is loaded, before the app listens; a throw fails `ready()`. */
  readonly onReady: (check: () => void) => void
}

/** The routes made by one call: a prefix with "/" makes two from it. */
export type MadeRoute = RouteOptions & { url: string, routePath?: string, method: string | string[] }

interface TopicsFor {
  (request: FastifyRequest): Soon<TopicAt[]>
  readonly limit: TopicLimit
}

/** `'stream "/x"'`, for errors. */
export interface RouteLabel { readonly kind: 'stream' | 'channel', readonly url: string }

/** Wraps `route()`: what it makes is collected, and `last` is called with it once every hook of others is in place. */
export function makeRoutes (scope: FastifyInstance, collector: RouteCollector, options: object): MadeRoute[] {
  const made = collector.collect((mark) => scope.route({ ...options, [mark]: true } as unknown as RouteOptions))
  if (made.length === 0) throw new RouteInvalid('route', (options as { url: string }).url, 'could not be made')
  return made
}

/** Sees the routes that Fastify makes of ours (an onRoute hook of the plugin feeds it). */
export class RouteCollector {
  /** Ours bear it: another plugin's onRoute hook may make routes of its own meanwhile. */
  readonly #mark = Symbol('fastify-realtime')
  #made: MadeRoute[] | undefined

  see (route: MadeRoute): void {
    if (this.#mark in route) this.#made?.push(route)
  }

  collect (make: (mark: symbol) => void): MadeRoute[] {
    this.#made = []
    try {
      make(this.#mark)
      return this.#made
    } finally {
      this.#made = undefined
    }
  }
}

/** The `topics` option, understood: checked before the app is ready, and asked at each request. */
export function planTopics (context: WireContext, label: RouteLabel, topics: unknown, urls: () => string[]): TopicsFor {
  const limit = new TopicLimit(label.kind, context.settings.maxTopics)
  return Object.assign(topicsOf(context, label, topics, urls, limit), { limit })
}

function topicsOf (context: WireContext, label: RouteLabel, topics: unknown, urls: () => string[], limit: TopicLimit): (request: FastifyRequest) => Soon<TopicAt[]> {
  if (topics === undefined) return () => []
  if (typeof topics === 'function') {
    return (request) => after(context.hub.patience.call<unknown>('"topics"', () => topics(request)),
      (named) => unique(limit, [named].flat().map((one) => resolveTopic(context, one))))
  }
  const list: unknown[] = Array.isArray(topics) ? topics : [topics]
  const plans = list.map((one) => planOne(context, label, one))
  context.onReady(() => {
    for (const plan of plans) for (const url of urls()) plan.check(url)
    limit.check(plans.length, () => plans.filter((plan) => plan.owner()?.durable).length)
  })
  return (request) => unique(limit, plans.map((plan) => plan.at(request.params as Params)))
}

export interface TopicPlan {
  /** Do the route's params name it? @throws TopicUndeclared, TopicParamsMissing */
  check (url: string): void
  at (params: Params): TopicAt
  /** Undefined while no declared pattern matches. */
  owner (): DeclaredTopic | undefined
  /** Is this one of those that it names? */
  matches (at: TopicAt): boolean
}

export function planOne (context: WireContext, label: RouteLabel, one: unknown): TopicPlan {
  if (one instanceof DeclaredTopic) return planDeclared(label, one)
  if (isTopicAt(one)) return { check: () => {}, at: () => one, owner: () => one.topic, matches: ({ name }) => name === one.name }
  if (typeof one === 'string') return planTemplate(context, label, one)
  throw new RouteInvalid(label.kind, label.url, 'has "topics" that are neither a Topic, topic.at(…), a name, nor a function')
}

function planDeclared (label: RouteLabel, topic: DeclaredTopic): TopicPlan {
  return {
    check: (url) => {
      for (const name of topic.paramNames) needParam(label, topic.pattern, url, name)
    },
    at: (params) => topic.at(params),
    owner: () => topic,
    matches: (at) => at.topic === topic
  }
}

/** A name with `:params` of the route, e.g. `auctions/:id`, found among the declared patterns. */
function planTemplate (context: WireContext, label: RouteLabel, template: string): TopicPlan {
  const segments = template.split('/')
  const fill = (value: (param: string) => string): string => segments
    .map((segment) => segment === '*' ? value('*') : segment.startsWith(':') ? value(segment.slice(1)) : segment).join('/')
  const params = segments.filter((segment) => segment === '*' || segment.startsWith(':')).map((segment) => segment === '*' ? '*' : segment.slice(1))
  const example = (): string => fill((param) => `~${param}`)
  let owner: DeclaredTopic | undefined
  return {
    owner: () => context.hub.topics.owner(example()),
    matches: (at) => at.topic === owner && fits(at.name, segments, context.hub.topics.resolve(example()).name),
    check: (url) => {
      owner = context.hub.topics.owner(example())
      if (!owner) throw new TopicUndeclared(label.kind, label.url, template)
      for (const name of params) needParam(label, template, url, name)
    },
    at: (values) => {
      const at = context.hub.topics.resolve(fill((param) => param === '*'
        ? (values['*'] ?? '').split('/').map(encodeURIComponent).join('/')
        : encodeURIComponent(values[param] ?? '')))
      // Threat: an id that is the text of a more exact pattern ("users/me" beside "users/:id") would reach that one.
      if (at.topic !== owner) throw new TopicParamsInvalid(template, 'these params name a topic of another pattern')
      return at
    }
  }
}

/** `example`: the template's own name, with other params. */
function fits (name: string, template: string[], example: string): boolean {
  const [own, like] = [name.split('/'), example.split('/')]
  return template.every((segment, index) => segment === '*' || segment.startsWith(':') || own[index] === like[index])
}

function needParam (label: RouteLabel, topic: string, url: string, name: string): void {
  const has = name === '*' ? url.includes('*') : new RegExp(`:${name}(?![A-Za-z0-9_])`).test(url)
  if (!has) throw new TopicParamsMissing(`${label.kind} "${label.url}"`, topic, name)
}

export function isTopicAt (value: unknown): value is TopicAt {
  return typeof value === 'object' && value !== null && (value as TopicAt).topic instanceof DeclaredTopic && typeof (value as TopicAt).name === 'string'
}

/** A reference or a full name → a topic. @throws TopicUnknown */
export function resolveTopic (context: WireContext, value: unknown): TopicAt {
  // Named anew from its topic and params: a reference could have been put together by hand.
  if (isTopicAt(value)) return value.topic.at(value.params)
  return context.hub.topics.resolve(value)
}

function unique (limit: TopicLimit, topics: TopicAt[]): TopicAt[] {
  if (topics.length === 1) return topics
  const seen = new Map(topics.map((at) => [at.name, at]))
  limit.check(seen.size, () => topics.filter((at) => at.topic.durable && seen.get(at.name) === at).length)
  return [...seen.values()]
}

/** Declared topics whose `authorize` has answered undefined: said once for each. */
const speechless = new WeakSet<DeclaredTopic>()

/** Asks the topic's `authorize`: only `true` allows. @throws Forbidden, or the hook's own error when it says a status */
export async function authorize ({ patience }: Hub, request: FastifyRequest, at: TopicAt, action: 'subscribe' | 'publish'): Promise<void> {
  const ask = at.topic.policy.authorize
  if (!ask || (ask === 'anyone' && action === 'subscribe')) return
  // Threat: whoever may hear a topic that anyone may hear must not write into it as well.
  if (ask === 'anyone') throw new Forbidden(at.name, 'published to')
  let answer: unknown
  try {
    answer = await patience.call(`"authorize" of topic "${at.name}"`, () => ask(request as never, { topic: at.name, params: at.params, action }))
  } catch (error) {
    if (statusAsked(error) !== undefined) throw error
    sparing(request).info({ err: error, topic: at.name, action }, 'realtime: refused by authorize')
    answer = false
  }
  if (answer === true) return
  if (answer === undefined) warnOnce(request, at.topic)
  throw new Forbidden(at.name, action === 'publish' ? 'published to' : 'subscribed to')
}

function warnOnce (request: FastifyRequest, topic: DeclaredTopic): void {
  if (speechless.has(topic)) return
  speechless.add(topic)
  quiet(request.log).warn({ topic: topic.pattern },
    'realtime: authorize answered undefined, which refuses: return true where the client may (for a lookup that may find nothing: "?? false")')
}

export function authorizeAll (hub: Hub, request: FastifyRequest, topics: readonly TopicAt[]): Soon<void> {
  const asked = topics.filter(({ topic }) => typeof topic.policy.authorize === 'function')
  return asked.length === 0 ? undefined : Promise.all(asked.map((at) => authorize(hub, request, at, 'subscribe'))).then(() => {})
}

/** Rights may have been taken while nobody could say so. */
function authorizeAgain (request: FastifyRequest, connection: Connection): void {
  const topics = connection.subscriptions.map(({ room }) => room.topic.at(room.params))
  authorizeAll(connection.hub, request, topics)?.catch((error: unknown) => {
    logRefusal(request.log, error, 'realtime: refused by authorize, asked again')
    if (statusOf(error) === 503) connection.end(tryAgainLater, connection.hub.retryAfter())
    else connection.end(forbidden)
  })
}

export type LiveCallbacks = {
  onConnect?: ((connection: PublicConnection, request: FastifyRequest) => unknown) | undefined
  onDisconnect?: ((connection: PublicConnection, reason: CloseReason) => unknown) | undefined
}

/** What a route calls of the app for one connection. */
export interface RouteCallbacks extends LiveCallbacks {
  /** There are others, which are called while it is open: handlers, a source. */
  readonly more: boolean
}

const NO_TOPICS: TopicAt[] = []

export function identify ({ hub, settings }: WireContext, request: FastifyRequest): Soon<Identity | undefined> {
  return after(hub.patience.call<unknown>('"identify"', () => settings.identify(request)), readIdentity)
}

const anonymous = (id: string): { id: string } => ({ id: `anonymous:${id}`, anonymous: true }) as { id: string }

/** A client on its way in: registered, allowed, with the topics that `connect` added. */
export class Arrival implements ConnectionInit {
  readonly id: string
  readonly identity: { id: string }
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
  /** The app has; what it adds now joins by itself. */
  #accepted = false
  #accepting: Promise<void> | undefined
  /** The request's async context; kept only where something may be called in it later. */
  #origin: AsyncResource | undefined

  private constructor (context: WireContext, request: FastifyRequest, limit: TopicLimit, place: Place, identity: { id: string }, id: string, settings: ConnectionSettings, topics: TopicAt[]) {
    this.#context = context
    this.#request = request
    this.#limit = limit
    this.place = place
    this.topics = topics
    this.id = id
    this.identity = identity
    this.settings = settings
    this.since = context.arrivals.of(request)
    this.connection = new Connection(context.hub, this)
  }

  /** Found when first asked for, and kept: a socket that has closed has none. */
  get address (): string {
    this.#address ??= this.#request.ip ?? ''
    return this.#address
  }

  /** Takes a place for the client; then asks topics, `authorize` and `identify`. */
  static of (context: WireContext, request: FastifyRequest, topicsFor: TopicsFor, settings: ConnectionSettings): Soon<Arrival> {
    const place = context.peers.admit(request)
    return onFailure(() => after(topicsFor(request), (topics) => after(authorizeAll(context.hub, request, topics), () => after(identify(context, request), (identity) => {
      const id = randomId()
      const client = identity ?? anonymous(id)
      context.peers.identify(request, place, client)
      const arrival = new Arrival(context, request, topicsFor.limit, place, client, id, settings, topics)
      if (context.hub.stopping) throw new Closed()
      context.hub.admit(arrival.connection)
      return arrival
    }))), () => place.giveBack())
  }

  /** Lets the app accept it. From then on `onDisconnect` will run, exactly once. */
  connect ({ onConnect, onDisconnect, more }: RouteCallbacks): Soon<void> {
    if (this.connection.condemned) return
    if (more || onConnect || onDisconnect || this.#context.hub.topics.asks) this.#origin = keepContext()
    const accepting = after(onConnect && this.#context.hub.patience.call<unknown>('"onConnect"', () => onConnect(this.connection as unknown as PublicConnection, this.#request)), () => {
      this.#accepted = true
      if (onDisconnect) this.#onEnd(onDisconnect)
    })
    if (accepting) this.#accepting = accepting
    return accepting
  }

  /** Its way in is over. A client that has left meanwhile is counted for as long as the app's `onConnect` runs for it. */
  arrived (): void {
    const over = (): void => this.place.arrived()
    const accepting = this.#accepting
    this.#accepting = undefined
    if (accepting) accepting.then(over, over)
    else over()
  }

  #onEnd (onDisconnect: NonNullable<LiveCallbacks['onDisconnect']>): void {
    const { log } = this.#request
    this.connection.whenEnded((reason) => callApart(log, 'realtime: onDisconnect failed', () => onDisconnect(this.connection as unknown as PublicConnection, reason)))
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
    this.run(() => authorizeAgain(this.#request, this.connection))
  }

  resolve (topic: unknown): string {
    return resolveTopic(this.#context, topic).name
  }

  /** A topic that the app joins it to. At once while the client is on its way in; later without what it missed meanwhile. */
  async subscribe (topic: unknown): Promise<void> {
    const at = resolveTopic(this.#context, topic)
    if (!this.#names().has(at.name)) await this.join(at)
  }

  /**
   * The one way into a topic at run time. `left`: it was left meanwhile; `there`: somebody else has joined it to it.
   * @throws Forbidden, TooManyTopics, ConnectionClosed, Unavailable
   */
  async join (at: TopicAt, cursor?: Cursor, ref?: unknown): Promise<Joined> {
    const { connection } = this
    this.#mustHaveRoom(at.name)
    const join = connection.joining(at.name)
    try {
      await this.run(() => authorize(this.#context.hub, this.#request, at, 'subscribe'))
      if (isOver(join, connection)) return 'left'
      if (!this.#accepted && !connection.begun) return this.#add(at)
      // Its topics are being joined already: this one comes behind them.
      await connection.whenBegun()
      return await joinLater(connection, join, at, cursor, ref)
    } finally {
      connection.joined(join)
    }
  }

  /** One more of those that it begins with. */
  #add (at: TopicAt): Joined {
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

  /** Of the topics that the client has, or will have once it is in. */
  #names (): Set<string> {
    const { connection } = this
    return new Set(connection.begun ? connection.topics : this.topics.map(({ name }) => name).filter((name) => connection.admits(name)))
  }

  /** What is being joined counts already. */
  #mustHaveRoom (name: string): void {
    const names = [...new Set([...this.#names(), ...this.connection.pending, name])]
    const { topics } = this.#context.hub
    this.#limit.check(names.length, () => names.filter((one) => topics.resolve(one).topic.durable).length)
  }
}

export type Joined = 'in' | 'there' | 'left'

/** True when it was left meanwhile. @throws Forbidden when it was taken, ConnectionClosed */
function isOver ({ name, fate }: Join, connection: Connection): boolean {
  if (connection.closed) throw new ConnectionClosed()
  if (fate === 'taken') throw new Forbidden(name, 'subscribed to')
  return fate === 'left'
}

async function joinLater (connection: Connection, join: Join, at: TopicAt, cursor: Cursor, ref: unknown): Promise<Joined> {
  if (isOver(join, connection)) return 'left'
  const { hub } = connection
  const joining = await hub.prepare([{ at, cursor }])
  if (join.fate !== 'pending' || connection.closed) {
    hub.let(joining)
    isOver(join, connection)
    return 'left'
  }
  const joined = hub.join(connection, joining)
  connection.announce(joined, ref)
  connection.settle()
  return joined.length > 0 ? 'in' : 'there'
}

/** One line for a refusal: that a callback never settles is the app's fault, all else the client's, or the hour's. */
export function logRefusal (log: AppLog, thrown: unknown, message: string): void {
  const error = toError(thrown)
  quiet(log)[error instanceof CallbackTimeout ? 'warn' : 'info']({ err: error }, message)
}

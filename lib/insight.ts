/**
 * What the package's own tools are shown of a node beyond `app.realtime`, and what they may do with its clients. It is
 * found by that object, and an app cannot reach it. Nothing here runs unless it is called.
 */
import { expired, shuttingDown } from './core/close-reasons.ts'
import type { Connection } from './core/connection/connection.ts'
import type { Hub } from './core/hub.ts'
import { andThen, type MaybePromise } from './core/maybe-promise.ts'
import type { DeclaredTopic } from './core/topics/topic.ts'
import type { Presence } from './features/presence/presence.ts'
import type { Declarations } from './routes/declarations.ts'
import type { Hosts } from './routes/hosts.ts'
import type { MemberPage } from './types/topic.ts'

/** A client of this node. */
export interface SeenConnection {
  readonly id: string
  readonly kind: 'sse' | 'websocket' | 'process'
  readonly identity: string
  readonly anonymous: boolean
  readonly address: string
  /** Of its request; `''` for a subscription of the app's own. */
  readonly url: string
  /** When it was let in, ms since the epoch. */
  readonly since: number
  /** When it last gave a sign of life of its own accord, ms since the epoch; 0 before the first. */
  readonly beat: number
  readonly buffered: number
  readonly stalled: boolean
  readonly topics: readonly string[]
  /** A header of its request; `''` where it has none. */
  header (name: string): string
}

/** A topic with listeners on this node. */
export interface SeenTopic { readonly name: string, readonly pattern: string, readonly listeners: number }

/** What is declared of a topic besides its events: `realtime.describe()` has those. */
export interface SeenPolicy {
  readonly pattern: string
  readonly authorize: 'a function' | 'anyone' | 'token' | 'its routes'
  readonly history: { readonly limit: number, readonly maxAge: number, readonly maxBytes: number } | undefined
  readonly snapshot: boolean
  readonly coalesce: number
}

interface Features {
  readonly presence: Presence
  readonly declarations: Declarations
  readonly settings: { readonly hosts: Hosts }
}

export class Insight {
  readonly #hub: Hub
  readonly #features: Features

  constructor (hub: Hub, features: Features) {
    this.#hub = hub
    this.#features = features
  }

  get node (): string { return this.#hub.node.name }
  /** No other node can be reached. */
  get alone (): boolean { return this.#hub.adapter.nodes === undefined }
  /** How many nodes hear this topic, this one counted. @throws Unavailable */
  async nodesAt (topic: string): Promise<number> { return await this.#hub.adapter.nodes?.(topic) ?? 1 }
  get maxEventBytes (): number { return this.#hub.settings.maxEventBytes }
  /** By which names the app's routes may be reached, where a route does not say. */
  get hosts (): Hosts { return this.#features.settings.hosts }

  /** What `declare` declares is in no description of the app. */
  apart (declare: () => void): void {
    this.#features.declarations.apart(declare)
  }

  * connections (): Iterable<SeenConnection> {
    for (const connection of this.#hub.connections.all) yield new Seen(connection)
  }

  * topics (): Iterable<SeenTopic> {
    for (const name of this.#hub.active.names) {
      const topic = this.#hub.active.get(name)
      if (!topic || topic.listeners === 0 || topic.declared.policy.companion) continue
      yield { name, pattern: topic.pattern, listeners: topic.listeners }
    }
  }

  policies (): SeenPolicy[] {
    return this.#hub.topics.all.map(policyOf)
  }

  /** @throws TopicUnknown, NoPresence, Unavailable */
  async members (topic: string, limit: number): Promise<MemberPage> {
    return await this.#features.presence.members(this.#hub.topics.resolve(topic), { limit }) as MemberPage
  }

  /**
   * Why this data is none of the event's, by its schema; undefined where it fits, or where any data does.
   * `topic`: its name, or its pattern.
   */
  faultOf (topic: string, event: string, data: unknown): MaybePromise<string | undefined> {
    const declared = this.#hub.topics.byPattern(topic) ?? this.#hub.topics.owner(topic)
    if (!declared) return 'its topic is not declared'
    const { events } = declared.policy
    if (events === undefined) return undefined
    const codec = events.get(event)
    return codec ? andThen(codec.fault(data, data), (fault) => fault) : 'its topic declares no such event'
  }

  // --- what is done to clients: false where none of them is here -------------------------------

  /** Its socket is cut, without a word. */
  drop (id: string): boolean {
    return this.#with(id, (connection) => connection.cut())
  }

  /** As if what allows it had ended. */
  expire (id: string): boolean {
    return this.#with(id, (connection) => connection.sendAway(expired))
  }

  stall (id: string): boolean {
    return this.#with(id, (connection) => connection.stall())
  }

  release (id: string): boolean {
    return this.#with(id, (connection) => connection.release())
  }

  /** All clients are told to come back, as when the app closes. Returns how many they were. */
  restart (): number {
    const { open } = this.#hub.connections
    const clients = [...open]
    for (const connection of clients) connection.end(shuttingDown, this.#hub.retryAfter(clients.length))
    return clients.length
  }

  #with (id: string, act: (connection: Connection) => void): boolean {
    for (const connection of this.#hub.connections.open) {
      if (connection.id !== id || connection.closed || !connection.attached) continue
      act(connection)
      return true
    }
    return false
  }
}

class Seen implements SeenConnection {
  readonly #connection: Connection

  constructor (connection: Connection) {
    this.#connection = connection
  }

  get id (): string { return this.#connection.id }
  get kind (): SeenConnection['kind'] { return this.#connection.kind }
  get identity (): string { return this.#connection.identity.id }
  get anonymous (): boolean { return this.#connection.identity.anonymous === true }
  get address (): string { return this.#connection.address }
  get url (): string { return this.#connection.request?.url ?? '' }
  get since (): number { return this.#connection.letInAt }
  get beat (): number { return this.#connection.output.beatenAt }
  get buffered (): number { return this.#connection.buffered }
  get stalled (): boolean { return this.#connection.output.stalled }
  get topics (): readonly string[] { return this.#connection.topics }

  header (name: string): string {
    const value = this.#connection.request?.headers[name]
    return typeof value === 'string' ? value : ''
  }
}

function policyOf ({ pattern, policy }: DeclaredTopic): SeenPolicy {
  const { authorize, retention, snapshot, coalesce = 0 } = policy
  return {
    pattern,
    authorize: typeof authorize === 'function' ? 'a function' : authorize ?? 'its routes',
    history: retention && { limit: retention.limit, maxAge: retention.maxAge, maxBytes: retention.maxBytes },
    snapshot: snapshot !== undefined,
    coalesce
  }
}

const insights = new WeakMap<object, Insight>()

/** Whoever has this object is shown the node. */
export function discloseTo (realtime: object, insight: Insight): void {
  insights.set(realtime, insight)
}

/** Of the plugin that has made this `app.realtime`. */
export function insightOf (realtime: object): Insight | undefined {
  return insights.get(realtime)
}

/**
 * What happens on this node: counted for `realtime.stats()`, and told to those who watch `node:diagnostics_channel`,
 * under `fastify-realtime:<what>`. Each message says of which `app` it is. Costs nothing unwatched.
 */
import { channel } from 'node:diagnostics_channel'

const named = (what: string): ReturnType<typeof channel> => channel(`fastify-realtime:${what}`)

const channels = {
  /** A connection began: `{ app, connection }`. */
  connect: named('connect'),
  /** It ended: `{ app, connection, reason }`. */
  disconnect: named('disconnect'),
  /** `{ app, connection, topic }` */
  subscribe: named('subscribe'),
  /** `{ app, connection, topic }` */
  unsubscribe: named('unsubscribe'),
  /** An event was taken by the adapter: `{ app, topic, event, id, bytes }`. */
  publish: named('publish'),
  /** Events were written to their listeners: `{ app, topic, events, listeners }`. */
  deliver: named('deliver'),
  /** Events were dropped or replaced for a slow client: `{ app, connection, topic }`. */
  drop: named('drop'),
  /** A client came back: `{ app, connection, topic, recovered }`. */
  resume: named('resume'),
  /** A client was told that events were lost: `{ app, connection, topic, reason }`. */
  reset: named('reset'),
  /** What did not link was repaired from history: `{ app, topic }`. */
  repair: named('repair'),
  /** A client that does not read was closed: `{ app, connection, buffered }`. */
  slow: named('slow'),
  /** A connection was refused: `{ app, address, error }`. */
  refuse: named('refuse'),
  /** `{ app, adapter, state, error }` */
  adapter: named('adapter')
} as const

/** What this node has done since it started. */
export interface Counters {
  /** Topics of clients now: one for each that a client listens to. */
  subscriptions: number
  /** Events that the adapter has taken from here. */
  published: number
  /** Events given to listeners: one for each listener. */
  delivered: number
  /** Topics of clients that came back and were given what they had missed. */
  recovered: number
  /** Topics of clients that had to be told `reset`. */
  resets: number
  /** Times that what did not link was read from history. */
  repairs: number
  /** Clients closed because they did not read. */
  slowClosed: number
  /** Events dropped, or replaced by newer ones, for clients that did not read. */
  dropped: number
  /** Clients that were not let in. */
  refused: number
  /** Topics and connections that have ended since what allowed them has. */
  expired: number
  /** Messages of clients that were dropped, since there were too many of them. */
  rateLimited: number
  /** Bytes of recent events that are kept. */
  ringBytes: number
  /** Orders and questions that came over the adapter and were not understood: of a newer version, or of a stranger. */
  ignored: number
}

/** A connection, as far as those who watch are shown it. */
export interface Observed {
  /** What the app holds of it. */
  readonly face: object
}

export class Observer {
  readonly counts: Counters = {
    subscriptions: 0,
    published: 0,
    delivered: 0,
    recovered: 0,
    resets: 0,
    repairs: 0,
    slowClosed: 0,
    dropped: 0,
    refused: 0,
    expired: 0,
    rateLimited: 0,
    ringBytes: 0,
    ignored: 0
  }

  readonly #app: unknown

  /** `app`: what each message bears, so that two apps in one process are told apart. */
  constructor (app: unknown) {
    this.#app = app
  }

  connected (connection: Observed): void {
    if (channels.connect.hasSubscribers) this.#tell('connect', { connection: connection.face })
  }

  disconnected (connection: Observed, reason: object): void {
    if (channels.disconnect.hasSubscribers) this.#tell('disconnect', { connection: connection.face, reason })
  }

  /** `recovered`: the client was given what it had missed; undefined where it had missed nothing that it knew of. */
  subscribed (connection: Observed, topic: string, recovered: boolean | undefined): void {
    if (recovered === true) this.counts.recovered++
    if (recovered === false) this.counts.resets++
    if (recovered !== undefined && channels.resume.hasSubscribers) {
      this.#tell('resume', { connection: connection.face, topic, recovered })
    }
    if (channels.subscribe.hasSubscribers) this.#tell('subscribe', { connection: connection.face, topic })
  }

  unsubscribed (connection: Observed, topic: string): void {
    if (channels.unsubscribe.hasSubscribers) this.#tell('unsubscribe', { connection: connection.face, topic })
  }

  published (topic: string, event: string, id: string | undefined, bytes: number): void {
    this.counts.published++
    if (channels.publish.hasSubscribers) this.#tell('publish', { topic, event, id, bytes })
  }

  delivered (topic: string, events: number, listeners: number): void {
    this.counts.delivered += listeners * events
    if (channels.deliver.hasSubscribers) this.#tellAtRest('deliver', { topic, events, listeners })
  }

  /** To a client that catches up. */
  replayed (events: number): void {
    this.counts.delivered += events
  }

  dropped (connection: Observed, topic: string): void {
    this.counts.dropped++
    if (channels.drop.hasSubscribers) this.#tellAtRest('drop', { connection: connection.face, topic })
  }

  reset (connection: Observed, topic: string, reason: string): void {
    this.counts.resets++
    if (channels.reset.hasSubscribers) this.#tellAtRest('reset', { connection: connection.face, topic, reason })
  }

  repaired (topic: string): void {
    this.counts.repairs++
    if (channels.repair.hasSubscribers) this.#tell('repair', { topic })
  }

  closedAsSlow (connection: Observed, buffered: number): void {
    this.counts.slowClosed++
    if (channels.slow.hasSubscribers) this.#tellAtRest('slow', { connection: connection.face, buffered })
  }

  refused (address: () => string, error: unknown): void {
    this.counts.refused++
    if (channels.refuse.hasSubscribers) this.#tell('refuse', { address: address(), error })
  }

  adapterIs (state: 'up' | 'down', adapter: string, error: Error | undefined): void {
    if (channels.adapter.hasSubscribers) this.#tell('adapter', { adapter, state, error })
  }

  #tell (what: keyof typeof channels, message: object): void {
    channels[what].publish({ app: this.#app, ...message })
  }

  /**
   * For what happens while groups are written to: what a subscriber does on it (publish, close others) must find them
   * at rest.
   */
  #tellAtRest (what: keyof typeof channels, message: object): void {
    queueMicrotask(() => this.#tell(what, message))
  }
}

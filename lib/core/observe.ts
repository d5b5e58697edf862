/**
 * What happens on this node: counted for `realtime.stats()`, and published on `node:diagnostics_channel` under
 * `fastify-realtime:<what>`. Each message has its `app`. A message about a topic has the topic's name (`topic`) and
 * what it was declared as (`pattern`). Without subscribers this costs nothing.
 */
import { channel } from 'node:diagnostics_channel'
import { Metering } from './metering.ts'

const of = (what: string): ReturnType<typeof channel> => channel(`fastify-realtime:${what}`)

const channels = {
  /** A connection began: `{ app, connection }`. */
  connect: of('connect'),
  /** A connection ended: `{ app, connection, reason }`. */
  disconnect: of('disconnect'),
  /** `{ app, connection, topic, pattern }` */
  subscribe: of('subscribe'),
  /** `{ app, connection, topic, pattern }` */
  unsubscribe: of('unsubscribe'),
  /**
   * The adapter has taken an event: `{ app, topic, pattern, event, id, bytes, duration }`. `duration`: ms of the call.
   */
  publish: of('publish'),
  /**
   * Events were written to listeners that share their bytes, to the last of them just now: `{ app, topic, pattern,
   * events, listeners, bytes, duration, id }`. `bytes`: what each listener got; `duration`: ms since this node received
   * the first event; `id`: of the first event that has one.
   */
  deliver: of('deliver'),
  /** Events were dropped or replaced for a slow client: `{ app, connection, topic, pattern }`. */
  drop: of('drop'),
  /** A client came back: `{ app, connection, topic, pattern, recovered, reason }`. `reason`: that of a reset. */
  resume: of('resume'),
  /** A client was told that events were lost: `{ app, connection, topic, pattern, reason }`. */
  reset: of('reset'),
  /** Events were missing and were read from the history: `{ app, topic, pattern }`. */
  repair: of('repair'),
  /** A client that does not read was closed: `{ app, connection, buffered }`. */
  slow: of('slow'),
  /** A connection was refused: `{ app, address, error }`. */
  refuse: of('refuse'),
  /** `{ app, adapter, state, error }` */
  adapter: of('adapter')
} as const

/** A microtask of this costs a third of what `queueMicrotask` costs. */
const RESOLVED = Promise.resolve()

/** What this node has done since it started. */
export interface Counters {
  /** Topics of clients now, one for each that a client listens to. */
  subscriptions: number
  /** Events that the adapter has taken from this node. */
  published: number
  /** Events given to listeners, one for each listener. */
  delivered: number
  /** Of these, those given to clients that caught up. */
  replayed: number
  /** Topics of clients that came back and were given what they had missed. */
  recovered: number
  /** Topics of clients that were told `reset`. */
  resets: number
  /** Times that a gap was noticed and repaired from the history. */
  repairs: number
  /** Clients closed because they did not read. */
  slowClosed: number
  /** Events dropped, or replaced by newer ones, for clients that did not read. */
  dropped: number
  /** Clients that were refused. */
  refused: number
  /** Topics and connections that ended because a right expired. */
  expired: number
  /** Messages of clients that a rate limit dropped. */
  rateLimited: number
  /** Bytes of recent events that this node keeps. */
  ringBytes: number
  /** Orders of other nodes that were not understood: from a newer version, or from a stranger. */
  ignored: number
}

/** A connection, as diagnostics show it. */
export interface Observed {
  /** The connection object of the app. */
  readonly face: object
}

/** A topic, as diagnostics show it. */
export interface ObservedTopic {
  readonly name: string
  readonly pattern: string
}

export class Observer {
  readonly counts: Counters = {
    subscriptions: 0,
    published: 0,
    delivered: 0,
    replayed: 0,
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

  readonly metering = new Metering()
  readonly #app: unknown
  /** Messages to publish once the groups are at rest. */
  #untold: Array<{ what: keyof typeof channels, message: object }> = []

  /** `app`: each message has it, so that two apps in one process can be told apart. */
  constructor (app: unknown) {
    this.#app = app
  }

  connected (connection: Observed): void {
    if (channels.connect.hasSubscribers) this.#tell('connect', { connection: connection.face })
  }

  disconnected (connection: Observed, reason: object): void {
    if (channels.disconnect.hasSubscribers) this.#tell('disconnect', { connection: connection.face, reason })
  }

  /** `recovered`: did the client get everything after its cursor? Undefined if it gave no cursor. */
  subscribed (connection: Observed, topic: ObservedTopic, recovered: boolean | undefined, reason?: string): void {
    if (recovered === true) this.counts.recovered++
    if (recovered === false) this.counts.resets++
    if (recovered !== undefined && channels.resume.hasSubscribers) {
      this.#tell('resume', { connection: connection.face, recovered, reason, ...named(topic) })
    }
    if (channels.subscribe.hasSubscribers) this.#tell('subscribe', { connection: connection.face, ...named(topic) })
  }

  unsubscribed (connection: Observed, topic: ObservedTopic): void {
    if (channels.unsubscribe.hasSubscribers) this.#tell('unsubscribe', { connection: connection.face, ...named(topic) })
  }

  /** The time when an action begins (performance.now); 0 if nobody measures it. */
  began (what: 'publish' | 'deliver'): number {
    return this.metering.used || channels[what].hasSubscribers ? performance.now() : 0
  }

  /** `began`: when the publish was called. */
  published (topic: ObservedTopic, event: string, id: string | undefined, bytes: number, began: number): void {
    this.counts.published++
    const duration = since(began)
    this.metering.published(topic.pattern, bytes, duration)
    if (channels.publish.hasSubscribers) {
      // As one object: a property behind a spread costs a microsecond.
      channels.publish.publish({
        app: this.#app, topic: topic.name, pattern: topic.pattern, event, id, bytes, duration
      })
    }
  }

  /** Bytes of some events go to listeners. Call the returned function when the last listener was written to. */
  delivery (
    topic: ObservedTopic, events: ReadonlyArray<{ readonly id?: string | undefined }>, listeners: number, bytes: number,
    began: number
  ): (() => void) | undefined {
    this.counts.delivered += listeners * events.length
    if (!this.metering.used && !channels.deliver.hasSubscribers) return undefined
    return () => {
      const { name, pattern } = topic
      const delivery = { pattern, events: events.length, listeners, bytes, id: firstId(events) }
      const duration = since(began)
      this.metering.delivered(delivery, duration)
      if (channels.deliver.hasSubscribers) {
        this.#tellAtRest('deliver', { app: this.#app, topic: name, duration, ...delivery })
      }
    }
  }

  /** Events were given to a client that catches up. */
  replayed (events: number): void {
    this.counts.delivered += events
    this.counts.replayed += events
  }

  dropped (connection: Observed, topic: ObservedTopic): void {
    this.counts.dropped++
    if (channels.drop.hasSubscribers) {
      this.#tellAtRest('drop', { app: this.#app, connection: connection.face, ...named(topic) })
    }
  }

  reset (connection: Observed, topic: ObservedTopic, reason: string): void {
    this.counts.resets++
    if (channels.reset.hasSubscribers) {
      this.#tellAtRest('reset', { app: this.#app, connection: connection.face, reason, ...named(topic) })
    }
  }

  repaired (topic: ObservedTopic): void {
    this.counts.repairs++
    if (channels.repair.hasSubscribers) this.#tell('repair', named(topic))
  }

  closedAsSlow (connection: Observed, buffered: number): void {
    this.counts.slowClosed++
    if (channels.slow.hasSubscribers) {
      this.#tellAtRest('slow', { app: this.#app, connection: connection.face, buffered })
    }
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
   * Publishes a message later, for what happens while groups are written to. A subscriber may publish or close others,
   * and must find the groups at rest.
   */
  #tellAtRest (what: keyof typeof channels, message: object): void {
    if (this.#untold.push({ what, message }) === 1) RESOLVED.then(() => this.#tellUntold()).catch(() => {})
  }

  #tellUntold (): void {
    const all = this.#untold
    this.#untold = []
    for (const { what, message } of all) channels[what].publish(message)
  }
}

function named ({ name, pattern }: ObservedTopic): { topic: string, pattern: string } {
  return { topic: name, pattern }
}

function firstId (events: ReadonlyArray<{ readonly id?: string | undefined }>): string | undefined {
  return events.find(({ id }) => id !== undefined)?.id
}

/** ms since `began`; undefined if nobody measured then. */
function since (began: number): number | undefined {
  return began === 0 ? undefined : performance.now() - began
}

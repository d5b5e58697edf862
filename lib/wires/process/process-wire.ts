/** Subscribers within the process: `topic.subscribe()` and `realtime.subscribe()`. */
import type { FastifyRequest } from 'fastify'
import { toError } from '../../core/callbacks.ts'
import { clientLeft } from '../../core/close-reasons.ts'
import type { Connection, ConnectionSettings } from '../../core/connection/connection.ts'
import type { Wanted } from '../../core/connection/joining.ts'
import { readCursor } from '../../core/cursor.ts'
import { andThen, onFailure, type MaybePromise } from '../../core/maybe-promise.ts'
import type { TopicAt } from '../../core/topics/topic.ts'
import { Closed } from '../../errors.ts'
import { Arrival, type ArrivalPlan, type RouteCallbacks } from '../../routes/arrival.ts'
import type { WireContext } from '../../routes/context.ts'
import { TopicLimit } from '../../routes/topic-limit.ts'
import type { Item } from './batch.ts'
import { TopicEvents } from './events.ts'
import { onAbort, onSocketClose } from './leaving.ts'
import { readSubscribeOptions } from './options.ts'
import { OwnClient } from './own-client.ts'
import { ProcessSubscription } from './subscription.ts'

const NO_CALLBACKS: RouteCallbacks = { more: false }

export class ProcessWire {
  readonly #context: WireContext
  readonly #limit: TopicLimit

  constructor (context: WireContext) {
    this.#context = context
    this.#limit = new TopicLimit('channel', context.settings.maxTopics)
  }

  /** @throws OptionInvalid */
  subscribe (at: TopicAt, options?: unknown, callbacks = NO_CALLBACKS): TopicEvents<Item> {
    const { after, signal, request, slow, maxBuffered } = readSubscribeOptions(
      options, this.#context.settings.maxBuffered
    )
    const { name, topic: { pattern } } = at
    const subscription = new ProcessSubscription({ name, pattern }, request ? 'client' : 'app')
    if (signal) subscription.leaveWhen((leave) => onAbort(signal, leave))
    if (request) subscription.leaveWhen((leave) => onSocketClose(request, leave))
    if (!subscription.over) {
      const wanted = { at, cursor: at.topic.durable ? readCursor(after, 1)(at.name) : undefined }
      const settings = { slow, maxBuffered, heartbeat: 0 }
      this.#begin(subscription, request
        ? () => this.#openFor(request, subscription, wanted, settings, callbacks)
        : () => this.#openOwn(subscription, wanted, settings))
    }
    return new TopicEvents(subscription)
  }

  #begin (subscription: ProcessSubscription, open: () => MaybePromise<void>): void {
    const fail = (error: unknown): void => {
      if (error instanceof Closed && this.#context.hub.stopping) subscription.closed(error)
      else subscription.fail(toError(error))
    }
    try {
      const opening = open()
      if (opening) opening.catch(fail)
    } catch (error) {
      fail(error)
    }
  }

  // --- for a client ------------------------------------------------------------------------

  /** `authorize`, `identify`, limits and orders concern it as they would on any other wire. */
  #openFor (
    request: FastifyRequest, subscription: ProcessSubscription, wanted: Wanted, live: ConnectionSettings,
    callbacks: RouteCallbacks
  ): MaybePromise<void> {
    const plan: ArrivalPlan = {
      context: this.#context,
      kind: 'process',
      live,
      // It hears one topic.
      presence: false,
      topicsFor: Object.assign(() => [wanted.at], { limit: this.#limit })
    }
    return andThen(Arrival.of(plan, request), (arrival) => {
      subscription.enter(arrival.connection)
      const opening = onFailure(
        () => andThen(arrival.connect(callbacks), () => this.#joinAll(subscription, arrival, wanted)),
        () => arrival.abandon()
      )
      if (opening) return opening.finally(() => arrival.arrived())
      arrival.arrived()
    })
  }

  #joinAll (subscription: ProcessSubscription, arrival: Arrival, wanted: Wanted): MaybePromise<void> {
    const all = arrival.topics.map((at) => at.name === wanted.at.name ? wanted : { at, cursor: undefined })
    return andThen(this.#join(subscription, arrival.connection, all), () => arrival.begun())
  }

  // --- for the app itself --------------------------------------------------------------------

  #openOwn (subscription: ProcessSubscription, wanted: Wanted, settings: ConnectionSettings): MaybePromise<void> {
    const { connection } = new OwnClient(this.#context.hub, settings)
    subscription.enter(connection)
    return onFailure(() => this.#join(subscription, connection, [wanted]), () => connection.gone(clientLeft))
  }

  #join (subscription: ProcessSubscription, connection: Connection, wanted: Wanted[]): MaybePromise<void> {
    const { entrance } = this.#context.hub
    return andThen(entrance.prepare(wanted), (joining) => {
      if (!subscription.begin(connection, joining)) entrance.release(joining)
    })
  }
}

/**
 * The topics that one client listens to. The client is in the groups of all its topics, or in none: the bytes of a
 * group may contain its position in every topic.
 */
import type { EventId } from '../adapter.ts'
import type { CloseReason } from '../close-reasons.ts'
import type { ActiveTopic } from '../delivery/active-topic.ts'
import type { FanOut } from '../delivery/fan-out.ts'
import type { Entry, Receiver } from '../event.ts'
import type { Observed, Observer } from '../observe.ts'
import type { Encoder, HeardSubscription, Notice, ResetReason } from '../wire.ts'
import { CatchUp, type CatchUpHost } from './catch-up.ts'
import type { Output } from './output.ts'
import { Subscription, type SubscriptionHost } from './subscription.ts'

/** How a client left a topic: by its own or the app's wish, by an order that took the topic, or with its connection. */
export type Departed = 'left' | 'taken' | 'ended'

/** A connection, as the node's features see it. */
export interface Listener {
  /** Why the connection ended; undefined while it is open. */
  readonly reason: CloseReason | undefined
  /** False if the connection did not listen to the topic. */
  remove (name: string): boolean
}

/** What `Listening` needs of the node. */
export interface ListeningNode {
  readonly observe: Observer
  readonly fanOut: FanOut
  entered (topic: ActiveTopic, listener: Listener): void
  left (topic: ActiveTopic, listener: Listener, how: Departed): void
  /** This event cannot be encoded. */
  gaveUp (entry: Entry, topic: string, error: unknown): void
  deliveryFailed (error: unknown, topic: string): void
  historyFailed (error: unknown, topic: string): void
}

/** What `Listening` needs of the connection. */
export interface ListeningHost extends Observed, Listener {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  tell (notice: Notice): void
  finish (reason: CloseReason): void
  end (reason: CloseReason): void
  sendAway (reason: CloseReason): void
  /** A read for this client has failed: tells the client to come back. */
  comeBack (error: unknown): void
}

/** Shared by all connections without subscriptions. */
const NONE: readonly never[] = []

export class Listening implements SubscriptionHost, CatchUpHost {
  readonly catchUp = new CatchUp(this)
  readonly #node: ListeningNode
  readonly #host: ListeningHost
  /** The array is never changed, only replaced: code that goes through it may add and remove subscriptions. */
  #subscriptions: readonly Subscription[] = NONE
  /** The encoder of the groups that the client is in; undefined if it is in none. */
  #encoder: Encoder | undefined

  constructor (node: ListeningNode, host: ListeningHost) {
    this.#node = node
    this.#host = host
  }

  get receiver (): Receiver { return this.#host.receiver }
  get closed (): boolean { return this.#host.closed }
  get output (): Output { return this.#host.output }
  get subscriptions (): readonly Subscription[] { return this.#subscriptions }
  get grouped (): boolean { return this.#encoder !== undefined }

  get names (): string[] {
    return this.#subscriptions.flatMap(({ topic: { name, declared } }) => declared.policy.companion ? [] : [name])
  }

  find (name: string): Subscription | undefined {
    return this.#subscriptions.find(({ topic }) => topic.name === name)
  }

  listens (subscription: HeardSubscription): boolean {
    return this.#subscriptions.some((one) => one === subscription)
  }

  /** `authorize` can be asked about all topics of the client. */
  get askable (): boolean {
    return this.#subscriptions.length > 0 &&
      this.#subscriptions.every(({ topic: { declared: { policy } } }) =>
        policy.companion === true || typeof policy.authorize === 'function')
  }

  // --- joining and leaving -----------------------------------------------------------

  /** Adds a subscription at `at`, or at the topic's position. Call `settle` when all are added. */
  add (topic: ActiveTopic, at: EventId | undefined, held: boolean): Subscription {
    this.leaveGroups()
    topic.flush()
    const subscription = new Subscription(this, topic, at, held)
    if (this.closed) return subscription
    // `concat` makes an array of the exact size. A spread would leave room for sixteen more.
    this.#subscriptions = this.#subscriptions.concat(subscription)
    this.#node.entered(topic, this.#host)
    return subscription
  }

  /** False if the client has left the topic already. */
  remove (subscription: Subscription, how: Departed): boolean {
    if (this.closed) return false
    this.leaveGroups()
    // `leaveGroups` has written what waited for the client. If that was too much, the connection has ended, and its
    // subscriptions with it.
    if (!this.listens(subscription)) return false
    this.#subscriptions = this.#subscriptions.filter((other) => other !== subscription)
    this.#node.observe.unsubscribed(this.#host, subscription.topic)
    this.settle()
    this.#node.left(subscription.topic, this.#host, how)
    return true
  }

  /** The connection has ended. */
  clear (): void {
    if (this.#encoder) this.#dissolve(this.#encoder)
    const subscriptions = this.#subscriptions
    this.#subscriptions = NONE
    for (const { topic } of subscriptions) this.#node.left(topic, this.#host, 'ended')
  }

  #dissolve (encoder: Encoder): void {
    for (const subscription of this.#subscriptions) subscription.topic.leave(subscription)
    this.output.outlet.release(encoder)
    this.#encoder = undefined
  }

  // --- groups ------------------------------------------------------------------------

  settle (): void {
    this.catchUp.settle()
  }

  /** Call before the set of topics changes, or a position changes without an event. `settle` must follow. */
  leaveGroups (): void {
    this.catchUp.forgetEncoder()
    // Bytes that wait for the groups are for this client too. They may be too much for it, and end the connection.
    if (this.#encoder) this.#flushTopics()
    this.endFanOut()
    // Conflated events are dropped here, and pulled from where the client stands.
    this.output.outbox?.releaseEvents()
    if (!this.#encoder) return
    const subscriptions = this.#subscriptions
    this.#dissolve(this.#encoder)
    for (const subscription of subscriptions) {
      if (subscription.topic.durable) subscription.standBefore(subscription.topic.position)
    }
  }

  joinGroups (): void {
    if (this.#encoder || this.closed) return
    const live = this.#live
    if (live.length === 0 && this.#subscriptions.length > 0) return
    const encoder = this.output.outlet.encoder(this.#subscriptions)
    this.#encoder = encoder
    for (const subscription of live) {
      if (this.closed) return
      subscription.level()
      subscription.topic.join(subscription, encoder)
      // A client that joined after the final event stays: another run of the source has begun since.
      const { ending, position } = subscription.topic
      if (ending && subscription.from !== position) this.finish(ending)
    }
  }

  /** All subscriptions but those that wait for a snapshot. */
  get #live (): readonly Subscription[] {
    const all = this.#subscriptions
    return all.some(({ held }) => held) ? all.filter(({ held }) => !held) : all
  }

  /** The client has been given everything that there is for it. */
  get complete (): boolean {
    return this.#encoder !== undefined && this.#live === this.#subscriptions
  }

  /** Writes what waits for this client in a fan-out that is under way. */
  endFanOut (): void {
    this.#node.fanOut.giveNow(this.#subscriptions)
  }

  #flushTopics (): void {
    for (const { topic } of this.#subscriptions) topic.flush()
  }

  // --- a client that reads again -------------------------------------------------------

  /** Writes what waited, as far as the client takes bytes. Then the client catches up. */
  drained (): void {
    this.#gather()
    if (this.closed) return
    this.output.full = false
    // Pulled events must come after what waits.
    if (this.catchUp.without(() => this.output.outbox?.drain() ?? false)) this.#caughtUp()
    if (!this.output.full) this.catchUp.pump()
  }

  /**
   * Called while the client still counts as full, so that what is written here goes to the outbox. The fan-out comes
   * first: a conflated event contains positions, and must not be written before the events up to them. If events are
   * missing, those that wait in the topics must be dropped too: they must not be written before the client is told. The
   * fan-out may cause the overflow, so `missing` is read after it.
   */
  #gather (): void {
    if (this.output.outbox) this.endFanOut()
    if (!this.output.outbox?.missing) return
    this.#flushTopics()
    this.endFanOut()
  }

  /** Nothing waits any more: a subscription that was conflated stands where its topic is again. */
  #caughtUp (): void {
    this.output.outbox = undefined
    for (const subscription of this.#subscriptions) if (subscription.group) subscription.level()
  }

  // --- losses ------------------------------------------------------------------------

  reset (subscription: Subscription, reason: ResetReason): void {
    const { topic } = subscription
    // Leave the groups first: a conflated event that still waits would be written with the positions that are told
    // here.
    this.leaveGroups()
    topic.flush()
    if (topic.declared.hasState) subscription.hold()
    else if (topic.durable) subscription.stand(topic.position)
    this.#tellReset(subscription, reason)
    this.settle()
  }

  tellLoss (subscription: Subscription): void {
    this.#tellReset(subscription, 'lost')
  }

  #tellReset (subscription: Subscription, reason: ResetReason): void {
    this.tell({ type: 'reset', subscription, reason })
    this.#node.observe.reset(this.#host, subscription.topic, reason)
  }

  // --- passed on ---------------------------------------------------------------------

  tell (notice: Notice): void { this.#host.tell(notice) }
  finish (reason: CloseReason): void { this.#host.finish(reason) }
  end (reason: CloseReason): void { this.#host.end(reason) }
  sendAway (reason: CloseReason): void { this.#host.sendAway(reason) }
  comeBack (error: unknown): void { this.#host.comeBack(error) }
  replayed (events: number): void { this.#node.observe.replayed(events) }
  gaveUp (entry: Entry, topic: string, error: unknown): void { this.#node.gaveUp(entry, topic, error) }
  deliveryFailed (error: unknown, topic: string): void { this.#node.deliveryFailed(error, topic) }
  historyFailed (error: unknown, topic: string): void { this.#node.historyFailed(error, topic) }
}

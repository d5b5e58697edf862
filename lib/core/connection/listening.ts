/**
 * What one client listens to. It is in the groups of all its topics, or in none: the bytes of a group may tell where it
 * stands in every one of them.
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

/** How a client has left a topic: by its own or the app's wish, by an order that took it, or with its connection. */
export type Departed = 'left' | 'taken' | 'ended'

/** A connection, as those see it who are told what it listens to. */
export interface Listener {
  /** Why it ended. */
  readonly reason: CloseReason | undefined
  /** False where it did not listen to that. */
  remove (name: string): boolean
}

/** The node, as what a client listens to sees it. */
export interface ListeningNode {
  readonly observe: Observer
  readonly fanOut: FanOut
  entered (topic: ActiveTopic, listener: Listener): void
  left (topic: ActiveTopic, listener: Listener, how: Departed): void
  /** The bytes of this event cannot be made. */
  gaveUp (entry: Entry, topic: string, error: unknown): void
  deliveryFailed (error: unknown, topic: string): void
  historyFailed (error: unknown, topic: string): void
}

/** The connection, as what it listens to sees it. */
export interface ListeningHost extends Observed, Listener {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  tell (notice: Notice): void
  finish (reason: CloseReason): void
  end (reason: CloseReason): void
  sendAway (reason: CloseReason): void
  /** What the client needs could not be had. */
  comeBack (error: unknown): void
}

/** Shared by all connections that have none. */
const NONE: readonly never[] = []

export class Listening implements SubscriptionHost, CatchUpHost {
  readonly catchUp = new CatchUp(this)
  readonly #node: ListeningNode
  readonly #host: ListeningHost
  /** Never changed, only replaced: whoever goes through it may change what the client listens to. */
  #subscriptions: readonly Subscription[] = NONE
  /** The encoder of the groups that it is in. */
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

  /** `authorize` can be asked about all that it listens to. */
  get askable (): boolean {
    return this.#subscriptions.length > 0 &&
      this.#subscriptions.every(({ topic: { declared: { policy } } }) =>
        policy.companion === true || typeof policy.authorize === 'function')
  }

  // --- joining and leaving -----------------------------------------------------------

  /** One topic more, from `at`, or from where it is. Call `settle` when all are added. */
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

  /** False where it has left already. */
  remove (subscription: Subscription, how: Departed): boolean {
    if (this.closed) return false
    this.leaveGroups()
    // `leaveGroups` has written what waited for the client. Where that was too much, the connection has ended, and with
    // it the subscription.
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
    // What waits for the groups is this client's too. It may be too much for it, and end it.
    if (this.#encoder) this.#flushTopics()
    this.endFanOut()
    // Conflated events are pulled instead, from where the client stands.
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
      // A client that came behind the end stays: another run of the source has begun since.
      const { ending, position } = subscription.topic
      if (ending && subscription.from !== position) this.finish(ending)
    }
  }

  /** All but those that wait for a snapshot. */
  get #live (): readonly Subscription[] {
    const all = this.#subscriptions
    return all.some(({ held }) => held) ? all.filter(({ held }) => !held) : all
  }

  /** It has been given everything that there is for it. */
  get complete (): boolean {
    return this.#encoder !== undefined && this.#live === this.#subscriptions
  }

  /** Writes what waits for this client in a fan-out under way. */
  endFanOut (): void {
    this.#node.fanOut.giveNow(this.#subscriptions)
  }

  #flushTopics (): void {
    for (const { topic } of this.#subscriptions) topic.flush()
  }

  // --- a client that reads again -------------------------------------------------------

  /** Writes what waited, as far as the client takes it; then the client catches up. */
  drained (): void {
    this.#gather()
    if (this.closed) return
    this.output.full = false
    // Nothing is pulled meanwhile: what is pulled must come behind what waits.
    if (this.catchUp.without(() => this.output.outbox?.drain() ?? false)) this.#caughtUp()
    if (!this.output.full) this.catchUp.pump()
  }

  /**
   * Called while the client still counts as full. A client that misses events misses those too that wait in its topics:
   * they must not be written before it is told. And a conflated event tells positions, to which the client must have
   * been brought before. What comes out of the fan-out may be what overflows, so whether events are missing is asked
   * after it.
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
    // Leave first: a conflated event that still waits would be written with the positions that are told here.
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

/**
 * One topic that one client listens to. A subscription to a topic with history is *level*: a member of a group, which
 * gets shared bytes; or *apart*: at a position of its own, from which it pulls; or *held*: in no group until the client
 * has its snapshot. A held subscription writes no event, because the snapshot would undo it, and tells no cursor,
 * because a client that resumes from it would miss the snapshot.
 */
import type { EventId } from '../adapter.ts'
import { internalError, type CloseReason } from '../close-reasons.ts'
import type { ActiveTopic } from '../delivery/active-topic.ts'
import type { Group, Member } from '../delivery/member.ts'
import type { TopicSnapshot } from '../delivery/snapshots.ts'
import { entriesFor, type Entry, type Receiver } from '../event.ts'
import type { Chunk, HeardSubscription, ResetReason } from '../wire.ts'
import type { Output } from './output.ts'
import type { Recipient } from './slow-client.ts'

/** Where a subscription stands. */
export type Standing =
  /** Where its topic's groups are. */
  | { readonly is: 'level' }
  /** At a position of its own: behind, conflated, or before dropped events of which the client has not been told. */
  | { readonly is: 'apart', at: EventId, search?: Search }
  /** Waits for a snapshot, or for the rest of one. `tries`: how many were taken in vain. */
  | { readonly is: 'held', tries: number, snapshot: 'wanted' | 'asked' | TopicSnapshot, part: number }

export type Apart = Standing & { is: 'apart' }
export type Held = Standing & { is: 'held' }

/** A read of events that are older than the recent ones, for a subscription that stands at `from`. */
export interface Search { readonly from: EventId, state: 'asked' | 'gone' }

/** What a subscription needs of its connection. */
export interface SubscriptionHost {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  /** False if the client has left the topic. */
  listens (subscription: HeardSubscription): boolean
  leaveGroups (): void
  settle (): void
  /** Events were lost for good. Tells the client, and goes on from where the topic is now. */
  reset (subscription: Subscription, reason: ResetReason): void
  /** Tells the client that one event is lost. Nothing else changes. */
  tellLoss (subscription: Subscription): void
  /** This event cannot be encoded. */
  gaveUp (entry: Entry, topic: string, error: unknown): void
  deliveryFailed (error: unknown, topic: string): void
  /** Ends the connection once the client has been given everything that waits for it. */
  finish (reason: CloseReason): void
  end (reason: CloseReason): void
  /** Ends the connection, and tells the client when to come back. */
  sendAway (reason: CloseReason): void
}

const LEVEL: Standing = Object.freeze({ is: 'level' })

export class Subscription implements Member, Recipient {
  readonly topic: ActiveTopic
  /** The position at which the client joined. */
  readonly from: EventId
  standing: Standing
  lost: EventId | undefined
  group: Group | undefined
  slot = 0
  readonly #host: SubscriptionHost

  /** `at`: the client's cursor, if it has one. `held`: the client gets a snapshot first. */
  constructor (host: SubscriptionHost, topic: ActiveTopic, at: EventId | undefined, held: boolean) {
    this.#host = host
    this.topic = topic
    this.from = at ?? topic.position
    this.standing = held ? toBeHeld() : topic.durable ? { is: 'apart', at: this.from } : LEVEL
  }

  get held (): boolean { return this.standing.is === 'held' }
  get receiver (): Receiver { return this.#host.receiver }
  get buffered (): number { return this.#host.output.buffered }
  get ownPlace (): EventId | undefined { return this.standing.is === 'apart' ? this.standing.at : undefined }
  /** The position of the subscription, even if the client has not been told of it. */
  get place (): EventId { return this.ownPlace ?? this.topic.position }
  get position (): EventId | undefined { return this.held || !this.topic.durable ? undefined : this.place }

  /** Does nothing while the subscription is held: the snapshot will say where it stands. */
  stand (at: EventId): void {
    if (this.standing.is === 'apart') this.standing.at = at
    else if (this.standing.is === 'level') this.release(at)
  }

  /** The subscription waits for no snapshot any more. */
  release (at: EventId): void {
    this.standing = { is: 'apart', at }
  }

  standBefore (id: EventId): void {
    if (this.standing.is === 'level') this.stand(id)
  }

  /** From here on the subscription stands where its topic does. */
  level (): void {
    this.standing = LEVEL
  }

  hold (): void {
    if (!this.held) this.standing = toBeHeld()
  }

  // --- as a member of a group ----------------------------------------------------

  /** The hot path: called for every member of a group. */
  deliver (bytes: Chunk, entries: readonly Entry[]): void {
    this.#host.output.deliver(this, bytes, entries)
  }

  fail (error: unknown): void {
    this.#host.deliveryFailed(error, this.topic.name)
    // The client comes back and resumes from its cursor.
    this.#host.end(internalError)
  }

  leaveGroups (): void {
    this.#host.leaveGroups()
  }

  takeSingly (passing: readonly Entry[]): void {
    this.#host.leaveGroups()
    if (this.#host.listens(this)) this.giveSingly(passing)
    this.#host.settle()
  }

  reset (reason: ResetReason): void {
    if (this.#host.listens(this)) this.#host.reset(this, reason)
  }

  replay (): void {
    if (!this.#host.listens(this)) return
    this.#host.leaveGroups()
    this.#host.settle()
  }

  finish (reason: CloseReason): void {
    this.#host.finish(reason)
  }

  sendAway (reason: CloseReason): void {
    this.#host.sendAway(reason)
  }

  // --- one event after the other ---------------------------------------------------
  // If several events cannot be encoded together, each is encoded separately. An event that cannot be encoded at all
  // (another node let data through that this one's encoder cannot read) is given up alone, and told as a loss.

  giveSingly (entries: readonly Entry[]): void {
    for (const entry of entriesFor(this.receiver, entries)) {
      // Telling a loss may have ended the connection. Or this subscription now waits for a snapshot, which includes
      // what follows.
      if (this.#host.closed || this.held || !this.#host.listens(this)) return
      if (entry.id !== undefined) this.stand(entry.id)
      const bytes = this.bytesOrLoss(entry)
      // The bytes may be empty: the flat format cannot tell a position.
      if (bytes && bytes.byteLength > 0) this.#host.output.write(bytes)
    }
  }

  /** The subscription must stand at the event already. */
  bytesOrLoss (entry: Entry): Chunk | undefined {
    try {
      return this.#host.output.outlet.encodeOne(entry, this)
    } catch (error) {
      this.#lose(entry, error)
      return undefined
    }
  }

  #lose (entry: Entry, error: unknown): void {
    this.#host.gaveUp(entry, this.topic.name, error)
    // If the topic has a state, a new snapshot makes up for the loss. Otherwise the client is told, and goes on.
    if (this.topic.declared.hasState) this.#host.reset(this, 'lost')
    else this.#host.tellLoss(this)
  }
}

function toBeHeld (): Held {
  return { is: 'held', tries: 0, snapshot: 'wanted', part: 0 }
}

/**
 * One topic that one client listens to. A durable one is either *level*, a member of a group that is written to with
 * shared bytes; or *apart*, at a place of its own, from where it pulls what follows; or *held*, in no group until the
 * client has its snapshot. An event sent before the snapshot would be undone by it, and a client that was told a cursor
 * before it would resume without it.
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
  /** At a place of its own: behind, conflated, or before something that it has missed and has not been told of. */
  | { readonly is: 'apart', at: EventId, search?: Search }
  /** Waits for a snapshot, or for the rest of it. `tries`: those that were taken in vain. */
  | { readonly is: 'held', tries: number, snapshot: 'wanted' | 'asked' | TopicSnapshot, part: number }

export type Apart = Standing & { is: 'apart' }
export type Held = Standing & { is: 'held' }

/** A read of what is older than the recent events, for the subscriptions that stand at `from`. */
export interface Search { readonly from: EventId, state: 'asked' | 'gone' }

/** The connection, as its subscriptions see it. */
export interface SubscriptionHost {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  /** It has not been left meanwhile. */
  listens (subscription: HeardSubscription): boolean
  leaveGroups (): void
  settle (): void
  /** Events were lost for good: says so, and goes on from where the topic is now. */
  reset (subscription: Subscription, reason: ResetReason): void
  /** Tells that one event is lost. Nothing else changes. */
  tellLoss (subscription: Subscription): void
  /** The bytes of this event cannot be made. */
  gaveUp (entry: Entry, topic: string, error: unknown): void
  deliveryFailed (error: unknown, topic: string): void
  /** Ends once the client has been given everything that waits for it. */
  finish (reason: CloseReason): void
  end (reason: CloseReason): void
  /** Ends, and tells the client when to come back. */
  sendAway (reason: CloseReason): void
}

const LEVEL: Standing = Object.freeze({ is: 'level' })

export class Subscription implements Member, Recipient {
  readonly topic: ActiveTopic
  /** Where it joined. */
  readonly from: EventId
  standing: Standing
  lost: EventId | undefined
  group: Group | undefined
  slot = 0
  readonly #host: SubscriptionHost

  /** `at`: the client's cursor, if it has one. `held`: it is to have a snapshot first. */
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
  /** Where it is, whatever the client has been told of that. */
  get place (): EventId { return this.ownPlace ?? this.topic.position }
  get position (): EventId | undefined { return this.held || !this.topic.durable ? undefined : this.place }

  /** Does nothing while it waits for a snapshot, which will say where it stands. */
  stand (at: EventId): void {
    if (this.standing.is === 'apart') this.standing.at = at
    else if (this.standing.is === 'level') this.release(at)
  }

  /** It waits for no snapshot any more. */
  release (at: EventId): void {
    this.standing = { is: 'apart', at }
  }

  standBefore (id: EventId): void {
    if (this.standing.is === 'level') this.stand(id)
  }

  /** From here on it stands where its topic does. */
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
    // The client comes back to where it was.
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
  // Where the bytes of several cannot be made together, each is made for itself. What cannot be made at all (another
  // node let data through that this one's encoder cannot read) is given up alone, and told as a loss.

  giveSingly (entries: readonly Entry[]): void {
    for (const entry of entriesFor(this.receiver, entries)) {
      // Telling a loss may have ended the connection, or may have made this wait for a snapshot, which holds what
      // follows.
      if (this.#host.closed || this.held || !this.#host.listens(this)) return
      if (entry.id !== undefined) this.stand(entry.id)
      const bytes = this.bytesOrLoss(entry)
      // May be empty: the flat format has no words for a place.
      if (bytes && bytes.byteLength > 0) this.#host.output.write(bytes)
    }
  }

  /** It stands at the event already. */
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
    // Where there is a snapshot, it makes good the loss. Otherwise the loss is told, and the client goes on.
    if (this.topic.declared.hasState) this.#host.reset(this, 'lost')
    else this.#host.tellLoss(this)
  }
}

function toBeHeld (): Held {
  return { is: 'held', tries: 0, snapshot: 'wanted', part: 0 }
}

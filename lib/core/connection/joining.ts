/** From a client's cursors to its subscriptions: topics are opened, and their past brought within reach; then it joins all in one step. */
import type { Adapter, Id } from '../adapter.ts'
import type { Patience } from '../callbacks.ts'
import type { ActiveTopic } from '../delivery/active-topic.ts'
import type { ActiveTopics } from '../delivery/active-topics.ts'
import type { MaybePromise } from '../maybe-promise.ts'
import type { Observed, Observer } from '../observe.ts'
import type { TopicAt } from '../topics/topic.ts'
import type { ResetReason } from '../wire.ts'
import type { Subscription } from './subscription.ts'
import { Unavailable } from '../../errors.ts'

/** Where a client says it is in a topic. `start`: before the oldest event kept. `unknown`: it names a place that is none. */
export type Cursor = { id: Id } | 'unknown' | 'start' | undefined

export interface Wanted { readonly at: TopicAt, readonly cursor: Cursor }

/** A topic that a client is about to join: it is open, and its past at hand. */
export interface Joining {
  readonly at: TopicAt
  readonly topic: ActiveTopic
  cursor: Cursor
  /** It asked for the topic from its start: there is nothing that it could have lost. */
  fromStart?: boolean
  /** The cursor was not found, and another was put in its place. */
  lost?: ResetReason
}

export interface Joined {
  readonly subscription: Subscription
  /** It was given what it had missed, or could not be; undefined where it had missed nothing that it knew of. */
  readonly recovered: boolean | undefined
  readonly reason: ResetReason | undefined
}

/** A connection, as far as it joins. */
export interface Joiner extends Observed {
  has (name: string): boolean
  /** False for what was taken from it. */
  admits (name: string): boolean
  add (topic: ActiveTopic, at: Id | undefined, held: boolean): Subscription
}

export interface JoiningNode {
  readonly adapter: Pick<Adapter, 'read'>
  readonly active: ActiveTopics
  readonly observe: Observer
  readonly patience: Patience
  /** Why the adapter is away. */
  readonly down: string | undefined
}

export class Entrance {
  readonly #node: JoiningNode

  constructor (node: JoiningNode) {
    this.#node = node
  }

  /** Opens the topics and brings what follows the cursors within reach. `join` or `release` must follow. @throws Unavailable */
  prepare (wanted: readonly Wanted[]): MaybePromise<Joining[]> {
    const joining = wanted.map(({ at, cursor }): Joining => ({ at, cursor, topic: this.#node.active.hold(at) }))
    return joining.every(isAtHand) ? joining : this.#reachAll(joining)
  }

  release (joining: readonly Joining[]): void {
    for (const { topic } of joining) this.#node.active.release(topic)
  }

  /** In one synchronous step: every subscription stands at its cursor, or where its topic is. */
  join (client: Joiner, joining: readonly Joining[]): Joined[] {
    const joined = joining
      // Threat: a topic may have been taken from it since the app was asked. Every way into a topic comes through here.
      .filter(({ topic }) => !client.has(topic.name) && client.admits(topic.name))
      .map((one) => this.#join(client, one))
    this.release(joining)
    return joined
  }

  #join (client: Joiner, one: Joining): Joined {
    const { topic, cursor } = one
    const found = isFound(one)
    const reason = one.lost ?? (cursor === undefined || found || !topic.log ? undefined : resetReason(topic, cursor))
    const replayed = one.lost === undefined && !one.fromStart && found
    const recovered = reason ? false : replayed || undefined
    this.#node.observe.subscribed(client, topic.name, recovered)
    const subscription = client.add(
      topic,
      typeof cursor === 'object' && found ? cursor.id : undefined,
      !replayed && topic.declared.snapshot !== undefined
    )
    if (reason !== undefined) subscription.lost = typeof cursor === 'object' ? cursor.id : ''
    return { subscription, recovered, reason }
  }

  // --- the adapter is asked ------------------------------------------------------------

  async #reachAll (joining: Joining[]): Promise<Joining[]> {
    try {
      await this.#inTime(Promise.all(joining.map((one) => this.#reach(one))))
    } catch (error) {
      this.release(joining)
      throw error
    }
    return joining
  }

  /** A client waits for the adapter only so long, and not at all for one that is known to be away: it is to come back. */
  async #inTime (work: Promise<unknown>): Promise<void> {
    work.catch(() => {})
    if (this.#node.down !== undefined) throw new Unavailable(this.#node.down)
    await this.#node.patience.wait(work, () => new Unavailable('the adapter did not answer in time'))
  }

  async #reach (one: Joining): Promise<void> {
    const { topic, at } = one
    await this.#node.active.ready(topic)
    one.fromStart = one.cursor === 'start'
    if (one.fromStart) await this.#reachStart(one)
    else if (typeof one.cursor === 'object') await topic.log?.reach(one.cursor.id)
    // Of what is only of use as a whole, a client that has lost its place is given everything anew.
    if (!at.topic.policy.whole || one.cursor === undefined || isFound(one)) return
    one.lost = resetReason(topic, one.cursor)
    await this.#reachStart(one)
  }

  async #reachStart (one: Joining): Promise<void> {
    const { topic: { log }, at } = one
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
    if (isFound(one)) return
    // The log has begun anew, and this node has not heard of it.
    await log?.repair()
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
  }

  /** The id before the oldest event. Where there is none yet, the one that the first will link to: both from one read. */
  async #startOf (name: string): Promise<Id> {
    const { events, head } = await this.#node.adapter.read(name, null, { count: 1, bytes: 1 })
    return events[0]?.prev ?? head
  }
}

/** Nothing need be asked of the adapter. */
function isAtHand (one: Joining): boolean {
  const { topic, cursor, at } = one
  if (!topic.opened || cursor === 'start') return false
  if (cursor === undefined || isFound(one)) return true
  return cursor === 'unknown' && !at.topic.policy.whole
}

/** The log still holds the cursor's place. */
function isFound ({ topic, cursor }: Joining): boolean {
  return typeof cursor === 'object' && topic.log?.locate(cursor.id) !== undefined
}

function resetReason (topic: ActiveTopic, cursor: Cursor): ResetReason {
  return typeof cursor === 'object' && topic.log ? topic.log.fault(cursor.id) : 'unknown-cursor'
}

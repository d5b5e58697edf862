/**
 * Makes subscriptions from a client's cursors. First the topics are opened, and the events after the cursors are read.
 * Then the client joins all topics in one step.
 */
import type { Adapter, EventId } from '../adapter.ts'
import type { Patience } from '../callbacks.ts'
import type { ActiveTopic } from '../delivery/active-topic.ts'
import type { ActiveTopics } from '../delivery/active-topics.ts'
import type { MaybePromise } from '../maybe-promise.ts'
import type { Observed, Observer } from '../observe.ts'
import type { TopicAt } from '../topics/topic.ts'
import type { ResetReason } from '../wire.ts'
import type { Subscription } from './subscription.ts'
import { Unavailable } from '../../errors.ts'

/**
 * The position that a client names for a topic. `start`: before the oldest event kept. `unknown`: the cursor names no
 * place in the topic.
 */
export type Cursor = { id: EventId } | 'unknown' | 'start' | undefined

export interface Wanted { readonly at: TopicAt, readonly cursor: Cursor }

/** A topic that a client is about to join. The topic is open, and the events after the cursor have been read. */
export interface Joining {
  readonly at: TopicAt
  readonly topic: ActiveTopic
  cursor: Cursor
  /** The client asked for the topic from its start: it cannot have lost anything. */
  fromStart?: boolean
  /** Why the client's cursor was not found. The topic's start has taken its place. */
  lost?: ResetReason
}

export interface Joined {
  readonly subscription: Subscription
  /** Did the client get everything after its cursor? Undefined if it gave none, or asked for all from the start. */
  readonly recovered: boolean | undefined
  readonly reason: ResetReason | undefined
}

/** What joining needs of a connection. */
export interface Joiner extends Observed {
  has (name: string): boolean
  /** False for a topic that was taken from the client, or that it left before it began. */
  admits (name: string): boolean
  add (topic: ActiveTopic, at: EventId | undefined, held: boolean): Subscription
}

export interface JoiningNode {
  readonly adapter: Pick<Adapter, 'read'>
  readonly active: ActiveTopics
  readonly observe: Observer
  readonly patience: Patience
  /** Why the adapter is not available; undefined if it is. */
  readonly down: string | undefined
}

export class Entrance {
  readonly #node: JoiningNode

  constructor (node: JoiningNode) {
    this.#node = node
  }

  /**
   * Opens the topics, and reads the events after the cursors. `join` or `release` must follow.
   * @throws Unavailable
   */
  prepare (wanted: readonly Wanted[]): MaybePromise<Joining[]> {
    const joining = wanted.map(({ at, cursor }): Joining => ({ at, cursor, topic: this.#node.active.hold(at) }))
    return joining.every(isAtHand) ? joining : this.#reachAll(joining)
  }

  release (joining: readonly Joining[]): void {
    for (const { topic } of joining) this.#node.active.release(topic)
  }

  /** Adds all subscriptions in one synchronous step. Each stands at its cursor, or where its topic is. */
  join (client: Joiner, joining: readonly Joining[]): Joined[] {
    // Threat: a topic may have been taken from the client since the app was asked, or be named twice. Every join comes
    // through here.
    const joined = joining.flatMap((one) =>
      client.has(one.topic.name) || !client.admits(one.topic.name) ? [] : [this.#join(client, one)])
    this.release(joining)
    return joined
  }

  #join (client: Joiner, one: Joining): Joined {
    const { topic, cursor } = one
    const found = isFound(one)
    const reason = one.lost ?? (cursor === undefined || found || !topic.log ? undefined : resetReason(topic, cursor))
    const replayed = one.lost === undefined && !one.fromStart && found
    const recovered = reason ? false : replayed || undefined
    this.#node.observe.subscribed(client, topic, recovered, reason)
    const subscription = client.add(
      topic,
      typeof cursor === 'object' && found ? cursor.id : undefined,
      !replayed && topic.declared.hasState
    )
    if (reason !== undefined) subscription.lost = typeof cursor === 'object' ? cursor.id : ''
    return { subscription, recovered, reason }
  }

  // --- reading from the adapter --------------------------------------------------------

  async #reachAll (joining: Joining[]): Promise<Joining[]> {
    try {
      await this.#inTime(Promise.all(joining.map((one) => this.#reach(one))))
    } catch (error) {
      this.release(joining)
      throw error
    }
    return joining
  }

  /**
   * A client waits only so long for the adapter, and not at all for an adapter that is known to be unavailable. After
   * that the client is told to come back.
   */
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
    // The topic is of use only as a whole: a client whose cursor is not found gets all of it again.
    if (!at.topic.policy.whole || one.cursor === undefined || isFound(one)) return
    one.lost = resetReason(topic, one.cursor)
    await this.#reachStart(one)
  }

  async #reachStart (one: Joining): Promise<void> {
    const { topic: { log }, at } = one
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
    if (isFound(one)) return
    // The log in the store has begun anew, and this node does not know that yet.
    await log?.repair()
    one.cursor = { id: await this.#startOf(at.name) }
    await log?.reach(one.cursor.id)
  }

  /**
   * The id before the oldest event. If there is no event yet, the id that the first event will link to. One read gives
   * both.
   */
  async #startOf (name: string): Promise<EventId> {
    const { events, head } = await this.#node.adapter.read(name, null, { count: 1, bytes: 1 })
    return events[0]?.prev ?? head
  }
}

/** True when the adapter need not be asked. */
function isAtHand (one: Joining): boolean {
  const { topic, cursor, at } = one
  if (!topic.opened || cursor === 'start') return false
  if (cursor === undefined || isFound(one)) return true
  return cursor === 'unknown' && !at.topic.policy.whole
}

/** True if the log still has the cursor's place. */
function isFound ({ topic, cursor }: Joining): boolean {
  return typeof cursor === 'object' && topic.log?.locate(cursor.id) !== undefined
}

function resetReason (topic: ActiveTopic, cursor: Cursor): ResetReason {
  return typeof cursor === 'object' && topic.log ? topic.log.fault(cursor.id) : 'unknown-cursor'
}

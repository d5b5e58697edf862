/**
 * A client that is behind pulls what it has missed at its own pace, and nothing is kept for it meanwhile. It joins its
 * groups again in the same synchronous step in which it finds nothing left to pull.
 */
import type { EventId } from '../adapter.ts'
import type { SnapshotPart, TopicSnapshot } from '../delivery/snapshots.ts'
import type { ReplayStep } from '../delivery/replays.ts'
import { bytesOf } from '../delivery/bytes.ts'
import { entriesFor, type Receiver } from '../event.ts'
import type { Chunk, Encoder, Notice, ResetReason } from '../wire.ts'
import { onNextTurn } from '../turn.ts'
import type { Output } from './output.ts'
import type { Apart, Held, Search, Subscription } from './subscription.ts'
import { Unavailable } from '../../errors.ts'

/** The connection, as its catching up sees it. */
export interface CatchUpHost {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  /** It is in its groups: there is nothing to catch up with. */
  readonly grouped: boolean
  readonly subscriptions: readonly Subscription[]
  listens (subscription: Subscription): boolean
  leaveGroups (): void
  /** Call when every subscription that is not held is level. */
  joinGroups (): void
  tell (notice: Notice): void
  reset (subscription: Subscription, reason: ResetReason): void
  replayed (events: number): void
  /** What this client needs could not be had: it is told to come back. */
  comeBack (error: unknown): void
  historyFailed (error: unknown, topic: string): void
}

/** What one step of a topic, or of all, has come to. `waiting`: for a read, or for a snapshot. */
type Step = 'moved' | 'waiting' | 'level'

/** How often a snapshot is taken when, each time, its place in the log is trimmed away meanwhile. */
const SNAPSHOT_TRIES = 3
/** The first who is given a part makes its bytes. After so many parts other work has its turn. */
const PARTS_IN_ONE_TURN = 8

export class CatchUp {
  readonly #host: CatchUpHost
  #pumping = false
  /**
   * The encoder of the groups that the client will join. `own`: its bytes depend on the positions of this client's
   * other topics.
   */
  #encoder: Encoder | 'own' | undefined

  constructor (host: CatchUpHost) {
    this.#host = host
  }

  /** A client that has nothing to pull joins its groups in this same step. Any other starts to pull. */
  settle (): void {
    for (const subscription of this.#host.subscriptions) {
      if (subscription.standing.is === 'held') this.#askSnapshot(subscription, subscription.standing)
    }
    this.pump()
  }

  /** The set of topics is about to change, and with it the encoder. */
  forgetEncoder (): void {
    this.#encoder = undefined
  }

  /** Nothing is pulled while `run` runs: what is pulled must come behind what `run` writes. */
  without<T> (run: () => T): T {
    this.#pumping = true
    try {
      return run()
    } finally {
      this.#pumping = false
    }
  }

  /**
   * Pulls for as long as the client takes bytes. When nothing is left for any topic, the client joins its groups in the
   * same step.
   */
  pump (): void {
    const host = this.#host
    if (this.#pumping || host.grouped || host.closed) return
    this.without(() => {
      let step: Step = 'moved'
      while (step === 'moved' && !host.output.full && !host.closed) step = this.#stepAll()
      if (step === 'level') host.joinGroups()
    })
  }

  /** One step of every topic. `level`: all that are not held stand where their topics are. */
  #stepAll (): Step {
    const host = this.#host
    let all: Step = 'level'
    for (const subscription of host.subscriptions) {
      if (!subscription.topic.durable) continue
      if (host.output.full || host.closed) return 'moved'
      const step = this.#step(subscription)
      if (step === 'moved') all = 'moved'
      else if (step === 'waiting' && all === 'level') all = 'waiting'
    }
    return all
  }

  #step (subscription: Subscription): Step {
    const { standing } = subscription
    if (standing.is !== 'held') return this.#pull(subscription)
    // A snapshot that takes its time holds up its own topic alone.
    return typeof standing.snapshot === 'object'
      ? this.#giveSnapshot(subscription, standing, standing.snapshot)
      : 'level'
  }

  // --- events ----------------------------------------------------------------------

  #pull (subscription: Subscription): Step {
    subscription.topic.flush()
    const at = subscription.place
    const encoder = this.#replayEncoder()
    let step: Step | 'gone'
    try {
      step = encoder === 'own' ? this.#pullOwn(subscription, at) : this.#pullShared(subscription, at, encoder)
    } catch {
      subscription.giveSingly(subscription.topic.after(at) ?? [])
      return 'moved'
    }
    return step === 'gone' ? this.#seek(subscription, at) : step
  }

  #pullShared (subscription: Subscription, at: EventId, encoder: Encoder): Step | 'gone' {
    const replay = subscription.topic.replay(encoder, at)
    if (typeof replay === 'string') return replay
    const bytes = this.#ownBytes(subscription, replay, encoder)
    subscription.stand(replay.to)
    this.#host.replayed(replay.count)
    // May be empty: the flat format has no words for a place.
    if (bytes.byteLength > 0) this.#host.output.write(bytes)
    return 'moved'
  }

  /** Some of the events may not be for this client. */
  #ownBytes ({ topic }: Subscription, { bytes, entries }: ReplayStep, encoder: Encoder): Chunk {
    const own = entries && entriesFor(this.#host.receiver, entries)
    return own === entries ? bytes : bytesOf(encoder, own ?? [], topic)
  }

  #pullOwn (subscription: Subscription, at: EventId): Step | 'gone' {
    const { output, receiver } = this.#host
    const entries = subscription.topic.after(at)
    if (!entries) return 'gone'
    if (entries.length === 0) return 'level'
    const blocks = entriesFor(receiver, entries).map((entry) => {
      subscription.stand(entry.id as EventId)
      return output.outlet.encodeOne(entry, subscription)
    })
    this.#host.replayed(entries.length)
    output.write(output.outlet.join(blocks))
    return 'moved'
  }

  /**
   * The encoder of the groups that the client will join, if its bytes do not depend on the positions of other topics.
   */
  #replayEncoder (): Encoder | 'own' {
    if (this.#encoder === undefined) {
      const { output: { outlet }, subscriptions } = this.#host
      const encoder = outlet.encoder(subscriptions)
      this.#encoder = encoder.shared ? encoder : 'own'
      outlet.release(encoder)
    }
    return this.#encoder
  }

  /** What follows is not among the recent events any more: the adapter may still have it. */
  #seek (subscription: Subscription, at: EventId): Step {
    subscription.stand(at)
    const standing = subscription.standing as Apart
    if (standing.search?.from !== at) return this.#search(subscription, standing, at)
    if (standing.search.state === 'asked') return 'waiting'
    this.#host.reset(subscription, 'expired')
    return 'moved'
  }

  #search (subscription: Subscription, standing: Apart, at: EventId): 'waiting' {
    const { log, name } = subscription.topic
    const search: Search = { from: at, state: 'asked' }
    standing.search = search
    log?.reach(at).then(() => {
      if (log.locate(at) === undefined) search.state = 'gone'
      // The read has found it. Should it be dropped again before the client takes it, another search starts.
      else if (standing.search === search) delete standing.search
      this.pump()
    }, (error: unknown) => {
      this.#host.historyFailed(error, name)
      this.#host.comeBack(error)
    })
    return 'waiting'
  }

  // --- snapshots -------------------------------------------------------------------

  #askSnapshot (subscription: Subscription, standing: Held): void {
    if (standing.snapshot !== 'wanted') return
    standing.snapshot = 'asked'
    subscription.topic.snapshot().then((snapshot) => {
      standing.part = 0
      this.#goOn(subscription, standing, snapshot)
    }, (error: unknown) => {
      if (this.#host.listens(subscription)) this.#host.comeBack(error)
    })
  }

  #goOn (subscription: Subscription, standing: Held, snapshot: TopicSnapshot): void {
    if (!this.#host.listens(subscription)) return
    standing.snapshot = snapshot
    // The client gets a position in one topic more, and with it another encoder.
    this.#host.leaveGroups()
    this.pump()
  }

  /** As if it were asked for again: the client's other topics go on meanwhile. */
  #rest (subscription: Subscription, standing: Held, snapshot: TopicSnapshot): 'level' {
    standing.snapshot = 'asked'
    onNextTurn(() => this.#goOn(subscription, standing, snapshot))
    return 'level'
  }

  /** Parts of two states would make none. */
  #tooSlow (): Step {
    this.#host.comeBack(new Unavailable('the client reads the state more slowly than its events come'))
    return 'moved'
  }

  #giveSnapshot (subscription: Subscription, standing: Held, snapshot: TopicSnapshot): Step {
    const { topic } = subscription
    const kept = snapshot.parts.length > 0 && topic.log?.locate(snapshot.from) !== undefined
    if (!kept && ++standing.tries < SNAPSHOT_TRIES) {
      standing.snapshot = 'wanted'
      this.#askSnapshot(subscription, standing)
      return 'level'
    }
    if (!kept && topic.declared.policy.keyed) return this.#tooSlow()
    const part = snapshot.parts[standing.part++] as SnapshotPart
    if (standing.part < snapshot.parts.length) {
      this.#host.tell({ type: 'snapshot', subscription, data: part.data, event: part.event })
      return standing.part % PARTS_IN_ONE_TURN === 0 ? this.#rest(subscription, standing, snapshot) : 'moved'
    }
    topic.flush()
    // The client stands at the snapshot first, and where the reset goes on from only once it is told: a client that is
    // cut between the two must not resume behind the loss.
    subscription.release(snapshot.from)
    this.#host.tell({ type: 'snapshot', subscription, data: part.data, event: part.event })
    if (kept) return 'moved'
    subscription.stand(topic.position)
    this.#host.tell({ type: 'reset', subscription, reason: 'expired' })
    return 'moved'
  }
}

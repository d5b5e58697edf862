/**
 * A client that is behind pulls the events that it has missed, at its own pace. Nothing is kept for it meanwhile. The
 * client joins its groups again in the same synchronous step in which it finds nothing left to pull.
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

/** What catching up needs of the connection. */
export interface CatchUpHost {
  readonly receiver: Receiver
  readonly closed: boolean
  readonly output: Output
  /** The client is in its groups, so there is nothing to catch up with. */
  readonly grouped: boolean
  readonly subscriptions: readonly Subscription[]
  listens (subscription: Subscription): boolean
  leaveGroups (): void
  /** Call when every subscription that is not held is level. */
  joinGroups (): void
  tell (notice: Notice): void
  reset (subscription: Subscription, reason: ResetReason): void
  replayed (events: number): void
  /** A read for this client has failed: tells the client to come back. */
  comeBack (error: unknown): void
  historyFailed (error: unknown, topic: string): void
}

/** The result of one step of a topic, or of all topics. `waiting`: older events are being read. */
type Step = 'moved' | 'waiting' | 'level'

/** How often a snapshot is taken, if its place in the log is dropped each time before the client gets it. */
const SNAPSHOT_TRIES = 3
/** Parts of a snapshot in one turn of the event loop: the first client that gets a part makes its bytes. */
const PARTS_IN_ONE_TURN = 8

export class CatchUp {
  readonly #host: CatchUpHost
  #pumping = false
  /** The encoder of the groups to join. `own`: the bytes depend on the positions of the client's other topics. */
  #encoder: Encoder | 'own' | undefined

  constructor (host: CatchUpHost) {
    this.#host = host
  }

  /** Asks for wanted snapshots, and pulls. With nothing to pull, the client joins its groups in this same step. */
  settle (): void {
    for (const subscription of this.#host.subscriptions) {
      if (subscription.standing.is === 'held') this.#askSnapshot(subscription, subscription.standing)
    }
    this.pump()
  }

  /** Call before the set of topics changes: the encoder depends on it. */
  forgetEncoder (): void {
    this.#encoder = undefined
  }

  /** Nothing is pulled while `run` runs, so that pulled events come after what `run` writes. */
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

  /** One step of every topic. `level`: all subscriptions that are not held stand where their topics are. */
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
    // A slow snapshot delays only its own topic.
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
    // The bytes may be empty: the flat format cannot tell a position.
    if (bytes.byteLength > 0) this.#host.output.write(bytes)
    return 'moved'
  }

  /** Without the events that are not for this client. */
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

  /** The recent events do not reach back to `at` any more. The adapter may still have what follows. */
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
      // The read has found the place. If it is dropped again before the client pulls, another search starts.
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
    // The client gets a position in one more topic, and with it another encoder.
    this.#host.leaveGroups()
    this.pump()
  }

  /** Goes on in the next turn. Until then the snapshot counts as asked for, and the client's other topics go on. */
  #rest (subscription: Subscription, standing: Held, snapshot: TopicSnapshot): 'level' {
    standing.snapshot = 'asked'
    onNextTurn(() => this.#goOn(subscription, standing, snapshot))
    return 'level'
  }

  /** The rest of the snapshot was dropped. Parts of two states do not make one, so the client comes back. */
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
    // The client stands at the snapshot's place first, and at the topic's position only when the reset is told. A
    // client that is cut between the two must not resume after the loss.
    subscription.release(snapshot.from)
    this.#host.tell({ type: 'snapshot', subscription, data: part.data, event: part.event })
    if (kept) return 'moved'
    subscription.stand(topic.position)
    this.#host.tell({ type: 'reset', subscription, reason: 'expired' })
    return 'moved'
  }
}

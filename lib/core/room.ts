/** One topic with listeners on this node: its log, who listens, and what waits to be written in this turn. */
import type { Id, LogEvent } from './adapter.ts'
import type { Subscription } from './connection.ts'
import { CallbackTimeout } from '../errors.ts'
import { toError } from './callbacks.ts'
import { inNobodysName } from './context.ts'
import { report } from './diagnostics.ts'
import { sourceEnded, type CloseReason } from './close-reasons.ts'
import { entriesFor, FINAL_EVENTS, type Entry } from './event.ts'
import type { Message } from './fan-out.ts'
import { giveSingly } from './singly.ts'
import { TopicLog } from './topic-log.ts'
import type { DeclaredTopic } from './topic.ts'
import type { Encoder, ResetReason } from './wire.ts'
import { idParts } from './ids.ts'
import type { Hub } from './hub.ts'

/** Listeners that get the same bytes. */
export interface Group {
  readonly encoder: Encoder
  readonly members: Subscription[]
}

/** A topic's state as sent to those who join, and the position it was taken at. */
export interface RoomSnapshot {
  data: Uint8Array
  event: string | undefined
  /** Where the live events start for whoever is given this. */
  from: Id
}

/** Some events that follow an id, as bytes. */
export interface ReplayStep {
  readonly bytes: Uint8Array | undefined
  readonly to: Id
  readonly count: number
  /** Some of them, where these are not for everybody. */
  readonly entries: readonly Entry[] | undefined
}

/** Never added to. */
const NONE: Entry[] = []
/** Replay steps kept for the rest of a turn. */
const MAX_REPLAYS = 16
/** Written within the turn once so much waits: a burst must not become one huge buffer. */
const FLUSH_BYTES = 256 * 1024
/** Bytes of one step of a replay. */
const REPLAY_BYTES = 64 * 1024

/** The same for every member. Objects, not closures: one is made for every write. */
class SharedMessage implements Message {
  readonly bytes: Uint8Array
  protected readonly entries: readonly Entry[]

  constructor (entries: readonly Entry[], bytes: Uint8Array) {
    this.entries = entries
    this.bytes = bytes
  }

  give (member: Subscription): void {
    member.connection.deliver(member, this.bytes, this.entries)
  }
}

/** An event does not come back to its sender, who is only told its place. */
class PartialMessage extends SharedMessage {
  readonly #room: Room
  readonly #encoder: Encoder
  /** Connections that some of the events may not be for. */
  readonly #senders: ReadonlySet<string | undefined>

  constructor (room: Room, encoder: Encoder, entries: readonly Entry[], bytes: Uint8Array) {
    super(entries, bytes)
    this.#room = room
    this.#encoder = encoder
    this.#senders = new Set(entries.map(({ except }) => except?.connection))
  }

  override give (member: Subscription): void {
    const { connection } = member
    const own = this.#senders.has(connection.id) ? entriesFor(connection, this.entries) : this.entries
    if (own === this.entries) return super.give(member)
    if (own.length === 0) return
    const bytes = this.#room.bytesOf(this.#encoder, own)
    // A flat client is told no places.
    if (bytes.byteLength > 0) connection.deliver(member, bytes, own)
  }
}

export class Room {
  readonly name: string
  readonly topic: DeclaredTopic
  readonly params: Record<string, string>
  readonly hub: Hub
  /** Undefined for a topic without history. */
  readonly log: TopicLog | undefined
  /** The id up to which the groups have been written. */
  position: Id = ''
  /** Who needs this room although not (yet) listening. */
  holds = 0
  /** Listeners, in a group or catching up. */
  listeners = 0
  /** When the last listener left (performance.now). */
  idleSince = 0
  ready: Promise<void>
  /** `ready` has come. */
  opened = false
  /** Free for a wire to keep what it derives from the name. */
  readonly derived = new Map<object, unknown>()
  readonly #groups = new Map<Encoder, Group>()
  readonly #replays = new Map<Encoder, Map<Id, ReplayStep>>()
  #pending: Entry[] = NONE
  #pendingBytes = 0
  /** Something that waits is not for everybody. */
  #partial = false
  /** When the groups were last written to, and the timer of what waits since (`coalesce`). */
  #flushedAt = -Infinity
  #later: NodeJS.Timeout | undefined
  #snapshot: Promise<RoomSnapshot> | undefined

  constructor (hub: Hub, topic: DeclaredTopic, params: Record<string, string>, name: string) {
    this.hub = hub
    this.topic = topic
    this.params = params
    this.name = name
    this.log = topic.retention && new TopicLog(this.#logHost(), topic.retention)
    this.ready = this.#open()
    // Whoever waits for it sees the error; nobody may be waiting.
    this.ready.catch(() => {})
  }

  async #open (): Promise<void> {
    const head = await this.hub.adapter.subscribe(this.name, this.log !== undefined)
    this.position = head
    this.log?.open(head, idParts(head)?.ms === 0)
    this.opened = true
  }

  close (): void {
    clearTimeout(this.#later)
    this.log?.close()
  }

  event (event: LogEvent): void {
    this.log?.deliver(event)
  }

  /** Queues for the groups; written once at the end of the turn, or of the time over which the topic is coalesced. */
  push (entry: Entry): void {
    if (this.#pending.length === 0) this.#pendFirst(entry)
    else this.#pending.push(entry)
    this.#pendingBytes += entry.data.byteLength
    if (entry.except !== undefined) this.#partial = true
    if (this.#pendingBytes > FLUSH_BYTES) this.flush()
  }

  #pendFirst (entry: Entry): void {
    // With room for just the one: often no other comes.
    this.#pending = [entry]
    this.#schedule()
  }

  #schedule (): void {
    const { coalesce = 0 } = this.topic.policy
    const wait = coalesce > 0 ? this.#flushedAt + coalesce - performance.now() : 0
    if (wait <= 0) this.hub.schedule(this)
    else this.#later = setTimeout(() => this.#due(), wait)
  }

  #due (): void {
    this.#later = undefined
    this.hub.schedule(this)
  }

  /** The turn is over. */
  endTurn (): void {
    if (!this.#later) this.flush()
    this.#forgetReplays()
    if (!this.final) return
    for (const { members } of this.#groups.values()) for (const member of [...members]) member.connection.finish(sourceEnded)
  }

  /** Everybody in the groups is to come back. */
  sendAway (reason: CloseReason): void {
    for (const { members } of [...this.#groups.values()]) {
      for (const { connection } of [...members]) connection.end(reason, this.hub.retryAfter())
    }
  }

  #forgetReplays (): void {
    // Clearing a map makes a new one inside, also where there is nothing in it.
    if (this.#replays.size > 0) this.#replays.clear()
  }

  /** The last event says that nothing follows. */
  get final (): boolean {
    if (!this.topic.policy.whole) return false
    const ring = this.log?.ring
    const last = ring?.at(ring.end - 1)
    return last !== undefined && FINAL_EVENTS.has(last.name)
  }

  /** Writes what waits, and brings `position` behind it. */
  flush (): void {
    const entries = this.#pending
    if (entries.length > 0) {
      clearTimeout(this.#later)
      this.#later = undefined
      if (this.topic.policy.coalesce) this.#flushedAt = performance.now()
      this.#pending = NONE
      this.#pendingBytes = 0
      this.#forgetReplays()
      let failed: Group[] | undefined
      for (const group of this.#groups.values()) if (!this.#fanOut(group, entries)) failed = [...failed ?? [], group]
      this.#partial = false
      const before = this.position
      // A client's own event has no id.
      this.position = entries.findLast(({ id }) => id !== undefined)?.id ?? this.position
      if (failed) this.#giveSingly(failed, entries, before)
    }
  }

  /** False when the bytes cannot be made: nobody was given any. */
  #fanOut (group: Group, entries: Entry[]): boolean {
    const { encoder, members } = group
    if (members.length === 0) return true
    let bytes: Uint8Array
    try {
      bytes = this.bytesOf(encoder, entries)
    } catch {
      return false
    }
    this.hub.counters.delivered += members.length * entries.length
    report('deliver', () => ({ topic: this.name, events: entries.length, listeners: members.length }))
    const message = this.#partial ? new PartialMessage(this, encoder, entries, bytes) : new SharedMessage(entries, bytes)
    // Bytes made for one member alone that tell positions must be made now: the room's is about to change.
    this.hub.fanOut.add(group, message, this.#partial && !encoder.shared)
    return true
  }

  /** Out of its group each member pulls from the log, one event after the other; what is not in the log it is given. */
  #giveSingly (groups: Group[], entries: readonly Entry[], before: Id): void {
    const members = groups.flatMap((group) => group.members)
    if (this.log) for (const member of members) member.at ??= before
    const passing = entries.filter(({ id }) => id === undefined)
    for (const member of members) {
      const { connection } = member
      connection.leaveGroups()
      if (connection.subscription(this.name) === member) giveSingly(member, passing)
      connection.settle()
    }
  }

  /** One encode per event and encoder, whatever the number of listeners. */
  bytesOf (encoder: Encoder, entries: readonly Entry[]): Uint8Array {
    if (!encoder.shared) return encoder.encode(entries, this)
    if (entries.length === 1) return this.#encoded(encoder, entries[0] as Entry)
    return encoder.encode(entries, this)
  }

  #encoded (encoder: Encoder, entry: Entry): Uint8Array {
    for (let known = entry.encoded; known; known = known.next) if (known.encoder === encoder) return known.bytes
    const bytes = encoder.encode([entry], this)
    entry.encoded = { encoder, bytes, next: entry.encoded }
    return bytes
  }

  join (subscription: Subscription, encoder: Encoder): void {
    let group = this.#groups.get(encoder)
    if (!group) {
      group = { encoder, members: [] }
      this.#groups.set(encoder, group)
    }
    subscription.group = group
    subscription.slot = group.members.push(subscription) - 1
  }

  leave (subscription: Subscription): void {
    const group = subscription.group
    if (!group) return
    const last = group.members.pop() as Subscription
    if (last !== subscription) {
      group.members[subscription.slot] = last
      last.slot = subscription.slot
    }
    subscription.group = undefined
    // One that many share stays: deleting it and setting it again would leave a hole in the map each time.
    if (group.members.length === 0 && !group.encoder.shared) this.#groups.delete(group.encoder)
  }

  /** Events after `id`, up to some bytes; undefined when they are not in the ring any more. */
  after (id: Id): Entry[] | undefined {
    const log = this.log
    const start = log?.locate(id)
    if (!log || start === undefined) return undefined
    const entries: Entry[] = []
    let bytes = 0
    for (let i = start; i < log.ring.end && bytes < REPLAY_BYTES; i++) {
      const entry = log.ring.at(i) as Entry
      entries.push(entry)
      bytes += entry.data.byteLength
    }
    return entries
  }

  /**
   * The bytes of a replay step from `id`, shared by all who come back to the same place in this turn; undefined when
   * the ring does not reach back to it any more.
   */
  replay (encoder: Encoder, id: Id): ReplayStep | undefined {
    const known = this.#replays.get(encoder)?.get(id)
    if (known) return known
    const entries = this.after(id)
    if (!entries) return undefined
    if (entries.length === 0) return { bytes: undefined, to: id, count: 0, entries: undefined }
    const partial = entries.some(({ except }) => except !== undefined)
    const step = { bytes: encoder.encode(entries, this), to: entries.at(-1)?.id as Id, count: entries.length, entries: partial ? entries : undefined }
    this.#keepReplay(encoder, id, step)
    return step
  }

  #keepReplay (encoder: Encoder, id: Id, step: ReplayStep): void {
    const steps = this.#replays.get(encoder) ?? new Map<Id, ReplayStep>()
    if (steps.size >= MAX_REPLAYS) steps.clear()
    this.#replays.set(encoder, steps.set(id, step))
    this.hub.schedule(this)
  }

  /** The topic's state, with the position fixed before it starts. Those who ask at the same moment share one. */
  snapshot (): Promise<RoomSnapshot> {
    this.#snapshot ??= inNobodysName(() => this.#takeOne())
    return this.#snapshot
  }

  /** A failure is logged once, however many wait; whoever asks after it starts another. */
  async #takeOne (): Promise<RoomSnapshot> {
    try {
      return await this.#takeSnapshot()
    } catch (error) {
      // Those who waited have been told to come back.
      if (!this.hub.stopping) this.hub.log.error({ err: error, topic: this.name }, toError(error) instanceof CallbackTimeout ? 'realtime: a snapshot took too long' : 'realtime: a snapshot failed')
      throw error
    } finally {
      this.#snapshot = undefined
    }
  }

  async #takeSnapshot (): Promise<RoomSnapshot> {
    const log = this.log as TopicLog
    const from = log.last
    const { data, event, at } = await this.topic.takeSnapshot(this.params)
    if (at === undefined) return { data, event, from }
    // The state may be ahead of this node, or from before the ring. One whose place is gone is as new as `from` at least.
    if (log.locate(at) === undefined) await log.reach(at)
    return { data, event, from: log.locate(at) === undefined ? from : at }
  }

  #logHost (): ConstructorParameters<typeof TopicLog>[0] {
    return {
      append: (entry) => this.push(entry),
      reset: (reason) => this.#reset(reason),
      read: (after, limits) => {
        this.hub.counters.reads++
        return this.hub.adapter.read(this.name, after, limits)
      },
      readFailed: (error) => this.hub.readFailed(error, this.name),
      repaired: () => {
        this.hub.counters.repairs++
        report('repair', () => ({ topic: this.name }))
      }
    }
  }

  /** Tells everybody in the groups; those who catch up find out by themselves. */
  #reset (reason: ResetReason): void {
    this.hub.fanOut.finish()
    const members = [...this.#groups.values()].flatMap((group) => group.members)
    // All of them leave their groups first: an event of another topic would tell a client this one's new position, and
    // one that is cut then would come back behind a loss that it was not told of.
    for (const { connection } of members) connection.leaveGroups()
    this.flush()
    this.#replays.clear()
    this.position = (this.log as TopicLog).last
    for (const member of members) {
      if (member.connection.subscription(this.name) === member) member.connection.reset(member, reason)
    }
  }
}

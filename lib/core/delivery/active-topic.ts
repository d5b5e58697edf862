/** One topic with listeners on this node: its log, its listeners, and the events to write at the end of this turn. */
import type { EphemeralEvent, EventId, LogEvent, Page, ReadLimits, StatePage } from '../adapter.ts'
import type { AppLog } from '../callbacks.ts'
import { sourceBrokenOff, sourceEnded, type CloseReason } from '../close-reasons.ts'
import { ABORTED, ephemeralEntry, FINAL_EVENTS, type Entry } from '../event.ts'
import { isGenesis } from '../id.ts'
import { TopicLog, type LogHost } from '../log/topic-log.ts'
import type { Observer } from '../observe.ts'
import type { DeclaredTopic } from '../topics/topic.ts'
import type { Tracing } from '../tracing.ts'
import type { Chunk, Encoder, HeardTopic, ResetReason } from '../wire.ts'
import { bytesOf } from './bytes.ts'
import type { Group, Member } from './member.ts'
import { PartialMessage, SharedMessage } from './messages.ts'
import { Replays, type ReplayStep } from './replays.ts'
import { KeyedSnapshots } from './keyed-snapshots.ts'
import { KeyedState, type KeyedStateHost } from './keyed-state.ts'
import { placed, Snapshots, type TopicSnapshot } from './snapshots.ts'
import { newestOfEach } from '../state-codec.ts'
import type { Turns } from './turns.ts'

/** What a topic needs of the node. */
export interface DeliveryHost {
  readonly observe: Observer
  readonly log: AppLog
  readonly turns: Turns
  readonly tracing: Tracing
  /** The app is closing, and clients have been told to come back. */
  readonly stopping: boolean
  /** Resolves with the log's head. It is read when the node is subscribed, so that no later event is missed. */
  listen (name: string, durable: boolean): Promise<EventId>
  unlisten (name: string): void
  read (name: string, after: EventId | null, limits: ReadLimits): Promise<Page>
  readState (name: string, from: string | null, count: number): Promise<StatePage>
  readFailed (error: unknown, name: string): void
  /** The topic's log was reset after a loss. */
  begunAnew (topic: ActiveTopic): void
}

/** Shared by all topics: never add to it. */
const NONE: Entry[] = []
/** If more bytes wait, they are written before the turn ends: a burst must not become one huge buffer. */
const FLUSH_BYTES = 256 * 1024

export class ActiveTopic implements HeardTopic {
  readonly name: string
  readonly declared: DeclaredTopic
  readonly params: Record<string, string>
  /** Undefined for a topic without history. */
  readonly log: TopicLog | undefined
  /** The last id that was written to the groups. */
  position: EventId = ''
  /** How many callers need this topic open without listening to it (yet). */
  holds = 0
  /** Subscriptions, in a group or catching up. */
  listeners = 0
  /** When the last listener or hold was gone (performance.now). */
  idleSince = 0
  readonly ready: Promise<void>
  /** `ready` has resolved. */
  opened = false
  readonly derived = new Map<object, unknown>()
  readonly #host: DeliveryHost
  readonly #groups = new Map<Encoder, Group>()
  #replays: Replays | undefined
  #snapshots: Snapshots | undefined
  #parts: KeyedSnapshots | undefined
  #state: KeyedState | undefined
  #pending: Entry[] = NONE
  #pendingBytes = 0
  /** When the first pending event arrived, if somebody measures it; otherwise 0. */
  #began = 0
  /** A pending event has an `except`. */
  #partial = false
  /** For `coalesce`: when the groups were last written to, and the timer of the next write. */
  #flushedAt = -Infinity
  #later: NodeJS.Timeout | undefined

  constructor (host: DeliveryHost, declared: DeclaredTopic, params: Record<string, string>, name: string) {
    this.#host = host
    this.declared = declared
    this.params = params
    this.name = name
    this.log = declared.retention && new TopicLog(this.#logHost(), declared.retention)
    this.ready = this.#open()
    // Callers that await `ready` get the error. Without a caller it must not be an unhandled rejection.
    this.ready.catch(() => {})
  }

  get pattern (): string { return this.declared.pattern }
  get durable (): boolean { return this.log !== undefined }
  get tracesTold (): boolean { return this.#host.tracing.toClients && !this.declared.policy.companion }
  get keyed (): boolean { return this.declared.policy.keyed !== undefined && !this.declared.policy.companion }

  async #open (): Promise<void> {
    const head = await this.#host.listen(this.name, this.durable)
    this.position = head
    this.log?.open(head, isGenesis(head))
    this.opened = true
  }

  close (): void {
    clearTimeout(this.#later)
    this.log?.close()
    this.#state?.close()
  }

  event (event: LogEvent): void {
    this.log?.deliver(event)
  }

  ephemeral (event: EphemeralEvent): void {
    if (this.listeners > 0) this.#push(ephemeralEntry(event))
  }

  /** Queues an entry for the groups. It is written when the turn ends, or when the `coalesce` time is over. */
  #push (entry: Entry): void {
    if (this.#pending.length === 0) this.#pendFirst(entry)
    else this.#pending.push(entry)
    this.#pendingBytes += entry.data.byteLength
    if (entry.except !== undefined) this.#partial = true
    if (this.#pendingBytes > FLUSH_BYTES) this.flush()
  }

  #pendFirst (entry: Entry): void {
    // An array literal has room for exactly one entry: often no other event comes.
    this.#pending = [entry]
    this.#began = this.#host.observe.began('deliver')
    this.#schedule()
  }

  #schedule (): void {
    const { coalesce = 0 } = this.declared.policy
    const wait = coalesce > 0 ? this.#flushedAt + coalesce - performance.now() : 0
    if (wait <= 0) this.#host.turns.schedule(this)
    else this.#later = setTimeout(() => this.#due(), wait)
  }

  #due (): void {
    this.#later = undefined
    this.#host.turns.schedule(this)
  }

  // --- events out --------------------------------------------------------------

  /** Called when the turn of the event loop is over. */
  endTurn (): void {
    if (!this.#later) this.flush()
    this.#replays?.forget()
    const { ending } = this
    if (!ending) return
    for (const member of this.#members()) member.finish(ending)
  }

  /** Writes the pending entries to the groups, and moves `position` to the last of them. */
  flush (): void {
    const entries = this.#pending
    if (entries.length === 0) return
    this.#startAnew()
    let failed: Group[] | undefined
    for (const group of this.#groups.values()) if (!this.#fanOut(group, entries)) failed = [...failed ?? [], group]
    this.#partial = false
    const before = this.position
    // An event that a client relays has no id.
    this.position = entries.findLast(({ id }) => id !== undefined)?.id ?? this.position
    if (failed) this.#giveSingly(failed, entries, before)
  }

  #startAnew (): void {
    clearTimeout(this.#later)
    this.#later = undefined
    if (this.declared.policy.coalesce) this.#flushedAt = performance.now()
    this.#pending = NONE
    this.#pendingBytes = 0
    this.#replays?.forget()
  }

  /** False if the entries cannot be encoded: then no member got anything. */
  #fanOut (group: Group, entries: Entry[]): boolean {
    const { encoder, members } = group
    if (members.length === 0) return true
    let bytes: Chunk
    try {
      bytes = bytesOf(encoder, entries, this)
    } catch {
      return false
    }
    const Message = this.#partial ? PartialMessage : SharedMessage
    const message = new Message(entries, bytes, this, encoder)
    message.done = this.#host.observe.delivery(this, entries, members.length, bytes.byteLength, this.#began)
    // A partial message encodes for each sender separately. If those bytes contain positions, this must happen before
    // `position` changes.
    this.#host.turns.fanOut.add(group, message, this.#partial && !encoder.shared)
    return true
  }

  /**
   * The entries could not be encoded together. So the members leave their groups, and each pulls the events from the
   * log one by one. Events without an id are not in the log: the member gets them here.
   */
  #giveSingly (groups: Group[], entries: readonly Entry[], before: EventId): void {
    const members = groups.flatMap((group) => group.members)
    if (this.durable) for (const member of members) member.standBefore(before)
    const passing = entries.filter(({ id }) => id === undefined)
    for (const member of members) member.takeSingly(passing)
  }

  // --- listeners ---------------------------------------------------------------

  join (member: Member, encoder: Encoder): void {
    let group = this.#groups.get(encoder)
    if (!group) this.#groups.set(encoder, group = { encoder, members: [] })
    member.group = group
    member.slot = group.members.push(member) - 1
  }

  leave (member: Member): void {
    const { group } = member
    if (!group) return
    const last = group.members.pop() as Member
    if (last !== member) {
      group.members[member.slot] = last
      last.slot = member.slot
    }
    member.group = undefined
    // The group of a shared encoder stays: deleting it and setting it again would leave a hole in the map each time.
    if (group.members.length === 0 && !group.encoder.shared) this.#groups.delete(group.encoder)
  }

  /** A copy: members may leave their groups while the caller goes through it. */
  #members (): Member[] {
    return [...this.#groups.values()].flatMap(({ members }) => members)
  }

  /** Ends the connections of all members, and tells the clients to come back. */
  sendAway (reason: CloseReason): void {
    for (const member of this.#members()) member.sendAway(reason)
  }

  /** Why the listeners are to end; undefined unless the last event says that nothing follows. */
  get ending (): CloseReason | undefined {
    const last = this.declared.policy.whole ? this.log?.recent.last : undefined
    if (!last || !FINAL_EVENTS.has(last.name)) return undefined
    return last.name === ABORTED ? sourceBrokenOff : sourceEnded
  }

  // --- for subscriptions that catch up -----------------------------------------

  /** Some events after `id`; undefined if the recent events do not reach back to `id` any more. */
  after (id: EventId): Entry[] | undefined {
    return this.#replaying.after(id)
  }

  /** The bytes of some events after `id`. */
  replay (encoder: Encoder, id: EventId): ReplayStep | 'level' | 'gone' {
    return this.#replaying.step(encoder, id)
  }

  get #replaying (): Replays {
    this.#replays ??= new Replays(this, this.log as TopicLog, () => this.#host.turns.schedule(this))
    return this.#replays
  }

  /** Callers at the same time share one snapshot. */
  snapshot (): Promise<TopicSnapshot> {
    this.#snapshots ??= new Snapshots(this.#snapshotHost(this.log as TopicLog))
    return this.#snapshots.take()
  }

  /** Only for a keyed topic. */
  get state (): KeyedState {
    this.#state ??= new KeyedState(this.#stateHost(), this.log as TopicLog)
    return this.#state
  }

  #stateHost (): KeyedStateHost {
    const { keyed } = this.declared.policy
    return {
      maxKeys: keyed?.bounds.maxKeys ?? 0,
      codec: keyed?.codec ?? (() => newestOfEach),
      settle: keyed?.settle ?? 0,
      read: async (from, count) => await this.#host.readState(this.name, from, count),
      readFailed: (error) => this.#host.readFailed(error, this.name)
    }
  }

  /** The state in parts, as clients get it. */
  get #stateParts (): KeyedSnapshots {
    this.#parts ??= new KeyedSnapshots(
      this.name, this.declared.policy.keyed?.event, this.state, this.log as TopicLog
    )
    return this.#parts
  }

  /** Bytes that `forget` would free. */
  get keptBytes (): number {
    return (this.log?.recent.bytes ?? 0) + (this.#state?.bytes ?? 0) + (this.#parts?.bytes ?? 0)
  }

  /** Frees everything that can be read from the adapter again. */
  forget (): void {
    this.log?.forget()
    this.#state?.forget()
    this.#parts = undefined
  }

  #snapshotHost (log: TopicLog): ConstructorParameters<typeof Snapshots>[0] {
    const host = this.#host
    return {
      name: this.name,
      log: host.log,
      get stopping () { return host.stopping },
      place: async () => this.declared.policy.keyed
        ? await this.#stateParts.take()
        : await placed(log, async () => await this.declared.takeSnapshot(this.params))
    }
  }

  // --- the log -----------------------------------------------------------------

  #logHost (): LogHost {
    return {
      append: (entry) => this.#append(entry),
      reset: (reason) => this.#reset(reason),
      read: async (after, limits) => await this.#host.read(this.name, after, limits),
      readFailed: (error) => this.#host.readFailed(error, this.name),
      repaired: () => this.#host.observe.repaired(this)
    }
  }

  #append (entry: Entry): void {
    this.#state?.append(entry)
    this.#push(entry)
  }

  /** Tells the members of the groups. A subscription that catches up notices the loss when it pulls. */
  #reset (reason: ResetReason): void {
    this.#state?.reset()
    this.#host.begunAnew(this)
    this.#host.turns.fanOut.finish()
    const members = this.#members()
    // All members leave their groups first. Otherwise an event of another topic could tell a client the new position,
    // and a client cut then would resume after a loss that it was not told of.
    for (const member of members) member.leaveGroups()
    this.flush()
    this.#replays?.forget()
    this.position = (this.log as TopicLog).last
    for (const member of members) member.reset(reason)
  }
}

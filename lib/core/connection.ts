/**
 * One client on one wire: its subscriptions, what waits for it, its end.
 *
 * A durable subscription is either *live*, a member of a group that is written to with shared bytes, or *behind*:
 * it stands at `at` and pulls what follows from the room's log at its own pace, holding nothing. It turns live in
 * the same synchronous step in which it has nothing left to pull.
 */
import type { Id } from './adapter.ts'
import type { Place } from './admission.ts'
import { Backlog } from './backlog.ts'
import { readReason, type Reason } from './call-options.ts'
import { report } from './diagnostics.ts'
import { statusOf } from './callbacks.ts'
import { customReason, internalError, judgedAnew, slowClient, sourceEnded, tryAgainLater, type CloseReason } from './close-reasons.ts'
import { entriesFor, type Entry } from './event.ts'
import type { Hand } from './heartbeat.ts'
import type { Hub, Joined, Joining } from './hub.ts'
import { Joins, type Join } from './joins.ts'
import type { Group, Room, RoomSnapshot } from './room.ts'
import { giveSingly } from './singly.ts'
import type { Encoder, Notice, Outlet, ResetReason } from './wire.ts'
import { ConnectionClosed } from '../errors.ts'

export interface Subscription {
  readonly connection: Connection
  readonly room: Room
  /** Where it joined. */
  readonly from: Id
  /** Where it stands when that is not where its room's groups are: while it is behind, or conflated. */
  at: Id | undefined
  /** Waits for a snapshot: it has no position to tell the client yet. */
  held: boolean
  /** Snapshots taken in vain. */
  tries?: number
  /** The position from which history was asked for, after the ring had let go of what follows it. */
  sought?: { readonly from: Id, done: boolean }
  /** The client's cursor, not found, of which it has not been told yet; empty where it named no id. */
  lost: Id | undefined
  /** The snapshot, until the client takes it. */
  snapshot: RoomSnapshot | undefined
  group: Group | undefined
  slot: number
}

/** The id up to which the client has been told everything; undefined while it has no position. */
export function positionOf ({ room, at, held }: Subscription): Id | undefined {
  return held || !room.log ? undefined : at ?? room.position
}

/** What `disconnect` says to whom it concerns. */
export interface ClosingOrder { readonly code?: number, readonly text?: string, readonly reconnect?: boolean }

export interface ConnectionSettings {
  readonly maxBuffered: number
  readonly slow: 'close' | 'latest' | 'reset'
  readonly heartbeat: number
}

/** Who the connection is, and its way back to the app; made by the wires. */
export interface ConnectionInit {
  readonly id: string
  readonly identity: { id: string }
  readonly address: string
  /** Its place among all; given back when the connection is gone. */
  readonly place: Place
  readonly settings: ConnectionSettings
  /** Joins a topic as this client, `authorize` and all. */
  subscribe (topic: unknown): Promise<void>
  /** Orders given before its request arrived: those after concern it. */
  readonly since: number
  /** Asks `authorize` once more for what it listens to; ends it where that refuses. */
  authorizeAgain (): void
  /** Runs app code in the async context of its request. */
  run? (code: () => void): void
  /** A topic that it was to hear is left. False once the app has accepted it. */
  forget? (name: string): boolean
  /** Is this one of the topics that it is to begin with? */
  awaits? (name: string): boolean
  /** The full name of what the app named. */
  resolve (topic: unknown): string
}

/** Shared by all connections that have none: most never do. */
const NONE: readonly never[] = []
/** Sends that may wait for a connection to begin. */
const MAX_EARLY = 1024
/** A snapshot whose ground was trimmed away while it was taken is taken again, so often. */
const SNAPSHOT_TRIES = 3

export class Connection {
  readonly hub: Hub
  closed = false
  /** Something was written since the last beat. */
  wrote = false
  readonly #init: ConnectionInit
  /** Never changed, only replaced: whoever goes through it may change what the client listens to. */
  #subscriptions: readonly Subscription[] = NONE
  #data: Record<string, unknown> | undefined
  #outlet: Outlet | undefined
  #encoder: Encoder | undefined
  #full = false
  #pumping = false
  #kind: 'sse' | 'websocket' = 'sse'
  #hand: Hand | undefined
  #begun = false
  #ended = false
  #early: readonly Notice[] = NONE
  #joins: Joins | undefined
  /** It was ordered to end before it was to be found. */
  #condemned: ClosingOrder | undefined
  #asked: Set<Subscription> | undefined
  /** The replay encoder; null when its bytes are this connection's own; undefined when not known yet. */
  #private: Encoder | null | undefined
  #backlog: Backlog | undefined
  #waiters: ReadonlyArray<() => void> = NONE
  #abort: AbortController | undefined
  #reason: CloseReason | undefined
  #finale: CloseReason | undefined
  #onEnd: ((reason: CloseReason) => void) | undefined

  constructor (hub: Hub, init: ConnectionInit) {
    this.hub = hub
    this.#init = init
  }

  get kind (): 'sse' | 'websocket' { return this.#kind }
  get since (): number { return this.#init.since }
  get id (): string { return this.#init.id }
  get identity (): { id: string } { return this.#init.identity }
  get address (): string { return this.#init.address }
  get place (): Place { return this.#init.place }
  get settings (): ConnectionSettings { return this.#init.settings }
  get topics (): string[] { return this.#subscriptions.map(({ room }) => room.name) }
  get subscriptions (): readonly Subscription[] { return this.#subscriptions }

  /** The app's own. Made when first asked for. */
  get data (): Record<string, unknown> {
    this.#data ??= {}
    return this.#data
  }

  set data (data: Record<string, unknown>) {
    this.#data = data
  }

  get outlet (): Outlet {
    if (!this.#outlet) throw new ConnectionClosed()
    return this.#outlet
  }

  /** Made when first asked for: most connections never need one. */
  get signal (): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.closed) this.#abort.abort(this.#reason)
    }
    return this.#abort.signal
  }

  /** The wire is there. Nothing is written before `begin`. */
  attach (outlet: Outlet): void {
    this.#outlet = outlet
    this.#kind = outlet.kind
    this.#hand = this.hub.heartbeat.add(this, this.settings.heartbeat)
  }

  /** Why it ended. */
  get reason (): CloseReason | undefined { return this.#reason }
  get attached (): boolean { return this.#outlet !== undefined }
  get begun (): boolean { return this.#begun }

  /** Joins and opens in one synchronous step. */
  begin (joining: readonly Joining[]): void {
    if (this.#condemned) return this.#endCondemned(joining)
    const joined = this.hub.join(this, joining)
    this.#begun = true
    this.#joins?.begun()
    report('connect', () => ({ connection: this }))
    this.tell({ type: 'opened', subscriptions: this.#subscriptions })
    this.announce(joined)
    for (const notice of this.#early) this.tell(notice)
    this.#early = NONE
    this.settle()
    this.#wake()
  }

  #endCondemned (joining: readonly Joining[]): void {
    this.hub.let(joining)
    this.close(this.#condemned)
  }

  /** Resolves when it has begun, or has ended before that. */
  async whenBegun (): Promise<void> {
    while (!this.#begun && !this.closed) await new Promise<void>((resolve) => { this.#waiters = [...this.#waiters, resolve] })
  }

  // --- orders --------------------------------------------------------------

  /** It is to end as soon as there is a wire to say so; the app hears nothing of it. */
  condemn (order: ClosingOrder): void {
    this.#condemned ??= order
  }

  get condemned (): boolean { return this.#condemned !== undefined }

  /** Does it listen to this topic, or is it about to? */
  concerns (name: string): boolean {
    return this.has(name) || this.#joins?.isPending(name) === true || this.#awaits(name)
  }

  #awaits (name: string): boolean {
    return !this.#begun && this.admits(name) && this.#init.awaits?.(name) === true
  }

  /** May it join? What was taken from it may not be joined again. */
  admits (name: string): boolean {
    return this.#joins?.admits(name) !== false
  }

  /** A topic is taken from it, for as long as it is connected. */
  take (name: string): void {
    if (this.closed) return
    const awaited = this.#awaits(name)
    this.#joins ??= new Joins()
    this.#joins.take(name)
    if (this.remove(name) || awaited) this.tell({ type: 'revoked', topic: name })
    if (this.#joins.full) this.end(judgedAnew, this.hub.retryAfter())
  }

  /** Orders may be lost. Where nobody can be asked again, it is to come back, so that its route's hooks judge it. */
  judgeAnew (retry: number): void {
    const askable = this.#begun && !this.#joins?.pending.length && this.#subscriptions.length > 0 &&
      this.#subscriptions.every(({ room }) => typeof room.topic.policy.authorize === 'function')
    if (askable) this.#init.authorizeAgain()
    else this.end(judgedAnew, retry)
  }

  /** Tells what became of each subscription's cursor. */
  announce (joined: readonly Joined[], ref?: unknown): void {
    for (const { subscription, recovered, reason } of joined) {
      this.tell({ type: 'subscribed', subscription, recovered, snapshot: subscription.held, ref })
      subscription.lost = undefined
      if (reason) this.tell({ type: 'reset', subscription, reason })
    }
  }

  has (name: string): boolean {
    return this.subscription(name) !== undefined
  }

  subscription (name: string): Subscription | undefined {
    return this.#subscriptions.find(({ room }) => room.name === name)
  }

  // --- joining and leaving -------------------------------------------------

  /** Registers a subscription that stands at `at`, or where its room is. Call `settle` when all are added. */
  add (room: Room, at: Id | undefined, held: boolean): Subscription {
    this.leaveGroups()
    room.flush()
    const subscription: Subscription = {
      connection: this, room, from: at ?? room.position, at: room.log && (at ?? room.position), held, lost: undefined, snapshot: undefined, group: undefined, slot: 0
    }
    if (this.closed) return subscription
    // A spread would leave room for sixteen more.
    this.#subscriptions = this.#subscriptions.concat(subscription)
    this.hub.entered(room)
    return subscription
  }

  /** A join that takes its time. It is given up when the topic is left or taken meanwhile. @throws Forbidden */
  joining (name: string): Join {
    this.#joins ??= new Joins()
    return this.#joins.start(name)
  }

  joined (join: Join): void {
    this.#joins?.end(join)
  }

  /** Names that are being joined. */
  get pending (): readonly string[] { return this.#joins?.pending ?? NONE }

  remove (name: string): boolean {
    this.#joins?.leave(name)
    const subscription = this.subscription(name)
    if (!subscription || this.closed) return false
    this.leaveGroups()
    // What waited for it was one event too many: it has ended, and with that has left.
    if (!this.#subscriptions.includes(subscription)) return false
    this.#subscriptions = this.#subscriptions.filter((other) => other !== subscription)
    this.hub.left(subscription.room)
    report('unsubscribe', () => ({ connection: this, topic: name }))
    this.settle()
    return true
  }

  /** Whoever has nothing to pull joins its groups, in this same step; the others start to pull. */
  settle (): void {
    for (const subscription of this.#subscriptions) if (subscription.held) this.#askSnapshot(subscription)
    this.#pump()
  }

  /** The set of topics, and with it the encoder, is about to change, or a position without an event. `settle` must follow. */
  leaveGroups (): void {
    this.#private = undefined
    // What waits for the groups belongs to this client too. It may be one event too many for it.
    if (this.#encoder) for (const { room } of this.#subscriptions) room.flush()
    this.hub.fanOut.settle(this)
    // Conflated events are pulled from the ring instead, from where the client stands.
    this.#backlog?.releaseEntries()
    if (!this.#encoder) return
    for (const subscription of this.#subscriptions) {
      subscription.room.leave(subscription)
      if (subscription.room.log) subscription.at ??= subscription.room.position
    }
    this.outlet.release(this.#encoder)
    this.#encoder = undefined
  }

  /** Joins the groups. Every durable subscription stands at its room's position; those that are held stay out. */
  #regroup (): void {
    if (this.#encoder || this.closed) return
    const live = this.#live()
    if (live.length === 0 && this.#subscriptions.length > 0) return
    const encoder = this.outlet.encoder(this.#subscriptions)
    this.#encoder = encoder
    for (const subscription of live) {
      if (this.closed) return
      subscription.at = undefined
      subscription.room.join(subscription, encoder)
      // Not whoever came behind the end: another run of the source has begun since.
      if (subscription.room.final && subscription.from !== subscription.room.position) this.finish(sourceEnded)
    }
  }

  /** All but those that wait for a snapshot. */
  #live (): readonly Subscription[] {
    const all = this.#subscriptions
    return all.some(({ held }) => held) ? all.filter(({ held }) => !held) : all
  }

  /** Ends once the client has been given everything that waits for it. */
  finish (reason: CloseReason): void {
    if (this.closed) return
    this.#finale = reason
    this.hub.fanOut.settle(this)
    if (this.closed) return
    if (this.#encoder && !this.#full && !this.#backlog && this.#live() === this.#subscriptions) this.end(reason)
  }

  // --- catching up ---------------------------------------------------------

  /** Pulls while the client takes. When nothing is left for any topic, joins the groups in the same step. */
  #pump (): void {
    if (this.#pumping || this.#encoder || this.closed) return
    this.#pumping = true
    try {
      let round: 'moved' | 'waiting' | 'level' = 'moved'
      while (round === 'moved' && !this.#full && !this.closed) round = this.#pullRound()
      if (round === 'level') this.#regroup()
    } finally {
      this.#pumping = false
    }
  }

  /** One step of every topic. `level`: all that are not held stand where their rooms are. `waiting`: some wait for a read. */
  #pullRound (): 'moved' | 'waiting' | 'level' {
    let round: 'moved' | 'waiting' | 'level' = 'level'
    for (const subscription of this.#subscriptions) {
      if (!subscription.room.log) continue
      if (this.#full || this.closed) return 'moved'
      const moved = subscription.held ? this.#giveSnapshot(subscription) : this.#pull(subscription)
      // Nobody waits for a topic whose snapshot takes its time but that topic.
      if (moved) round = 'moved'
      else if (moved === undefined && round === 'level') round = 'waiting'
    }
    return round
  }

  /** True when it moved; undefined when it waits for a read. */
  #pull (subscription: Subscription): boolean | undefined {
    const { room } = subscription
    room.flush()
    const at = subscription.at ?? room.position
    const encoder = this.#replayEncoder()
    let moved: boolean | undefined
    try {
      moved = encoder ? this.#pullShared(subscription, at, encoder) : this.#pullPrivate(subscription, at)
    } catch {
      giveSingly(subscription, room.after(at) ?? [])
      return true
    }
    return moved ?? this.#seek(subscription, at)
  }

  /** The ring has let go of what follows: the adapter may still have it. */
  #seek (subscription: Subscription, at: Id): boolean | undefined {
    if (subscription.sought?.from === at) {
      if (!subscription.sought.done) return undefined
      this.reset(subscription, 'expired')
      return true
    }
    const sought = { from: at, done: false }
    const { log } = subscription.room
    subscription.sought = sought
    log?.reach(at).then(() => {
      sought.done = log.locate(at) === undefined
      // Found, and perhaps let go of again before the client takes it: then it is sought anew.
      if (!sought.done && subscription.sought === sought) delete subscription.sought
      this.#pump()
    }, (error: unknown) => {
      this.hub.log.error({ err: error, topic: subscription.room.name }, 'realtime: history could not be read')
      this.#comeBack(error)
    })
    return undefined
  }

  #pullShared (subscription: Subscription, at: Id, encoder: Encoder): boolean | undefined {
    const step = subscription.room.replay(encoder, at)
    if (!step?.bytes) return step && false
    const own = step.entries && entriesFor(this, step.entries)
    const bytes = own === step.entries ? step.bytes : subscription.room.bytesOf(encoder, own ?? [])
    subscription.at = step.to
    this.hub.counters.delivered += step.count
    // A flat client is told no places.
    if (bytes.byteLength > 0) this.write(bytes)
    return true
  }

  #pullPrivate (subscription: Subscription, at: Id): boolean | undefined {
    const entries = subscription.room.after(at)
    if (!entries || entries.length === 0) return entries && false
    const blocks = entriesFor(this, entries).map((entry) => {
      subscription.at = entry.id
      return this.outlet.encodeOne(entry, subscription)
    })
    this.hub.counters.delivered += entries.length
    this.write(Buffer.concat(blocks))
    return true
  }

  /** The encoder of the groups to be, if its bytes do not depend on the positions of other topics. */
  #replayEncoder (): Encoder | null {
    if (this.#private === undefined) {
      const encoder = this.outlet.encoder(this.#subscriptions)
      this.#private = encoder.shared ? encoder : null
      this.outlet.release(encoder)
    }
    return this.#private
  }

  /** Events were lost for good: says so, and goes on from where the room is now. */
  reset (subscription: Subscription, reason: ResetReason): void {
    const { room } = subscription
    this.hub.counters.resets++
    // What is conflated must not wait before this: it would be written with the positions told here.
    this.leaveGroups()
    room.flush()
    subscription.held = room.topic.snapshot !== undefined
    subscription.at = room.log && room.position
    this.tell({ type: 'reset', subscription, reason })
    report('reset', () => ({ connection: this, topic: room.name, reason }))
    this.settle()
  }

  // --- snapshots -----------------------------------------------------------
  // A subscription is held, in no group, until the client has its snapshot: an event that went ahead of it would be
  // undone by it, and a cursor told before it would resume without it. Its other topics go on meanwhile.

  #askSnapshot (subscription: Subscription): void {
    if (this.#asked?.has(subscription)) return
    this.#asked ??= new Set()
    this.#asked.add(subscription)
    subscription.room.snapshot().then((snapshot) => {
      this.#asked?.delete(subscription)
      if (!this.#subscriptions.includes(subscription)) return
      subscription.snapshot = snapshot
      // The client is about to get a position in one topic more, and with it another encoder.
      this.leaveGroups()
      this.#pump()
    }, (error: unknown) => {
      if (this.#subscriptions.includes(subscription)) this.#comeBack(error)
    })
  }

  /** What this client needs could not be had: it may come back and try again. With it come all who waited for the same. */
  #comeBack (error: unknown): void {
    this.end(statusOf(error) === 503 ? tryAgainLater : internalError, this.hub.retryAfter())
  }

  /** True when it was given; false while it is waited for. One whose ground was trimmed away while it was taken is taken again, some times. */
  #giveSnapshot (subscription: Subscription): boolean {
    const { room, snapshot } = subscription
    if (!snapshot) return false
    const kept = room.log?.locate(snapshot.from) !== undefined
    subscription.snapshot = undefined
    if (!kept && (subscription.tries = (subscription.tries ?? 0) + 1) < SNAPSHOT_TRIES) {
      this.#askSnapshot(subscription)
      return false
    }
    room.flush()
    subscription.held = false
    subscription.tries = 0
    // Not yet where the reset goes on from: a client that is cut between the two must not resume behind the loss.
    subscription.at = snapshot.from
    this.tell({ type: 'snapshot', subscription, data: snapshot.data, event: snapshot.event })
    if (kept) return true
    subscription.at = room.position
    this.tell({ type: 'reset', subscription, reason: 'expired' })
    return true
  }

  // --- writing -------------------------------------------------------------

  /** Called for every member of a group: the hot path. */
  deliver (subscription: Subscription, bytes: Uint8Array, entries: readonly Entry[]): void {
    this.wrote = true
    if (!this.#full) this.#full = !this.outlet.write(bytes)
    else if (!this.closed) this.#keep(this.#waiting.add(bytes, subscription, entries))
  }

  /** Bytes for this client alone. `told`: they tell it positions. */
  write (bytes: Uint8Array, told = false): void {
    this.wrote = true
    if (!this.#full) this.#full = !this.outlet.write(bytes)
    else if (!this.closed) this.#keep(this.#waiting.addOwn(bytes, told))
  }

  tell (notice: Notice): void {
    if (this.closed) return
    if (!this.#begun) return this.#tellLater(notice)
    const bytes = this.outlet.notice(notice)
    if (bytes) this.write(bytes, notice.type !== 'direct')
  }

  /** What the app sends while it accepts the connection goes out behind the opening. */
  #tellLater (notice: Notice): void {
    this.#early = [...this.#early, notice]
    if (this.#early.length > MAX_EARLY) this.end(slowClient)
  }

  get #waiting (): Backlog {
    this.#backlog ??= new Backlog(this)
    return this.#backlog
  }

  /** `within`: what waits for it may wait. */
  #keep (within: boolean): void {
    if (within) return
    this.hub.counters.slowClosed++
    report('slow', () => ({ connection: this, buffered: this.buffered }))
    this.end(slowClient)
  }

  /** The wire took everything: what waited goes out. */
  drained (): void {
    if (this.closed) return
    // While it counts as full: what waits in the rooms is missed too, and must not be written before that is told. And a
    // conflated event tells positions, which this client must have been brought to. The first may be what overflows.
    if (this.#backlog) this.hub.fanOut.settle(this)
    if (this.#backlog?.missing) {
      for (const { room } of this.#subscriptions) room.flush()
      this.hub.fanOut.settle(this)
    }
    if (this.closed) return
    this.#full = false
    if (this.#drain()) this.#caughtUp()
    if (this.#full) return
    this.#pump()
    if (this.#finale) this.finish(this.#finale)
    if (!this.#full) this.#wake()
  }

  /** True when nothing waits any more. Nobody is pulled for meanwhile: what is pulled comes behind it. */
  #drain (): boolean {
    this.#pumping = true
    try {
      return this.#backlog?.drain() ?? false
    } finally {
      this.#pumping = false
    }
  }

  /** Resolves when the client takes bytes again, or is gone. Undefined when it takes them now. */
  writable (): Promise<void> | undefined {
    if (!this.#full || this.closed) return undefined
    return new Promise((resolve) => { this.#waiters = [...this.#waiters, resolve] })
  }

  #wake (): void {
    const waiters = this.#waiters
    this.#waiters = NONE
    for (const resolve of waiters) resolve()
  }

  /** Nothing waits any more: whoever was conflated stands where its room is again. */
  #caughtUp (): void {
    this.#backlog = undefined
    for (const subscription of this.#subscriptions) if (subscription.group) subscription.at = undefined
  }

  /** For bytes that must not be parted by what waits: written whatever the buffer says. */
  force (bytes: Uint8Array): void {
    this.#full = !this.outlet.write(bytes)
  }

  get full (): boolean { return this.#full }
  /** Bytes this client costs now. */
  get buffered (): number { return this.outlet.buffered + (this.#backlog?.bytes ?? 0) }

  // --- the public face -----------------------------------------------------

  send (event: string, data: unknown): void {
    if (this.closed) return
    this.tell({ type: 'direct', event, data: this.hub.encodeDirect(event, data) })
  }

  subscribe (topic: unknown): Promise<void> {
    if (this.closed) return Promise.reject(new ConnectionClosed())
    return this.#init.subscribe(topic)
  }

  unsubscribe (topic: unknown): void {
    const name = this.#init.resolve(topic)
    if (!this.#begun && !this.#init.forget?.(name)) this.#leaveEarly(name)
    this.remove(name)
  }

  #leaveEarly (name: string): void {
    this.#joins ??= new Joins()
    this.#joins.leaveEarly(name)
  }

  close (reason?: Reason): void {
    this.closeFor(readReason('close()', reason))
  }

  closeFor (reason: Reason): void {
    this.end(customReason(reason), reason.reconnect ? this.hub.retryAfter() : undefined)
  }

  /** Once a heartbeat period. */
  beat (): void {
    this.#outlet?.beat(!this.wrote)
    this.wrote = false
  }

  /** Ends from this side. */
  end (reason: CloseReason, retry?: number): void {
    if (this.closed) return
    const outlet = this.#outlet
    this.#finish(reason)
    if (outlet) outlet.close(reason, retry)
    // On its way in still: there is no wire whose end could be waited for.
    else this.hub.ended(this)
  }

  /** The other side is gone. */
  gone (reason: CloseReason): void {
    if (!this.closed) this.#finish(reason)
    this.hub.ended(this)
  }

  #finish (reason: CloseReason): void {
    this.closed = true
    this.#reason = reason
    if (this.#encoder) {
      for (const subscription of this.#subscriptions) subscription.room.leave(subscription)
      this.outlet.release(this.#encoder)
      this.#encoder = undefined
    }
    for (const { room } of this.#subscriptions) this.hub.left(room)
    this.#subscriptions = NONE
    this.#backlog = undefined
    this.hub.closing(this)
    if (this.#hand) this.hub.heartbeat.remove(this.#hand)
    this.#wake()
    // Not in this turn's fan-out: what the app does on it (publish, close others) must find the groups at rest.
    queueMicrotask(() => {
      this.#ended = true
      report('disconnect', () => ({ connection: this, reason }))
      this.#tellApp(reason)
    })
  }

  #tellApp (reason: CloseReason): void {
    const tell = (): void => {
      this.#abort?.abort(reason)
      this.#onEnd?.(reason)
    }
    if (!this.#abort && !this.#onEnd) return
    if (this.#init.run) this.#init.run(tell)
    else tell()
  }

  /** Runs once, also where the end has come already. */
  whenEnded (callback: (reason: CloseReason) => void): void {
    if (this.#ended) callback(this.#reason as CloseReason)
    else this.#onEnd = callback
  }
}

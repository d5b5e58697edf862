/** The connection of one client over one wire, from when the client is let in to the end. */
import type { EventId } from '../adapter.ts'
import { customReason, type Reason } from '../call-options.ts'
import { statusOf } from '../callbacks.ts'
import { expired, internalError, judgedAnew, slowClient, tryAgainLater, type CloseReason } from '../close-reasons.ts'
import type { ActiveTopic } from '../delivery/active-topic.ts'
import type { Receiver } from '../event.ts'
import type { Identity } from '../identity.ts'
import type { Chunk, HeardTopic, LapseReason, Notice, Outlet, OutletHost, WireKind } from '../wire.ts'
import type { Client, ConnectionSettings } from './client.ts'
import { Early } from './early.ts'
import { Ending } from './ending.ts'
import { ConnectionFace, type FaceHost, type TopicGrant } from './face.ts'
import type { Hand, Heartbeat } from './heartbeat.ts'
import type { Joined, Joiner, Joining } from './joining.ts'
import { Joins, type Join } from './joins.ts'
import { Listening, type ListeningHost, type ListeningNode } from './listening.ts'
import { Output, type OutputHost } from './output.ts'
import type { Subscription } from './subscription.ts'

export type { Client, ConnectionSettings } from './client.ts'

/** What a connection needs of the node. */
export interface ConnectionNode extends ListeningNode {
  readonly heartbeat: Heartbeat
  join (client: Joiner, joining: readonly Joining[]): Joined[]
  release (joining: readonly Joining[]): void
  /** When a client should come back (ms). */
  retryAfter (): number
  /** The connection has ended. The wire may still be telling the client. */
  closing (connection: Connection): void
  /** The connection's wire is gone. */
  ended (connection: Connection): void
}

export class Connection implements OutletHost, OutputHost, ListeningHost, Joiner, FaceHost {
  readonly output = new Output(this)
  /** When the client was let in, ms since the epoch. */
  readonly letInAt = Date.now()
  readonly #node: ConnectionNode
  readonly #client: Client
  readonly #listening: Listening
  #begun = false
  #face: ConnectionFace | undefined
  #hand: Hand | undefined
  readonly #early = new Early()
  readonly #joins = new Joins()
  readonly #ending = new Ending()
  /** An order to end the connection that was given before there was a wire. */
  #condemned: Reason | undefined
  /** Why the connection ended. */
  #reason: CloseReason | undefined
  /** Why the connection will end, once the client has been given everything. */
  #finale: CloseReason | undefined

  constructor (node: ConnectionNode, client: Client) {
    this.#node = node
    this.#client = client
    this.#listening = new Listening(node, this)
  }

  get receiver (): Receiver { return this.#client }
  /** Names of topics that are being joined. */
  get pending (): readonly string[] { return this.#joins.pending }
  get kind (): WireKind { return this.#client.kind }
  get since (): number { return this.#client.since }
  get id (): string { return this.#client.id }
  get identity (): Identity { return this.#client.identity }
  get issuedAt (): number | undefined { return this.#client.issuedAt }
  get address (): string { return this.#client.address }
  get place (): Client['place'] { return this.#client.place }
  get request (): Client['request'] { return this.#client.request }
  get settings (): ConnectionSettings { return this.#client.settings }
  get heartbeat (): number { return this.#client.settings.heartbeat }
  get subscriptions (): readonly Subscription[] { return this.#listening.subscriptions }
  get topics (): string[] { return this.#listening.names }
  get full (): boolean { return this.output.full }
  get buffered (): number { return this.attached ? this.output.buffered : 0 }
  get attached (): boolean { return this.output.attached }
  get begun (): boolean { return this.#begun }
  get closed (): boolean { return this.#reason !== undefined }
  /** Why the connection ended. */
  get reason (): CloseReason | undefined { return this.#reason }
  get signal (): AbortSignal { return this.#ending.signal }

  /** The connection object of the app. Made when first asked for. */
  get face (): ConnectionFace {
    this.#face ??= new ConnectionFace(this)
    return this.#face
  }

  // --- beginning -----------------------------------------------------------------------

  /** The wire is ready. Nothing is written before `begin`. */
  attach (outlet: Outlet): void {
    this.output.attach(outlet)
    if (this.heartbeat > 0) this.#hand = this.#node.heartbeat.add(this.output, this.heartbeat)
  }

  /** Joins the topics and tells the client that the connection is open, in one synchronous step. */
  begin (joining: readonly Joining[]): void {
    if (this.#condemned) return this.#endCondemned(joining, this.#condemned)
    const joined = this.#node.join(this, joining)
    this.#begun = true
    this.#joins.begun()
    this.tell({ type: 'opened', subscriptions: this.subscriptions })
    this.announce(joined)
    for (const notice of this.#early.take()) this.tell(notice)
    // Only now that the opening is written: a subscriber of the diagnostics may send to the client.
    this.#node.observe.connected(this)
    this.settle()
    this.output.wake()
  }

  #endCondemned (joining: readonly Joining[], reason: Reason): void {
    this.#node.release(joining)
    this.closeFor(reason)
  }

  /** Resolves when the connection has begun, or has ended before that. */
  async whenBegun (): Promise<void> {
    while (!this.#begun && !this.closed) await this.output.woken()
  }

  /** Tells the client what became of each cursor. */
  announce (joined: readonly Joined[], ref?: unknown): void {
    for (const { subscription, recovered, reason } of joined) {
      const expires = this.expires(subscription.topic.name)
      this.tell({ type: 'subscribed', subscription, recovered, snapshot: subscription.held, expires, ref })
      subscription.lost = undefined
      if (reason) this.tell({ type: 'reset', subscription, reason })
    }
  }

  /** ms from now until the client's right to hear this topic ends. */
  expires (name: string): number | undefined {
    return this.#client.expires?.(name)
  }

  // --- orders --------------------------------------------------------------------------

  /** Ends the connection as soon as there is a wire that can tell the client. The app is not told of the connection. */
  condemn (order: Reason): void {
    this.#condemned ??= order
  }

  get condemned (): boolean { return this.#condemned !== undefined }

  /** True if the client listens to this topic, or is about to. */
  concerns (name: string): boolean {
    return this.has(name) || this.#joins.isPending(name) || this.#awaits(name)
  }

  #awaits (name: string): boolean {
    return !this.#begun && this.admits(name) && this.#client.awaits?.(name) === true
  }

  admits (name: string): boolean {
    return this.#joins.admits(name)
  }

  /** Takes a topic from the client, which cannot join the topic again while it is connected. */
  take (name: string): void {
    if (this.closed) return
    const awaited = this.#awaits(name)
    this.#joins.take(name)
    if (this.remove(name, 'taken') || awaited) this.tell({ type: 'revoked', topic: name })
    if (this.#joins.full) this.sendAway(judgedAnew)
  }

  /** The client's right to this topic is over; it may join again. A client that cannot be told is disconnected. */
  lapse (name: string, reason: LapseReason): void {
    if (this.closed || !this.concerns(name)) return
    if (!this.attached || !this.output.outlet.sheds) return this.sendAway(expired)
    const awaited = this.#awaits(name)
    if (awaited) this.#joins.leaveEarly(name)
    if (this.remove(name, 'taken') || awaited) this.tell({ type: 'revoked', topic: name, reason })
  }

  /** Orders may be lost, so `authorize` is asked again. If it cannot be asked, the client is told to come back. */
  judgeAnew (retry: number): void {
    if (this.#begun && this.pending.length === 0 && this.#listening.askable) this.#client.authorizeAgain()
    else this.end(judgedAnew, retry)
  }

  // --- joining and leaving ---------------------------------------------------------------

  has (name: string): boolean {
    return this.#listening.find(name) !== undefined
  }

  add (topic: ActiveTopic, at: EventId | undefined, held: boolean): Subscription {
    return this.#listening.add(topic, at, held)
  }

  settle (): void {
    this.#listening.settle()
  }

  /** Begins a join that takes time. Leaving or losing the topic meanwhile gives up the join. @throws Forbidden */
  joining (name: string): Join {
    return this.#joins.start(name)
  }

  /** The join is over. */
  joined (join: Join): void {
    this.#joins.end(join)
  }

  /** False if the client did not listen to the topic. */
  remove (name: string, how: 'left' | 'taken' = 'left'): boolean {
    this.#joins.leave(name)
    const subscription = this.#listening.find(name)
    return subscription !== undefined && this.#listening.remove(subscription, how)
  }

  // --- writing ---------------------------------------------------------------------------

  /** Bytes for this client alone. */
  write (bytes: Chunk): void {
    this.output.write(bytes)
  }

  tell (notice: Notice): void {
    if (this.closed) return
    if (!this.#begun) return this.#early.add(notice) ? undefined : this.end(slowClient)
    const bytes = this.output.outlet.notice(notice)
    if (bytes) this.output.write(bytes, notice.type !== 'direct')
  }

  dropped (topic: HeardTopic): void {
    this.#node.observe.dropped(this, topic)
  }

  overflowed (): void {
    this.#node.observe.closedAsSlow(this, this.output.buffered)
    this.end(slowClient)
  }

  /** The wire took everything: writes what waited. */
  drained (): void {
    if (this.closed || this.output.stalled) return
    this.#listening.drained()
    if (this.output.full) return
    if (this.#finale) this.finish(this.#finale)
    if (!this.output.full) this.output.wake()
  }

  /** Resolves when the client takes bytes again, or is gone. Undefined when the client takes bytes now. */
  writable (): Promise<void> | undefined {
    return this.output.writable()
  }

  /** Writes nothing until `release`. The client is treated like one that does not read. */
  stall (): void {
    if (this.closed || !this.attached) return
    this.output.full = true
    this.output.stalled = true
  }

  release (): void {
    if (!this.output.stalled) return
    this.output.stalled = false
    this.drained()
  }

  // --- as the app asks -------------------------------------------------------------------

  subscribe (topic: unknown): Promise<void> {
    return this.#client.subscribe(topic)
  }

  unsubscribe (topic: unknown): void {
    const name = this.#client.resolve(topic)
    if (!this.#begun && !this.#client.forget?.(name)) this.#joins.leaveEarly(name)
    this.remove(name)
  }

  grant (topic: unknown): TopicGrant | undefined {
    return this.#client.grant?.(this.#client.resolve(topic))
  }

  closeFor (reason: Reason): void {
    this.end(customReason(reason), reason.reconnect ? this.#node.retryAfter() : undefined)
  }

  // --- end ---------------------------------------------------------------------------------

  /** Ends the connection once the client has been given everything that waits for it. */
  finish (reason: CloseReason): void {
    if (this.closed) return
    this.#finale = reason
    this.#listening.endFanOut()
    if (this.closed) return
    if (this.#listening.complete && !this.output.full && !this.output.outbox) this.end(reason)
  }

  sendAway (reason: CloseReason): void {
    this.end(reason, this.#node.retryAfter())
  }

  /** Tells the client to come back later, at a random time: other clients waited for the same and come back too. */
  comeBack (error: unknown): void {
    this.sendAway(statusOf(error) === 503 ? tryAgainLater : internalError)
  }

  /** Ends the connection from this side. `retry`: when the client should come back (ms). */
  end (reason: CloseReason, retry?: number): void {
    if (this.closed) return
    this.#close(reason)
    if (this.output.attached) this.output.outlet.close(reason, retry)
    // The client is still connecting: there is no wire whose end could be waited for.
    else this.#node.ended(this)
  }

  /** Ends the wire without a word: the client was told to go and has not gone. */
  cut (): void {
    this.output.outlet.destroy()
  }

  /** The client, or its wire, is gone. */
  gone (reason: CloseReason): void {
    if (!this.closed) this.#close(reason)
    this.#node.ended(this)
  }

  #close (reason: CloseReason): void {
    this.#reason = reason
    this.#ending.set(reason)
    this.#client.ended?.()
    this.#listening.clear()
    this.output.outbox = undefined
    this.#node.closing(this)
    if (this.#hand) this.#node.heartbeat.remove(this.#hand)
    this.output.wake()
    // Later, because a fan-out may be under way: the app may publish or close others, and must find the groups at rest.
    queueMicrotask(() => {
      this.#node.observe.disconnected(this, reason)
      this.#ending.tell(reason, this.#client.run && ((code) => this.#client.run?.(code)))
    })
  }

  /** Runs the callback once, also if the connection has ended already. */
  whenEnded (callback: (reason: CloseReason) => void): void {
    this.#ending.whenTold(callback)
  }
}

/** One client on one wire, from when it is let in to its end. */
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

/** The node, as its connections see it. */
export interface ConnectionNode extends ListeningNode {
  readonly heartbeat: Heartbeat
  join (client: Joiner, joining: readonly Joining[]): Joined[]
  release (joining: readonly Joining[]): void
  /** When a client should come back (ms). */
  retryAfter (): number
  /** It has ended; its wire may still be saying so. */
  closing (connection: Connection): void
  /** Its wire is gone. */
  ended (connection: Connection): void
}

export class Connection implements OutletHost, OutputHost, ListeningHost, Joiner, FaceHost {
  readonly output = new Output(this)
  /** When it was let in, ms since the epoch. */
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
  /** The order to end it that was given before it had a wire. */
  #condemned: Reason | undefined
  /** Why it ended. */
  #reason: CloseReason | undefined
  /** Why it will end, once the client has been given everything. */
  #finale: CloseReason | undefined

  constructor (node: ConnectionNode, client: Client) {
    this.#node = node
    this.#client = client
    this.#listening = new Listening(node, this)
  }

  get receiver (): Receiver { return this.#client }
  /** Names that are being joined. */
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
  /** Why it ended. */
  get reason (): CloseReason | undefined { return this.#reason }
  get signal (): AbortSignal { return this.#ending.signal }

  /** What the app holds of it. Made when first asked for. */
  get face (): ConnectionFace {
    this.#face ??= new ConnectionFace(this)
    return this.#face
  }

  // --- its beginning -------------------------------------------------------------------

  /** The wire is there. Nothing is written before `begin`. */
  attach (outlet: Outlet): void {
    this.output.attach(outlet)
    if (this.heartbeat > 0) this.#hand = this.#node.heartbeat.add(this.output, this.heartbeat)
  }

  /** Joins and opens in one synchronous step. */
  begin (joining: readonly Joining[]): void {
    if (this.#condemned) return this.#endCondemned(joining, this.#condemned)
    const joined = this.#node.join(this, joining)
    this.#begun = true
    this.#joins.begun()
    this.tell({ type: 'opened', subscriptions: this.subscriptions })
    this.announce(joined)
    for (const notice of this.#early.take()) this.tell(notice)
    // Not before the opening is written: whoever watches may send to the client now.
    this.#node.observe.connected(this)
    this.settle()
    this.output.wake()
  }

  #endCondemned (joining: readonly Joining[], reason: Reason): void {
    this.#node.release(joining)
    this.closeFor(reason)
  }

  /** Resolves when it has begun, or has ended before that. */
  async whenBegun (): Promise<void> {
    while (!this.#begun && !this.closed) await this.output.woken()
  }

  /** Tells what became of each subscription's cursor. */
  announce (joined: readonly Joined[], ref?: unknown): void {
    for (const { subscription, recovered, reason } of joined) {
      const expires = this.expires(subscription.topic.name)
      this.tell({ type: 'subscribed', subscription, recovered, snapshot: subscription.held, expires, ref })
      subscription.lost = undefined
      if (reason) this.tell({ type: 'reset', subscription, reason })
    }
  }

  /** ms from now until what allows it to hear this topic ends. */
  expires (name: string): number | undefined {
    return this.#client.expires?.(name)
  }

  // --- orders --------------------------------------------------------------------------

  /** Ends it as soon as there is a wire that can say so. The app hears nothing of it. */
  condemn (order: Reason): void {
    this.#condemned ??= order
  }

  get condemned (): boolean { return this.#condemned !== undefined }

  /** Does it listen to this topic, or is it about to? */
  concerns (name: string): boolean {
    return this.has(name) || this.#joins.isPending(name) || this.#awaits(name)
  }

  #awaits (name: string): boolean {
    return !this.#begun && this.admits(name) && this.#client.awaits?.(name) === true
  }

  admits (name: string): boolean {
    return this.#joins.admits(name)
  }

  /** A topic is taken from it, for as long as it is connected. */
  take (name: string): void {
    if (this.closed) return
    const awaited = this.#awaits(name)
    this.#joins.take(name)
    if (this.remove(name, 'taken') || awaited) this.tell({ type: 'revoked', topic: name })
    if (this.#joins.full) this.sendAway(judgedAnew)
  }

  /** What allowed it to hear this topic is over; it may join it again. Where it cannot be told of that, it ends. */
  lapse (name: string, reason: LapseReason): void {
    if (this.closed || !this.concerns(name)) return
    if (!this.attached || !this.output.outlet.sheds) return this.sendAway(expired)
    const awaited = this.#awaits(name)
    if (awaited) this.#joins.leaveEarly(name)
    if (this.remove(name, 'taken') || awaited) this.tell({ type: 'revoked', topic: name, reason })
  }

  /** Orders may be lost, so `authorize` is asked again. Where it cannot be, the client is told to come back. */
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

  /** A join that takes its time. It is given up when the topic is left or taken meanwhile. @throws Forbidden */
  joining (name: string): Join {
    return this.#joins.start(name)
  }

  /** It is over. */
  joined (join: Join): void {
    this.#joins.end(join)
  }

  /** False where it did not listen to that. */
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

  /** The wire took everything: what waited goes out. */
  drained (): void {
    if (this.closed || this.output.stalled) return
    this.#listening.drained()
    if (this.output.full) return
    if (this.#finale) this.finish(this.#finale)
    if (!this.output.full) this.output.wake()
  }

  /** Resolves when the client takes bytes again, or is gone. Undefined when it takes them now. */
  writable (): Promise<void> | undefined {
    return this.output.writable()
  }

  /** Nothing is written to it until it is released: the same happens to it as to a client that does not read. */
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

  // --- its end -----------------------------------------------------------------------------

  /** Ends once the client has been given everything that waits for it. */
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

  /** Sends the client away to come back later. The return is spread: others waited for the same and come back too. */
  comeBack (error: unknown): void {
    this.sendAway(statusOf(error) === 503 ? tryAgainLater : internalError)
  }

  /** Ends from this side. `retry`: when the client should come back (ms). */
  end (reason: CloseReason, retry?: number): void {
    if (this.closed) return
    this.#close(reason)
    if (this.output.attached) this.output.outlet.close(reason, retry)
    // It is still on its way in: there is no wire whose end could be waited for.
    else this.#node.ended(this)
  }

  /** Ends without a word: a client that was told to go did not. */
  cut (): void {
    this.output.outlet.destroy()
  }

  /** The other side is gone. */
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
    // Not during this turn's fan-out: the app may publish or close others now, and must find the groups at rest.
    queueMicrotask(() => {
      this.#node.observe.disconnected(this, reason)
      this.#ending.tell(reason, this.#client.run && ((code) => this.#client.run?.(code)))
    })
  }

  /** Runs once, also where the end has come already. */
  whenEnded (callback: (reason: CloseReason) => void): void {
    this.#ending.whenTold(callback)
  }
}

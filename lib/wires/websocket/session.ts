/** What a client sends: parsed, checked, and carried out one after the other. */
import type { FastifyRequest } from 'fastify'
import { quiet, statusOf, toError } from '../../core/callbacks.ts'
import * as reasons from '../../core/close-reasons.ts'
import type { Connection } from '../../core/connection/connection.ts'
import type { Receiver } from '../../core/event.ts'
import { printable } from '../../core/event-name.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import type { Action, DeclaredTopic, TopicAt } from '../../core/topics/topic.ts'
import type { Limits } from '../../options.ts'
import type { Ref } from '../../protocol.ts'
import type { Arrival } from '../../routes/arrival.ts'
import type { Entered, Wish } from '../../routes/join-later.ts'
import { Fault } from './fault.ts'
import { faultOf, notNowOf } from './told.ts'
import { Forbidden, TooManyTopics } from '../../errors.ts'
import type { Asked } from './protocols/protocol.ts'
import { carryOut, contextOf, type MessagesPlan, type Sender } from './message.ts'
import type { WebSocketOutlet } from './outlet.ts'
import { Rate } from './rate.ts'

export interface SessionPlan extends MessagesPlan {
  readonly binary: ((data: Uint8Array, context: object) => unknown) | undefined
  readonly subscribe: readonly DeclaredTopic[]
  readonly limits: Limits
  readonly maxTopics: number
  /** Topics that an `open` may name. */
  readonly maxCursors: number
}

/** Whose session it is. */
interface SessionHost {
  /** Starts the delivery, at a client's `open`. */
  opened (cursors: ReadonlyMap<string, string>, token: string | undefined): MaybePromise<void>
  /** A message was handled: the queue may have room again. */
  handled (): void
}

/** A client that is connected: it is in what it hears. */
class ConnectedSender implements Sender {
  readonly request: FastifyRequest
  readonly #arrival: Arrival

  constructor (arrival: Arrival, request: FastifyRequest) {
    this.#arrival = arrival
    this.request = request
  }

  get face (): object { return this.#arrival.connection.face }
  get receiver (): Receiver { return this.#arrival.connection.receiver }
  isIn ({ name }: TopicAt): boolean { return this.#arrival.connection.has(name) }
  authorize (at: TopicAt, action: Action): Promise<unknown> { return this.#arrival.authorize(at, action) }
}

/** Shared by all that have heard nothing yet; never added to. */
const NONE: Inbound[] = []

type Inbound = { text: string } | { bytes: Uint8Array }

export class Session {
  readonly #plan: SessionPlan
  readonly #arrival: Arrival
  readonly #connection: Connection
  readonly #outlet: WebSocketOutlet
  readonly #request: FastifyRequest
  readonly #host: SessionHost
  readonly #sender: Sender
  /** Made for the first message: many clients only listen. */
  #rate: Rate | undefined
  #queue: Inbound[] = NONE
  #working = false
  #accepted = false

  constructor (
    plan: SessionPlan, arrival: Arrival, outlet: WebSocketOutlet, request: FastifyRequest, host: SessionHost
  ) {
    this.#plan = plan
    this.#arrival = arrival
    this.#connection = arrival.connection
    this.#outlet = outlet
    this.#request = request
    this.#host = host
    this.#sender = new ConnectedSender(arrival, request)
  }

  /** The app has accepted the connection: what came before is handled now. */
  accept (): void {
    this.#accepted = true
    this.#work()
  }

  /** True when so much waits that no more should be read. */
  get crowded (): boolean { return this.#queue.length >= this.#plan.limits.queue }

  receive (data: Buffer, binary: boolean): void {
    if (this.#connection.closed) return
    this.#rate ??= new Rate(this.#plan.limits)
    const whose = this.#tooMany(this.#rate)
    if (whose) return this.#refuse(new Fault('RATE_LIMITED', `too many messages${whose}: slow down`), undefined, true)
    if (this.#queue === NONE) this.#queue = []
    this.#queue.push(binary ? { bytes: data } : { text: data.toString() })
    this.#work()
  }

  /** Of whom there are too many messages; undefined where this one is within the rates. */
  #tooMany (rate: Rate): string | undefined {
    if (!rate.take()) return ' on this connection'
    const { id, anonymous } = this.#connection.identity
    return anonymous === true || this.#plan.hub.rates.take(id) ? undefined : ' of this identity'
  }

  #work (): void {
    if (this.#working || !this.#accepted || this.#queue.length === 0) return
    this.#working = true
    this.#arrival.run(() => this.#drain()).catch((error: unknown) => {
      quiet(this.#request.log).error({ err: error }, 'realtime: a message could not be handled')
      this.#connection.end(reasons.internalError)
    }).finally(() => { this.#working = false })
  }

  async #drain (): Promise<void> {
    for (let inbound = this.#queue.shift(); inbound && !this.#connection.closed; inbound = this.#queue.shift()) {
      await this.#answered(inbound)
      this.#host.handled()
    }
  }

  async #answered (inbound: Inbound): Promise<void> {
    let asked: Asked | undefined
    try {
      if ('bytes' in inbound) return await this.#binary(inbound.bytes)
      asked = this.#outlet.protocol.read(inbound.text, this.#plan.maxCursors)
      await this.#handle(asked)
    } catch (error) {
      this.#answer(error, asked?.ref)
    }
  }

  async #handle (asked: Asked): Promise<void> {
    const { protocol } = this.#outlet
    switch (asked.do) {
      case 'open': return await this.#open(asked)
      case 'ping': return this.#write(protocol.pong())
      case 'subscribe': return await this.#subscribe(asked)
      case 'refresh': return await this.#refresh(asked)
      case 'unsubscribe': return this.#unsubscribe(asked)
      case 'presence': return await this.#show(asked)
      case 'message': {
        this.#mustBeOpen()
        const result = await this.#traced(asked.name, () => carryOut(this.#plan, this.#sender, asked))
        if (!this.#connection.closed) this.#write(protocol.reply(asked, result))
      }
    }
  }

  #write (bytes: Uint8Array | undefined): void {
    if (bytes && !this.#connection.closed) this.#connection.write(bytes)
  }

  async #binary (bytes: Uint8Array): Promise<void> {
    this.#mustBeOpen()
    if (!this.#plan.binary) throw new Fault('BINARY_UNSUPPORTED', 'this channel does not accept binary messages')
    const { binary } = this.#plan
    await this.#traced(undefined, async () => await binary(bytes, contextOf(this.#sender)))
  }

  /** A client chooses the name: one that is not declared is nobody's. */
  async #traced<T> (message: string | undefined, code: () => Promise<T>): Promise<T> {
    const { hub: { tracing: { tracer } }, messages } = this.#plan
    if (!tracer || (message !== undefined && !messages.has(message))) return await code()
    return await tracer.handle({ channel: this.#request.routeOptions.url ?? '', message }, code)
  }

  // --- commands -----------------------------------------------------------------

  async #open ({ cursors, token }: Asked & { do: 'open' }): Promise<void> {
    if (this.#connection.begun) throw new Fault('INVALID_FRAME', 'this connection is already open')
    await this.#host.opened(cursors, token)
  }

  async #refresh ({ token, ref }: Asked & { do: 'refresh' }): Promise<void> {
    this.#mustBeOpen()
    // All of its topics are asked about again: as costly as to join one.
    this.#takeTopic()
    const expires = await this.#arrival.refresh(token)
    this.#write(this.#outlet.protocol.refreshed(ref, expires))
  }

  async #subscribe ({ topic, id, token, ref }: Asked & { do: 'subscribe' }): Promise<void> {
    this.#mustBeOpen()
    const at = this.#resolve(topic)
    const own = this.#arrival.topics.some(({ name }) => name === at.name)
    if (!own && !this.#plan.subscribe.includes(at.topic)) {
      throw new Fault('UNKNOWN_TOPIC', 'this channel offers no such topic')
    }
    if (this.#connection.has(at.name)) return this.#tellSubscribed(at, ref)
    this.#takeTopic()
    const cursor = id === undefined || !at.topic.durable ? undefined : { id }
    const entered = await this.#join(at, { cursor, ref, token })
    // The app has put it out of the topic before it was in.
    if (entered === 'left') throw new Forbidden(at.name, 'subscribe')
    if (entered === 'there') this.#tellSubscribed(at, ref)
  }

  #tellSubscribed ({ name }: TopicAt, ref: Ref | undefined): void {
    this.#write(this.#outlet.protocol.subscribed(name, ref, this.#connection.expires(name)))
  }

  #takeTopic (): void {
    if (this.#rate?.takeTopic(this.#plan.maxTopics) === false) {
      throw new Fault('RATE_LIMITED', 'too many topics joined: slow down')
    }
  }

  async #join (at: TopicAt, wish: Wish): Promise<Entered> {
    try {
      return await this.#arrival.join(at, wish)
    } catch (error) {
      throw error instanceof TooManyTopics
        ? new Fault('TOO_MANY_TOPICS', `more than ${this.#plan.maxTopics} topics`)
        : error
    }
  }

  #unsubscribe ({ topic, ref }: Asked & { do: 'unsubscribe' }): void {
    this.#mustBeOpen()
    const { name } = this.#resolve(topic)
    this.#connection.remove(name)
    this.#write(this.#outlet.protocol.unsubscribed(name, ref))
  }

  async #show ({ topic, state, ref }: Asked & { do: 'presence' }): Promise<void> {
    this.#mustBeOpen()
    const at = this.#resolve(topic)
    const fault = await this.#arrival.show(at, state)
    if (fault !== undefined) throw new Fault('INVALID_DATA', fault)
    this.#write(this.#outlet.protocol.shown(at.name, ref))
  }

  #resolve (topic: unknown): TopicAt {
    try {
      return this.#plan.hub.topics.resolve(topic)
    } catch {
      throw new Fault('UNKNOWN_TOPIC', `no topic "${printable(topic)}"`)
    }
  }

  #mustBeOpen (): void {
    if (!this.#connection.begun) throw new Fault('INVALID_FRAME', 'the first frame must be {"op":"open"}')
  }

  // --- answers ------------------------------------------------------------------

  #answer (thrown: unknown, asked: Ref | undefined): void {
    const error = toError(thrown)
    const ref = error instanceof Fault ? error.ref ?? asked : asked
    const notNow = notNowOf(this.#request, error)
    if (notNow) return this.#tell(notNow.code, notNow.message, ref)
    const fault = faultOf(this.#request, error)
    if (fault === error || isFault(error)) this.#refuse(fault, ref, fault === error && fault.code === 'RATE_LIMITED')
    else this.#tell(fault.code, fault.message, ref)
  }

  #tell (code: string, message: string, ref: Ref | undefined): void {
    this.#write(this.#outlet.protocol.error({ code, message, ref }))
  }

  #refuse (fault: Fault, ref: Ref | undefined, rate: boolean): void {
    this.#tell(fault.code, fault.message, ref)
    if (rate) this.#plan.hub.observe.counts.rateLimited++
    if (this.#rate?.fault()) this.#connection.end(rate ? reasons.rateLimited : reasons.tooManyFaults)
  }
}

// Threat: whoever may be refused, or make a handler fail, without end tries one topic, or one message, after the other.
/**
 * False for what is the server's fault and only for now, and for an app's own answer ("outbid"), if it refuses no
 * right.
 */
function isFault (error: Error & { code?: unknown }): boolean {
  const status = statusOf(error)
  if (status === 401 || status === 403) return true
  const ours = typeof error.code === 'string' && error.code.startsWith('FST_ERR_')
  return status !== 503 && (ours || status >= 500 || typeof error.code !== 'string')
}

/** What a client sends: parsed, checked, and carried out one after the other. */
import sjson from 'secure-json-parse'
import type { FastifyRequest } from 'fastify'
import { quiet, statusOf, toError } from '../../core/callbacks.ts'
import * as reasons from '../../core/close-reasons.ts'
import type { Connection } from '../../core/connection.ts'
import type { Cursor, Hub } from '../../core/hub.ts'
import type { DeclaredTopic, TopicAt } from '../../core/topic.ts'
import type { Check } from '../../core/validation.ts'
import { printable } from '../../core/event.ts'
import type { Soon } from '../../core/soon.ts'
import type { Limits } from '../../options.ts'
import type { Arrival, Joined } from '../routes.ts'
import { authorize, logRefusal } from '../routes.ts'
import { sparing } from '../sparing.ts'
import { encodeJson, jsonOf } from '../../core/payload.ts'
import { flatFrame, jsonFrame, replyFrame } from './encode.ts'
import { Fault } from './fault.ts'
import { CallbackTimeout, EventDataInvalid, Forbidden, TooManyTopics, Unavailable } from '../../errors.ts'
import { errorFrame, type WebSocketOutlet } from './outlet.ts'
import { Rate } from './rate.ts'
import { mustFit, notIn, type Relay } from './relay.ts'

export interface Message {
  readonly check: Check | undefined
  readonly handler: ((data: unknown, context: object) => unknown) | undefined
  readonly relay: Relay | undefined
}

export interface SessionPlan {
  readonly messages: ReadonlyMap<string, Message>
  readonly binary: ((data: Uint8Array, context: object) => unknown) | undefined
  readonly subscribe: readonly DeclaredTopic[]
  readonly limits: Limits
  readonly maxTopics: number
  readonly hub: Hub
}

/** Whose session it is. */
interface SessionHost {
  /** Starts the delivery, at a client's `open`. */
  opened (cursors: ReadonlyMap<string, string>): Soon<void>
  /** A message was handled: the queue may have room again. */
  handled (): void
}

/** Shared by all that have heard nothing yet; never added to. */
const NONE: Inbound[] = []

type Json = Record<string, unknown>
type Inbound = { text: string } | { bytes: Uint8Array }

/** The most topics an `open` may name, where `maxTopics` is not more. */
const MIN_CURSORS = 64

export class Session {
  readonly #plan: SessionPlan
  readonly #arrival: Arrival
  readonly #connection: Connection
  readonly #outlet: WebSocketOutlet
  readonly #request: FastifyRequest
  readonly #host: SessionHost
  /** Made for the first message: many clients only listen. */
  #rate: Rate | undefined
  #queue: Inbound[] = NONE
  #working = false
  #accepted = false

  constructor (plan: SessionPlan, arrival: Arrival, outlet: WebSocketOutlet, request: FastifyRequest, host: SessionHost) {
    this.#plan = plan
    this.#arrival = arrival
    this.#connection = arrival.connection
    this.#outlet = outlet
    this.#request = request
    this.#host = host
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
    if (!this.#rate.take()) return this.#refuse(new Fault('RATE_LIMITED', 'too many messages: slow down'), undefined, true)
    if (this.#queue === NONE) this.#queue = []
    this.#queue.push(binary ? { bytes: data } : { text: data.toString() })
    this.#work()
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
      const ref: { value: unknown } = { value: undefined }
      try {
        await this.#handle(inbound, ref)
      } catch (error) {
        this.#answer(error, ref.value)
      }
      this.#host.handled()
    }
  }

  async #handle (inbound: Inbound, ref: { value: unknown }): Promise<void> {
    if ('bytes' in inbound) return await this.#binary(inbound.bytes)
    const message = parse(inbound.text)
    if (this.#outlet.format === 'flat') return await this.#flat(message)
    if (message.ref !== undefined && typeof message.ref !== 'string' && typeof message.ref !== 'number') {
      throw new Fault('INVALID_FRAME', '"ref" must be a string or a number')
    }
    ref.value = message.ref
    if (message.op !== undefined) return await this.#command(message)
    this.#mustBeOpen()
    if (typeof message.event !== 'string') throw new Fault('INVALID_FRAME', 'a message needs an "event", a command an "op"')
    const result = await this.#message(message.event, message.data, message.topic)
    if (message.ref !== undefined) this.#connection.write(replyFrame(message.ref, jsonOf(undefined, message.event, result)))
  }

  async #flat ({ type, ...data }: Json): Promise<void> {
    if (typeof type !== 'string') throw new Fault('INVALID_FRAME', 'a message needs a "type"')
    const result = await this.#message(type, data, undefined)
    if (typeof result !== 'object' || result === null || typeof (result as Json).type !== 'string') return
    const { type: name, ...rest } = result as Json & { type: string }
    if (!this.#connection.closed) this.#connection.write(flatFrame(name, encodeJson(undefined, type, rest)))
  }

  async #message (name: string, received: unknown, topic: unknown): Promise<unknown> {
    const message = this.#plan.messages.get(name)
    if (!message) throw new Fault('UNKNOWN_MESSAGE', `no message "${printable(name)}" is declared here`)
    const data = message.check ? await this.#checked(message.check, received) : received
    if (message.handler) return await message.handler(data, this.#context())
    if (message.relay) await this.#relay(message.relay, name, data, topic)
    return undefined
  }

  /** What the schema's compiler makes of the data: with defaults, say, or of another type. */
  async #checked (check: Check, data: unknown): Promise<unknown> {
    const { fault, value } = await check(data)
    if (fault !== undefined) throw new Fault('INVALID_DATA', fault)
    return value
  }

  async #relay ({ to, replace }: Relay, name: string, data: unknown, named: unknown): Promise<void> {
    const at = to(this.#request, this.#connection, named)
    await authorize(this.#plan.hub, this.#request, at, 'publish')
    const sent = replace ? await replace(data, this.#context()) : data ?? null
    if (sent === undefined) return
    // Threat: the topic may have been taken from it while the app was asked.
    if (!this.#connection.has(at.name)) throw notIn()
    try {
      if (!replace) await mustFit(at, name, sent)
      await this.#plan.hub.relay(at, name, sent, this.#connection)
    } catch (thrown) {
      const error = toError(thrown)
      if (!(error instanceof EventDataInvalid)) throw error
      if (replace) sparing(this.#request).info({ err: error }, 'realtime: what a relay made of a client\'s data was not sent')
      throw new Fault('INVALID_DATA', error.message)
    }
  }

  async #binary (bytes: Uint8Array): Promise<void> {
    this.#mustBeOpen()
    if (!this.#plan.binary) throw new Fault('BINARY_UNSUPPORTED', 'this channel takes no binary messages')
    await this.#plan.binary(bytes, this.#context())
  }

  #context (): object {
    return { connection: this.#connection, request: this.#request, params: this.#request.params ?? {} }
  }

  // --- commands of the envelope format ----------------------------------------

  async #command (command: Json): Promise<void> {
    switch (command.op) {
      case 'open': return await this.#open(command.cursors)
      case 'ping': return this.#connection.write(jsonFrame({ op: 'pong' }))
      case 'subscribe': return await this.#subscribe(command)
      case 'unsubscribe': return this.#unsubscribe(command)
      default: throw new Fault('INVALID_FRAME', `no command "${printable(command.op)}"`)
    }
  }

  async #open (cursors: unknown): Promise<void> {
    if (this.#connection.begun) throw new Fault('INVALID_FRAME', 'open already')
    await this.#host.opened(readCursors(cursors, Math.max(MIN_CURSORS, this.#plan.maxTopics)))
  }

  async #subscribe ({ topic, id, ref }: Json): Promise<void> {
    this.#mustBeOpen()
    if (id !== undefined && typeof id !== 'string') throw new Fault('INVALID_FRAME', '"id" must be a string')
    const at = this.#resolve(topic)
    const own = this.#arrival.topics.some(({ name }) => name === at.name)
    if (!own && !this.#plan.subscribe.includes(at.topic)) throw new Fault('UNKNOWN_TOPIC', 'this channel has no such topic to join')
    // Without a position: the client has it, and what waits for this client may be beyond the one it stands at now.
    if (this.#connection.has(at.name)) return this.#connection.write(jsonFrame({ op: 'subscribed', topic: at.name, ref }))
    if (this.#rate?.takeTopic(this.#plan.maxTopics) === false) throw new Fault('RATE_LIMITED', 'too many topics joined: slow down')
    const joined = await this.#join(at, id === undefined || !at.topic.durable ? undefined : { id }, ref)
    // The app has put it out of the topic before it was in.
    if (joined === 'left') throw new Forbidden(at.name, 'subscribed to')
    if (joined === 'there') this.#connection.write(jsonFrame({ op: 'subscribed', topic: at.name, ref }))
  }

  async #join (at: TopicAt, cursor: Cursor, ref: unknown): Promise<Joined> {
    try {
      return await this.#arrival.join(at, cursor, ref)
    } catch (error) {
      throw error instanceof TooManyTopics ? new Fault('TOO_MANY_TOPICS', `more than ${this.#plan.maxTopics} topics`) : error
    }
  }

  #unsubscribe ({ topic, ref }: Json): void {
    this.#mustBeOpen()
    const { name } = this.#resolve(topic)
    this.#connection.remove(name)
    this.#connection.write(jsonFrame({ op: 'unsubscribed', topic: name, ref }))
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

  #answer (thrown: unknown, ref: unknown): void {
    const error = toError(thrown)
    if (error instanceof Unavailable || error instanceof CallbackTimeout) {
      logRefusal(sparing(this.#request), error, 'realtime: a message could not be carried out now')
      return this.#tell('UNAVAILABLE', 'not available now; whether it was done is not known', ref)
    }
    const fault = this.#faultOf(error)
    if (fault === error || isFault(error)) this.#refuse(fault, ref, fault === error && fault.code === 'RATE_LIMITED')
    else this.#tell(fault.code, fault.message, ref)
  }

  /** What the client is told. */
  #faultOf (error: Error & { code?: unknown }): Fault {
    const { code, message } = error
    if (error instanceof Fault) return error
    if (code === 'FST_ERR_REALTIME_FORBIDDEN') return new Fault('FORBIDDEN', message)
    if (statusOf(error) < 500 && typeof code === 'string') return new Fault(code, message)
    sparing(this.#request).error({ err: error }, 'realtime: a message handler failed')
    return new Fault('INTERNAL', 'the server failed')
  }

  #tell (code: string, message: string, ref: unknown): void {
    if (!this.#connection.closed) this.#connection.write(errorFrame(this.#outlet.format, { code, message, ref }))
  }

  #refuse (fault: Fault, ref: unknown, rate: boolean): void {
    this.#tell(fault.code, fault.message, ref)
    if (this.#rate?.fault()) this.#connection.end(rate ? reasons.rateLimited : reasons.tooManyFaults)
  }
}

// Threat: whoever may be refused, or make a handler fail, without end tries one topic, or one message, after the other.
/** False for what is the server's fault and only for now, and for an app's own answer ("outbid"), if it refuses no right. */
function isFault (error: Error & { code?: unknown }): boolean {
  const status = statusOf(error)
  if (status === 401 || status === 403) return true
  const ours = typeof error.code === 'string' && error.code.startsWith('FST_ERR_')
  return status !== 503 && (ours || status >= 500 || typeof error.code !== 'string')
}

// Threat: "__proto__" and "constructor.prototype" in a client's JSON would reach objects that the app merges.
function parse (text: string): Json {
  let value: unknown
  try {
    value = sjson.parse(text, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    throw new Fault('INVALID_JSON', 'not JSON, or with a forbidden key')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Fault('INVALID_JSON', 'a message must be a JSON object')
  return value as Json
}

function readCursors (value: unknown, most: number): ReadonlyMap<string, string> {
  if (value === undefined) return new Map()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Fault('INVALID_FRAME', '"cursors" must be an object')
  const entries = Object.entries(value)
  if (entries.length > most) throw new Fault('INVALID_FRAME', `more than ${most} cursors`)
  if (!entries.every(([, id]) => typeof id === 'string')) throw new Fault('INVALID_FRAME', 'a cursor must be a string')
  return new Map(entries as Array<[string, string]>)
}

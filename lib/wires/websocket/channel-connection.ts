/** One open WebSocket of a channel, from the upgrade to its end: what its events concern. */
import type { FastifyRequest } from 'fastify'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { statusOf } from '../../core/callbacks.ts'
import * as reasons from '../../core/close-reasons.ts'
import type { Connection } from '../../core/connection/connection.ts'
import type { Joining } from '../../core/connection/joining.ts'
import { andThen, type MaybePromise } from '../../core/maybe-promise.ts'
import type { Arrival, RouteCallbacks } from '../../routes/arrival.ts'
import { Expired } from '../../errors.ts'
import { logRefusal } from '../../routes/refusal.ts'
import { WebSocketOutlet } from './outlet.ts'
import type { Protocol } from './protocols/protocol.ts'
import { Session, type SessionPlan } from './session.ts'

export interface ChannelPlan extends SessionPlan {
  readonly callbacks: RouteCallbacks
}

/** How long a client may take to say `open`. */
const OPEN_TIMEOUT_MS = 10_000

export class ChannelConnection {
  readonly outlet: WebSocketOutlet
  readonly #plan: ChannelPlan
  readonly #arrival: Arrival
  readonly #request: FastifyRequest
  readonly #ws: WebSocket
  readonly #session: Session
  #fault: number | undefined
  /** The only timer of a connection, and only until it has said `open`. */
  #opening: NodeJS.Timeout | undefined

  constructor (
    plan: ChannelPlan, arrival: Arrival, request: FastifyRequest, socket: Duplex, ws: WebSocket, protocol: Protocol
  ) {
    this.#plan = plan
    this.#arrival = arrival
    this.#request = request
    this.#ws = ws
    this.outlet = new WebSocketOutlet(arrival.connection, ws, socket, protocol)
    arrival.connection.attach(this.outlet)
    this.#session = new Session(plan, arrival, this.outlet, request, this)
    listen(ws, this)
  }

  accept (): void {
    const { connection, place } = this.#arrival
    // Nothing of it is the app's concern any more.
    if (connection.condemned) {
      place.arrived()
      return connection.begin([])
    }
    // Who it is says its token, which it may bring with its `open`.
    if (this.#arrival.brings === 'identity') return this.#waitForOpen()
    try {
      const accepting = andThen(this.#arrival.connect(this.#plan.callbacks), () => this.#accepted())
      if (accepting) accepting.catch((error: unknown) => this.#refuse(error))
    } catch (error) {
      this.#refuse(error)
    }
  }

  #accepted (): MaybePromise<void> {
    const { connection, place } = this.#arrival
    place.arrived()
    if (connection.closed) return
    if (!this.outlet.protocol.clientOpens) return andThen(this.#join(NO_CURSORS), () => this.#session.accept())
    this.#waitForOpen()
  }

  #waitForOpen (): void {
    const { connection, place } = this.#arrival
    place.arrived()
    this.#opening = openTimer(connection)
    this.#session.accept()
  }

  /** The client has said `open`. */
  async opened (cursors: ReadonlyMap<string, string>, token: string | undefined): Promise<void> {
    clearTimeout(this.#opening)
    this.#opening = undefined
    try {
      await this.#judged(token)
      await this.#join(cursors)
    } catch (error) {
      // Open, and with nothing to hear, it would wait for ever.
      this.#refuse(error, statusOf(error) < 500 ? reasons.forbidden : reasons.internalError)
    }
  }

  /** What waited for its token is judged, and if that says who it is, `onConnect` as well. */
  async #judged (token: string | undefined): Promise<void> {
    const { brings } = this.#arrival
    if (token !== undefined || brings !== 'nothing') await this.#arrival.open(token)
    if (brings === 'identity') await this.#arrival.connect(this.#plan.callbacks)
  }

  /** Joins the channel's topics, from the client's cursors where it named some. */
  #join (cursors: ReadonlyMap<string, string>): MaybePromise<void> {
    return andThen(this.#plan.hub.entrance.prepare(this.#arrival.topics.map((at) => {
      const id = cursors.get(at.name)
      return { at, cursor: id === undefined || !at.topic.durable ? undefined : { id } }
    })), (joining) => this.#begin(joining))
  }

  #begin (joining: Joining[]): void {
    const { connection } = this.#arrival
    if (connection.closed) this.#plan.hub.entrance.release(joining)
    else connection.begin(joining)
  }

  received (data: Buffer, binary: boolean): void {
    this.outlet.heard()
    if (data.byteLength > this.#plan.limits.messageBytes && !this.#mayOpen(binary)) {
      return this.#arrival.connection.end(reasons.messageTooBig)
    }
    this.#session.receive(data, binary)
    if (this.#session.crowded) this.#ws.pause()
  }

  /** An `open` names a cursor for each topic, and may be larger for it than any other message. */
  #mayOpen (binary: boolean): boolean {
    return !binary && this.outlet.protocol.clientOpens && !this.#arrival.connection.begun
  }

  /** The session has handled a message. */
  handled (): void {
    if (this.#ws.isPaused && !this.#session.crowded) this.#ws.resume()
  }

  // ws closes by itself after an error of the peer's, and then reports 1006; an expected disconnect is no error line.
  broke (error: Error): void {
    this.#fault ??= faultCode(error)
    this.#request.log.debug({ err: error }, 'realtime: the client broke the connection')
  }

  over (code: number): void {
    clearTimeout(this.#opening)
    this.outlet.over(this.#fault ?? code)
  }

  #refuse (error: unknown, otherwise = reasons.forbidden): void {
    this.#arrival.place.arrived()
    logRefusal(this.#request.log, error, 'realtime: the connection was refused')
    const { connection } = this.#arrival
    if (error instanceof Expired) connection.sendAway(reasons.expired)
    else connection.end(statusOf(error) === 503 ? reasons.tryAgainLater : otherwise)
  }
}

/** A topic's name, quoted (255 bytes, which JSON may double), and its cursor. */
const CURSOR_BYTES = 576

/** What an `open` may take, whatever `limits.messageBytes` says. */
export const openBytes = (cursors: number, tokenBytes: number): number => 64 + cursors * CURSOR_BYTES + tokenBytes

const NO_CURSORS: ReadonlyMap<string, string> = new Map()

// On the WebSocket, where the listeners find it: closures would be several for each client.
const CHANNEL = Symbol('fastify-realtime.channel')

type Bearing = WebSocket & { [CHANNEL]?: ChannelConnection }

function listen (ws: Bearing, channel: ChannelConnection): void {
  ws[CHANNEL] = channel
  ws.on('message', received)
  ws.on('ping', heard)
  ws.on('pong', heard)
  ws.on('close', closed)
  ws.on('error', broke)
}

function received (this: Bearing, data: unknown, binary: boolean): void {
  this[CHANNEL]?.received(data as Buffer, binary)
}
function heard (this: Bearing): void { this[CHANNEL]?.outlet.heard() }
function closed (this: Bearing, code: number): void { this[CHANNEL]?.over(code) }
function broke (this: Bearing, error: Error): void { this[CHANNEL]?.broke(error) }

/** The close code for what ws found wrong with a frame. */
function faultCode ({ code = '' }: NodeJS.ErrnoException): number | undefined {
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return reasons.messageTooBig.code
  if (code === 'WS_ERR_INVALID_UTF8') return reasons.invalidPayload.code
  return code.startsWith('WS_ERR_') ? reasons.protocolError.code : undefined
}

function openTimer (connection: Connection): NodeJS.Timeout {
  return setTimeout(() => { if (!connection.begun) connection.end(reasons.openTimeout) }, OPEN_TIMEOUT_MS).unref()
}

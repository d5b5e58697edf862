/** One client's end of a WebSocket. The only writer of its socket besides ws's own pongs and close frames. */
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import * as reasons from '../../core/close-reasons.ts'
import type { CloseReason } from '../../core/close-reasons.ts'
import { bytesOf } from '../../core/delivery/bytes.ts'
import type { Entry } from '../../core/event.ts'
import type { Encoder, HeardSubscription, Notice, Outlet, OutletHost } from '../../core/wire.ts'
import type { Protocol } from './protocols/protocol.ts'

/** An empty ping (RFC 6455 §5.5.2). Frames leave whole, so it may go between any two of them. */
const PING = Buffer.from([0x89, 0])

export class WebSocketOutlet implements Outlet {
  readonly kind = 'websocket'
  readonly protocol: Protocol
  readonly #connection: OutletHost
  readonly #ws: WebSocket
  readonly #socket: Duplex
  /** Nothing has been heard since the last beat. */
  #silent = false
  #pinged = false

  constructor (connection: OutletHost, ws: WebSocket, socket: Duplex, protocol: Protocol) {
    this.#connection = connection
    this.#ws = ws
    this.#socket = socket
    this.protocol = protocol
    ;(socket as Bearing)[CONNECTION] = connection
    socket.on('drain', drained)
  }

  get sheds (): boolean { return this.protocol.clientOpens }

  /** The peer lives. */
  heard (): void {
    this.#silent = false
  }

  encoder (): Encoder<Uint8Array> {
    return this.protocol.encoder
  }

  release (): void {}

  encodeOne (entry: Entry, { topic }: HeardSubscription): Uint8Array {
    return bytesOf(this.protocol.encoder, [entry], topic)
  }

  join (frames: readonly Uint8Array[]): Uint8Array {
    return Buffer.concat(frames)
  }

  notice (notice: Notice): Uint8Array | undefined {
    return this.protocol.notice(notice, this.#connection)
  }

  write (bytes: Uint8Array): boolean {
    return this.#ws.readyState !== WebSocket.OPEN || !this.#socket.writable || this.#socket.write(bytes)
  }

  get buffered (): number { return this.#socket.writableLength }

  /** A peer that vanished is gone by the second beat after: the first asks, the second finds no answer. */
  beat (): void {
    if (this.#ws.readyState !== WebSocket.OPEN) return
    if (this.#pinged && this.#silent && !this.#ws.isPaused) return this.destroy()
    this.#silent = true
    this.#pinged = true
    this.write(PING)
  }

  close (reason: CloseReason, retry: number | undefined): void {
    const bye = this.#connection.begun ? this.protocol.bye(reason, retry) : undefined
    if (bye) this.write(bye)
    // Not a code that an endpoint may send (RFC 6455 §7.4.1).
    if (reason.code === reasons.connectionLost.code) return this.destroy()
    this.#ws.close(reason.code, reason.text)
  }

  destroy (): void {
    this.#ws.terminate()
  }

  /** The socket is closed. */
  over (code: number): void {
    this.#connection.gone(reasonOf(code))
  }
}

/** On the socket: a closure would be one more for each client. */
const CONNECTION = Symbol('fastify-realtime.connection')

type Bearing = Duplex & { [CONNECTION]?: OutletHost }

function drained (this: Bearing): void { this[CONNECTION]?.drained() }

function reasonOf (code: number): CloseReason {
  switch (code) {
    case reasons.connectionLost.code: return reasons.connectionLost
    case reasons.invalidPayload.code: return reasons.invalidPayload
    case reasons.messageTooBig.code: return reasons.messageTooBig
    case reasons.protocolError.code: return reasons.protocolError
    default: return reasons.clientLeft
  }
}

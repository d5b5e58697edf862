/** One client's end of a WebSocket. The only writer of its socket besides ws's own pongs and close frames. */
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import * as reasons from '../../core/close-reasons.ts'
import type { CloseReason } from '../../core/close-reasons.ts'
import { positionOf, type Connection, type Subscription } from '../../core/connection.ts'
import type { Entry } from '../../core/event.ts'
import type { Encoder, Notice, Outlet } from '../../core/wire.ts'
import { envelope, flat, flatFrame, frame, jsonFrame } from './encode.ts'

export type ChannelFormat = 'flat' | 'envelope'

/** An empty ping (RFC 6455 §5.5.2). Frames leave whole, so it may go between any two of them. */
const PING = Buffer.from([0x89, 0])
export class WebSocketOutlet implements Outlet {
  readonly kind = 'websocket'
  readonly format: ChannelFormat
  readonly #connection: Connection
  readonly #ws: WebSocket
  readonly #socket: Duplex
  /** Nothing has been heard since the last beat. */
  #silent = false
  #pinged = false

  constructor (connection: Connection, ws: WebSocket, socket: Duplex, format: ChannelFormat) {
    this.#connection = connection
    this.#ws = ws
    this.#socket = socket
    this.format = format
    ;(socket as Bearing)[CONNECTION] = connection
    socket.on('drain', drained)
  }

  /** The peer lives. */
  heard (): void {
    this.#silent = false
  }

  encoder (): Encoder {
    return this.format === 'flat' ? flat : envelope
  }

  release (): void {}

  encodeOne (entry: Entry, { room }: Subscription): Uint8Array {
    return room.bytesOf(this.encoder(), [entry])
  }

  notice (notice: Notice): Uint8Array | undefined {
    return this.format === 'flat' ? flatNotice(notice) : envelopeNotice(notice, this.#connection)
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
    if (this.format === 'envelope' && this.#connection.begun) {
      this.write(jsonFrame({ op: 'bye', code: reason.code, reason: reason.text, reconnect: reason.reconnect, ...(retry === undefined ? {} : { retry }) }))
    }
    // Not a code that an endpoint may send (RFC 6455 §7.4.1).
    if (reason.code === 1006) return this.destroy()
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

type Bearing = Duplex & { [CONNECTION]?: Connection }

function drained (this: Bearing): void { this[CONNECTION]?.drained() }

/** A frame of the protocol's, for one client. */
export function errorFrame (format: ChannelFormat, error: { code: string, message: string, ref?: unknown, topic?: string, reason?: string }): Buffer {
  const { code, message, ref, topic, reason } = error
  if (format === 'flat') return jsonFrame({ type: 'error', code, message, topic, reason })
  return jsonFrame({ op: 'error', ref, code, message, topic })
}

function flatNotice (notice: Notice): Uint8Array | undefined {
  switch (notice.type) {
    case 'direct': return flatFrame(notice.event, notice.data)
    case 'reset': {
      const topic = notice.subscription.room.name
      const message = `events of ${topic} were lost: ${notice.reason}`
      return errorFrame('flat', { code: 'reset', message, topic, reason: notice.reason })
    }
    // Only in the app's own words: no frame of ours is sent to a flat client.
    case 'snapshot': return notice.event === undefined ? undefined : flatFrame(notice.event, notice.data)
    default: return undefined
  }
}

function envelopeNotice (notice: Notice, connection: Connection): Uint8Array {
  switch (notice.type) {
    case 'opened': return jsonFrame({ op: 'open', connection: connection.id, heartbeat: connection.settings.heartbeat })
    case 'subscribed': return jsonFrame({
      op: 'subscribed',
      topic: notice.subscription.room.name,
      // A client that is cut before the reset comes back with the id it has, and is told then.
      id: notice.recovered === false ? undefined : positionOf(notice.subscription),
      recovered: notice.recovered,
      ref: notice.ref
    })
    case 'reset': return jsonFrame({ op: 'reset', topic: notice.subscription.room.name, id: positionOf(notice.subscription), reason: notice.reason })
    case 'at': return jsonFrame({ op: 'at', topic: notice.subscription.room.name, id: positionOf(notice.subscription), why: notice.why })
    case 'snapshot': return snapshotFrame(notice)
    case 'revoked': return jsonFrame({ op: 'unsubscribed', topic: notice.topic })
    case 'direct': return frame('text', Buffer.from(`{"event":${JSON.stringify(notice.event)},"data":`), notice.data, Buffer.from('}'))
  }
}

function snapshotFrame ({ subscription, event, data }: Notice & { type: 'snapshot' }): Buffer {
  const head = JSON.stringify({ op: 'snapshot', topic: subscription.room.name, id: positionOf(subscription), event })
  return frame('text', Buffer.from(head.slice(0, -1) + ',"data":'), data, Buffer.from('}'))
}

function reasonOf (code: number): CloseReason {
  switch (code) {
    case 1006: return reasons.connectionLost
    case 1007: return reasons.invalidPayload
    case 1009: return reasons.messageTooBig
    case 1002: return reasons.protocolError
    default: return reasons.clientLeft
  }
}

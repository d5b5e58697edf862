/** One client's end of an SSE response: HTTP/1.1, HTTP/1.0, HTTP/2 and `inject` alike. */
import { constants } from 'node:http2'
import { Socket } from 'node:net'
import type { ServerResponse } from 'node:http'
import {
  clientLeft, connectionLost, shuttingDown, sourceBrokenOff, sourceEnded, sourceFailed, type CloseReason
} from '../../core/close-reasons.ts'
import { cursorPart, joinCursor, NO_PLACE } from '../../core/cursor.ts'
import type { Entry } from '../../core/event.ts'
import type { Encoder, HeardSubscription, Notice, Outlet, OutletHost } from '../../core/wire.ts'
import { HEARTBEAT, block, chunk, directBlock, eventBlock, type Encoders } from './encode.ts'
import type { SourceFormat } from './format.ts'

export interface SseOutletOptions {
  readonly retry: number
  readonly open: 'event' | 'id' | false
  readonly encoders: Encoders
  /** Words that are not ours. */
  readonly format: SourceFormat | undefined
  /** Its source goes on without this client, which may come back to it. */
  readonly resumable: object | undefined
}

const BROKEN_OFF = block({ event: 'realtime:aborted', data: '{"reason":"failed"}' })
const FRAMED_HEARTBEAT = chunk(HEARTBEAT)

/** HTTP/1.1 and HTTP/2 responses, as far as they are used here. */
export type RawResponse = ServerResponse & {
  stream?: { destroyed: boolean, session?: { destroyed: boolean }, close? (code: number): void }
}

export class SseOutlet implements Outlet {
  readonly kind = 'sse'
  readonly #connection: OutletHost
  readonly #raw: RawResponse
  readonly #options: SseOutletOptions
  /**
   * The socket, where ready chunks can be written beside the response; undefined where the response must frame them.
   */
  readonly #socket: Socket | undefined
  /** The socket, of whatever kind; undefined for HTTP/2, where it is not this client's alone. */
  readonly #peer: Socket | undefined
  #ended = false
  /** It was not the end: the client is told so, and cut. */
  #brokenOff = false

  constructor (connection: OutletHost, raw: RawResponse, options: SseOutletOptions) {
    this.#connection = connection
    this.#raw = raw
    this.#options = options
    const { socket } = raw
    // An injected request's socket takes nothing, HTTP/1.0 has no chunks, HTTP/2 frames by itself.
    this.#socket = socket instanceof Socket && raw.chunkedEncoding && !raw.stream ? socket : undefined
    this.#peer = raw.stream ? undefined : socket ?? undefined
    this.#listen()
  }

  #listen (): void {
    const raw: Bearing = this.#raw
    raw[OUTLET] = this
    raw.on('close', closed)
    const peer: Bearing & Socket | undefined = this.#peer
    if (!this.#socket) raw.on('drain', drained)
    if (!peer) return
    peer[OUTLET] = this
    this.#socket?.on('drain', drained)
    // A quiet stream outlives the server's connectionTimeout.
    peer.setTimeout?.(0)
    peer.on('end', left)
  }

  encoder (subscriptions: readonly HeardSubscription[]): Encoder {
    const durable = subscriptions.filter(({ topic }) => topic.durable)
    const framed = this.#socket !== undefined
    if (this.#options.format) return this.#options.format.encoder(framed)
    if (durable.length <= 1) return this.#options.encoders.single(framed)
    return this.#options.encoders.acquire(durable.filter(({ held }) => !held).map(({ topic }) => topic), framed)
  }

  release (encoder: Encoder): void {
    this.#options.encoders.release(encoder)
  }

  encodeOne (entry: Entry, _subscription?: HeardSubscription): Uint8Array {
    const { format } = this.#options
    if (format) return format.encoder(this.#socket !== undefined).encode([entry])
    const bytes = eventBlock(entry, entry.id === undefined ? undefined : this.#cursor())
    return this.#framed(bytes)
  }

  join (chunks: readonly Uint8Array[]): Uint8Array {
    return Buffer.concat(chunks)
  }

  notice (notice: Notice): Uint8Array | undefined {
    const bytes = this.#options.format ? this.#foreign(notice) : this.#noticeBlock(notice)
    return bytes && this.#framed(bytes)
  }

  #noticeBlock (notice: Notice): Buffer | undefined {
    switch (notice.type) {
      case 'opened': return this.#opening(notice.subscriptions)
      case 'subscribed':
      case 'revoked': return undefined
      case 'reset': return this.#about(notice.subscription, 'realtime:reset', {
        topic: notice.subscription.topic.name, reason: notice.reason
      })
      case 'snapshot': return this.#snapshot(notice)
      case 'at': return block({ id: this.#cursor() ?? '' })
      case 'direct': return directBlock(notice.event, notice)
    }
  }

  /** A format without our words is told data alone. A loss it cannot be told: it must not take the rest for all. */
  #foreign (notice: Notice): Buffer | undefined {
    if (notice.type === 'direct') return directBlock('message', notice)
    if (notice.type === 'reset') this.#breakOffSoon()
    return undefined
  }

  #breakOffSoon (): void {
    if (this.#brokenOff) return
    this.#brokenOff = true
    queueMicrotask(() => this.close(sourceBrokenOff, undefined))
  }

  #opening (subscriptions: readonly HeardSubscription[]): Buffer {
    const { open } = this.#options
    // One block for both: a client cut between them would not know where it started.
    const retry = jitter(this.#options.retry)
    const id = this.#cursor(subscriptions)
    if (open === false) return block({ retry })
    return block(open === 'event' ? { retry, id, event: 'realtime:open', data: '{}' } : { retry, id })
  }

  #snapshot ({ subscription, data, event }: Notice & { type: 'snapshot' }): Buffer {
    const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString()
    // Before the last part of a state the client has no place: with the one that it had it would be given what followed
    // that, and never the parts that it lacks.
    const id = this.#cursor() ?? NO_PLACE
    if (event !== undefined) return block({ id, event, data: text })
    return block({
      id,
      event: 'realtime:snapshot',
      data: `{"topic":${JSON.stringify(subscription.topic.name)},"data":${text}}`
    })
  }

  #about (subscription: HeardSubscription, event: string, data: object): Buffer {
    return block({ id: this.#cursor(), event, data: JSON.stringify(data) })
  }

  /** Where the client has got to, as an id; undefined while it has no position at all. */
  #cursor (subscriptions = this.#connection.subscriptions): string | undefined {
    const durable = subscriptions.filter(({ topic }) => topic.durable)
    const [only] = durable
    // Where a loss has not been told the client keeps its own: cut before that, it must find out again.
    if (durable.length === 1 && only) return only.lost === undefined ? only.position : undefined
    // It named none of them: all are lost, none is new to it.
    if (durable.some(({ lost }) => lost === '')) return undefined
    const parts: string[] = []
    for (const subscription of durable) {
      const id = subscription.lost ?? subscription.position
      if (id !== undefined) parts.push(cursorPart(subscription.topic, id))
    }
    return parts.length === 0 ? undefined : joinCursor(parts)
  }

  #framed (bytes: Buffer): Buffer {
    return this.#socket ? chunk(bytes) : bytes
  }

  /** What it writes must be chunks of HTTP/1.1. */
  get framed (): boolean { return this.#socket !== undefined }

  write (bytes: Uint8Array): boolean {
    // What a foreign format cannot be told was lost: nothing may follow it.
    if (this.#brokenOff && this.#options.format) return true
    return this.#put(bytes)
  }

  #put (bytes: Uint8Array): boolean {
    if (this.#socket) return !this.#socket.writable || this.#socket.write(bytes)
    return this.#raw.writableEnded || this.#raw.destroyed || this.#raw.write(bytes)
  }

  /** A block from outside the topics: what a `source` yields. */
  writeBlock (bytes: Buffer): void {
    this.#connection.write(this.#framed(bytes))
  }

  get buffered (): number {
    return this.#socket ? this.#socket.writableLength : this.#raw.writableLength
  }

  beat (quiet: boolean): void {
    if (quiet && !this.#connection.full) this.write(this.#socket ? FRAMED_HEARTBEAT : HEARTBEAT)
  }

  close (reason: CloseReason, retry: number | undefined): void {
    if (this.#ended) return
    this.#ended = true
    const { format } = this.#options
    if (format) return this.#closeForeign(format, reason)
    if (this.#brokenOff) return this.#cut(this.#framed(BROKEN_OFF))
    const last = this.lastWords(reason, retry)
    if (last) this.write(last)
    // A client that does not read would hold the end back as well.
    if (reason.name === 'slow-client') return breakOff(this.#raw)
    this.#raw.end()
    // Fastify answers 503 on connections that it keeps while it closes: this one is not to be used again.
    if (reason === shuttingDown && !this.#raw.stream) this.#raw.socket?.destroySoon?.()
  }

  protected lastWords (_reason: CloseReason, retry: number | undefined): Uint8Array | undefined {
    return retry !== undefined && this.buffered === 0 ? this.#framed(block({ retry })) : undefined
  }

  /**
   * What was broken off is told in the format's words; where it has none, the response is cut. It is also cut where the
   * client is to come back to a source that goes on: words would be final.
   */
  #closeForeign ({ end, error }: SourceFormat, reason: CloseReason): void {
    if (reason.name === 'slow-client') return breakOff(this.#raw)
    const ended = reason === sourceEnded && !this.#brokenOff
    const goesOn = reason.reconnect && reason !== sourceFailed && this.#options.resumable !== undefined
    const last = ended ? end : error
    if (!ended && (goesOn || !last)) return this.#cut()
    if (last) this.#put(this.#framed(last))
    this.#raw.end()
    if (reason === shuttingDown && !this.#raw.stream) this.#raw.socket?.destroySoon?.()
  }

  /** What follows from here on is no end: nobody is to take what was said so far for all there was to say. */
  breakOff (): void {
    this.#brokenOff = true
  }

  /** Without the last chunk (RFC 9112 §7.1), or by RST_STREAM (RFC 9113 §6.4), behind what still waits. */
  #cut (lastWords: Buffer = HEARTBEAT): void {
    if (this.#socket) {
      this.#socket.write(lastWords === HEARTBEAT ? FRAMED_HEARTBEAT : lastWords)
      this.#socket.destroySoon()
    } else {
      this.#raw.write(lastWords, 'utf8', () => { breakOff(this.#raw) })
    }
  }

  destroy (): void {
    this.#ended = true
    // It was told to go, and did not: in words of ours, or in a format that takes a good end for all there was.
    if (this.#options.format) breakOff(this.#raw)
    else this.#raw.destroy()
  }

  /** The socket's buffer, or the response's, is empty again. */
  drained (): void {
    this.#connection.drained()
  }

  /** The client has closed its side: it takes nothing more, and what waits for it would wait for ever. */
  left (socket: Socket): void {
    if (!this.#ended) socket.destroy()
  }

  /** The response is over, however that came. */
  over (): void {
    // The socket may serve another request.
    this.#socket?.off('drain', drained)
    this.#peer?.off('end', left)
    this.#connection.gone(this.#raw.writableEnded ? clientLeft : connectionLost)
  }
}

// On the response and on the socket, where the listeners find it: closures would be several for each client.
const OUTLET = Symbol('fastify-realtime.outlet')

interface Bearing extends NodeJS.EventEmitter { [OUTLET]?: SseOutlet }

function drained (this: Bearing): void { this[OUTLET]?.drained() }
function left (this: Bearing & Socket): void { this[OUTLET]?.left(this) }
function closed (this: Bearing): void { this[OUTLET]?.over() }

/** Ends the response so that nobody takes it for complete. */
function breakOff (raw: RawResponse): void {
  // Destroyed, a stream would be reset with NO_ERROR, which is a good end.
  raw.stream?.close?.(constants.NGHTTP2_INTERNAL_ERROR)
  raw.destroy()
}

/** By a fifth: clients that came together do not come back together. */
function jitter (ms: number): number {
  return Math.round(ms * (0.8 + Math.random() * 0.4))
}

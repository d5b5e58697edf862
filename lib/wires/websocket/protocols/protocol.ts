/**
 * The contract of a channel's format: what a client's messages ask for, and how it is told everything. One is chosen
 * for each connection, by the subprotocol that the client offers; the rest of the wire knows no format.
 */
import type { CloseReason } from '../../../core/close-reasons.ts'
import type { Encoder, Notice, OutletHost } from '../../../core/wire.ts'
import type { Ref, ResetReason } from '../../../protocol.ts'

/** What a client asks for. `ref`: by what it finds the answer. */
export type Asked =
  | { do: 'open', cursors: ReadonlyMap<string, string>, token: string | undefined, ref: Ref | undefined }
  | { do: 'ping', ref: Ref | undefined }
  | { do: 'subscribe', topic: unknown, id: string | undefined, token: string | undefined, ref: Ref | undefined }
  | { do: 'refresh', token: string, ref: Ref | undefined }
  | { do: 'unsubscribe', topic: unknown, ref: Ref | undefined }
  /** What the client says of itself in a topic. */
  | { do: 'presence', topic: unknown, state: unknown, ref: Ref | undefined }
  /** `topic`: which one it means. `key`: by what a message that comes again is known. */
  | { do: 'message', name: string, data: unknown, topic: unknown, key: string | undefined, ref: Ref | undefined }

export interface ToldError {
  code: string
  message: string
  ref?: Ref | undefined
  topic?: string
  reason?: ResetReason
}

export interface Protocol {
  /** Undefined: for clients that offer none. */
  readonly subprotocol: string | undefined
  /** Shared by all of its clients. */
  readonly encoder: Encoder<Uint8Array>
  /**
   * A client hears its topics when it says so, says from where, and may bring a token then. Otherwise it hears them at
   * once, from now on.
   */
  readonly clientOpens: boolean
  /** `maxCursors`: as many as an `open` may name. @throws Fault, with the `ref` where there is one */
  read (text: string, maxCursors: number): Asked
  /** Undefined where it has no words for it. */
  notice (notice: Notice, client: Pick<OutletHost, 'id' | 'heartbeat'>): Uint8Array | undefined
  error (error: ToldError): Uint8Array
  /** What a message's handler has returned. Undefined where the client does not want it. @throws EventDataInvalid */
  reply (asked: Asked & { do: 'message' }, result: unknown): Uint8Array | undefined
  pong (): Uint8Array | undefined
  /** It hears this topic already: what it has been told of it still holds. */
  subscribed (topic: string, ref: Ref | undefined, expires: number | undefined): Uint8Array | undefined
  /** A newer token holds. `expires`: ms until the first end of what allows the client. */
  refreshed (ref: Ref | undefined, expires: number | undefined): Uint8Array | undefined
  unsubscribed (topic: string, ref: Ref | undefined): Uint8Array | undefined
  /** What the client has said of itself is shown to the others. */
  shown (topic: string, ref: Ref | undefined): Uint8Array | undefined
  /** The last words before the close frame. `retry`: when to come back (ms). */
  bye (reason: CloseReason, retry: number | undefined): Uint8Array | undefined
}

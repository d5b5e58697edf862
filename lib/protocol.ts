/**
 * The frames of PROTOCOL.md, as types: what a server and a client of this library say to each other over a WebSocket,
 * in the envelope format, and what an SSE stream says besides its events.
 */

/** The WebSocket subprotocol of the envelope format (RFC 6455 §1.9). */
export const SUBPROTOCOL = 'fastify-realtime.v1'

/** What a client finds its reply by. The server sends it back as it came. */
export type Ref = string | number

/**
 * Why a client is told `reset`. `unknown-cursor`: its id is not of this log. `expired`: the events that it needs are no
 * longer kept. `lost`: events could not be read. `slow`: the client did not read.
 */
export type ResetReason = 'unknown-cursor' | 'expired' | 'lost' | 'slow'

/** Why the server has taken a topic from a client, which may join it again. */
export type LapseReason = 'expired' | 'refused'

export type ErrorCode =
  | 'INVALID_JSON' | 'INVALID_FRAME' | 'INVALID_DATA' | 'UNKNOWN_MESSAGE' | 'UNKNOWN_TOPIC' | 'BINARY_UNSUPPORTED'
  | 'TOO_MANY_TOPICS' | 'RATE_LIMITED' | 'FORBIDDEN' | 'TOKEN_INVALID' | 'TOKEN_MISSING' | 'EXPIRED' | 'REVOKED'
  | 'UNAVAILABLE' | 'INTERNAL'

// --- what a server says ----------------------------------------------------------------

export type ServerFrame =
  | { op: 'open', connection: string, /** ms */ heartbeat: number }
  | {
    op: 'subscribed',
    topic: string,
    id?: string | undefined,
    recovered?: boolean | undefined,
    /** ms */
    expires?: number | undefined,
    ref?: Ref | undefined
  }
  | { op: 'unsubscribed', topic: string, ref?: Ref | undefined, reason?: LapseReason | undefined }
  | { op: 'refreshed', /** ms */ expires?: number | undefined, ref?: Ref | undefined }
  | { op: 'presence', topic: string, ref: Ref }
  | { op: 'reset', topic: string, id?: string | undefined, reason: ResetReason }
  | { op: 'at', topic: string, id?: string | undefined, why: 'conflated' | 'excepted' }
  | { op: 'snapshot', topic: string, id?: string | undefined, event?: string | undefined, data: unknown }
  | { op: 'reply', ref: Ref, data: unknown }
  | { op: 'error', code: string, message: string, ref?: Ref | undefined, topic?: string | undefined }
  | { op: 'pong' }
  | { op: 'bye', code: number, reason: string, reconnect: boolean, /** ms */ retry?: number }
  /**
   * An event of a topic. `id` and `prev` where it has a history, `key` where it is keyed, `traceparent` where clients
   * are told where it was published.
   */
  | {
    topic: string,
    event: string,
    id?: string,
    prev?: string,
    key?: string,
    traceparent?: string,
    tracestate?: string,
    data: unknown
  }
  /** An event for this client alone. */
  | { event: string, data: unknown }

/** An error, to a client of the flat format. */
export interface FlatError {
  type: 'error'
  code: string
  message: string
  topic?: string | undefined
  reason?: ResetReason | undefined
}

// --- what a client says ----------------------------------------------------------------

export type ClientFrame =
  /** `topics`: over HTTP, those to join besides the channel's own. */
  | { op: 'open', /** by topic */ cursors?: Record<string, string>, token?: string, topics?: string[] }
  | { op: 'ping' }
  | { op: 'subscribe', topic: string, id?: string, token?: string, ref?: Ref }
  | { op: 'refresh', token: string, ref?: Ref }
  | { op: 'unsubscribe', topic: string, ref?: Ref }
  | { op: 'presence', topic: string, state: unknown, ref?: Ref }
  /** `key`: the same where a message is sent again after a lost connection. */
  /** `connection`: over HTTP, which stream is the sender's. */
  | { event: string, data?: unknown, topic?: string, key?: string, ref?: Ref, connection?: string }

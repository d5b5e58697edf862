/**
 * Why a connection ends: one table for all wires. The code is the WebSocket close code (RFC 6455 §7.4: codes from 4000
 * on are the application's). SSE has no codes: there `retry:` tells the client whether and when to come back.
 */

/** Why a connection ended. */
export interface CloseReason {
  /** A stable word, for example `client-left`, `slow-client` or `shutting-down`. */
  readonly name: string
  /** The WebSocket close code (RFC 6455 §7.4). */
  readonly code: number
  /** The reason in words. */
  readonly text: string
  /** Whether the client may come back. */
  readonly reconnect: boolean
}

export const reason = (name: string, code: number, reconnect: boolean, text: string): CloseReason =>
  Object.freeze({ name, code, text, reconnect })

export const clientLeft = reason('client-left', 1000, false, 'the client left')
export const closedByApp = reason('closed-by-app', 1000, false, 'closed by the application')
export const sourceEnded = reason('source-ended', 1000, false, 'the source has ended')
/** For the app the source has ended too, but the client's answer is not complete. */
export const sourceBrokenOff = reason('source-ended', 1000, false, 'the source was broken off')
/** The source failed before its first event, so the next request may start it again. */
export const sourceFailed = reason('try-again-later', 1013, true, 'the source failed')
export const connectionLost = reason('connection-lost', 1006, true, 'the connection was lost')
export const invalidPayload = reason('invalid-payload', 1007, false, 'a text message must be UTF-8')
export const messageTooBig = reason('message-too-big', 1009, false, 'the message is too big')
export const protocolError = reason('protocol-error', 1002, false, 'the client broke the WebSocket protocol')
export const internalError = reason('internal-error', 1011, true, 'the server failed')
export const shuttingDown = reason('shutting-down', 1012, true, 'the server is shutting down')
export const tryAgainLater = reason('try-again-later', 1013, true, 'the server cannot take this connection now')
export const judgedAnew = reason('judged-anew', 1013, true, 'reconnect, so that the server can check your rights again')
export const tooManyFaults = reason('too-many-faults', 4400, false, 'too many faulty messages')
export const expired = reason('expired', 4401, true, 'the rights of this client have expired')
export const forbidden = reason('forbidden', 4403, false, 'refused')
export const openTimeout = reason('open-timeout', 4408, false, 'no open frame in time')
export const slowClient = reason('slow-client', 4409, true, 'the client does not read')
export const rateLimited = reason('rate-limited', 4429, true, 'too many messages')

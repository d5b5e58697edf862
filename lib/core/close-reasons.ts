/**
 * Why a connection ends: one table for both wires. The code is the WebSocket close code (RFC 6455 §7.4: 4000
 * and up are the application's); SSE has no codes and is told by `retry:` whether and when to come back.
 */
import type { Reason } from './call-options.ts'
import { printable } from './event.ts'
import { CloseCodeInvalid, CloseReasonInvalid } from '../errors.ts'

export interface CloseReason {
  readonly name: string
  readonly code: number
  readonly text: string
  readonly reconnect: boolean
}

const reason = (name: string, code: number, reconnect: boolean, text: string): CloseReason =>
  Object.freeze({ name, code, text, reconnect })

export const clientLeft = reason('client-left', 1000, false, 'the client left')
export const closedByApp = reason('closed-by-app', 1000, false, 'closed by the application')
export const sourceEnded = reason('source-ended', 1000, false, 'the source has ended')
export const connectionLost = reason('connection-lost', 1006, true, 'the connection was lost')
export const invalidPayload = reason('invalid-payload', 1007, false, 'a text message must be UTF-8')
export const messageTooBig = reason('message-too-big', 1009, false, 'the message is too big')
export const protocolError = reason('protocol-error', 1002, false, 'the peer broke the WebSocket protocol')
export const internalError = reason('internal-error', 1011, true, 'the server failed')
export const shuttingDown = reason('shutting-down', 1012, true, 'the server is shutting down')
export const tryAgainLater = reason('try-again-later', 1013, true, 'the server cannot take this connection now')
export const judgedAnew = reason('judged-anew', 1013, true, 'come back, and be judged anew')
export const tooManyFaults = reason('too-many-faults', 4400, false, 'too many faulty messages')
export const forbidden = reason('forbidden', 4403, false, 'refused')
export const openTimeout = reason('open-timeout', 4408, false, 'no open frame in time')
export const slowClient = reason('slow-client', 4409, true, 'the client does not read')
export const rateLimited = reason('rate-limited', 4429, true, 'too many messages')

/** What an endpoint may send besides 1000 and 3000 to 4999. */
const SENDABLE: ReadonlySet<number> = new Set([1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013])

/** RFC 6455 §5.5: a control frame holds 125 bytes, two of which are the code. */
export const MAX_TEXT_BYTES = 123

/** An application's own reason, as `connection.close()` takes it. @throws CloseCodeInvalid, CloseReasonInvalid */
export function customReason ({ code = closedByApp.code, text = closedByApp.text, reconnect = false }: Reason): CloseReason {
  if (!(code === 1000 || (Number.isInteger(code) && code >= 3000 && code <= 4999) || SENDABLE.has(code))) {
    throw new CloseCodeInvalid(printable(code))
  }
  const fault = textFault(text)
  if (fault !== undefined) throw new CloseReasonInvalid('text', fault)
  if (typeof reconnect !== 'boolean') throw new CloseReasonInvalid('reconnect', 'must be true or false')
  return reason('closed-by-app', code, reconnect, text)
}

function textFault (text: unknown): string | undefined {
  if (typeof text !== 'string') return 'must be a string'
  // A character is one byte at least: what is far too long is not encoded first.
  const bytes = text.length > MAX_TEXT_BYTES ? text.length : Buffer.byteLength(text)
  if (bytes > MAX_TEXT_BYTES) return `is longer than the ${MAX_TEXT_BYTES} bytes of UTF-8 that a close frame takes (RFC 6455, section 5.5). Send a message before you close`
  return text.isWellFormed() ? undefined : 'must be well-formed Unicode'
}

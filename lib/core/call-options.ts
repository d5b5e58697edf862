/** Options that the app gives with a call. They are checked at each call. */
import type { EventId } from './adapter.ts'
import { closedByApp, reason, type CloseReason } from './close-reasons.ts'
import { checkPublishKey, printable } from './event-name.ts'
import type { PublishOptions } from './published.ts'
import { CloseCodeInvalid, CloseReasonInvalid, OptionInvalid, PublishOptionInvalid } from '../errors.ts'
import { isRecord, onlyKnown, record, shown, unknownIn, whyUnknown } from '../known.ts'

/** The options of a publish, read. */
export type PublishKeys = { readonly [K in keyof PublishOptions]: PublishOptions[K] | undefined }
export interface HistoryRange { readonly after: EventId | null, readonly limit: number }
export interface StateRange { readonly after: string | undefined, readonly limit: number }
export interface Reason { code?: number | undefined, text?: string | undefined, reconnect?: boolean | undefined }

const PUBLISH: ReadonlySet<string> = new Set(['dedupe', 'key', 'except', 'expect'] satisfies Array<keyof PublishKeys>)
const HISTORY: ReadonlySet<string> = new Set(['after', 'limit'] satisfies Array<keyof HistoryRange>)
const STATE: ReadonlySet<string> = new Set(['after', 'limit'] satisfies Array<keyof StateRange>)
const REASON: ReadonlySet<string> = new Set(['code', 'text', 'reconnect'] satisfies Array<keyof Reason>)
const DISCONNECT: ReadonlySet<string> = new Set([...REASON, 'revoke'])
/** Shared by all publishes without options, which are most. */
const NO_KEYS: PublishKeys = Object.freeze({})
const DEFAULT_LIMIT = 100
const MAX_LIMIT = 10_000

/** @throws PublishOptionInvalid */
export function readPublishOptions (options: unknown): PublishKeys {
  if (options === undefined) return NO_KEYS
  if (!isRecord(options)) {
    throw new PublishOptionInvalid('options', 'must be an object like { dedupe, key, except, expect }')
  }
  const unknown = unknownIn(options, PUBLISH)
  if (unknown !== undefined) throw new PublishOptionInvalid(shown(unknown), whyUnknown(unknown, PUBLISH))
  const { dedupe, key, except, expect } = options as PublishKeys
  checkPublishKey('dedupe', dedupe)
  checkPublishKey('key', key)
  checkPublishKey('except', except)
  if (expect !== null) checkPublishKey('expect', expect)
  return { dedupe, key, except, expect }
}

const REMOVE: ReadonlySet<string> = new Set(['dedupe', 'expect'] satisfies Array<keyof PublishKeys>)

/** @throws PublishOptionInvalid */
export function readRemoveOptions (key: unknown, options: unknown): PublishKeys {
  if (key === undefined) throw new PublishOptionInvalid('key', 'is needed: it says which key to remove')
  checkPublishKey('key', key)
  const unknown = isRecord(options) ? unknownIn(options, REMOVE) : undefined
  if (unknown !== undefined) throw new PublishOptionInvalid(shown(unknown), whyUnknown(unknown, REMOVE))
  return readPublishOptions(options)
}

/** @throws OptionInvalid */
export function readHistoryOptions (options: unknown): HistoryRange {
  if (options === undefined) return { after: null, limit: DEFAULT_LIMIT }
  record('history()', options)
  onlyKnown('history()', options, HISTORY)
  const { after, limit = DEFAULT_LIMIT } = options as { after?: unknown, limit?: unknown }
  if (after !== undefined && typeof after !== 'string') {
    throw new OptionInvalid('history().after', 'must be the id of an event')
  }
  return { after: after ?? null, limit: checkLimit('history()', limit) }
}

/** `call`: the call that errors name. @throws OptionInvalid */
export function readStateOptions (call: string, options: unknown): StateRange {
  if (options === undefined) return { after: undefined, limit: DEFAULT_LIMIT }
  record(call, options)
  onlyKnown(call, options, STATE)
  const { after, limit = DEFAULT_LIMIT } = options as { after?: unknown, limit?: unknown }
  if (after !== undefined && typeof after !== 'string') {
    throw new OptionInvalid(`${call}.after`, 'must be the last key of the page before')
  }
  return { after, limit: checkLimit(call, limit) }
}

function checkLimit (call: string, limit: unknown): number {
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new OptionInvalid(`${call}.limit`, `must be a whole number from 1 to ${MAX_LIMIT}`)
  }
  return limit
}

/** Reads why a connection is to end. `customReason` checks the values. @throws OptionInvalid */
export function readReason (call: 'close()' | 'disconnect()', reason: unknown): Reason {
  if (reason === undefined) return {}
  record(call, reason)
  onlyKnown(call, reason, call === 'close()' ? REASON : DISCONNECT)
  const { code, text, reconnect } = reason as Reason
  return { code, text, reconnect }
}

/** @throws OptionInvalid */
export function readDisconnect (options: unknown): Reason & { revoke: boolean } {
  const reason = readReason('disconnect()', options)
  const { revoke } = (options ?? {}) as { revoke?: unknown }
  if (revoke !== undefined && typeof revoke !== 'boolean') {
    throw new OptionInvalid('disconnect().revoke', 'must be true or false')
  }
  return { ...reason, revoke: revoke === true }
}

// --- the app's own close reasons ---------------------------------------------------

/** Codes that an endpoint may send besides 1000 and 3000 to 4999. */
const SENDABLE: ReadonlySet<number> = new Set([1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013])

/** RFC 6455 §5.5: a control frame holds 125 bytes, two of which are the code. */
export const MAX_TEXT_BYTES = 123

/** An application's own reason, as `connection.close()` takes it. @throws CloseCodeInvalid, CloseReasonInvalid */
export function customReason (
  { code = closedByApp.code, text = closedByApp.text, reconnect = false }: Reason
): CloseReason {
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
  // A character has at least one byte, so a text that is far too long need not be encoded.
  const bytes = text.length > MAX_TEXT_BYTES ? text.length : Buffer.byteLength(text)
  if (bytes > MAX_TEXT_BYTES) {
    return `is longer than the ${MAX_TEXT_BYTES} bytes of UTF-8 that fit into a close frame (RFC 6455, section 5.5). ` +
      'Send a longer text as a message before you close'
  }
  return text.isWellFormed() ? undefined : 'must be well-formed Unicode'
}

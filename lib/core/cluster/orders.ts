/**
 * Reads what nodes say to each other. Threat: whoever may write to the adapter's server can say anything here, and a
 * newer node may say what this one does not know. An order is obeyed only if all its required members are understood.
 * Other members are ignored.
 */
import type { Format } from '../adapter.ts'
import { customReason, MAX_TEXT_BYTES } from '../call-options.ts'

/** Whom an order concerns. A connection must match every member that is given. */
export interface Target { identity?: string, connection?: string, topic?: string }

export type Order =
  | { op: 'disconnect', target: Target, code?: number, text?: string, reconnect?: boolean }
  | { op: 'unsubscribe', target: Target, topic: string }

export interface Question { ask: string, from: string, topic: string }
export interface Answer { ask: string, count: number }

/** The longest text in an order. Names of topics have at most 255 bytes; identities and keys are the app's. */
const MAX_TEXT = 4096
/** A text of so many UTF-16 units always fits into a close frame. */
const SHORT_REASON = 41
const TARGET_WORDS: ReadonlySet<string> = new Set(['identity', 'connection', 'topic'])
/** Names of nodes, and ids of questions. The name of a node becomes part of a topic's name. */
const NODE = /^[A-Za-z0-9_-]{1,64}$/

export type Members = Record<string, unknown>

/** Undefined for anything but an order that this version knows. */
export function readOrder (said: Members): Order | undefined {
  switch (said.op) {
    case 'disconnect': return readDisconnect(said)
    case 'unsubscribe': return readUnsubscribe(said)
    default: return undefined
  }
}

function readDisconnect (said: Members): Order | undefined {
  const target = readTarget(said.target)
  const { code, text, reconnect } = said
  if (!target || !isCode(code) || !isReason(text) || !isFlag(reconnect)) return undefined
  return {
    op: 'disconnect',
    target,
    ...(code === undefined ? {} : { code }),
    ...(text === undefined ? {} : { text: fitting(text) }),
    ...(reconnect === undefined ? {} : { reconnect })
  }
}

function readUnsubscribe (said: Members): Order | undefined {
  const target = readTarget(said.target)
  return target && isText(said.topic) ? { op: 'unsubscribe', target, topic: said.topic } : undefined
}

function fitting (text: string): string {
  return (Buffer.byteLength(text) <= MAX_TEXT_BYTES ? text : text.slice(0, SHORT_REASON)).toWellFormed()
}

/**
 * Threat: a target without members, or one whose unknown members are ignored, would match more clients than were meant.
 * So the whole target is refused.
 */
function readTarget (value: unknown): Target | undefined {
  if (!isMembers(value)) return undefined
  const words = Object.entries(value)
  if (words.length === 0 || !words.every(([word, text]) => TARGET_WORDS.has(word) && isText(text))) return undefined
  return Object.fromEntries(words)
}

export function readQuestion (data: Uint8Array, format: Format): Question | Answer | undefined {
  const said = readMembers(data, format)
  if (!said || !isNode(said.ask)) return undefined
  if (Number.isSafeInteger(said.count) && (said.count as number) >= 0) {
    return { ask: said.ask, count: said.count as number }
  }
  return isNode(said.from) && isText(said.topic) ? { ask: said.ask, from: said.from, topic: said.topic } : undefined
}

/** The members of a JSON object, as an object without a prototype. */
export function readMembers (data: Uint8Array, format: Format): Members | undefined {
  if (format !== 'json') return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString())
    return isMembers(value) ? Object.assign(Object.create(null) as Members, value) : undefined
  } catch {
    return undefined
  }
}

function isMembers (value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text that an order may hold. */
export function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT
}

function isNode (value: unknown): value is string {
  return typeof value === 'string' && NODE.test(value)
}

function isReason (value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

function isFlag (value: unknown): value is boolean | undefined {
  return value === undefined || typeof value === 'boolean'
}

function isCode (value: unknown): value is number | undefined {
  if (value === undefined) return true
  if (typeof value !== 'number') return false
  try {
    customReason({ code: value })
    return true
  } catch {
    return false
  }
}

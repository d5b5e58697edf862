/**
 * A client's position as text, for SSE ids. For one topic with history: the event's id as it is. For several: a
 * version, then for each topic a short hash of its name and the packed id. Opaque to clients; at most 4 kB.
 */
import { createHash } from 'node:crypto'
import type { EventId } from './adapter.ts'
import type { HeardTopic } from './wire.ts'

export const MAX_CURSOR_BYTES = 4096
/** The most topics of a cursor, at 31 bytes each. An id of our adapters takes 25 to 33, nearly always 28 or less. */
export const MAX_CURSOR_TOPICS = 128
const VERSION = 'v1~'
/** A cursor that names no topic: a client that comes back with it is new to all topics. */
export const NO_PLACE = VERSION
/** Stands for the topics that the limit leaves no room for. Topics that are not named are then `unknown`. */
const TRUNCATED = '+'
const HASH_CHARS = 5
const ID = /^(\d+)-(\d+)\.([A-Za-z0-9_-]+)$/
const CURSOR = /^[\x21-\x7e]+$/

const keyOfHash = {}

/** Short, because ids are compared too: two topics with the same hash cause a reset, never a wrong event. */
export function topicHash (topic: HeardTopic): string {
  let hash = topic.derived.get(keyOfHash) as string | undefined
  if (hash === undefined) topic.derived.set(keyOfHash, hash = hashOf(topic.name))
  return hash
}

function hashOf (name: string): string {
  return createHash('sha256').update(name).digest('base64url').slice(0, HASH_CHARS)
}

function pack (id: EventId): string {
  const match = ID.exec(id)
  if (!match) return `!${id}`
  const packed = `${Number(match[1]).toString(36)}-${Number(match[2]).toString(36)}.${match[3]}`
  return unpack(packed) === id ? packed : `!${id}`
}

function unpack (text: string): EventId | undefined {
  if (text.startsWith('!')) return text.slice(1)
  const match = /^([0-9a-z]{1,11})-([0-9a-z]{1,7})\.([A-Za-z0-9_-]+)$/.exec(text)
  return match ? `${parseInt(match[1] as string, 36)}-${parseInt(match[2] as string, 36)}.${match[3]}` : undefined
}

/** One topic's part of a packed cursor. */
export function cursorPart (topic: HeardTopic, id: EventId): string {
  return topicHash(topic) + pack(id)
}

export function joinCursor (parts: readonly string[]): string {
  const text = VERSION + parts.join('~')
  if (text.length <= MAX_CURSOR_BYTES) return text
  let length = VERSION.length + TRUNCATED.length
  const kept: string[] = []
  for (const part of parts) {
    length += part.length + 1
    if (length > MAX_CURSOR_BYTES) break
    kept.push(part)
  }
  return VERSION + [...kept, TRUNCATED].join('~')
}

/**
 * What a client's cursor says of each topic: an id; `unknown` (the cursor is malformed or was cut short: reset); or
 * undefined (the topic is new to this client). Never throws, whatever the client sent.
 */
export type Positions = (name: string) => { id: EventId } | 'unknown' | undefined

export function readCursor (text: string | undefined, topics: number): Positions {
  if (text === undefined || text === '' || text === NO_PLACE) return () => undefined
  if (text.length > MAX_CURSOR_BYTES || !CURSOR.test(text)) return () => 'unknown'
  if (text.startsWith(VERSION)) return readPacked(text.slice(VERSION.length))
  // A bare id does not say which topic of several it belongs to.
  return topics === 1 ? () => ({ id: text }) : () => 'unknown'
}

function readPacked (text: string): Positions {
  const known = new Map<string, EventId>()
  let truncated = false
  for (const part of text.split('~')) {
    const id = unpack(part.slice(HASH_CHARS))
    if (part === TRUNCATED) truncated = true
    else if (id === undefined) return () => 'unknown'
    else known.set(part.slice(0, HASH_CHARS), id)
  }
  return (name) => {
    const id = known.get(hashOf(name))
    if (id !== undefined) return { id }
    return truncated ? 'unknown' : undefined
  }
}

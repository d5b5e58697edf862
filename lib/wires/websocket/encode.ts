/** Events → WebSocket frames (RFC 6455 §5.2), built once and written to every socket as they are. Pure. */
import { isPlace, type Entry } from '../../core/event.ts'
import type { Room } from '../../core/room.ts'
import type { Encoder } from '../../core/wire.ts'

const TEXT = 0x81
const BINARY = 0x82
const COMMA = 0x2c
const OPEN = 0x7b
const CLOSE = 0x7d
const QUOTED_TYPE = Buffer.from('"type"')

/** One unfragmented, unmasked frame, in one piece of memory: it is made for every event. */
export function frame (kind: 'text' | 'binary', ...parts: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const part of parts) length += part.byteLength
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const bytes = Buffer.allocUnsafe(head + length)
  bytes[0] = kind === 'text' ? TEXT : BINARY
  bytes[1] = head === 2 ? length : head === 4 ? 126 : 127
  if (head === 4) bytes.writeUInt16BE(length, 2)
  if (head === 10) bytes.writeBigUInt64BE(BigInt(length), 2)
  let at = head
  for (const part of parts) {
    bytes.set(part, at)
    at += part.byteLength
  }
  return bytes
}

export function jsonFrame (value: unknown): Buffer {
  return frame('text', Buffer.from(JSON.stringify(value)))
}

/** `data` is JSON text. */
export function replyFrame (ref: unknown, data: string): Buffer {
  return frame('text', Buffer.from(`{"op":"reply","ref":${JSON.stringify(ref)},"data":${data}}`))
}

/** The JSON text of an event's data. */
function json ({ data, format }: { data: Uint8Array, format: Entry['format'] }): Uint8Array {
  return format === 'text' ? Buffer.from(JSON.stringify(Buffer.from(data).toString())) : data
}

/**
 * `{"type":name, …data}`. Data that is no object, or has a `type` of its own which would forge the name, is put under
 * `data` instead.
 */
export function flatFrame (name: string, data: Uint8Array): Buffer {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const start = Buffer.from(`{"type":${JSON.stringify(name)}`)
  const body = membersOf(view)
  if (body === undefined) return frame('text', start, Buffer.from(',"data":'), view, Buffer.from('}'))
  return body[0] === CLOSE ? frame('text', start, body) : frame('text', start, Buffer.from([COMMA]), body)
}

/** What follows the opening brace, when the text is an object without a `type`. */
function membersOf (text: Buffer): Buffer | undefined {
  const open = behindSpace(text, 0)
  if (text[open] !== OPEN) return undefined
  if (mayHoldType(text) && Object.hasOwn(JSON.parse(text.toString()) as object, 'type')) return undefined
  return text.subarray(behindSpace(text, open + 1))
}

/** What JSON allows between two tokens (RFC 8259 §2). */
function behindSpace (text: Buffer, from: number): number {
  let at = from
  while (text[at] === 0x20 || text[at] === 0x0a || text[at] === 0x0d || text[at] === 0x09) at++
  return at
}

// A key can be written with escapes ("\u0074ype"), so a backslash calls for the closer look as well.
function mayHoldType (text: Buffer): boolean {
  return text.includes(QUOTED_TYPE) || text.includes(0x5c)
}

function flatEvent (entry: Entry): Buffer {
  return entry.format === 'binary' ? frame('binary', entry.data) : flatFrame(entry.name, json(entry))
}

class FlatEncoder implements Encoder {
  readonly shared = true

  encode (entries: readonly Entry[]): Uint8Array {
    return joined(entries.flatMap((entry) => isPlace(entry) ? [] : flatEvent(entry)))
  }
}

class EnvelopeEncoder implements Encoder {
  readonly shared = true

  encode (entries: readonly Entry[], room: Room): Uint8Array {
    return joined(entries.map((entry) => envelopeFrame(entry, room)))
  }
}

const keyOfTopic = {}
const keyOfEvents = {}

/** `{"topic":"…","event":` of a room, kept with it. */
function prefixOf (room: Room, name: string): string {
  let topic = room.derived.get(keyOfTopic) as string | undefined
  if (topic === undefined) room.derived.set(keyOfTopic, topic = `{"topic":${JSON.stringify(room.name)},"event":`)
  let events = room.derived.get(keyOfEvents) as Map<string, string> | undefined
  if (!events) room.derived.set(keyOfEvents, events = new Map())
  let prefix = events.get(name)
  if (prefix === undefined) {
    prefix = topic + JSON.stringify(name)
    if (events.size < 64) events.set(name, prefix)
  }
  return prefix
}

function envelopeFrame (entry: Entry, room: Room): Buffer {
  if (isPlace(entry)) return jsonFrame({ op: 'at', topic: room.name, id: entry.id, why: 'excepted' })
  const position = entry.id === undefined ? '' : `,"id":${JSON.stringify(entry.id)},"prev":${JSON.stringify(entry.prev)}`
  const start = prefixOf(room, entry.name) + position
  if (entry.format !== 'binary') return frame('text', Buffer.from(start + ',"data":'), json(entry), Buffer.from('}'))
  const head = Buffer.from(start + '}')
  const length = Buffer.alloc(4)
  length.writeUInt32BE(head.byteLength)
  return frame('binary', length, head, entry.data)
}

function joined (frames: Buffer[]): Buffer {
  return frames.length === 1 ? frames[0] as Buffer : Buffer.concat(frames)
}

export const flat: Encoder = new FlatEncoder()
export const envelope: Encoder = new EnvelopeEncoder()

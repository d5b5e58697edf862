/**
 * An event as Redis holds and carries it: `<format> <bytes of name> <bytes of key, or -><fields>\n<name><key><data>`.
 * Redis does not look inside. Each field is ` <letter>=<text without spaces>`; one that a reader does not know is skipped.
 *
 * | field | holds |
 * | --- | --- |
 * | `x` | the connection that does not get it, percent-encoded |
 * | `i` | the identity that this connection must have, percent-encoded |
 */
import type { EphemeralEvent, Except, Format, Id, LogEvent } from '../../core/adapter.ts'

const FORMATS: Record<Format, string> = { json: 'j', text: 't', binary: 'b' }
const FORMAT_OF: Record<string, Format> = { j: 'json', t: 'text', b: 'binary' }
const SPACE = 0x20
const NEWLINE = 0x0a
const AMPERSAND = 0x26
const EXCLAMATION = 0x21

interface Content { name: string, data: Uint8Array, format: Format, key?: string, except?: Except }

/** Text stays text: ioredis puts a command together several times as quickly when no argument of it is a Buffer. */
export function encodeBody ({ name, data, format, key, except }: Content): string | Buffer {
  const fields = except === undefined ? '' : exceptFields(except)
  const head = `${FORMATS[format]} ${Buffer.byteLength(name)} ${key === undefined ? '-' : Buffer.byteLength(key)}${fields}\n${name}${key ?? ''}`
  if (format !== 'binary') return head + Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString()
  const size = Buffer.byteLength(head)
  const body = Buffer.allocUnsafe(size + data.byteLength)
  body.write(head)
  body.set(data, size)
  return body
}

/** An identity longer than this is not carried, and the event comes to everybody. */
const MAX_IDENTITY = 1024

function exceptFields ({ connection, identity }: Except): string {
  if (identity === undefined) return ` x=${encodeURIComponent(connection)}`
  if (identity.length > MAX_IDENTITY || !identity.isWellFormed()) return ''
  return ` x=${encodeURIComponent(connection)} i=${encodeURIComponent(identity)}`
}

function exceptOf (fields: readonly string[]): Except | undefined {
  const connection = fieldOf(fields, 'x')
  const identity = fieldOf(fields, 'i')
  if (connection === undefined) return undefined
  return identity === undefined ? { connection } : { connection, identity }
}

function fieldOf (fields: readonly string[], letter: string): string | undefined {
  const field = fields.find((one) => one.startsWith(`${letter}=`))
  return field === undefined ? undefined : decodeURIComponent(field.slice(2))
}

function decodeBody (body: Buffer): Content {
  const end = body.indexOf(NEWLINE)
  const [code = '', nameBytes, keyBytes, ...fields] = body.toString('latin1', 0, Math.max(0, end)).split(' ')
  const format = FORMAT_OF[code]
  if (!format) throw new Error('not an event of fastify-realtime')
  const keyAt = end + 1 + Number(nameBytes)
  const dataAt = keyBytes === '-' ? keyAt : keyAt + Number(keyBytes)
  const except = exceptOf(fields)
  const content = { name: body.toString('utf8', end + 1, keyAt), data: body.subarray(dataAt), format, ...(except && { except }) }
  return keyBytes === '-' ? content : { ...content, key: body.toString('utf8', keyAt, dataAt) }
}

export function decodeEvent (id: Id, prev: Id, body: Buffer): LogEvent {
  return { id, prev, ...decodeBody(body) }
}

/** What comes over a channel. */
export type Message =
  | { type: 'events', events: LogEvent[] }
  | { type: 'ephemeral', event: EphemeralEvent }
  /** The log began anew. */
  | { type: 'suspect' }

export const SUSPECT = '?'

/** What may stand between two spaces. */
const WORD = /^[\x21-\x7e]+$/

/** `! <the connection that does not get it, or -> <body>`. The body says so too; older nodes read the word. */
export function encodeEphemeral (event: EphemeralEvent): string | Buffer {
  const { connection = '-' } = event.except ?? {}
  const head = `! ${WORD.test(connection) ? connection : '-'} `
  const body = encodeBody(event)
  return typeof body === 'string' ? head + body : Buffer.concat([Buffer.from(head), body])
}

/**
 * `<id> <prev> <body>`; several as `&`, and `\n<bytes> ` before each; an ephemeral event; or `?`.
 * @throws when it is none of ours
 */
export function decodeMessage (message: Buffer): Message {
  if (message[0] === AMPERSAND) return { type: 'events', events: decodeSeveral(message) }
  const first = message.indexOf(SPACE)
  if (first < 0) return { type: 'suspect' }
  if (message[0] !== EXCLAMATION) return { type: 'events', events: [decodeTold(message)] }
  const second = message.indexOf(SPACE, first + 1)
  const exclude = message.toString('latin1', first + 1, second)
  const event = decodeBody(message.subarray(second + 1))
  return { type: 'ephemeral', event: exclude === '-' || event.except ? event : { ...event, except: { connection: exclude } } }
}

function decodeTold (told: Buffer): LogEvent {
  const first = told.indexOf(SPACE)
  const second = told.indexOf(SPACE, first + 1)
  return decodeEvent(told.toString('latin1', 0, first), told.toString('latin1', first + 1, second), told.subarray(second + 1))
}

function decodeSeveral (message: Buffer): LogEvent[] {
  const events: LogEvent[] = []
  for (let at = 1; at < message.length;) {
    const space = message.indexOf(SPACE, at)
    const end = space + 1 + Number(message.toString('latin1', at + 1, space))
    if (!(end > space && end <= message.length)) throw new Error('not events of fastify-realtime')
    events.push(decodeTold(message.subarray(space + 1, end)))
    at = end
  }
  return events
}

/** Events → the bytes of an event stream (WHATWG HTML §9.2.5). Pure. */
import { cursorPart, joinCursor } from '../../core/cursor.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'
import { isPlace, type Entry } from '../../core/event.ts'
import type { Payload } from '../../core/payload.ts'
import type { Encoder, HeardTopic } from '../../core/wire.ts'

const LF = 10
const CR = 13
const CRLF = Buffer.from('\r\n')
/** A comment: keeps proxies and clients from taking a quiet stream for a dead one. */
export const HEARTBEAT = Buffer.from(':\n\n')

/** One line of a field per line of the text, whichever of the three line endings it uses. */
export function dataLines (text: string): string {
  return 'data: ' + text.replace(/\r\n|\r|\n/g, '\ndata: ')
}

/** `id` and `event` lines. What they hold was checked at the door: no CR, LF or NUL. */
function fields (id: string | undefined, name: string): string {
  const idLine = id === undefined ? '' : `id: ${id}\n`
  return name === 'message' ? idLine : `${idLine}event: ${name}\n`
}

/** One block, as a chunk of its own where it is `framed`. JSON text goes in as the bytes it was published as. */
export function eventBlock (entry: Entry, id: string | undefined, framed = false): Buffer {
  return isPlace(entry) ? placeBlock(id, framed) : payloadBlock(fields(id, entry.name), entry, framed)
}

/** An event for one client alone. */
export function directBlock (name: string, payload: Payload): Buffer {
  return payloadBlock(fields(undefined, name), payload, false)
}

function payloadBlock (head: string, { data, format }: Payload, framed: boolean): Buffer {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (format !== 'binary' && !view.includes(LF) && !view.includes(CR)) return lineBlock(`${head}data: `, data, framed)
  const text = format === 'binary' ? `data: ${view.toString('base64')}` : dataLines(view.toString())
  const bytes = Buffer.from(`${head}${text}\n\n`)
  return framed ? chunk(bytes) : bytes
}

/** A block without data moves a client's last event id, and fires nothing. */
function placeBlock (id: string | undefined, framed: boolean): Buffer {
  const bytes = id === undefined ? HEARTBEAT : block({ id })
  return framed ? chunk(bytes) : bytes
}

/** In one piece of memory: it is made for every event. */
function lineBlock (start: string, data: Uint8Array, framed: boolean): Buffer {
  const size = Buffer.byteLength(start) + data.byteLength + 2
  const head = framed ? `${size.toString(16)}\r\n` : ''
  const bytes = Buffer.allocUnsafe(head.length + size + (framed ? 2 : 0))
  let at = bytes.write(head + start)
  bytes.set(data, at)
  at += data.byteLength
  bytes[at++] = LF
  bytes[at++] = LF
  if (framed) {
    bytes[at++] = CR
    bytes[at] = LF
  }
  return bytes
}

export interface Block {
  id?: string | undefined
  event?: string | undefined
  data?: string | undefined
  retry?: number | undefined
  comment?: string | undefined
}

/** A block from its fields, for what is not an event of a topic. */
export function block ({ id, event, data, retry, comment }: Block): Buffer {
  let text = comment === undefined ? '' : `: ${comment.replace(/\r\n|\r|\n/g, '\n: ')}\n`
  if (retry !== undefined) text += `retry: ${retry}\n`
  if (id !== undefined) text += `id: ${id}\n`
  if (event !== undefined && event !== 'message') text += `event: ${event}\n`
  if (data !== undefined) text += dataLines(data) + '\n'
  return Buffer.from(text + '\n')
}

const NOTHING = Buffer.alloc(0)

/** HTTP/1.1 chunk framing (RFC 9112 §7.1), so that shared bytes can go to a socket as they are. */
export function chunk (bytes: Uint8Array): Buffer {
  // A chunk of no bytes is the last one: it would end the response.
  if (bytes.byteLength === 0) return NOTHING
  return Buffer.concat([Buffer.from(bytes.byteLength.toString(16) + '\r\n'), bytes, CRLF])
}

/** Streams with at most one durable topic: the id is the event's own. */
class SingleEncoder implements Encoder {
  readonly shared = true
  readonly #framed: boolean

  constructor (framed: boolean) {
    this.#framed = framed
  }

  encode (entries: readonly Entry[]): Uint8Array {
    const [only] = entries
    if (entries.length === 1 && only) return eventBlock(only, only.id, this.#framed)
    const bytes = Buffer.concat(entries.map((entry) => eventBlock(entry, entry.id)))
    return this.#framed ? chunk(bytes) : bytes
  }
}

/** Streams of several durable topics: those with the same set, all live, stand at the same positions. */
export class SetEncoder implements Encoder {
  readonly shared = false
  readonly key: string
  users = 0
  readonly #topics: readonly HeardTopic[]
  readonly #framed: boolean
  /** Where the topics stood last, and their parts of the cursor: an event moves one of them. */
  readonly #ids: Array<string | undefined>
  readonly #parts: string[]

  constructor (key: string, topics: readonly HeardTopic[], framed: boolean) {
    this.key = key
    this.#topics = topics
    this.#framed = framed
    this.#ids = topics.map(() => undefined)
    this.#parts = topics.map(() => '')
  }

  encode (entries: readonly Entry[], topic: HeardTopic): Uint8Array {
    const own = this.#topics.indexOf(topic)
    for (const [index, { position }] of this.#topics.entries()) this.#stand(index, position)
    const bytes = Buffer.concat(entries.map((entry) => {
      if (entry.id === undefined) return eventBlock(entry, undefined)
      this.#stand(own, entry.id)
      return eventBlock(entry, joinCursor(this.#parts))
    }))
    return this.#framed ? chunk(bytes) : bytes
  }

  #stand (index: number, id: string): void {
    if (this.#ids[index] === id) return
    this.#ids[index] = id
    this.#parts[index] = cursorPart(this.#topics[index] as HeardTopic, id)
  }
}

const framedSingle = new SingleEncoder(true)
const plainSingle = new SingleEncoder(false)

/** The encoders in use: one for each set of topics and framing. */
export class Encoders {
  readonly #sets = new OrderOfUse<string, SetEncoder>()

  /** For a stream with at most one durable topic. */
  single (framed: boolean): Encoder {
    return framed ? framedSingle : plainSingle
  }

  /** For a stream with several: those of them in which it has a position. */
  acquire (durable: readonly HeardTopic[], framed: boolean): Encoder {
    const key = `${framed ? 'f' : 'p'} ${durable.map(({ name }) => name).join(' ')}`
    let encoder = this.#sets.get(key)
    if (!encoder) this.#sets.set(key, encoder = new SetEncoder(key, durable, framed))
    encoder.users++
    return encoder
  }

  release (encoder: Encoder): void {
    if (encoder instanceof SetEncoder && --encoder.users === 0) this.#sets.delete(encoder.key)
  }
}

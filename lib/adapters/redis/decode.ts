/**
 * Reads what is in Redis. Threat: whoever can write to Redis can write anything, and a newer node writes what this one
 * does not know. So this file checks all of it: lengths, ids, names, keys, and that data has its format. What cannot be
 * read is counted, and is no event. Nothing here throws.
 */
import { isUtf8 } from 'node:buffer'
import type {
  EphemeralEvent, Except, Format, EventId, KeyedEvent, LogEvent, Sink, TraceContext
} from '../../core/adapter.ts'
import { isEventName, isPublishKey } from '../../core/event-name.ts'
import { readTrace } from '../../core/trace.ts'
import { VERSION, type Content } from './codec.ts'

/** A message of a channel. `invalid`: it is not in a format of this adapter. */
export type Message =
  | { type: 'events', events: LogEvent[] }
  | { type: 'ephemeral', event: EphemeralEvent }
  | { type: 'suspect' }
  | { type: 'invalid' }

interface Head {
  readonly format: Format
  readonly nameBytes: number
  /** -1 if the event has no key. */
  readonly keyBytes: number
  readonly except: Except | undefined
  readonly trace: TraceContext | undefined
}

const FORMAT_OF: Record<string, Format> = { j: 'json', t: 'text', b: 'binary' }
const SPACE = 0x20
const NEWLINE = 0x0a
const AMPERSAND = 0x26
const EXCLAMATION = 0x21
const QUESTION = 0x3f

/** `<ms>-<seq>.<nonce>` */
const ID = /^\d{1,15}-\d{1,15}\.[A-Za-z0-9_-]{1,96}$/
const MAX_ID = 128
const HEAD = /^([jtb]) (\d{1,3}) (-|\d{1,3})((?: [\x21-\x7e]+)*)$/
const MAX_HEAD = 8192
const MAX_EXCEPT = 4096
/** Heads that are kept parsed. Most events have one of a few. */
const MAX_KNOWN = 256

const INVALID: Message = { type: 'invalid' }

export class Decoder {
  /** How many messages, events and entries could not be read. */
  invalid = 0
  readonly #heads = new Map<string, Head>()
  #readable: NonNullable<Sink['readable']> = () => true

  /** Sets the check of each event's data. */
  ask (sink: Sink): void {
    this.#readable = (data, format) => sink.readable?.(data, format) ?? true
  }

  /**
   * An event is `<id> <prev> <body>`. Several events are `&`, with `\n<bytes> ` before each. An ephemeral event is `!
   * <word> <body>`. `?` says that the log began anew.
   */
  message (topic: string, message: Buffer): Message {
    const heard = this.#message(topic, message)
    if (heard.type === 'invalid') this.invalid++
    return heard
  }

  #message (topic: string, message: Buffer): Message {
    switch (message[0]) {
      case AMPERSAND: return this.#several(topic, message)
      case EXCLAMATION: return this.#ephemeral(topic, message)
      case QUESTION: return { type: 'suspect' }
      default: {
        const event = this.#told(topic, message)
        return event ? { type: 'events', events: [event] } : INVALID
      }
    }
  }

  #told (topic: string, told: Buffer): LogEvent | undefined {
    const first = told.indexOf(SPACE)
    const second = told.indexOf(SPACE, first + 1)
    if (first < 0 || second < 0 || second > 2 * MAX_ID) return undefined
    const [id, prev] = [told.toString('latin1', 0, first), told.toString('latin1', first + 1, second)]
    return this.#event(topic, id, prev, told.subarray(second + 1))
  }

  /** Leaves out an event that cannot be read. The links of the others show that it is missing. */
  #several (topic: string, message: Buffer): Message {
    const events: LogEvent[] = []
    for (let at = 1; at < message.length;) {
      const space = message.indexOf(SPACE, at)
      const size = message[at] === NEWLINE && space - at < 12 ? message.toString('latin1', at + 1, space) : ''
      const end = space + 1 + Number(size)
      if (!/^\d+$/.test(size) || end > message.length) return INVALID
      const event = this.#told(topic, message.subarray(space + 1, end))
      if (event) events.push(event)
      else this.invalid++
      at = end
    }
    return { type: 'events', events }
  }

  #ephemeral (topic: string, message: Buffer): Message {
    const second = message.indexOf(SPACE, 2)
    if (message[1] !== SPACE || second < 0 || second > MAX_HEAD) return INVALID
    const event = this.#body(topic, message.subarray(second + 1))
    if (!event) return INVALID
    const connection = message.toString('latin1', 2, second)
    const asTold = connection === '-' || event.except !== undefined
    return { type: 'ephemeral', event: asTold ? event : { ...event, except: { connection } } }
  }

  /** Undefined if the entry cannot be read. It is then counted as invalid. */
  event (topic: string, id: string, prev: string, body: Buffer): LogEvent | undefined {
    const event = this.#event(topic, id, prev, body)
    if (!event) this.invalid++
    return event
  }

  /**
   * Reads a key of a keyed topic's state: `<id> <body>`. Undefined if it cannot be read. It is then counted as invalid.
   */
  keyed (topic: string, key: Buffer, value: Buffer): KeyedEvent | undefined {
    const space = value.indexOf(SPACE)
    const id = value.toString('latin1', 0, Math.min(Math.max(space, 0), MAX_ID + 1))
    const content = isId(id) ? this.#body(topic, value.subarray(space + 1)) : undefined
    if (content?.key !== undefined && key.equals(Buffer.from(content.key))) {
      const { name, data, format } = content
      return { id, key: content.key, name, data, format }
    }
    this.invalid++
    return undefined
  }

  #event (topic: string, id: string, prev: string, body: Buffer): LogEvent | undefined {
    if (!isId(id) || !isId(prev)) return undefined
    const content = this.#body(topic, body)
    return content && { id, prev, ...content }
  }

  #body (topic: string, body: Buffer): Content | undefined {
    const end = body.indexOf(NEWLINE)
    if (end < 0 || end > MAX_HEAD) return undefined
    const head = this.#head(body.toString('latin1', 0, end))
    if (!head) return undefined
    const keyAt = end + 1 + head.nameBytes
    const dataAt = keyAt + Math.max(0, head.keyBytes)
    if (dataAt > body.length) return undefined
    const name = textOf(body, end + 1, keyAt)
    const key = head.keyBytes < 0 ? undefined : textOf(body, keyAt, dataAt)
    const data = body.subarray(dataAt)
    if (name === undefined || !isEventName(name, topic)) return undefined
    if ((head.keyBytes >= 0 && !isPublishKey(key)) || !this.#readable(data, head.format)) return undefined
    const { format, except, trace } = head
    // Most events have none of these three.
    if (key === undefined && except === undefined && !trace) return { name, data, format }
    return {
      name,
      data,
      format,
      ...(key === undefined ? {} : { key }),
      ...(except === undefined ? {} : { except }),
      ...(trace && { trace })
    }
  }

  #head (line: string): Head | undefined {
    const known = this.#heads.get(line)
    if (known) return known
    const head = readHead(line)
    // Heads with an `except` or a trace are not kept: there would be one for each sender or trace.
    if (head && !head.except && !head.trace && this.#heads.size < MAX_KNOWN) this.#heads.set(line, head)
    return head
  }
}

function isId (id: string): id is EventId {
  return id.length <= MAX_ID && ID.test(id)
}

/** The id in a topic's head. Null if there is no valid one. */
export function headOf (value: string | null): EventId | null {
  const id = value?.split(' ', 1)[0] ?? ''
  return isId(id) ? id : null
}

/** APPEND's answers, one for each event, joined by spaces. Empty if the number or an answer is wrong. */
export function idsOf (answer: unknown, count: number): string {
  const text = String(answer)
  const ids = text.split(' ')
  return ids.length === count && ids.every((id) => isRefusal(id) || isId(conflicting(id) ?? id)) ? text : ''
}

/** Why a keyed topic did not change: `~` nothing to remove, `#k` too many keys, `#b` too many bytes. */
function isRefusal (answer: string): answer is '~' | '#k' | '#b' {
  return answer === '~' || answer === '#k' || answer === '#b'
}

/** True if the answer is the id of an appended event. */
export function isAppended (answer: string): boolean {
  return !isRefusal(answer) && conflicting(answer) === undefined
}

/** The last id of the topic, if another id was expected. */
export function conflicting (answer: string): EventId | undefined {
  return answer.startsWith('!') ? answer.slice(1) : undefined
}

function readHead (line: string): Head | undefined {
  const found = HEAD.exec(line)
  if (!found) return undefined
  const [, format = '', nameBytes, keyBytes, rest = ''] = found
  const fields = new Map(rest.split(' ').slice(1).map((field): [string, string] => {
    const [name = ''] = field.split('=', 1)
    return [name, field.slice(name.length + 1)]
  }))
  const least = Number(fields.get('v') ?? 1)
  if (!(least <= VERSION)) return undefined
  const except = readExcept(fields.get('x'), fields.get('i'))
  if (except === null) return undefined
  return {
    format: FORMAT_OF[format] as Format,
    nameBytes: Number(nameBytes),
    keyBytes: keyBytes === '-' ? -1 : Number(keyBytes),
    except,
    trace: fields.has('t') ? readTrace(fields.get('t'), decoded(fields.get('s') ?? '')) : undefined
  }
}

/**
 * Null if it cannot be read. The event is then dropped, because a fault must not deliver it to its excepted connection.
 */
function readExcept (x: string | undefined, i: string | undefined): Except | undefined | null {
  if (x === undefined) return undefined
  const connection = decoded(x)
  const identity = i === undefined ? undefined : decoded(i)
  if (connection === undefined || connection === '' || (i !== undefined && identity === undefined)) return null
  return identity === undefined ? { connection } : { connection, identity }
}

function decoded (text: string): string | undefined {
  if (text.length > MAX_EXCEPT) return undefined
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Undefined if the bytes are not UTF-8. */
function textOf (body: Buffer, start: number, end: number): string | undefined {
  const text = body.toString('latin1', start, end)
  if (/^[\x20-\x7e]*$/.test(text)) return text
  return isUtf8(body.subarray(start, end)) ? body.toString('utf8', start, end) : undefined
}

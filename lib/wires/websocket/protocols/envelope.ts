/** The envelope format (PROTOCOL.md): topics and places named in each frame, commands, answers found by `ref`. */
import type { CloseReason } from '../../../core/close-reasons.ts'
import { isPublishKey, printable } from '../../../core/event-name.ts'
import type { TraceContext } from '../../../core/adapter.ts'
import { isPlace, type Entry } from '../../../core/event.ts'
import { jsonOf, type Payload } from '../../../core/payload.ts'
import { readTrace } from '../../../core/trace.ts'
import type { Encoder, HeardTopic, Notice, OutletHost } from '../../../core/wire.ts'
import { SUBPROTOCOL, type Ref, type ServerFrame } from '../../../protocol.ts'
import { Fault } from '../fault.ts'
import { joined, webSocketFrames, type Carriage } from '../frame.ts'
import { jsonText, parseObject, type Json } from './json.ts'
import type { Asked, Protocol, ToldError } from './protocol.ts'

class EnvelopeEncoder implements Encoder<Uint8Array> {
  readonly shared = true
  readonly #carriage: Carriage

  constructor (carriage: Carriage) {
    this.#carriage = carriage
  }

  encode (entries: readonly Entry[], topic: HeardTopic): Uint8Array {
    return joined(entries.map((entry) => eventFrame(this.#carriage, entry, topic)))
  }
}

const say = (carriage: Carriage, said: ServerFrame): Buffer => carriage.text(Buffer.from(JSON.stringify(said)))

/** What its frames say is the same, whatever carries them. */
export class Envelope implements Protocol {
  readonly subprotocol = SUBPROTOCOL
  readonly encoder: Encoder<Uint8Array>
  readonly clientOpens = true
  readonly #carriage: Carriage

  constructor (carriage: Carriage) {
    this.#carriage = carriage
    this.encoder = new EnvelopeEncoder(carriage)
  }

  #say (said: ServerFrame): Uint8Array { return say(this.#carriage, said) }

  read (text: string, maxCursors: number): Asked {
    const said = parseObject(text)
    const ref = readRef(said.ref)
    try {
      return said.op === undefined ? readMessage(said, ref) : readCommand(said, ref, maxCursors)
    } catch (error) {
      throw error instanceof Fault ? new Fault(error.code, error.message, ref) : error
    }
  }

  notice (notice: Notice, { id: connection, heartbeat }: Pick<OutletHost, 'id' | 'heartbeat'>): Uint8Array {
    switch (notice.type) {
      case 'opened': return this.#say({ op: 'open', connection, heartbeat })
      case 'subscribed': {
        const { subscription: { topic, position }, recovered, expires, ref } = notice
        // A client that is cut before the reset comes back with the id it has, and is told then.
        return this.#say({
          op: 'subscribed',
          topic: topic.name,
          id: recovered === false ? undefined : position,
          recovered,
          expires,
          ref: ref as Ref | undefined
        })
      }
      case 'reset': return this.#say({
        op: 'reset', topic: notice.subscription.topic.name, id: notice.subscription.position, reason: notice.reason
      })
      case 'at': return this.#say({
        op: 'at', topic: notice.subscription.topic.name, id: notice.subscription.position, why: notice.why
      })
      case 'snapshot': return snapshotFrame(this.#carriage, notice)
      case 'revoked': return this.#say({ op: 'unsubscribed', topic: notice.topic, reason: notice.reason })
      case 'direct': return dataFrame(this.#carriage, `{"event":${JSON.stringify(notice.event)}`, notice)
    }
  }

  error ({ code, message, ref, topic }: ToldError): Uint8Array {
    return this.#say({ op: 'error', ref, code, message, topic })
  }

  reply ({ ref, name }: Asked & { do: 'message' }, result: unknown): Uint8Array | undefined {
    if (ref === undefined) return undefined
    const data = jsonOf(undefined, name, result)
    return this.#carriage.text(Buffer.from(`{"op":"reply","ref":${JSON.stringify(ref)},"data":${data}}`))
  }

  pong (): Uint8Array { return this.#say({ op: 'pong' }) }
  // Without a position: the client has it, and what waits for this client may be beyond the one it stands at now.
  subscribed (topic: string, ref: Ref | undefined, expires: number | undefined): Uint8Array {
    return this.#say({ op: 'subscribed', topic, expires, ref })
  }

  refreshed (ref: Ref | undefined, expires: number | undefined): Uint8Array {
    return this.#say({ op: 'refreshed', expires, ref })
  }

  unsubscribed (topic: string, ref: Ref | undefined): Uint8Array {
    return this.#say({ op: 'unsubscribed', topic, ref })
  }

  shown (topic: string, ref: Ref | undefined): Uint8Array | undefined {
    return ref === undefined ? undefined : this.#say({ op: 'presence', topic, ref })
  }

  bye ({ code, text, reconnect }: CloseReason, retry: number | undefined): Uint8Array {
    return this.#say({ op: 'bye', code, reason: text, reconnect, ...(retry === undefined ? {} : { retry }) })
  }
}

export const envelope: Protocol = new Envelope(webSocketFrames)

// --- what a client says ----------------------------------------------------------------

function readRef (ref: unknown): Ref | undefined {
  if (ref === undefined || typeof ref === 'string' || typeof ref === 'number') return ref
  throw new Fault('INVALID_FRAME', '"ref" must be a string or a number')
}

/** Characters of a message's `key`. */
const MAX_KEY = 128

function readMessage ({ event, data, topic, key }: Json, ref: Ref | undefined): Asked {
  if (typeof event !== 'string') throw new Fault('INVALID_FRAME', 'a message needs an "event", a command an "op"')
  if (key !== undefined && !(isPublishKey(key) && key.length <= MAX_KEY)) {
    throw new Fault('INVALID_FRAME', `"key" must be a string of 1 to ${MAX_KEY} characters without control characters`)
  }
  return { do: 'message', name: event, data, topic, key, ref }
}

function readCommand ({ op, cursors, topic, id, state, token }: Json, ref: Ref | undefined, maxCursors: number): Asked {
  switch (op) {
    case 'open': return { do: 'open', cursors: readCursors(cursors, maxCursors), token: readToken(token), ref }
    case 'ping': return { do: 'ping', ref }
    case 'subscribe':
      if (id !== undefined && typeof id !== 'string') throw new Fault('INVALID_FRAME', '"id" must be a string')
      return { do: 'subscribe', topic, id, token: readToken(token), ref }
    case 'refresh': return { do: 'refresh', token: readToken(token ?? null) as string, ref }
    case 'unsubscribe': return { do: 'unsubscribe', topic, ref }
    case 'presence': return { do: 'presence', topic, state, ref }
    default: throw new Fault('INVALID_FRAME', `no command "${printable(op)}"`)
  }
}

function readToken (token: unknown): string | undefined {
  if (token === undefined || typeof token === 'string') return token
  throw new Fault('INVALID_FRAME', '"token" must be a string')
}

function readCursors (value: unknown, most: number): ReadonlyMap<string, string> {
  if (value === undefined) return new Map()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Fault('INVALID_FRAME', '"cursors" must be an object')
  }
  const entries = Object.entries(value)
  if (entries.length > most) throw new Fault('INVALID_FRAME', `more than ${most} cursors`)
  if (!entries.every(([, id]) => typeof id === 'string')) throw new Fault('INVALID_FRAME', 'a cursor must be a string')
  return new Map(entries as Array<[string, string]>)
}

// --- what it is told -------------------------------------------------------------------

const keyOfPrefixes = {}
/** Of events of one topic. */
const MAX_PREFIXES = 64

/** `{"topic":"…","event":"…"` of a topic, kept with it. */
function prefixOf (topic: HeardTopic, event: string): string {
  let prefixes = topic.derived.get(keyOfPrefixes) as Map<string, string> | undefined
  if (!prefixes) topic.derived.set(keyOfPrefixes, prefixes = new Map())
  let prefix = prefixes.get(event)
  if (prefix === undefined) {
    prefix = `{"topic":${JSON.stringify(topic.name)},"event":${JSON.stringify(event)}`
    if (prefixes.size < MAX_PREFIXES) prefixes.set(event, prefix)
  }
  return prefix
}

function eventFrame (carriage: Carriage, entry: Entry, topic: HeardTopic): Buffer {
  if (isPlace(entry)) return say(carriage, { op: 'at', topic: topic.name, id: entry.id, why: 'excepted' })
  const position = entry.id === undefined
    ? ''
    : `,"id":${JSON.stringify(entry.id)},"prev":${JSON.stringify(entry.prev)}`
  const key = topic.keyed && entry.key !== undefined ? `,"key":${JSON.stringify(entry.key)}` : ''
  const trace = entry.trace && topic.tracesTold ? traceMembers(entry.trace) : ''
  const start = prefixOf(topic, entry.name) + position + key + trace
  return dataFrame(carriage, start, entry)
}

// Threat: an adapter may have been handed anything in place of a trace, and no client is.
function traceMembers (given: TraceContext): string {
  const trace = readTrace(given.traceparent, given.tracestate)
  if (!trace) return ''
  const { traceparent, tracestate } = trace
  const state = tracestate === undefined ? '' : `,"tracestate":${JSON.stringify(tracestate)}`
  return `,"traceparent":"${traceparent}"${state}`
}

/** `start`: the frame's JSON without `data`, and without its end. */
function dataFrame (carriage: Carriage, start: string, payload: Payload): Buffer {
  if (payload.format === 'binary') return carriage.bytes(start, payload.data)
  return carriage.text(Buffer.from(start + ',"data":'), jsonText(payload), Buffer.from('}'))
}

function snapshotFrame (
  carriage: Carriage, { subscription: { topic, position }, event, data }: Notice & { type: 'snapshot' }
): Buffer {
  const head = JSON.stringify({ op: 'snapshot', topic: topic.name, id: position, event })
  return carriage.text(Buffer.from(head.slice(0, -1) + ',"data":'), data, Buffer.from('}'))
}

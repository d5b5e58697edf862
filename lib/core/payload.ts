/**
 * Encodes an event's data. This is the one place that does so: for publishes, relays, snapshots, events of sources, and
 * messages to one connection. Data that cannot be encoded fails here, for its caller alone, before it can do harm to
 * others. What leaves here is JSON text in UTF-8, or bytes that nobody else holds.
 */
import { types } from 'node:util'
import type { Format } from './adapter.ts'
import { toError } from './callbacks.ts'
import { andThen, type MaybePromise } from './maybe-promise.ts'
import { EventDataInvalid, EventTooLarge } from '../errors.ts'

export interface Payload {
  readonly data: Uint8Array
  readonly format: Format
}

/** Turns an event's data into text. Made from the event's schema, once. */
export interface Codec {
  /** Returns a text. A serializer of the app may return anything else, and may throw anything. */
  serialize (data: unknown): unknown
  /** True if this text may be something else than JSON. Then it is parsed before it is used. */
  doubts (text: string): boolean
  /** Why the data does not fit; undefined if it does. `sent` is what listeners will read: the text, parsed. */
  fault (sent: unknown, data: unknown): MaybePromise<string | undefined>
}

/** Undefined for a message to one connection alone. */
type TopicName = string | undefined

/** Encodes the data of an event, by its schema if it has one. @throws EventDataInvalid */
export function encode (
  topic: TopicName, event: string, data: unknown, codec?: Codec, validate = false
): MaybePromise<Payload> {
  if (!codec || types.isUint8Array(data)) return encodeAny(topic, event, data)
  return andThen(encodeBy(codec, topic, event, data, validate), (bytes) => ({ data: bytes, format: 'json' }))
}

/** Encodes data without a schema. Bytes are copied: the app may go on writing into its own. @throws EventDataInvalid */
export function encodeAny (topic: TopicName, event: string, data: unknown): Payload {
  if (types.isUint8Array(data)) return { data: copy(topic, event, data), format: 'binary' }
  return { data: encodeJson(topic, event, data), format: 'json' }
}

/** @throws EventDataInvalid */
export function encodeJson (topic: TopicName, event: string, data: unknown): Uint8Array {
  return Buffer.from(jsonOf(topic, event, data))
}

/** Data that JSON cannot express (undefined, a function) becomes null. @throws EventDataInvalid */
export function jsonOf (topic: TopicName, event: string, data: unknown): string {
  refuseBuffers(topic, event, data)
  try {
    return JSON.stringify(data) ?? 'null'
  } catch (error) {
    throw unfit(topic, event, error)
  }
}

/** JSON makes `{}` of an ArrayBuffer, and an object of numbers of a Float32Array: no app means that. */
function refuseBuffers (topic: TopicName, event: string, data: unknown): void {
  if (!types.isAnyArrayBuffer(data) && (!ArrayBuffer.isView(data) || types.isUint8Array(data))) return
  throw new EventDataInvalid(shown(topic), event, 'bytes must be a Uint8Array')
}

/** The data as JSON text. Bytes become base64. */
export function jsonTextOf ({ data, format }: Payload): string {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (format === 'json') return view.toString()
  return JSON.stringify(format === 'text' ? view.toString() : view.toString('base64'))
}

/** Decodes the data for the app. @throws SyntaxError if the data does not have its format */
export function decode ({ data, format }: Payload): unknown {
  if (format === 'binary') return new Uint8Array(data)
  const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString()
  return format === 'text' ? text : JSON.parse(text)
}

/** Encodes data by the event's schema. `validate`: the text must fit the schema too. @throws EventDataInvalid */
export function encodeBy (
  codec: Codec, topic: TopicName, event: string, data: unknown, validate: boolean
): MaybePromise<Uint8Array> {
  let text: string
  let fits: MaybePromise<string | undefined>
  refuseBuffers(topic, event, data)
  try {
    text = textOf(codec.serialize(data))
    const doubtful = codec.doubts(text)
    const sent: unknown = doubtful || validate ? parse(text) : undefined
    if (doubtful) text = onOneLine(text)
    fits = validate ? codec.fault(sent, data) : undefined
  } catch (error) {
    throw unfit(topic, event, error)
  }
  return fits === undefined ? Buffer.from(text) : judged(fits, text, topic, event)
}

/** Returns the payload if it is not too large. @throws EventTooLarge */
export function bounded (payload: Payload, topic: string, event: string, most: number): Payload {
  const size = payload.data.byteLength
  if (size > most) throw new EventTooLarge(`topic "${topic}", event "${event}"`, size, most)
  return payload
}

function judged (
  fits: MaybePromise<string | undefined>, text: string, topic: TopicName, event: string
): MaybePromise<Uint8Array> {
  const end = (fault: string | undefined): Uint8Array => {
    if (fault !== undefined) throw new EventDataInvalid(shown(topic), event, fault)
    return Buffer.from(text)
  }
  if (typeof fits === 'string' || fits === undefined) return end(fits)
  return fits.then(end, (error: unknown) => { throw unfit(topic, event, error) })
}

function copy (topic: TopicName, event: string, data: Uint8Array): Uint8Array {
  try {
    return new Uint8Array(data)
  } catch (error) {
    throw unfit(topic, event, error)
  }
}

function textOf (written: unknown): string {
  if (typeof written === 'string') return written
  // If the promise rejects, nobody else handles it.
  if (types.isPromise(written)) written.catch(() => {})
  throw new TypeError(
    `its serializer returned ${types.isPromise(written) ? 'a promise' : written === null ? 'null' : typeof written}, ` +
    'not a string'
  )
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new TypeError(`its serializer returned a text that is not JSON: ${toError(error).message}`)
  }
}

// JSON has no line breaks in its strings, so these stand between tokens. In an event stream each would end a line.
function onOneLine (text: string): string {
  if (!text.isWellFormed()) throw new TypeError('its serializer returned a text that is not well-formed Unicode')
  return text.replace(/[\r\n]+/g, ' ')
}

function unfit (topic: TopicName, event: string, error: unknown): Error {
  const cause = toError(error)
  if (cause instanceof EventDataInvalid) return cause
  return Object.assign(new EventDataInvalid(shown(topic), event, cause.message), { cause })
}

const shown = (topic: TopicName): string => topic ?? 'one connection alone'

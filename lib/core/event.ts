/** What flows through the hub, and what may not enter a field. */
import { EventNameInvalid, PublishOptionInvalid } from '../errors.ts'
import type { EphemeralEvent, Except, Format, Id, LogEvent } from './adapter.ts'
import type { Encoder } from './wire.ts'

/** An event on this node, with the bytes made of it so far. `id` and `prev` are undefined for ephemeral events. */
export interface Entry {
  readonly id: Id | undefined
  readonly prev: Id | undefined
  /** Empty: its reader is not given the event, and is told its place alone (`placeOf`). */
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key: string | undefined
  /** The connection that must not get it: its sender's. */
  readonly except: Except | undefined
  /** Its bytes, where they depend on nothing but the event. */
  encoded: Encoded | undefined
}

/** By encoder, one behind the other: there are seldom two. */
export interface Encoded {
  readonly encoder: Encoder
  readonly bytes: Uint8Array
  readonly next: Encoded | undefined
}

/** After one of these nothing follows in its topic: the end of a run. */
export const FINAL_EVENTS: ReadonlySet<string> = new Set(['realtime:end', 'realtime:aborted'])

export function durableEntry (event: LogEvent): Entry {
  return {
    id: event.id,
    prev: event.prev,
    name: event.name,
    data: event.data,
    format: event.format,
    key: event.key,
    except: event.except,
    encoded: undefined
  }
}

export function ephemeralEntry (event: EphemeralEvent): Entry {
  return {
    id: undefined,
    prev: undefined,
    name: event.name,
    data: event.data,
    format: event.format,
    key: event.key,
    except: event.except,
    encoded: undefined
  }
}

const NOTHING = new Uint8Array(0)

/** What is left of an event for whoever is not given it: where the log has got to, so that the next one links. */
function placeOf ({ id, prev }: Entry): Entry {
  return { id, prev, name: '', data: NOTHING, format: 'json', key: undefined, except: undefined, encoded: undefined }
}

/** True for what `placeOf` made. */
export function isPlace (entry: Entry): boolean {
  return entry.name === ''
}

interface Receiver { readonly id: string, readonly identity: { readonly id: string } }

/** True when the event is not for this connection. */
function excepts ({ except }: Entry, { id, identity }: Receiver): boolean {
  return except !== undefined && except.connection === id && (except.identity === undefined || except.identity === String(identity.id))
}

/** The events as this connection is to have them: of what is not for it the place alone, where it has one. */
export function entriesFor (receiver: Receiver, entries: readonly Entry[]): readonly Entry[] {
  // Most are for everybody.
  if (!entries.some((entry) => excepts(entry, receiver))) return entries
  return entries.flatMap((entry) => !excepts(entry, receiver) ? entry : entry.id === undefined ? [] : placeOf(entry))
}

// Threat: a CR, LF or NUL in an SSE field would forge fields or events (WHATWG, event stream interpretation).
// eslint-disable-next-line no-control-regex -- controls are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/
const MAX_NAME_BYTES = 255

export function hasControl (text: string): boolean {
  return CONTROL.test(text)
}

/** Why a name cannot be an event's, or undefined. */
export function eventNameFault (name: unknown): string | undefined {
  if (typeof name !== 'string' || name === '') return 'must be a non-empty string'
  if (CONTROL.test(name)) return 'must not hold control characters (CR, LF, NUL …)'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `must not exceed ${MAX_NAME_BYTES} bytes`
  if (!name.isWellFormed()) return 'must be well-formed Unicode'
  if (name.startsWith('realtime:')) return 'starts with "realtime:", which is reserved'
  // An SSE event of this name would fire EventSource's own handlers.
  if (name === 'error' || name === 'open') return 'is reserved: it would fire EventSource\'s own handler'
  return undefined
}

/** Names found to be good: an app publishes the same few again and again. */
const good = new Set<unknown>()
const MAX_GOOD = 1024

export function checkEventName (name: unknown): asserts name is string {
  if (good.has(name)) return
  const fault = eventNameFault(name)
  if (fault) throw new EventNameInvalid(printable(name), fault)
  if (good.size < MAX_GOOD) good.add(name)
}

/** Of the topics of runs: the hub's own events end them. */
const RUNS = 'realtime:runs/'

/** True for a name that an event of this topic may have, whoever published it. */
export function isEventName (name: string, topic: string): boolean {
  if (good.has(name)) return true
  if (topic.startsWith(RUNS) && FINAL_EVENTS.has(name)) return true
  if (eventNameFault(name) !== undefined) return false
  if (good.size < MAX_GOOD) good.add(name)
  return true
}

/** What `key`, `dedupe` and `except` may be. */
export function isPublishKey (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= MAX_NAME_BYTES && !CONTROL.test(value) && value.isWellFormed()
}

export function checkPublishKey (option: string, value: unknown): void {
  if (value === undefined) return
  if (!isPublishKey(value)) {
    throw new PublishOptionInvalid(option, `must be a non-empty string of at most ${MAX_NAME_BYTES} bytes of well-formed Unicode without control characters`)
  }
}

/** Untrusted text made fit for a message or a log. */
export function printable (value: unknown): string {
  return textOf(value).slice(0, 80).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return `of type ${typeof value}`
  }
}

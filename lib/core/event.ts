/** An event on its way through this node. */
import type { EphemeralEvent, Except, Format, EventId, LogEvent, TraceContext } from './adapter.ts'

/** An event on this node, with the bytes made of it so far. `id` and `prev` are undefined for ephemeral events. */
export interface Entry {
  readonly id: EventId | undefined
  readonly prev: EventId | undefined
  /** Empty if the reader gets only the place of the event (`placeOf`). */
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key: string | undefined
  /** The connection that must not get the event: its sender's. */
  readonly except: Except | undefined
  /** The trace that the event was published in. A wire writes it if the topic says so (`tracesTold`). */
  readonly trace: TraceContext | undefined
  /** The event's bytes, by encoders whose bytes depend only on the event and its topic. */
  encoded: Encoded | undefined
}

/** A linked list: bytes, and the encoder that made them. It seldom has more than one. */
export interface Encoded {
  readonly encoder: object
  readonly bytes: { readonly byteLength: number }
  readonly next: Encoded | undefined
}

/** After one of these events nothing follows in its topic: a run has ended. */
export const FINAL_EVENTS: ReadonlySet<string> = new Set(['realtime:end', 'realtime:aborted'])
/** The name of events that say who is there, unless the topic declares another. */
export const PRESENCE = 'realtime:presence'
/** A key of a keyed topic holds nothing any more. */
export const REMOVED = 'realtime:removed'
/** A run was broken off, so its events are not complete. */
export const ABORTED = 'realtime:aborted'

export function durableEntry (event: LogEvent): Entry {
  return {
    id: event.id,
    prev: event.prev,
    name: event.name,
    data: event.data,
    format: event.format,
    key: event.key,
    except: event.except,
    trace: event.trace,
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
    trace: event.trace,
    encoded: undefined
  }
}

const NOTHING = new Uint8Array(0)

/** What a connection gets of an event that is not for it: only the position, so that the next event links. */
function placeOf ({ id, prev }: Entry): Entry {
  return {
    id,
    prev,
    name: '',
    data: NOTHING,
    format: 'json',
    key: undefined,
    except: undefined,
    trace: undefined,
    encoded: undefined
  }
}

/** True for what `placeOf` made. */
export function isPlace (entry: Entry): boolean {
  return entry.name === ''
}

/** A connection that an event may be for. */
export interface Receiver { readonly id: string, readonly identity: { readonly id: string } }

/** True when the event is not for this connection. */
function excepts ({ except }: Entry, { id, identity }: Receiver): boolean {
  return except !== undefined && except.connection === id &&
    (except.identity === undefined || except.identity === String(identity.id))
}

/** The events as this connection gets them. One that is not for it becomes a place; without an id it is left out. */
export function entriesFor (receiver: Receiver, entries: readonly Entry[]): readonly Entry[] {
  // Most events are for everybody.
  if (!entries.some((entry) => excepts(entry, receiver))) return entries
  return entries.flatMap((entry) => !excepts(entry, receiver) ? entry : entry.id === undefined ? [] : placeOf(entry))
}

/** An event on its way through this node. */
import type { EphemeralEvent, Except, Format, EventId, LogEvent, TraceContext } from './adapter.ts'

/** An event on this node, with the bytes made of it so far. `id` and `prev` are undefined for ephemeral events. */
export interface Entry {
  readonly id: EventId | undefined
  readonly prev: EventId | undefined
  /** Empty where the reader is not given the event, and is told its place alone (`placeOf`). */
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key: string | undefined
  /** The connection that must not get it: its sender's. */
  readonly except: Except | undefined
  /** Where it was published. A wire writes it where the topic says so (`tracesTold`). */
  readonly trace: TraceContext | undefined
  /** Its bytes, where they depend on nothing but the event. */
  encoded: Encoded | undefined
}

/** A list, each with the encoder that made the bytes: there are seldom two. */
export interface Encoded {
  readonly encoder: object
  readonly bytes: { readonly byteLength: number }
  readonly next: Encoded | undefined
}

/** After one of these nothing follows in its topic: the end of a run. */
export const FINAL_EVENTS: ReadonlySet<string> = new Set(['realtime:end', 'realtime:aborted'])
/** Says who is there, unless the topic names it otherwise. */
export const PRESENCE = 'realtime:presence'
/** A keyed topic's key holds nothing any more. */
export const REMOVED = 'realtime:removed'
/** It was broken off, and is not all that there was to say. */
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

/** What is left of an event for whoever is not given it: where the log has got to, so that the next one links. */
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

/** Whoever an event may be for. */
export interface Receiver { readonly id: string, readonly identity: { readonly id: string } }

/** True when the event is not for this connection. */
function excepts ({ except }: Entry, { id, identity }: Receiver): boolean {
  return except !== undefined && except.connection === id &&
    (except.identity === undefined || except.identity === String(identity.id))
}

/**
 * The events as this connection gets them. Of an event that is not for it there is the place alone, if the event has
 * one.
 */
export function entriesFor (receiver: Receiver, entries: readonly Entry[]): readonly Entry[] {
  // Most are for everybody.
  if (!entries.some((entry) => excepts(entry, receiver))) return entries
  return entries.flatMap((entry) => !excepts(entry, receiver) ? entry : entry.id === undefined ? [] : placeOf(entry))
}

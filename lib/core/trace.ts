/** An event's place in a distributed trace. It is checked, and kept beside the item that the app gets. */
import type { TraceContext } from './adapter.ts'

/** W3C Trace Context, section 3.2: version 00, and neither id of zeros alone. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
/** Section 3.3.1.5: so many characters must be passed on. A longer list is not passed on. */
const MAX_STATE = 512
/** Section 3.3.1.1. */
const MAX_MEMBERS = 32
const PRINTABLE = /^[\x20-\x7e]+$/
/** Section 3.3.1.3. */
const VENDOR = '[a-z][a-z0-9_*/-]{0,255}'
const TENANT = '[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}'
/** A value has neither "," nor "=", and no space at its end. */
const VALUE = '[\\x20-\\x2b\\x2d-\\x3c\\x3e-\\x7e]{0,255}[\\x21-\\x2b\\x2d-\\x3c\\x3e-\\x7e]'
const MEMBER = new RegExp(`^(?:${VENDOR}|${TENANT})=${VALUE}$`)

/** Undefined if the text is not well formed: then the trace is lost, but no event is. */
export function readTrace (traceparent: unknown, tracestate?: unknown): TraceContext | undefined {
  if (typeof traceparent !== 'string' || traceparent.length !== 55 || !TRACEPARENT.test(traceparent)) return undefined
  return isState(tracestate) ? { traceparent, tracestate } : { traceparent }
}

/** A member may be empty, and may have spaces around it. Tabs, which W3C allows there too, are not carried on. */
function isState (text: unknown): text is string {
  if (typeof text !== 'string' || text.length > MAX_STATE || !PRINTABLE.test(text)) return false
  const members = text.split(',').map((member) => member.trim()).filter((member) => member !== '')
  return members.length > 0 && members.length <= MAX_MEMBERS && members.every((member) => MEMBER.test(member))
}

/** Where an item that the app got was published. */
export interface Traced {
  readonly trace: TraceContext
  readonly topic: string
  readonly pattern: string
}

// Beside the item, not in it: an app that passes an item on must not tell its clients of its traces.
const traced = new WeakMap<object, Traced>()

/** Keeps the trace for as long as the app holds the item. */
export function keepTrace<T extends object> (
  item: T, trace: TraceContext | undefined, { name, pattern }: { readonly name: string, readonly pattern: string }
): T {
  if (trace) traced.set(item, { trace, topic: name, pattern })
  return item
}

/** Undefined if the item was published without a trace, or is not one of ours. */
export function tracedOf (item: unknown): Traced | undefined {
  return typeof item === 'object' && item !== null ? traced.get(item) : undefined
}

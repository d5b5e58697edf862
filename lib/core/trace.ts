/** An event's place in a distributed trace: read where it comes from outside, kept beside what the app is handed. */
import type { TraceContext } from './adapter.ts'

/** W3C Trace Context, section 3.2: version 00, and neither id of zeros alone. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
/** Section 3.3.1.5: so much must be carried on. More is not. */
const MAX_STATE = 512
/** Section 3.3.1.1. */
const MAX_MEMBERS = 32
const PRINTABLE = /^[\x20-\x7e]+$/
/** Section 3.3.1.3. */
const VENDOR = '[a-z][a-z0-9_*/-]{0,255}'
const TENANT = '[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}'
/** Neither "," nor "=", and no space at its end. */
const VALUE = '[\\x20-\\x2b\\x2d-\\x3c\\x3e-\\x7e]{0,255}[\\x21-\\x2b\\x2d-\\x3c\\x3e-\\x7e]'
const MEMBER = new RegExp(`^(?:${VENDOR}|${TENANT})=${VALUE}$`)

/** What is not well formed is none: a trace is lost then, and no event. */
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

/** Where something that the app was handed was published. */
export interface Traced {
  readonly trace: TraceContext
  readonly topic: string
  readonly pattern: string
}

// Beside it, not on it: an app that passes an item on must not tell its clients of its traces.
const traced = new WeakMap<object, Traced>()

/** Kept for as long as the app holds the item. */
export function keepTrace<T extends object> (
  item: T, trace: TraceContext | undefined, { name, pattern }: { readonly name: string, readonly pattern: string }
): T {
  if (trace) traced.set(item, { trace, topic: name, pattern })
  return item
}

/** Undefined for what was published without a trace, and for what is none of ours. */
export function tracedOf (item: unknown): Traced | undefined {
  return typeof item === 'object' && item !== null ? traced.get(item) : undefined
}

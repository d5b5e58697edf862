/** An event's place in a distributed trace: read where it comes from outside, kept beside what the app is handed. */
import type { TraceContext } from './adapter.ts'

/** W3C Trace Context, section 3.2: version 00, and neither id of zeros alone. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
/** Section 3.3.1.5: so much must be carried on. More is not. */
const MAX_STATE = 512
const TRACESTATE = /^[\x20-\x7e]+$/

/** What is not well formed is none: a trace is lost then, and no event. */
export function readTrace (traceparent: unknown, tracestate?: unknown): TraceContext | undefined {
  if (typeof traceparent !== 'string' || traceparent.length !== 55 || !TRACEPARENT.test(traceparent)) return undefined
  const kept = typeof tracestate === 'string' && tracestate.length <= MAX_STATE && TRACESTATE.test(tracestate)
  return kept ? { traceparent, tracestate } : { traceparent }
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

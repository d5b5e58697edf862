/**
 * Where traces come in. A feature gives the hub a tracer. Core asks the tracer at each publish and at each message of a
 * channel, and knows nothing else of traces. Without a tracer this is one look at a property.
 */
import type { EventId, TraceContext } from './adapter.ts'

/** A publish, as its tracer is told of it. */
export interface Publishing {
  readonly kind: 'publish' | 'remove' | 'relay'
  readonly pattern: string
  readonly event: unknown
  /** The topic's full name; undefined if the params are wrong. */
  readonly topic: string | undefined
}

/** A publish that is under way. Calls after `done` or `failed` are ignored. */
export interface PublishSpan {
  /** The trace that goes with the event. */
  readonly trace: TraceContext | undefined
  /** The adapter has the event. */
  done (bytes: number, id: EventId | undefined): void
  failed (error: unknown): void
}

/** A message of a client, about to be carried out. */
export interface Handling {
  /** The URL of the channel, as it was declared. */
  readonly channel: string
  /** The message's name; undefined for bytes. */
  readonly message: string | undefined
}

/** A tracer must throw nothing of its own. */
export interface Tracer {
  publish (publishing: Publishing): PublishSpan
  /** Runs the code, once. */
  handle<T> (handling: Handling, code: () => Promise<T>): Promise<T>
}

/** The tracer of a node. */
export class Tracing {
  tracer: Tracer | undefined
  /** Clients are told where events were published. */
  toClients = false
}

/** Ends the span if the work fails. The work itself calls `done`. */
export async function inSpan<T> (span: PublishSpan, work: (span: PublishSpan) => Promise<T>): Promise<T> {
  try {
    return await work(span)
  } catch (error) {
    span.failed(error)
    throw error
  }
}

/** By the object `app.realtime`. */
const places = new WeakMap<object, Tracing>()

export function offerTracing (realtime: object, tracing: Tracing): void {
  places.set(realtime, tracing)
}

/** Undefined for anything that is not an `app.realtime`. */
export function tracingOf (realtime: unknown): Tracing | undefined {
  return typeof realtime === 'object' && realtime !== null ? places.get(realtime) : undefined
}

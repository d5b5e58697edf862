/** W3C Trace Context, as it goes with an event, and OpenTelemetry's span context. */
import type { SpanContext } from '@opentelemetry/api'
import type { TraceContext } from '../core/adapter.ts'
import { readTrace } from '../core/trace.ts'

/** The exports of @opentelemetry/api. */
export type Otel = typeof import('@opentelemetry/api')

/** Undefined for a span that does nothing, for example without an SDK. */
export function traceOf (
  { isSpanContextValid }: Pick<Otel, 'isSpanContextValid'>, context: SpanContext
): TraceContext | undefined {
  if (!isSpanContextValid(context)) return undefined
  const { traceId, spanId, traceFlags, traceState } = context
  const flags = (traceFlags & 0xff).toString(16).padStart(2, '0')
  return readTrace(`00-${traceId}-${spanId}-${flags}`, traceState?.serialize() || undefined)
}

/** Undefined if it is malformed: another adapter may pass on anything. */
export function spanContextOf (
  { createTraceState }: Pick<Otel, 'createTraceState'>, { traceparent, tracestate }: TraceContext
): SpanContext | undefined {
  const trace = readTrace(traceparent, tracestate)
  if (!trace) return undefined
  const [, traceId = '', spanId = '', flags = ''] = trace.traceparent.split('-')
  return {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...(trace.tracestate === undefined ? {} : { traceState: createTraceState(trace.tracestate) })
  }
}

/** `fastify-realtime/tracing`: traces by OpenTelemetry. The main entry does not load it. */
import type { Link, TracerProvider } from '@opentelemetry/api'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { tracedOf } from '../core/trace.ts'
import { tracingOf } from '../core/tracing.ts'
import { OptionInvalid } from '../errors.ts'
import { onlyKnown } from '../known.ts'
import { loadPeer } from '../peers.ts'
import type { Realtime } from '../types/realtime.ts'
import { OtelTracer } from './otel-tracer.ts'
import type { Otel } from './trace-context.ts'

/** Options of the tracing plugin. An unknown or wrong one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface TracingOptions {
  /** Makes the spans. Default: the global one (`trace.getTracerProvider()`). */
  tracerProvider?: TracerProvider
  /**
   * Whether each message of a channel gets a span. Default true. With false the handlers of a WebSocket run in the span
   * of its upgrade request, if that has one.
   */
  messages?: boolean
  /**
   * Whether clients get the trace of each publish, as `traceparent` and `tracestate` (PROTOCOL.md, section 4.4). They
   * then see trace ids, whether a trace is sampled, and what vendors write into the state. Default false. Only clients
   * of the envelope format get it, not streams and plain JSON.
   */
  propagateToClients?: boolean
}

const KNOWN: ReadonlySet<string> = new Set([
  'tracerProvider', 'messages', 'propagateToClients'
] satisfies Array<keyof TracingOptions>)

/** By `app.realtime`. */
const tracers = new WeakMap<object, OtelTracer>()

/** What this needs of an app. */
interface Traceable { readonly realtime: Realtime }

/**
 * Makes a PRODUCER span for each publish and a CONSUMER span for each message of a channel. The trace of a publish goes
 * with the event to its consumers in a process. A connection gets no span.
 * @throws FST_ERR_REALTIME_OPTION_INVALID, FST_ERR_REALTIME_PEER_MISSING
 */
const plugin: FastifyPluginAsync<TracingOptions> = async (app, options) => {
  const { tracerProvider, messages = true, propagateToClients = false } = read(options)
  const place = tracingOf(app.realtime)
  if (!place) throw new OptionInvalid('tracing', 'needs the app.realtime of fastify-realtime')
  if (place.tracer) throw new OptionInvalid('tracing', 'is already registered: register it once')
  const otel = await loadPeer<Otel>('fastify-realtime/tracing', '@opentelemetry/api')
  const provider = tracerProvider ?? otel.trace.getTracerProvider()
  const tracer = new OtelTracer(otel, provider.getTracer('fastify-realtime'), { log: app.log, messages })
  place.tracer = tracer
  place.toClients = propagateToClients
  tracers.set(app.realtime, tracer)
  app.addHook('onClose', async () => {
    place.tracer = undefined
    place.toClients = false
    tracers.delete(app.realtime)
  })
}

function read (options: TracingOptions): TracingOptions {
  onlyKnown('', options, KNOWN)
  const { tracerProvider, messages, propagateToClients } = options
  if (tracerProvider !== undefined && typeof tracerProvider?.getTracer !== 'function') {
    throw new OptionInvalid('tracerProvider', 'must be a TracerProvider of OpenTelemetry')
  }
  if (messages !== undefined && typeof messages !== 'boolean') {
    throw new OptionInvalid('messages', 'must be true or false')
  }
  if (propagateToClients !== undefined && typeof propagateToClients !== 'boolean') {
    throw new OptionInvalid('propagateToClients', 'must be true or false')
  }
  return options
}

/**
 * Runs code that consumes an item of `topic.subscribe()` or `topic.history()`, in a CONSUMER span that is linked to the
 * publish. The span ends with the code, or when the promise that it returns settles. Its parent is the active span. If
 * `app` has no tracing, the code just runs. An item that was copied, or that `map()` turned into another object, has no
 * link.
 * @returns what the code returns
 * @throws what the code throws
 */
export function consume<T> (app: Traceable, item: object, code: () => T): T {
  const tracer = tracers.get(app.realtime)
  return tracer ? tracer.consume(tracedOf(item), item, code) : code()
}

/**
 * Returns a link to the publish of an item, for a span of your own. Undefined if the item was published without a
 * trace, if it is not an item of `topic.subscribe()` or `topic.history()`, and if `app` has no tracing.
 */
export function linkTo (app: Traceable, item: object): Link | undefined {
  return tracers.get(app.realtime)?.linkTo(tracedOf(item))
}

const fastifyRealtimeTracing: (app: FastifyInstance, options: TracingOptions) => Promise<void> = fp(plugin, {
  fastify: '5.x', name: 'fastify-realtime/tracing', dependencies: ['fastify-realtime']
})

export default fastifyRealtimeTracing
export { fastifyRealtimeTracing as tracing }

/** `fastify-realtime/tracing`: traces by OpenTelemetry. The plugin itself loads nothing of it. */
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

export interface TracingOptions {
  /** Makes the spans. Default: the one that is registered globally (`trace.getTracerProvider()`). */
  tracerProvider?: TracerProvider
  /**
   * A span for each message of a client that a channel carries out. Default true. Without it the handlers of a
   * WebSocket run in the span of its upgrade request, if that has one.
   */
  messages?: boolean
  /**
   * Tells clients where an event was published, by `traceparent` and `tracestate` (PROTOCOL.md, section 4.4). It shows
   * them trace ids, whether a trace is sampled, and what vendors write into the state. Default false. Only the
   * envelope format has a place for it: an event stream and plain JSON stay as they are.
   */
  propagateToClients?: boolean
}

const KNOWN: ReadonlySet<string> = new Set([
  'tracerProvider', 'messages', 'propagateToClients'
] satisfies Array<keyof TracingOptions>)

/** By `app.realtime`. */
const tracers = new WeakMap<object, OtelTracer>()

/** An app, as far as it is needed here. */
interface Traceable { readonly realtime: Realtime }

/**
 * A PRODUCER span for each publish, whose place goes with the event to whoever consumes it in a process; a CONSUMER
 * span for each message of a channel. None for a connection.
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
 * Runs code that consumes an item of `topic.subscribe()` or `topic.history()`, in a CONSUMER span of its own that is
 * linked to the publish. The span ends with the code: when its promise settles, if it returns one. Its parent is the
 * active span. Where `app` has no tracing the code runs, and that is all. An item that was copied, or that
 * `map()` made into another object, is linked to nothing.
 * @returns what the code returns
 * @throws what the code throws
 */
export function consume<T> (app: Traceable, item: object, code: () => T): T {
  const tracer = tracers.get(app.realtime)
  return tracer ? tracer.consume(tracedOf(item), item, code) : code()
}

/**
 * A link to the publish of an item, for a span of your own. Undefined where it was published without a trace, where the
 * item is none of `topic.subscribe()` or `topic.history()`, and where `app` has no tracing.
 */
export function linkTo (app: Traceable, item: object): Link | undefined {
  return tracers.get(app.realtime)?.linkTo(tracedOf(item))
}

const fastifyRealtimeTracing: (app: FastifyInstance, options: TracingOptions) => Promise<void> = fp(plugin, {
  fastify: '5.x', name: 'fastify-realtime/tracing', dependencies: ['fastify-realtime']
})

export default fastifyRealtimeTracing
export { fastifyRealtimeTracing as tracing }

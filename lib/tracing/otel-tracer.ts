/**
 * Core's tracer, by OpenTelemetry's API. Names and attributes are those of its conventions for messaging; a span's name
 * has the topic's pattern, never its name. What a sampler or a processor throws reaches nobody but the log.
 */
import { types } from 'node:util'
import type { Attributes, Context, Link, Span, SpanOptions, Tracer as SpanMaker } from '@opentelemetry/api'
import { toError } from '../core/callbacks.ts'
import type { Traced } from '../core/trace.ts'
import type { Handling, Publishing, PublishSpan, Tracer } from '../core/tracing.ts'
import { spanContextOf, traceOf, type Otel } from './trace-context.ts'

interface Log { warn (details: object, message: string): void }

const SYSTEM = { 'messaging.system': 'fastify_realtime' }
const EVENT = 'fastify_realtime.event'
const MESSAGE = 'fastify_realtime.message'
/** Of an event's name. */
const MAX_NAME = 255

export class OtelTracer implements Tracer {
  readonly #otel: Otel
  readonly #maker: SpanMaker
  readonly #log: Log
  readonly #messages: boolean
  #failed = false

  constructor (otel: Otel, maker: SpanMaker, { log, messages }: { log: Log, messages: boolean }) {
    this.#otel = otel
    this.#maker = maker
    this.#log = log
    this.#messages = messages
  }

  publish ({ kind, pattern, event, topic }: Publishing): PublishSpan {
    const span = this.#start(`${kind} ${pattern}`, this.#otel.context.active(), {
      kind: this.#otel.SpanKind.PRODUCER,
      attributes: {
        'messaging.operation.name': kind,
        'messaging.operation.type': 'send',
        'messaging.destination.template': pattern,
        ...SYSTEM,
        ...(topic === undefined ? {} : { 'messaging.destination.name': topic }),
        ...named(EVENT, event)
      }
    })
    return {
      trace: span && this.#guard(() => traceOf(this.#otel, span.spanContext())),
      done: (bytes, id) => this.#end(span, {
        'messaging.message.body.size': bytes, ...(id === undefined ? {} : { 'messaging.message.id': id })
      }),
      failed: (error) => this.#fail(span, error)
    }
  }

  /** A root: the request of the upgrade is over, and its trace would grow for as long as the connection lasts. */
  async handle<T> ({ channel, message }: Handling, code: () => Promise<T>): Promise<T> {
    if (!this.#messages) return await code()
    const name = message ?? 'binary'
    return await this.#within(`process ${channel} ${name}`, {
      root: true,
      links: this.#linkToActive(),
      attributes: { ...processing(channel), ...named(MESSAGE, name) }
    }, code)
  }

  consume<T> (traced: Traced | undefined, item: object, code: () => T): T {
    const { id, event } = item as { id?: unknown, event?: unknown }
    const link = this.linkTo(traced)
    return this.#within(traced ? `process ${traced.pattern}` : 'process', {
      links: link ? [link] : [],
      attributes: {
        ...processing(traced?.pattern),
        ...(traced && { 'messaging.destination.name': traced.topic }),
        ...(typeof id === 'string' ? { 'messaging.message.id': id } : {}),
        ...named(EVENT, event)
      }
    }, code)
  }

  linkTo (traced: Traced | undefined): Link | undefined {
    const context = traced && this.#guard(() => spanContextOf(this.#otel, traced.trace))
    return context && { context }
  }

  #linkToActive (): Link[] {
    const context = this.#guard(() => this.#otel.trace.getActiveSpan()?.spanContext())
    return context && this.#otel.isSpanContextValid(context) ? [{ context }] : []
  }

  // --- spans --------------------------------------------------------------------------

  /** The code runs once, whatever becomes of the span. */
  #within<T> (name: string, options: SpanOptions, code: () => T): T {
    const active = this.#otel.context.active()
    const span = this.#start(name, active, { ...options, kind: this.#otel.SpanKind.CONSUMER })
    if (!span) return code()
    let outcome: { value: T } | { error: unknown } | undefined
    this.#guard(() => this.#otel.context.with(this.#otel.trace.setSpan(active, span), () => { outcome = tried(code) }))
    outcome ??= tried(code)
    if ('error' in outcome) {
      this.#fail(span, outcome.error)
      throw outcome.error
    }
    this.#endWith(span, outcome.value)
    return outcome.value
  }

  #endWith (span: Span, value: unknown): void {
    if (!types.isPromise(value)) return this.#end(span)
    value.then(() => this.#end(span), (error: unknown) => this.#fail(span, error))
  }

  #start (name: string, parent: Context, options: SpanOptions): Span | undefined {
    return this.#guard(() => this.#maker.startSpan(name, options, parent))
  }

  #end (span: Span | undefined, attributes: Attributes = {}): void {
    this.#guard(() => span?.setAttributes(attributes).end())
  }

  #fail (span: Span | undefined, thrown: unknown): void {
    const error = toError(thrown)
    this.#guard(() => {
      span?.recordException(error)
      span?.setStatus({ code: this.#otel.SpanStatusCode.ERROR, message: error.message })
      this.#end(span, { 'error.type': typeOf(error) })
    })
  }

  /** The first failure is logged: they would come with each publish. */
  #guard<T> (code: () => T): T | undefined {
    try {
      return code()
    } catch (thrown) {
      if (!this.#failed) {
        this.#log.warn({ err: toError(thrown) },
          'realtime: OpenTelemetry failed. The app goes on without that span; later failures are not logged')
      }
      this.#failed = true
      return undefined
    }
  }
}

/** Own attributes come before spreads: V8 takes a microsecond for each property behind a spread that is first. */
function processing (template: string | undefined): Attributes {
  return {
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    ...SYSTEM,
    ...(template === undefined ? {} : { 'messaging.destination.template': template })
  }
}

function named (attribute: string, name: unknown): Attributes {
  return typeof name === 'string' && name.length <= MAX_NAME ? { [attribute]: name } : {}
}

function typeOf (error: Error & { code?: unknown }): string {
  return typeof error.code === 'string' ? error.code : error.name
}

function tried<T> (code: () => T): { value: T } | { error: unknown } {
  try {
    return { value: code() }
  } catch (error) {
    return { error }
  }
}

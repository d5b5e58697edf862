/** `fastify.stream`: an SSE route in the calling scope, with Fastify's own hooks, schema and errors. */
import type {
  FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler, onSendHookHandler
} from 'fastify'
import { statusOf, toError } from '../../core/callbacks.ts'
import { Closed, HttpVersionTooOld, NotAcceptable, RouteInvalid } from '../../errors.ts'
import { isRecord, slipIn } from '../../known.ts'
import type { LiveSettings } from '../../options.ts'
import { checkHost } from '../../routes/hosts.ts'
import { Arrival, type LiveCallbacks } from '../../routes/arrival.ts'
import { makeRoutes, type RouteCollector, type RouteLabel } from '../../routes/collector.ts'
import type { WireContext } from '../../routes/context.ts'
import { logRefusal } from '../../routes/refusal.ts'
import { planTopics } from '../../routes/topics-option.ts'
import { wantsEventStream } from './accept.ts'
import { readFormat } from './format.ts'
import { block, type Encoders } from './encode.ts'
import { head, HEADERS } from './head.ts'
import type { RawResponse } from './outlet.ts'
import { placeRuns, type ResumableOptions } from './run.ts'
import { documentEvents, type Documented } from './schema.ts'
import type { Source } from './source.ts'
import { StreamStart, type StreamPlan } from './start.ts'

interface StreamRouteOptions extends LiveCallbacks, Partial<LiveSettings> {
  method?: string | string[]
  schema?: Record<string, unknown>
  onRequest?: unknown
  exposeHeadRoute?: boolean
  presence?: unknown
  topics?: unknown
  source?: Source
  resumable?: unknown
  handler?: (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply) => unknown
  format?: unknown
  retry?: number
  open?: 'event' | 'id' | false
  hosts?: string[] | '*'
}

export function streamDecorator (context: WireContext, collector: RouteCollector, encoders: Encoders) {
  return function stream (
    this: FastifyInstance, url: string, options: StreamRouteOptions, ...more: unknown[]
  ): FastifyInstance {
    const {
      topics, source, resumable, handler, retry, open, hosts, format, presence,
      heartbeat: _heartbeat, maxBuffered: _maxBuffered, slow: _slow, onConnect, onDisconnect, ...route
    } = options ?? {}
    const label: RouteLabel = { kind: 'stream', url }
    checkStream(label, options, more)
    const urls: string[] = []
    const plan: StreamPlan = {
      context,
      kind: 'sse',
      presence: context.presenceMode(presence),
      encoders,
      live: liveOf(context, options),
      retry: retry === undefined ? context.settings.retry : context.retry(retry),
      open: open === undefined ? context.settings.open : context.open(open),
      hosts: hosts === undefined ? context.settings.hosts : context.hosts(hosts),
      callbacks: { onConnect, onDisconnect, more: source !== undefined },
      topicsFor: planTopics(context, label, topics, () => urls),
      source,
      format: format === undefined ? undefined : readFormat(format),
      resumable: undefined
    }
    const runs = readResumable(context, label, options)
    context.arrivals.watch('stream')
    const made = makeRoutes(this, collector, {
      ...route,
      method: route.method ?? 'GET',
      // Also where the app has none for its own routes: a client asks by HEAD why its stream was refused.
      exposeHeadRoute: route.exposeHeadRoute ?? true,
      url,
      onRequest: [context.arrivals.onRequest, ...postHooks(context, route.method), ...[route.onRequest ?? []].flat()],
      schema: route.schema ?? {},
      handler: streamHandler(plan, handler)
    })
    context.declarations.routes.push({
      kind: 'stream',
      scope: this,
      made,
      topics,
      subscribe: undefined,
      source: source !== undefined || runs !== undefined,
      binary: false,
      http: false,
      messages: {},
      schema: route.schema ?? {}
    })
    if (runs) plan.resumable = placeRuns(context.runs, runs, made)
    context.onReady(() => {
      // Fastify has compiled what the app gave: this is for the document alone.
      const documented = documentedBy(context, topics, plan.presence !== false, context.plainSchemas(this))
      for (const one of made) one.schema = documentEvents(route.schema ?? {}, documented)
    })
    for (const one of made) {
      urls.push(one.url)
      // Behind every onSend hook that others have added: it takes the response over.
      if (one.method !== 'HEAD') one.onSend = [...[one.onSend ?? []].flat(), takeOver]
      one.onResponse = [...[one.onResponse ?? []].flat(), context.arrivals.onResponse]
    }
    return this
  }
}

function documentedBy (
  { hub, presence }: WireContext, topics: unknown, tellsPresence: boolean, plain: boolean
): Documented {
  return {
    topics,
    registry: hub.topics,
    plain,
    presenceEvent: (topic) => tellsPresence ? presence.companionOf(topic)?.policy.event : undefined
  }
}

/** Only a POST has a body that may never end. */
function postHooks ({ posts }: WireContext, method: StreamRouteOptions['method']): onRequestHookHandler[] {
  return [method ?? []].flat().some((one) => one.toUpperCase() === 'POST') ? [posts.onRequest] : []
}

const SOURCES: ReadonlySet<string> = new Set(['topics', 'source'] satisfies Array<keyof StreamRouteOptions>)

function checkStream ({ kind, url }: RouteLabel, options: StreamRouteOptions, more: readonly unknown[]): void {
  if (typeof options !== 'object' || options === null || more.length > 0) {
    throw new RouteInvalid(kind, url, 'needs options with "topics" or "source", and no further argument. ' +
      'A stream has no handler that writes: publish to a topic, or let "source" yield events')
  }
  const { topics, source, handler, format, method = 'GET' } = options
  const given = [topics, source].filter((one) => one !== undefined).length
  if (given !== (joinsOnly(options) ? 0 : 1)) {
    throw new RouteInvalid(kind, url, `needs either "topics" or "source"${slipIn(options, SOURCES)}`)
  }
  if (source !== undefined && typeof source !== 'function') {
    throw new RouteInvalid(kind, url, 'has a "source" that is not a function')
  }
  if (format !== undefined && source === undefined && !joinsOnly(options)) {
    throw new RouteInvalid(kind, url, 'has a "format" without a "source"')
  }
  if (handler !== undefined && typeof handler !== 'function') {
    throw new RouteInvalid(kind, url, 'has a "handler" that is not a function')
  }
  const methods = [method].flat()
  if (methods.length === 0 || methods.some((one) => !['GET', 'POST'].includes(String(one).toUpperCase()))) {
    throw new RouteInvalid(kind, url, 'has a method other than GET and POST')
  }
  for (const name of ['onConnect', 'onDisconnect'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw new RouteInvalid(kind, url, `has an "${name}" that is not a function`)
    }
  }
}

/** Its clients join runs that are begun elsewhere: it needs no source. */
function joinsOnly ({ method = 'GET', resumable, source }: StreamRouteOptions): boolean {
  const begun = isRecord(resumable) && (resumable as { start?: unknown }).start === 'POST'
  return begun && source === undefined && ![method].flat().some((one) => String(one).toUpperCase() === 'POST')
}

function readResumable (
  context: WireContext, { kind, url }: RouteLabel, options: StreamRouteOptions
): ResumableOptions | undefined {
  const { source, resumable, slow } = options
  if (resumable === undefined || resumable === false) return undefined
  if (slow === 'latest') throw new RouteInvalid(kind, url, 'has "slow: latest", which would drop parts of an answer')
  if (source === undefined && !joinsOnly(options)) {
    throw new RouteInvalid(kind, url, 'has "resumable" without a "source"')
  }
  return context.resumable(resumable)
}

/** A run is of use only as a whole: where the plugin's clients are given the newest, its are given the rest later. */
function liveOf (
  { live, settings }: WireContext, { heartbeat, maxBuffered, slow, resumable }: StreamRouteOptions
): LiveSettings {
  const whole = resumable !== undefined && resumable !== false && settings.slow === 'latest' ? 'replay' : undefined
  return live(definedOnly({ heartbeat, maxBuffered, slow: slow ?? whole }))
}

function definedOnly<T extends object> (options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

// Not async: a stream is taken over in onSend, after the handler, and a hijacked async handler would be warned about.
function streamHandler (plan: StreamPlan, other: StreamRouteOptions['handler']) {
  return function (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply): unknown {
    if (!wanted(plan, request, other !== undefined)) {
      if (other) return other.call(this, request, reply)
      throw new NotAcceptable()
    }
    checkHost(plan.hosts, request)
    if (plan.format) mustFrame(request)
    // While hooks ran: it has no address any more to be counted by.
    if (hasLeft(request, reply)) return undefined
    const answer = request.method === 'HEAD' ? head : arrive
    answer(plan, request, reply).catch((error: unknown) => refuse(plan, request, reply, error))
    return undefined
  }
}

function wanted ({ format }: StreamPlan, request: FastifyRequest, other: boolean): boolean {
  return format ? format.accepts(request) : wantsEventStream(request.headers.accept, other)
}

/**
 * Without frames the end of the connection is that of the response (RFC 9112 §6.3), also where it was broken off.
 * @throws HttpVersionTooOld
 */
function mustFrame ({ raw }: FastifyRequest): void {
  if (raw.httpVersionMajor === 1 && raw.httpVersionMinor === 0) throw new HttpVersionTooOld()
}

/** `make`: of a client that is let in, its stream. `opens`: it may bring a token with that. */
export async function arrive (
  plan: StreamPlan, request: FastifyRequest, reply: FastifyReply, make = newStart, opens = false
): Promise<void> {
  plan.context.peers.inTurn(request, reply)
  const arriving = Arrival.of(plan, request, opens)
  // Not awaited where it is there: that would cost each client a promise and a turn of the microtasks.
  const arrival = arriving instanceof Arrival ? arriving : await arriving
  // Its end has come and gone unheard: nobody would ever let go of it.
  if (hasLeft(request, reply)) return arrival.abandon()
  const start = make(plan, request, reply, arrival)
  try {
    const preparing = start.prepare()
    // Not longer than the client stays, or the app: a source may take its time.
    if (preparing) await Promise.race([preparing, arrival.connection.whenBegun()])
  } catch (error) {
    start.abandon()
    throw error
  } finally {
    arrival.arrived()
  }
  if (start.abandoned || reply.sent) return answerAbandoned(start, reply)
  answerWith(reply.headers({ ...plan.format?.headers }), start)
}

function newStart (plan: StreamPlan, request: FastifyRequest, reply: FastifyReply, arrival: Arrival): StreamStart {
  return new StreamStart(plan, request, reply, arrival)
}

/** As it is: a serializer that a hook has set for this reply would make JSON of it. */
export function answerWith (reply: FastifyReply, payload: unknown, headers: Record<string, string> = HEADERS): void {
  // Fastify's types know no way to say that there is none.
  Reflect.apply(reply.serializer, reply, [null])
  reply.headers(headers).send(payload)
}

export function hasLeft (request: FastifyRequest, { raw }: FastifyReply): boolean {
  const { stream } = raw as RawResponse
  return stream ? stream.destroyed : raw.destroyed || request.raw.socket?.destroyed === true
}

/** While it was prepared the client left, handlerTimeout answered, or the connection was closed from this side. */
function answerAbandoned (start: StreamStart, reply: FastifyReply): void {
  start.abandon()
  if (reply.sent || reply.raw.destroyed) return
  if (start.reason?.reconnect) throw new Closed()
  // To an EventSource: do not come back.
  reply.code(204).send()
}

/** A refusal that is only for now must not be final to an EventSource: any status but 200 would be. */
function refuse (
  { context: { hub }, format }: StreamPlan, request: FastifyRequest, reply: FastifyReply, thrown: unknown
): void {
  if (reply.sent) return
  const error = toError(thrown)
  if (!isTemporary(error)) return answerError(reply, error)
  const retry = hub.retryAfter()
  // A connection kept alive would keep the app from closing.
  if (hub.stopping && request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
  // In a foreign format no words of ours would say that this is no answer.
  if (format || !/(^|,|\s)text\/event-stream/i.test(request.headers.accept ?? '')) {
    return answerError(reply.header('retry-after', Math.ceil(retry / 1000)), error)
  }
  logRefusal(request.log, error, 'realtime: refused for now')
  answerWith(reply, block({ retry }).toString())
}

export function isTemporary (error: Error & { code?: unknown }): boolean {
  return statusOf(error) === 503 && typeof error.code === 'string' && error.code.startsWith('FST_ERR_REALTIME_')
}

/** By the app's error handler and loggers, which may throw as well: nobody but us would hear of it. */
export function answerError (reply: FastifyReply, error: Error): void {
  try {
    reply.send(error)
  } catch (thrown) {
    try {
      reply.send(toError(thrown))
    } catch {
      reply.raw.destroy()
    }
  }
}

/** It was closed from this side while hooks of others ran. */
function lastWords (start: StreamStart, reply: FastifyReply): string | null {
  start.abandon()
  if (start.reason?.reconnect && !start.foreign) return block({ retry: start.retryAfter }).toString()
  if (start.reason?.reconnect) {
    reply.code(503).removeHeader('content-type')
    return null
  }
  reply.code(204).removeHeader('content-type')
  return null
}

export const takeOver: onSendHookHandler = (_request, reply, payload, done): void => {
  if (!(payload instanceof StreamStart)) return done(null, payload)
  if (payload.abandoned) return done(null, lastWords(payload, reply))
  try {
    payload.writeHead()
  } catch (error) {
    payload.abandon()
    return done(toError(error))
  }
  // No call of done: from here on the response is the stream's.
  reply.hijack()
  payload.begin()
}

/** `fastify.stream`: an SSE route in the calling scope, with Fastify's own hooks, schema and errors. */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import { clientLeft, internalError, sourceEnded, type CloseReason } from '../../core/close-reasons.ts'
import { readCursor, MAX_CURSOR_BYTES } from '../../core/cursor.ts'
import type { Cursor, Joining } from '../../core/hub.ts'
import type { RunSettings } from '../../core/runs.ts'
import { after, type Soon } from '../../core/soon.ts'
import type { TopicAt } from '../../core/topic.ts'
import { Closed, NotAcceptable, RouteInvalid } from '../../errors.ts'
import type { LiveSettings } from '../../options.ts'
import { Arrival, authorizeAll, makeRoutes, noteKnock, planTopics, type LiveCallbacks, type RouteCollector, type RouteLabel, type WireContext } from '../routes.ts'
import { wantsEventStream } from './accept.ts'
import { block, type Encoders } from './encode.ts'
import { SseOutlet, type RawResponse, type SseOutletOptions } from './outlet.ts'
import { documentEvents } from './schema.ts'
import { openSource, runSource, type Source, type SourceIterator } from './source.ts'

interface StreamRouteOptions extends LiveCallbacks, Partial<LiveSettings> {
  method?: string | string[]
  schema?: Record<string, unknown>
  onRequest?: unknown
  topics?: unknown
  source?: Source
  resumable?: boolean | { maxAge?: number, maxBytes?: number, key?: (request: FastifyRequest) => string }
  handler?: (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply) => unknown
  retry?: number
  open?: 'event' | 'id' | false
}

const HEADERS = {
  'content-type': 'text/event-stream',
  // no-transform also keeps compressing proxies, and @fastify/compress, away.
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no'
} as const

interface Plan extends SseOutletOptions {
  readonly context: WireContext
  readonly live: LiveSettings
  readonly callbacks: LiveCallbacks
  readonly topicsFor: ReturnType<typeof planTopics>
  readonly source: Source | undefined
  readonly resumable: Resumable | undefined
}

interface Resumable extends RunSettings {
  readonly key: (request: FastifyRequest) => string
}

export function streamDecorator (context: WireContext, collector: RouteCollector, encoders: Encoders) {
  return function stream (this: FastifyInstance, url: string, options: StreamRouteOptions): FastifyInstance {
    const { topics, source, resumable, handler, retry, open, heartbeat, maxBuffered, slow, onConnect, onDisconnect, ...route } = options ?? {}
    const label: RouteLabel = { kind: 'stream', url }
    checkStream(label, options)
    const urls: string[] = []
    const plan: Plan = {
      context,
      encoders,
      live: context.live(definedOnly({ heartbeat, maxBuffered, slow })),
      retry: retry === undefined ? context.settings.retry : context.retry(retry),
      open: open === undefined ? context.settings.open : context.open(open),
      callbacks: { onConnect, onDisconnect },
      topicsFor: planTopics(context, label, topics, () => urls),
      source,
      resumable: readResumable(context, label, options)
    }
    const made = makeRoutes(this, collector, {
      ...route,
      method: route.method ?? 'GET',
      url,
      onRequest: [noteKnock, ...[route.onRequest ?? []].flat()],
      schema: documentEvents(route.schema, topics, context.hub.topics),
      handler: streamHandler(plan, handler)
    })
    for (const one of made) {
      urls.push(one.url)
      // Behind every onSend hook that others have added: it takes the response over.
      if (one.method !== 'HEAD') one.onSend = [...[one.onSend ?? []].flat(), takeOver]
    }
    return this
  }
}

function checkStream ({ kind, url }: RouteLabel, options: StreamRouteOptions): void {
  if (typeof options !== 'object' || options === null) throw new RouteInvalid(kind, url, 'needs options with "topics" or "source"')
  const { topics, source, handler, method = 'GET' } = options
  if ((topics === undefined) === (source === undefined)) throw new RouteInvalid(kind, url, 'needs either "topics" or "source"')
  if (source !== undefined && typeof source !== 'function') throw new RouteInvalid(kind, url, 'has a "source" that is not a function')
  if (handler !== undefined && typeof handler !== 'function') throw new RouteInvalid(kind, url, 'has a "handler" that is not a function')
  const methods = [method].flat()
  if (methods.length === 0 || methods.some((one) => !['GET', 'POST'].includes(String(one).toUpperCase()))) {
    throw new RouteInvalid(kind, url, 'has a method other than GET and POST')
  }
  for (const name of ['onConnect', 'onDisconnect'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') throw new RouteInvalid(kind, url, `has an "${name}" that is not a function`)
  }
}

function readResumable (context: WireContext, { kind, url }: RouteLabel, { source, resumable }: StreamRouteOptions): Resumable | undefined {
  if (resumable === undefined || resumable === false) return undefined
  if (source === undefined) throw new RouteInvalid(kind, url, 'has "resumable" without a "source"')
  return context.resumable(resumable)
}

function definedOnly<T extends object> (options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

// Not async: a stream is taken over in onSend, after the handler, and a hijacked async handler would be warned about.
function streamHandler (plan: Plan, other: StreamRouteOptions['handler']) {
  return function (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply): unknown {
    if (!wantsEventStream(request.headers.accept, other !== undefined)) {
      if (other) return other.call(this, request, reply)
      throw new NotAcceptable()
    }
    const answer = request.method === 'HEAD' ? head : arrive
    answer(plan, request, reply).catch((error: unknown) => refuse(plan, request, reply, error))
    return undefined
  }
}

/** What GET would say, and no stream. */
async function head (plan: Plan, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  await authorizeAll(request, await plan.topicsFor(request))
  reply.headers(HEADERS).send(Readable.from([]))
}

async function arrive (plan: Plan, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const arriving = Arrival.of(plan.context, request, plan.topicsFor, plan.live)
  // Not awaited where it is there: that would cost each client a promise and a turn of the microtasks.
  const arrival = arriving instanceof Arrival ? arriving : await arriving
  // Its end has come and gone unheard: nobody would ever let go of it.
  if (hasLeft(request, reply)) return arrival.connection.gone(clientLeft)
  const start = new StreamStart(plan, request, reply, arrival)
  try {
    const preparing = start.prepare()
    if (preparing) await preparing
  } catch (error) {
    start.abandon()
    throw error
  }
  if (start.abandoned || reply.sent) return answerAbandoned(start, reply)
  reply.headers(HEADERS).send(start)
}

function hasLeft (request: FastifyRequest, { raw }: FastifyReply): boolean {
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
function refuse (plan: Plan, request: FastifyRequest, reply: FastifyReply, error: unknown): void {
  if (reply.sent) return
  const { statusCode, code } = error as { statusCode?: number, code?: unknown }
  const temporary = statusCode === 503 && typeof code === 'string' && code.startsWith('FST_ERR_REALTIME_')
  if (!temporary) {
    reply.send(error)
    return
  }
  const retry = plan.context.hub.retryAfter()
  request.log.info({ err: error }, 'realtime: refused for now')
  // A connection kept alive would keep the app from closing.
  if (plan.context.hub.stopping && request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
  if (/(^|,|\s)text\/event-stream/i.test(request.headers.accept ?? '')) reply.headers(HEADERS).send(block({ retry }).toString())
  else reply.header('retry-after', Math.ceil(retry / 1000)).send(error)
}

const takeOver: onSendHookHandler = (_request, reply, payload, done): void => {
  if (!(payload instanceof StreamStart)) return done(null, payload)
  // No call of done: from here on the response is the stream's.
  reply.hijack()
  payload.begin()
}

/** A stream that is allowed and about to start; the payload that the route sends. */
class StreamStart {
  readonly #plan: Plan
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #arrival: Arrival
  #joining: Joining[] = []
  #events: SourceIterator | undefined
  #outlet: SseOutlet | undefined
  readonly #left = (): void => this.abandon()

  constructor (plan: Plan, request: FastifyRequest, reply: FastifyReply, arrival: Arrival) {
    this.#plan = plan
    this.#request = request
    this.#reply = reply
    this.#arrival = arrival
    reply.raw.on('close', this.#left)
    // A pipelined response has no socket yet, and never closes by itself.
    if (request.raw.socket !== reply.raw.socket) request.raw.socket?.on('close', () => this.#over())
  }

  #over (): void {
    if (this.#outlet) this.#outlet.over()
    else this.abandon()
  }

  get abandoned (): boolean { return this.#arrival.connection.closed }
  get reason (): CloseReason | undefined { return this.#arrival.connection.reason }

  prepare (): Soon<void> {
    return after(this.#arrival.connect(this.#plan.callbacks), () => after(this.#wanted(), (wanted) =>
      after(this.#plan.context.hub.prepare(wanted), (joining) => this.#prepared(joining))))
  }

  #wanted (): Soon<Array<{ at: TopicAt, cursor: Cursor }>> {
    const { source, resumable } = this.#plan
    if (source && resumable) return this.#run(source, resumable)
    const { topics } = this.#arrival
    const positions = readCursor(lastEventId(this.#request), topics.filter(({ topic }) => topic.durable).length)
    return topics.map((at) => ({ at, cursor: at.topic.durable ? positions(at.name) : undefined }))
  }

  #prepared (joining: Joining[]): Soon<void> {
    const { connection } = this.#arrival
    const { context: { hub }, source, resumable } = this.#plan
    if (connection.closed) return hub.let(joining)
    this.#joining = joining
    if (!source || resumable) return
    return openSource(source, this.#request, sourceCursor(this.#request), connection.signal).then((events) => { this.#events = events })
  }

  /** The source's topic, from the client's place in it or from its start; the source runs, has run, or is started. */
  async #run (source: Source, { key, ...settings }: Resumable): Promise<Array<{ at: TopicAt, cursor: Cursor }>> {
    const { runs } = this.#plan.context.hub
    const at = runs.at(key(this.#request))
    await runs.ensure(at, settings, (signal) => openSource(source, this.#request, undefined, signal))
    const cursor = readCursor(lastEventId(this.#request), 1)(at.name)
    if (typeof cursor === 'object' && await runs.over(at, cursor.id)) this.#arrival.connection.end(sourceEnded)
    return [{ at, cursor: cursor ?? 'start' }]
  }

  /** Head, opening and the first events leave together. */
  begin (): void {
    const { connection } = this.#arrival
    if (connection.closed) return
    const raw = this.#reply.raw as RawResponse
    const socket = raw.stream ? undefined : raw.socket
    socket?.cork?.()
    raw.writeHead(200, streamHeaders(this.#reply, raw.stream !== undefined))
    // Written as latin1 the head becomes one string; as UTF-8, Node would keep the dozens of pieces it was put together from.
    socket?.setDefaultEncoding?.('latin1')
    raw.flushHeaders?.()
    socket?.setDefaultEncoding?.('utf8')
    const outlet = this.#outlet = new SseOutlet(connection, raw, this.#plan)
    // From here on the outlet hears of it: nothing holds what was only needed to begin.
    raw.off('close', this.#left)
    connection.attach(outlet)
    const joining = this.#joining
    this.#joining = []
    connection.begin(joining)
    this.#arrival.begun()
    if (this.#events) this.#pull(this.#events, outlet)
    // What a source has ready at once leaves with the head.
    if (this.#events) process.nextTick(() => socket?.uncork?.())
    else socket?.uncork?.()
  }

  #pull (events: SourceIterator, outlet: SseOutlet): void {
    const { connection } = this.#arrival
    runSource(connection, outlet, events).catch((error: unknown) => {
      this.#request.log.error({ err: error }, 'realtime: a source failed')
      connection.end(internalError)
    })
  }

  /** It never began: nothing of it stays. */
  abandon (): void {
    this.#plan.context.hub.let(this.#joining)
    this.#joining = []
    this.#arrival.connection.gone(clientLeft)
  }
}

/** What hooks have set, less what does not belong to a stream of unknown length. */
function streamHeaders (reply: FastifyReply, http2: boolean): Record<string, string | string[] | number> {
  const headers = { ...reply.getHeaders() } as Record<string, string | string[] | number>
  delete headers['content-length']
  delete headers['transfer-encoding']
  if (http2) {
    // RFC 9113 §8.2.2
    delete headers.connection
    delete headers['keep-alive']
  }
  return headers
}

/** The header wins; the query is for clients that cannot set headers. */
function lastEventId (request: FastifyRequest): string | undefined {
  const header = request.headers['last-event-id']
  if (typeof header === 'string' && header !== '') return header
  const query = request.raw.url?.split('?', 2)[1]
  return query?.includes('lastEventId=') ? new URLSearchParams(query).getAll('lastEventId').at(-1) : undefined
}

/** Headers arrive as latin1; an EventSource sends UTF-8. */
function sourceCursor (request: FastifyRequest): string | undefined {
  const id = lastEventId(request)
  if (id === undefined || id === '' || id.length > MAX_CURSOR_BYTES) return undefined
  return id === request.headers['last-event-id'] ? Buffer.from(id, 'latin1').toString() : id
}

/** A stream's beginning: from a client that is let in to the first bytes, which leave together. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { clientLeft, sourceEnded, type CloseReason } from '../../core/close-reasons.ts'
import { readCursor } from '../../core/cursor.ts'
import type { Cursor, Joining, Wanted } from '../../core/connection/joining.ts'
import { andThen, type MaybePromise } from '../../core/maybe-promise.ts'
import type { Step } from '../../core/source-reader.ts'
import type { TopicAt } from '../../core/topics/topic.ts'
import type { Hosts } from '../../routes/hosts.ts'
import type { Arrival, ArrivalPlan, RouteCallbacks } from '../../routes/arrival.ts'
import { lastEventId, sourceCursor } from './last-event-id.ts'
import type { Begun } from '../../features/resumable/begun-runs.ts'
import { SseOutlet, type RawResponse, type SseOutletOptions } from './outlet.ts'
import { keyFor, presentRun, runFor, type Resumable } from './run.ts'
import { readSource, tellSource, type BlockReader, type Source } from './source.ts'

/** A route, as declared. */
export interface StreamPlan extends SseOutletOptions, ArrivalPlan {
  readonly hosts: Hosts
  readonly callbacks: RouteCallbacks
  readonly source: Source | undefined
  /** Known once the route is made. */
  resumable: Resumable | undefined
}

/** A stream that is allowed and about to start; the payload that the route sends. */
export class StreamStart {
  readonly #plan: StreamPlan
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #arrival: Arrival
  #joining: Joining[] = []
  /** The run is this client's to start, where nobody has. */
  #begins = true
  /** The run that it has begun. */
  #begun: Begun | undefined
  #reader: BlockReader | undefined
  /** What the source said while the client waited for it. */
  #first: Step<Buffer> | undefined
  #outlet: SseOutlet | undefined
  readonly #left = (): void => this.abandon()

  constructor (plan: StreamPlan, request: FastifyRequest, reply: FastifyReply, arrival: Arrival) {
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

  /** It speaks a format of others. */
  get foreign (): boolean { return this.#plan.format !== undefined }
  /** When a client should come back (ms). */
  get retryAfter (): number { return this.#plan.context.hub.retryAfter() }

  prepare (): MaybePromise<void> {
    if (this.#arrival.connection.condemned) return
    return andThen(this.accepted(), () => andThen(this.wanted(), (wanted) =>
      andThen(this.#plan.context.hub.entrance.prepare(wanted), (joining) => this.#prepared(wanted, joining))))
  }

  /** The app is asked to let it in. */
  protected accepted (): MaybePromise<void> {
    return this.#arrival.connect(this.#plan.callbacks)
  }

  /** What it is to hear, and from where. */
  protected wanted (): MaybePromise<Wanted[]> {
    const { context: { hub, runs }, resumable } = this.#plan
    if (resumable?.start) return this.#wantPresent(resumable)
    if (resumable) {
      return runFor(hub, resumable, this.#request, this.#arrival.identity).then((run) => this.#wantRun(runs.at(run)))
    }
    const { topics } = this.#arrival
    const positions = readCursor(lastEventId(this.#request), topics.filter(({ topic }) => topic.durable).length)
    return topics.map((at) => ({ at, cursor: at.topic.durable ? positions(at.name) : undefined }))
  }

  /** A POST without a cursor begins a run. Everything else joins the present one: a GET never starts anything. */
  async #wantPresent (resumable: Resumable): Promise<Wanted[]> {
    const { context } = this.#plan
    const hasCursor = (lastEventId(this.#request) ?? '') !== ''
    this.#begins = this.#request.method === 'POST' && !hasCursor
    if (this.#begins) {
      const begun = this.#begun = await context.begun.begin(await keyFor(context.hub, resumable, this.#request))
      if (!this.abandoned) return this.#wantRun(begun.at)
      this.abandon()
      return []
    }
    const at = await presentRun(context, resumable, this.#request, hasCursor)
    if (at) return this.#wantRun(at)
    this.#arrival.connection.end(sourceEnded)
    return []
  }

  /** The client's place in it, or its start. */
  #wantRun (at: TopicAt): MaybePromise<Wanted[]> {
    const cursor = readCursor(lastEventId(this.#request), 1)(at.name) ?? 'start'
    if (!this.#plan.format || cursor === 'start') return [{ at, cursor }]
    return this.#findIn(at, cursor).then((found) => [{ at, cursor: found }])
  }

  /**
   * A foreign format has no words for a place that is lost. Who comes with one that this run does not know gets all.
   */
  async #findIn (at: TopicAt, cursor: Cursor): Promise<Cursor> {
    if (typeof cursor !== 'object') return 'start'
    const { linked } = await this.#plan.context.hub.adapter.read(at.name, cursor.id, { count: 1, bytes: 1 })
    return linked ? cursor : 'start'
  }

  #prepared ([run]: Wanted[], joining: Joining[]): MaybePromise<void> {
    const { connection } = this.#arrival
    const { context: { hub }, source, resumable } = this.#plan
    if (connection.closed) return hub.entrance.release(joining)
    this.#joining = joining
    // The client's place is taken before the source runs: whatever that says first is behind it.
    if (resumable && run) return this.#join(source, resumable, run)
    if (source) return this.#open(source)
  }

  /** The source runs, has run, or is started. */
  async #join (source: Source | undefined, resumable: Resumable, { at, cursor }: Wanted): Promise<void> {
    const { runs } = this.#plan.context
    if (source && this.#begins) await this.#run(source, resumable, at)
    else runs.follow(at, resumable)
    if (typeof cursor === 'object' && await runs.over(at, cursor.id)) this.#arrival.connection.end(sourceEnded)
  }

  async #run (source: Source, resumable: Resumable, at: TopicAt): Promise<void> {
    const { context: { runs, begun }, format } = this.#plan
    const settings = format ? { ...resumable, yields: 'data' as const } : resumable
    const open = (signal: AbortSignal): ReturnType<Source> =>
      source(this.#request, { cursor: undefined, signal, reply: this.#reply })
    if (this.#begun) await begun.ensure(this.#begun, settings, open)
    else await runs.ensure(at, settings, open)
  }

  /** Waits a while for what it says first: what it throws instead is an ordinary HTTP error. */
  async #open (source: Source): Promise<void> {
    this.#reader = readSource({ source, format: this.#plan.format }, this.#request, {
      cursor: sourceCursor(this.#request), signal: this.#arrival.connection.signal, reply: this.#reply
    })
    this.#first = await this.#reader.first()
  }

  /**
   * Nothing is sent yet.
   * @throws what Node has against a header that a hook has set: the response is Fastify's still
   */
  writeHead (): void {
    const raw = this.#reply.raw as RawResponse
    const http2 = raw.stream !== undefined
    try {
      raw.writeHead(statusOfStream(this.#reply), streamHeaders(this.#reply, http2))
    } catch (error) {
      // Node has noted the 200's "OK" by now, which HTTP/2 has no words for.
      if (!http2) raw.statusMessage = ''
      throw error
    }
  }

  /** Head, opening and the first events leave together. */
  begin (): void {
    const { connection } = this.#arrival
    if (connection.closed) return
    const raw = this.#reply.raw as RawResponse
    const socket = raw.stream ? undefined : raw.socket
    socket?.cork?.()
    // Written as latin1 the head becomes one string; as UTF-8, Node would keep the dozens of pieces it was put together
    // from.
    socket?.setDefaultEncoding?.('latin1')
    raw.flushHeaders?.()
    socket?.setDefaultEncoding?.('utf8')
    const outlet = this.#outlet = this.outletOn(raw)
    // From here on the outlet hears of it: nothing holds what was only needed to begin.
    raw.off('close', this.#left)
    connection.attach(outlet)
    const joining = this.#joining
    this.#joining = []
    connection.begin(joining)
    this.#arrival.begun()
    this.said(outlet)
    if (!this.#reader) return socket?.uncork?.()
    const [reader, first] = [this.#reader, this.#first]
    this.#arrival.run(() => tellSource(this.#request, connection, outlet, reader, first)).catch(() => {})
    // What it has ready at once leaves with the head.
    process.nextTick(() => socket?.uncork?.())
  }

  protected outletOn (raw: RawResponse): SseOutlet {
    return new SseOutlet(this.#arrival.connection, raw, this.#plan)
  }

  /** What leaves with the opening, behind it. */
  protected said (_outlet: SseOutlet): void {}

  /** It never began: nothing of it stays. */
  abandon (): void {
    const { hub, begun } = this.#plan.context
    hub.entrance.release(this.#joining)
    this.#joining = []
    // A run whose source is asked for by now goes on.
    if (this.#begun) begun.leave(this.#begun).catch(() => {})
    this.#arrival.connection.gone(clientLeft)
  }
}

/** What a hook, or the source, has set: any with a body. */
function statusOfStream ({ statusCode }: FastifyReply): number {
  return statusCode < 200 || statusCode === 204 || statusCode === 205 || statusCode === 304 ? 200 : statusCode
}

/** What hooks have set, less what does not belong to a stream of unknown length. What it is, no hook may change. */
function streamHeaders (reply: FastifyReply, http2: boolean): Record<string, string | string[] | number> {
  const headers = { ...reply.getHeaders() } as Record<string, string | string[] | number>
  delete headers['content-length']
  delete headers['transfer-encoding']
  if (!/^text\/event-stream\b/i.test(String(headers['content-type']))) headers['content-type'] = 'text/event-stream'
  if (http2) {
    // RFC 9113 §8.2.2
    delete headers.connection
    delete headers['keep-alive']
  }
  return headers
}

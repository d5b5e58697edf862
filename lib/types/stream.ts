/** A stream: an SSE route, of topics or of a source. */
import type { FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import type { BaseRouteOptions, LiveOptions, RealtimeRequest, TopicsOption } from './route.ts'

/**
 * What a `source` may yield for its client: the fields of an event stream (WHATWG HTML §9.2). Any other member is
 * FST_ERR_REALTIME_EVENT_DATA, as if the source had thrown it.
 */
export interface SourceEvent {
  /** The event's name. Without it the client's `onmessage` gets the event. */
  event?: string
  /**
   * Strings are sent as they are, bytes as base64, everything else as JSON. Without `data` the client gets no event.
   */
  data?: unknown
  /** Comes back as `cursor` when the client reconnects. */
  id?: string
  /** Reconnection time for the client, ms. */
  retry?: number
  /** Sent as a comment, which clients ignore. */
  comment?: string
}

/** A format of your own, for clients that know nothing of this library. */
export interface StreamFormat<Request = FastifyRequest> {
  /** Headers of the response, besides those of every stream. */
  headers?: Record<string, string>
  /** The last data of a complete answer, for example `'[DONE]'`. Default: none. */
  end?: unknown
  /**
   * The last data of an answer that was broken off. Default: none. The response is then cut, so that nobody takes it
   * for a complete one.
   */
  error?: unknown
  /**
   * Returns true for requests that get the stream. Others get the `handler`, or 406. Default: all requests get the
   * stream, whatever they accept.
   */
  accept?: (request: Request) => boolean
}

/** What a `source` is told about its client. */
export interface SourceContext {
  /** The client's `Last-Event-ID`, or undefined. */
  cursor: string | undefined
  /** Aborts when the client has left. For a resumable source: when the run is stopped. */
  signal: AbortSignal
  /**
   * The response. Until the first event you may set its status, headers and cookies. For a resumable source it is the
   * response to the request that started the run. Do not send it.
   */
  reply: FastifyReply
}

/** How the runs of a resumable source are found and kept. */
export interface ResumableOptions<Request> {
  /** How long a run is kept after its end, ms, 1 to 86400000. Default 600000. */
  maxAge?: number
  /** Bytes that one run may yield, at least 1. Default 1048576. Above it the run is aborted with `too-large`. */
  maxBytes?: number
  /**
   * Returns the key of the run that a request asks for: a non-empty string of any length, or a promise of one, which is
   * given up after `joinTimeout`. Requests with the same key share one run, and **whoever has the key reads it**. Put
   * the user in it unless the run is meant to be shared.
   *
   * Default: the identity's id and the URL's decoded params, without its query, so that no two users share a run. A
   * `POST`, an anonymous client, and a param that a schema turned into an object need a `key`. Without one they are
   * refused.
   * @throws FST_ERR_REALTIME_RUN_KEY_MISSING, FST_ERR_REALTIME_RUN_KEY_INVALID (500, to the client)
   */
  key?: (request: Request) => string | Promise<string>
  /**
   * Who starts a run. Default: the first request. `'POST'`: a POST without a cursor begins a run, and stops the one
   * before it under that key. All other requests join the present run: a GET, and a POST with a `Last-Event-ID`. A GET
   * never starts a run. If none runs or the last one has ended, it gets 204. If the last one was broken off, it gets
   * what that one said, and is told so.
   *
   * `'POST'` needs a `key`. A route for GET alone that names the `space` of another needs no `source`.
   */
  start?: 'POST'
  /**
   * Where the key is looked up: a non-empty string of any length. Routes share runs only if they name the same space.
   *
   * Default: the route's pattern with its prefix, for example `/answers/:id`. If the route has another method than
   * `GET`, that comes before it (`POST /answers`); its constraints come after it.
   */
  space?: string
}

interface AnyStream<Url extends string, Schema extends FastifySchema, Provider>
  extends LiveOptions<RealtimeRequest<Url, Schema, Provider>> {
  /** `GET` (default), `POST` or both. */
  method?: 'GET' | 'POST' | Array<'GET' | 'POST'>
  /** The topics that its clients hear, at most `maxTopics`. Give either this or `source`. */
  topics?: TopicsOption<RealtimeRequest<Url, Schema, Provider>>
  /**
   * With `source`: what it yields is kept. A client that asks again, with or without a cursor, gets what was said and
   * then the rest. The source runs once. The stream ends with an event `realtime:end`, or `realtime:aborted`. If the
   * source throws before its first event, within a second, all who wait for it get an ordinary HTTP error, and nothing
   * is kept. Default false.
   */
  resumable?: boolean | ResumableOptions<RealtimeRequest<Url, Schema, Provider>>
  /** Answers clients that do not accept `text/event-stream`. Without it they get 406. */
  handler?: (request: RealtimeRequest<Url, Schema, Provider>, reply: FastifyReply) => unknown
  /** Reconnection time for clients, ms, 0 to 3600000, jittered by a fifth. Default: the plugin's (2000). */
  retry?: number
  /** How the opening cursor is sent, as in `open` of the plugin. Default: the plugin's. */
  open?: 'event' | 'id' | false
}

type Iterated<Yielded> = AsyncIterable<Yielded> | Iterable<Yielded>
type Source<Request, Yielded> = (request: Request, context: SourceContext) =>
  Iterated<Yielded> | Promise<Iterated<Yielded>>

interface OwnFormat<Request> {
  format?: undefined
  /**
   * Returns events for this one client. They are read no faster than the client reads. When the client leaves, the
   * iterator is returned, so its `finally` runs.
   *
   * The response waits for the first event, for a second at most. If the source throws until then, the client gets an
   * ordinary HTTP error with the `statusCode` of the error. If it throws later, the error is logged, the client gets
   * `realtime:aborted`, and the response is cut, not ended. A throw after `signal` was aborted is not an error.
   * `joinTimeout` does not apply to a source.
   */
  source?: Source<Request, SourceEvent>
}

interface ForeignFormat<Request> {
  /**
   * With `source`, for clients that know nothing of this library. What the source yields is the data itself (strings as
   * they are, everything else as JSON). Nothing else is sent: no `realtime:…` events, and no event names. Only a
   * resumable source has ids. `'ui-message-stream'` is the format of the AI SDK, `'data'` is the bare data, and an
   * object describes a format of your own. A client that is refused for now always gets 503.
   */
  format: 'ui-message-stream' | 'data' | StreamFormat<Request>
  /** Returns the data for this one client, as without `format`. */
  source?: Source<Request, unknown>
}

/** Options of a stream, besides those that every Fastify route has. */
export type StreamRoute<Url extends string, Schema extends FastifySchema, Provider> =
  AnyStream<Url, Schema, Provider> &
  (OwnFormat<RealtimeRequest<Url, Schema, Provider>> | ForeignFormat<RealtimeRequest<Url, Schema, Provider>>)

/** What `app.stream(url, options)` takes. */
export type StreamOptions<Url extends string, Schema extends FastifySchema, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & StreamRoute<Url, Schema, Provider>

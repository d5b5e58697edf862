/** A stream: an SSE route, of topics or of a source. */
import type { FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import type { BaseRouteOptions, LiveOptions, RealtimeRequest, TopicsOption } from './route.ts'

/**
 * What one client may be told by `source`, and nothing beside it. Strings and undefined data are sent as they are, all
 * else as JSON.
 */
export interface SourceEvent {
  /** The event's name; without it the client's `onmessage` gets it. */
  event?: string
  data?: unknown
  id?: string
  /** Reconnection time, ms. */
  retry?: number
  comment?: string
}

/** Words of a format that is not ours. */
export interface StreamFormat<Request = FastifyRequest> {
  /** Headers of the response, besides those of a stream. */
  headers?: Record<string, string>
  /** The last data, once all was said: e.g. `'[DONE]'`. Default: none. */
  end?: unknown
  /**
   * The last data of what was broken off. Default: none, and the response is cut, so that nobody takes it for the end.
   */
  error?: unknown
  /**
   * True for requests that are to get the stream; others get the `handler`, or 406. Default: all of them, whatever they
   * accept.
   */
  accept?: (request: Request) => boolean
}

export interface SourceContext {
  /** The client's Last-Event-ID, or undefined. */
  cursor: string | undefined
  /** Aborted when the client has left; of a resumable source, when it is stopped. */
  signal: AbortSignal
  /**
   * The response, until the first event: its status, headers and cookies may be set until then. Of a resumable source,
   * that of the request which has started it. Do not send it.
   */
  reply: FastifyReply
}

export interface ResumableOptions<Request> {
  /** How long an ended source is kept, ms. Default 600000, at most a day. */
  maxAge?: number
  /** Bytes one source may yield. Default 1048576; past it, it is aborted with the reason `too-large`. */
  maxBytes?: number
  /**
   * Whose run a request asks for: requests with the same key share one, and **whoever has the key reads it**. Put the
   * user in it unless the run is meant to be shared. Any non-empty string, of any length; also a promise of one, given
   * up after `joinTimeout`.
   *
   * Default: the identity's id and the URL's decoded params, without its query, so that no two users share a run. A
   * `POST`, an anonymous client, and a param that a schema made an object of need a `key`: they are refused without
   * one.
   * @throws FST_ERR_REALTIME_RUN_KEY_MISSING, FST_ERR_REALTIME_RUN_KEY_INVALID (500, to the client)
   */
  key?: (request: Request) => string | Promise<string>
  /**
   * `'POST'`: a POST without a cursor begins a run, and stops the one before it under that key. Everything else joins
   * the present run: a GET, and a POST with a `Last-Event-ID`. A GET never starts a run. It is answered 204 where none
   * runs or the last one has ended; one that was broken off it is given, and told so. Needs a `key`. A route for GET
   * alone that names the `space` of another needs no `source`. Default: whoever asks first starts the run.
   */
  start?: 'POST'
  /**
   * Where the key holds. Routes share runs only where they name the same space. Any non-empty string, of any length.
   *
   * Default: the route's pattern with its prefix, e.g. `/answers/:id`; with the method before it where that is not
   * `GET` alone (`POST /answers`), and its constraints behind.
   */
  space?: string
}

interface AnyStream<Url extends string, Schema extends FastifySchema, Provider>
  extends LiveOptions<RealtimeRequest<Url, Schema, Provider>> {
  /** `GET` (default) or `POST`. */
  method?: 'GET' | 'POST' | Array<'GET' | 'POST'>
  /** What is heard. Up to `maxTopics`. Either this or `source`. */
  topics?: TopicsOption<RealtimeRequest<Url, Schema, Provider>>
  /**
   * With `source`: what it yields is kept, so that whoever asks again, with or without a cursor, gets what was said and
   * then the rest; the source runs once. It ends with an event `realtime:end`, or `realtime:aborted`. What it throws
   * before its first event, within a second, is an ordinary HTTP error to all who wait for it, and nothing is kept.
   */
  resumable?: boolean | ResumableOptions<RealtimeRequest<Url, Schema, Provider>>
  /** What a client gets that does not accept `text/event-stream`; without it 406. */
  handler?: (request: RealtimeRequest<Url, Schema, Provider>, reply: FastifyReply) => unknown
  /** Reconnection time told to the client, ms (jittered by a fifth). Default: the plugin's (2000). */
  retry?: number
  /** How the opening cursor is sent: an event `realtime:open` (default), an id-only block, or not. */
  open?: 'event' | 'id' | false
}

type Iterated<Yielded> = AsyncIterable<Yielded> | Iterable<Yielded>
type Source<Request, Yielded> = (request: Request, context: SourceContext) =>
  Iterated<Yielded> | Promise<Iterated<Yielded>>

interface OwnFormat<Request> {
  format?: undefined
  /**
   * Events for this one client, pulled with backpressure; its `finally` runs when the client leaves. The response's
   * head waits for the first event, for a second at most: what is thrown until then is an ordinary HTTP error, with the
   * `statusCode` of what was thrown. What is thrown later is logged and told as `realtime:aborted`, and the response is
   * cut, not ended. What is thrown after `signal` was aborted is no error. A source is not bound by `joinTimeout`.
   */
  source?: Source<Request, SourceEvent>
}

interface ForeignFormat<Request> {
  /**
   * With `source`, for clients that know nothing of this library: what it yields is the data itself (strings as they
   * are, all else as JSON), and nothing else is said: no `realtime:…`, no names of events. Ids are those of a resumable
   * source. `ui-message-stream` is the AI SDK's; `data` is that alone; an object has words of its own. A temporary
   * refusal is always a 503.
   */
  format: 'ui-message-stream' | 'data' | StreamFormat<Request>
  source?: Source<Request, unknown>
}

export type StreamRoute<Url extends string, Schema extends FastifySchema, Provider> =
  AnyStream<Url, Schema, Provider> &
  (OwnFormat<RealtimeRequest<Url, Schema, Provider>> | ForeignFormat<RealtimeRequest<Url, Schema, Provider>>)

export type StreamOptions<Url extends string, Schema extends FastifySchema, Provider> =
  BaseRouteOptions<Url, Schema, Provider> & StreamRoute<Url, Schema, Provider>

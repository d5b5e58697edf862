/** The HTTP wire (PROTOCOL.md 4.9): a stream for what the client hears, and requests for what it sends. */
import type { ClientFrame, Ref, ServerFrame } from '../protocol.ts'
import { FrameStream } from './frame-stream.ts'
import { mayComeBack } from './http-status.ts'
import { Posts } from './posts.ts'
import type { Refusal } from './request.ts'
import { PRESENCE } from './topic.ts'
import type { Place, Wire, WireHost, WireKind } from './wire.ts'

/**
 * Connects over HTTP, for networks that let no WebSocket through: a stream, and a request for each message (PROTOCOL.md
 * 4.9). The channel needs `http: true`. `show()` rejects with `NOT_OVER_HTTP`.
 */
export const http: WireKind = (place, host) => new HttpWire(place, host)

/** The stream counts as silent after so many heartbeats, so that a late comment does no harm. */
const LATE = 1.5

/** What a stream is opened with. */
interface Wanted {
  readonly topics: Set<string>
  token: string | undefined
  /** The refs of the refreshes that this stream answers. */
  refs: Array<Ref | undefined>
}

/** An open stream cannot be changed. For other topics or another token the wire opens another stream. */
class HttpWire implements Wire {
  readonly #place: Place
  readonly #host: WireHost
  readonly #posts: Posts
  /** The stream that is heard. */
  #stream: FrameStream | undefined
  /** The stream that replaces `#stream` when it is open. */
  #next: FrameStream | undefined
  /** What `#stream` was opened with. */
  #held: Wanted | undefined
  readonly #wanted: Wanted
  /** The topics that `#stream` has joined. */
  #joined = new Set<string>()
  #connection = ''
  /** True if `#wanted` has changed since the last stream was asked for. */
  #stale = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor (place: Place, host: WireHost) {
    this.#place = place
    this.#host = host
    const { topics, token } = host.opening()
    this.#wanted = { topics: new Set(topics), token, refs: [] }
    const own = (): string | undefined => this.#held?.token
    const connection = (): string => this.#connection
    this.#posts = new Posts(place, {
      get token () { return own() },
      get connection () { return connection() },
      answered: (frame) => host.heard(frame),
      free: () => this.#step()
    })
    this.#open()
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#stream?.close()
    this.#next?.close()
    this.#posts.close()
  }

  // --- what its client says ----------------------------------------------------------------

  send (said: ClientFrame | Uint8Array): void {
    if (said instanceof Uint8Array || !('op' in said)) this.#posts.add(said)
    else this.#command(said)
    this.#step()
  }

  #command (said: Extract<ClientFrame, { op: string }>): void {
    const { topics } = this.#wanted
    if (said.op === 'subscribe') {
      if (topics.has(said.topic) || this.#joined.has(said.topic)) return
      topics.add(said.topic)
    } else if (said.op === 'unsubscribe') {
      topics.delete(said.topic)
      this.#joined.delete(said.topic)
    } else if (said.op === 'refresh') {
      this.#wanted.token = said.token
      this.#wanted.refs.push(said.ref)
    } else if (said.op === 'presence') {
      const message = 'there is no state of a member over HTTP'
      this.#host.heard({ op: 'error', ref: said.ref, code: 'NOT_OVER_HTTP', message })
      return
    }
    // A ping is answered by opening another stream, which shows that the server is there.
    this.#change()
  }

  /** All changes of one macrotask share one new stream. */
  #change (): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#stale = true
      this.#step()
    })
  }

  // --- streams, one after the other ----------------------------------------------------------

  /**
   * Either sends or opens. A relay names the stream of its sender, so that the sender does not get it back; that stream
   * must not be replaced meanwhile.
   */
  #step (): void {
    if (this.#closed || this.#next) return
    if (!this.#stale) this.#posts.next()
    else if (!this.#posts.relaying) this.#open()
  }

  #open (): void {
    this.#stale = false
    const { topics, token, refs } = this.#wanted
    const asked: Wanted = { topics: new Set(topics), token, refs }
    this.#wanted.refs = []
    const opening = { cursors: this.#host.opening().cursors, topics: [...topics], token }
    const stream: FrameStream = new FrameStream(this.#place, opening, {
      heard: (frame) => {
        if (stream === this.#next && 'op' in frame && frame.op === 'open') this.#opened(stream, asked, frame)
        else this.#heard(stream, frame)
      },
      alive: () => this.#host.heard({ op: 'pong' }),
      over: (why) => this.#over(stream, asked, why)
    })
    this.#next = stream
  }

  #opened (stream: FrameStream, asked: Wanted, frame: Extract<ServerFrame, { op: 'open' }>): void {
    const first = this.#held === undefined
    this.#stream?.close()
    this.#stream = stream
    this.#next = undefined
    this.#held = asked
    this.#joined = new Set()
    this.#connection = frame.connection
    if (first) this.#host.heard({ ...frame, heartbeat: frame.heartbeat * LATE })
    for (const ref of asked.refs) this.#host.heard({ op: 'refreshed', ref })
    this.#step()
  }

  #heard (stream: FrameStream, frame: ServerFrame): void {
    if (this.#closed || (stream === this.#stream && !this.#counts(frame))) return
    if (!('op' in frame)) return this.#host.heard(frame)
    if (frame.op === 'subscribed') this.#joined.add(frame.topic)
    if (frame.op === 'unsubscribed') this.#left(frame.topic)
    if (frame.op !== 'error' || frame.topic === undefined) this.#host.heard(frame)
    else {
      this.#left(frame.topic)
      this.#host.heard({ ...frame, ref: frame.topic })
    }
    if (frame.op === 'bye') this.#end({ status: frame.code, code: '', message: '', retry: undefined })
  }

  #left (topic: string): void {
    this.#wanted.topics.delete(topic)
    this.#joined.delete(topic)
  }

  /**
   * Tells whether a frame of the present stream counts. If the next stream is asked for, it brings all events with an
   * id, from the cursors on. Until it is open, only events without an id count here, because they come only once.
   */
  #counts (frame: ServerFrame): boolean {
    const op = 'op' in frame ? frame.op : ''
    if (op === 'subscribed') return this.#next === undefined
    if (op === 'bye' || op === 'error' || op === 'unsubscribed' || !('topic' in frame) || !frame.topic) return true
    const { topic } = frame
    if (!this.#joined.has(topic.startsWith(PRESENCE) ? topic.slice(PRESENCE.length) : topic)) return false
    return this.#next === undefined || (op === '' && (!('id' in frame) || frame.id === undefined))
  }

  // --- their ends ----------------------------------------------------------------------------

  #over (stream: FrameStream, asked: Wanted, why: Refusal): void {
    if (stream === this.#next && this.#refused(asked, why)) return
    // If the next stream is asked for already, it takes over.
    if (stream === this.#stream && this.#next) this.#stream = undefined
    else this.#end(why)
  }

  /** True if the server refused only the new topics or the new token. The client goes on with what it had. */
  #refused (asked: Wanted, { status, code, message }: Refusal): boolean {
    const held = this.#held
    if (!held || mayComeBack(status) || status < 400) return false
    const topics = [...asked.topics].filter((topic) => !held.topics.has(topic))
    if (topics.length + asked.refs.length === 0) return false
    for (const topic of topics) this.#wanted.topics.delete(topic)
    if (this.#wanted.token === asked.token) this.#wanted.token = held.token
    this.#open()
    const error = { op: 'error' as const, code: code || String(status), message }
    for (const ref of asked.refs) this.#host.heard({ ...error, ref })
    for (const topic of topics) this.#host.heard({ ...error, ref: topic, topic })
    return true
  }

  #end ({ status, code, message, retry }: Refusal): void {
    if (this.#closed) return
    this.close()
    if (code !== '') this.#host.heard({ op: 'error', code, message })
    if (retry !== undefined) this.#host.heard({ op: 'bye', code: status, reason: message, reconnect: true, retry })
    this.#host.down(mayComeBack(status) ? 0 : status)
  }
}

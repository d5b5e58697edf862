/** A client's topics and messages. They outlive its connection, which is lost and made anew. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { Asks } from './asks.ts'
import { delayOf } from './backoff.ts'
import { Connection, type ConnectionHost } from './connection.ts'
import { RealtimeError } from './errors.ts'
import { Listeners } from './listeners.ts'
import type { SessionOptions } from './options.ts'
import { overWith, type ClientState } from './state.ts'
import type { Store } from './store.ts'
import { Token } from './token.ts'
import { cursorsOf, HeardTopic, PRESENCE, type TopicHost } from './topic.ts'
import type { ConnectionEvent } from './types.ts'
import type { Opening } from './wire.ts'

/** After these errors the client asks for the topic again. */
const LATER: ReadonlySet<string> = new Set(['UNAVAILABLE', 'RATE_LIMITED'])
const NOT_LET_IN = 'not let in'

export class Session implements TopicHost, ConnectionHost {
  readonly #options: SessionOptions
  readonly #topics = new Map<string, HeardTopic>()
  readonly #asks: Asks
  readonly #token: Token
  readonly #connection: Connection
  readonly #listeners = new Listeners<ConnectionEvent>()
  /** The channel's own topics that the page does not use. */
  readonly #unheard = new Set<string>()
  /** Topics whose subscribe has no answer yet. */
  readonly #asked = new Set<HeardTopic>()
  #later: ReturnType<typeof setTimeout> | undefined
  #renewing: Promise<void> | undefined

  constructor (options: SessionOptions) {
    this.#options = options
    this.#asks = new Asks(options.timeout, options.offline)
    this.#token = new Token(options.token, options.tokenTimeout)
    this.#connection = new Connection(options, this.#token, this)
  }

  get state (): Store<ClientState> { return this.#connection.state }

  close (): void {
    this.#listeners.clear()
    this.#connection.close()
  }

  // --- topics ----------------------------------------------------------------------------

  /** Returns a topic. The caller must hold it at once. */
  topic (name: string): HeardTopic {
    let topic = this.#topics.get(name)
    if (!topic) this.#topics.set(name, topic = new HeardTopic(name, this))
    return topic
  }

  /** Returns the topic if the page uses it. */
  peek (name: string): HeardTopic | undefined { return this.#topics.get(name) }

  join (topic: HeardTopic): void {
    const over = overWith(this.state.get())
    if (over) return topic.refused(over.code, over.message)
    // The server sent this topic's beginning when nobody listened, so the client leaves it and joins it anew.
    if (this.#unheard.delete(topic.name)) this.#unsubscribe(topic)
    this.#subscribe(topic)
    this.#connection.ensure()
  }

  leave (topic: HeardTopic): void {
    this.#topics.delete(topic.name)
    this.#unsubscribe(topic)
    this.#connection.letGo()
  }

  /** A frame did not link: the connection is made anew. */
  broken (): void { this.#connection.broken() }

  /** The `ref` is the topic's name, by which the answer is found. */
  #subscribe (topic: HeardTopic): void {
    const { name, position: { id } } = topic
    this.#asked.add(topic)
    this.hint({ op: 'subscribe', topic: name, ref: name, ...id !== undefined && { id } })
  }

  /** Sends a `ref`, so that the answer differs from an `unsubscribed` by which the server takes a topic. */
  #unsubscribe (topic: HeardTopic): void {
    this.#asked.delete(topic)
    this.hint({ op: 'unsubscribe', topic: topic.name, ref: '' })
  }

  /** Asks again later for all topics without an answer, once for any number of errors. */
  #askLater (): void {
    this.#later ??= setTimeout(() => {
      this.#later = undefined
      for (const topic of this.#asked) this.#subscribe(topic)
    }, delayOf(1, this.#options))
  }

  // --- events for this connection alone ---------------------------------------------------

  on (event: string, run: (event: ConnectionEvent) => void): () => void {
    const leave = this.#listeners.add(event, run, () => this.#connection.letGo())
    this.#connection.ensure()
    return leave
  }

  // --- messages --------------------------------------------------------------------------

  async message (event: string, data: unknown, topic?: string): Promise<unknown> {
    const { is } = this.#mustLive()
    const away = is === 'waiting' || is === 'offline'
    if (away && this.#options.offline === 0) throw new RealtimeError('OFFLINE', 'not connected')
    if (away && this.#asks.size >= this.#options.offline) throw new RealtimeError('QUEUE_FULL', 'too many wait')
    return await this.#answered(this.#asks.message(event, data, topic))
  }

  async show (topic: string, state: unknown): Promise<void> {
    this.#mustLive()
    await this.#answered(this.#asks.ask({ op: 'presence', topic, state }))
  }

  /** Sends a frame if the client is connected. Otherwise the frame is dropped. */
  hint (frame: ClientFrame | Uint8Array): void { this.#connection.say(frame) }

  /** @throws RealtimeError */
  #mustLive (): ClientState {
    const state = this.state.get()
    const over = overWith(state)
    if (over) throw over
    return state
  }

  #answered (answer: Promise<unknown>): Promise<unknown> {
    this.#connection.ensure()
    this.#flush()
    return answer.finally(() => this.#connection.letGo())
  }

  #flush (): void {
    if (this.#connection.is === 'open') this.#asks.flush((frame) => this.hint(frame))
  }

  // --- what the connection asks and tells --------------------------------------------------

  get wanted (): boolean { return this.#topics.size + this.#listeners.size + this.#asks.size > 0 }

  opening (): Omit<Opening, 'token'> {
    return { cursors: cursorsOf(this.#topics.values()), topics: [...this.#topics.keys()] }
  }

  opened (): void {
    this.#unheard.clear()
    this.#asked.clear()
    for (const topic of this.#topics.values()) this.#subscribe(topic)
    this.#flush()
  }

  lost (): void { this.#asks.lost() }

  over (): void {
    const over = overWith(this.state.get())
    if (!over) return
    clearTimeout(this.#later)
    this.#asks.end(over)
    for (const topic of this.#topics.values()) topic.refused(over.code, over.message)
  }

  heard (frame: ServerFrame): void {
    if ('op' in frame && frame.op === 'refreshed') this.#token.stop()
    if ('expires' in frame && frame.expires !== undefined) {
      this.#token.renewIn(frame.expires / 2, () => { this.#renew().catch(() => {}) })
    }
    if ('op' in frame) {
      if (frame.op === 'error') return this.#error(frame)
      if (frame.op === 'unsubscribed') return this.#taken(frame)
      if (frame.op === 'reply' || frame.op === 'presence' || frame.op === 'refreshed') {
        this.#asks.answer(frame.ref, 'data' in frame ? frame.data : undefined)
        return
      }
    }
    // Frames with an unknown `op` and no topic are ignored.
    if ('topic' in frame) this.#ofTopic(frame)
    else if ('event' in frame) this.#listeners.tell({ event: frame.event, data: frame.data })
  }

  #ofTopic (frame: Extract<ServerFrame, { topic: string }>): void {
    const { topic } = frame
    if ('op' in frame && frame.op === 'subscribed' && !this.#topics.has(topic)) this.#unheard.add(topic)
    const heard = this.#topics.get(topic)
    // Only `subscribed` is the answer: an event may belong to an earlier subscription.
    if (heard && 'op' in frame && frame.op === 'subscribed') this.#asked.delete(heard)
    if (topic.startsWith(PRESENCE)) this.#topics.get(topic.slice(PRESENCE.length))?.presenceFrame(frame)
    else heard?.frame(frame)
  }

  #error ({ code, message, ref, topic }: Extract<ServerFrame, { op: 'error' }>): void {
    if (this.#asks.answer(ref, undefined, new RealtimeError(code, message))) return
    // The server did not read what came too fast, so its error does not name the topic.
    if (ref === undefined && code === 'RATE_LIMITED') return this.#askLater()
    const refused = this.#topics.get(topic ?? String(ref))
    if (!refused) return
    if (LATER.has(code)) return this.#askLater()
    this.#asked.delete(refused)
    refused.refused(code, message)
  }

  // --- what a newer token changes ----------------------------------------------------------

  /** The server took a topic. If the client's right expired, it asks for a newer token and joins again. */
  #taken ({ topic, reason, ref }: Extract<ServerFrame, { op: 'unsubscribed' }>): void {
    const heard = this.#topics.get(topic)
    if (!heard || ref !== undefined) return
    const refuse = (): void => heard.refused(reason === 'expired' ? 'EXPIRED' : 'FORBIDDEN', NOT_LET_IN)
    if (reason !== 'expired' || !this.#token.given) return refuse()
    const mine = (run: () => void) => (): void => {
      if (this.#connection.is === 'open' && this.peek(topic) === heard) run()
    }
    this.#renew().then(mine(() => this.#subscribe(heard)), mine(refuse))
  }

  /** One refresh serves all topics that expire at the same time. */
  #renew (): Promise<void> {
    this.#renewing ??= this.#refresh().finally(() => { this.#renewing = undefined })
    return this.#renewing
  }

  async #refresh (): Promise<void> {
    const token = await this.#token.ask('expiring')
    if (token !== undefined && this.#connection.is === 'open') {
      await this.#answered(this.#asks.ask({ op: 'refresh', token }))
    }
  }
}

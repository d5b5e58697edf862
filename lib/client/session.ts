/** The connection of a client: dials, comes back, wakes, renews its token, and is let go when nobody wants it. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { Asks } from './asks.ts'
import { delayOf } from './backoff.ts'
import { mayReturn, verdictOn, type Bye } from './close-codes.ts'
import { RealtimeError } from './errors.ts'
import type { SessionOptions } from './options.ts'
import { Pulse } from './pulse.ts'
import { overWith, type ClientState } from './state.ts'
import { Derived, type Store } from './store.ts'
import { LONGEST_TIMER_MS, Token, type TokenReason } from './token.ts'
import { cursorsOf, HeardTopic, PRESENCE, type TopicHost } from './topic.ts'
import { isHidden, isOffline, watchWake } from './wake.ts'
import type { Wire, WireHost } from './wire.ts'

/** A connection that has lived for so long was a good one: the next delay is a short one again. */
const GOOD_MS = 10_000
/** A topic that cannot be joined now is asked for again. */
const LATER: ReadonlySet<string> = new Set(['UNAVAILABLE', 'RATE_LIMITED'])
const NOT_LET_IN = 'not let in'

type Timer = ReturnType<typeof setTimeout>

export class Session implements TopicHost {
  readonly #options: SessionOptions
  readonly #topics = new Map<string, HeardTopic>()
  readonly #asks: Asks
  readonly #stateStore: Derived<ClientState>
  readonly state: Store<ClientState>
  #state: ClientState = { is: 'idle' }
  #wire: Wire | undefined
  /** Another one for each try: what comes late of an older one is not heard. */
  #turn = 0
  #attempt = 0
  #openedAt = 0
  /** Another token was asked for, and none has held since. */
  #renewed = false
  #lastError = ''
  #bye: Bye | undefined
  /** The channel's own topics that nobody here has asked for. */
  readonly #unheard = new Set<string>()
  #timer: Timer | undefined
  #hiding: Timer | undefined
  #unwatch: (() => void) | undefined
  readonly #token: Token
  readonly #pulse = new Pulse(() => this.#say({ op: 'ping' }), () => {
    this.#lose()
    this.#dial('open')
  })

  constructor (options: SessionOptions) {
    this.#options = options
    this.#asks = new Asks(options.timeout, options.offline)
    this.#token = new Token(options.token)
    this.#stateStore = new Derived(() => this.#state, () => {})
    this.state = this.#stateStore
  }

  /** To be held at once. */
  topic (name: string): HeardTopic {
    let topic = this.#topics.get(name)
    if (!topic) this.#topics.set(name, topic = new HeardTopic(name, this))
    return topic
  }

  /** If anybody here hears it. */
  peek (name: string): HeardTopic | undefined { return this.#topics.get(name) }

  join (topic: HeardTopic): void {
    const over = overWith(this.#state)
    if (over) return topic.refused(over.code, over.message)
    // What it was sent at the beginning nobody has heard: it is joined from the beginning.
    if (this.#unheard.delete(topic.name)) this.#unsubscribe(topic)
    this.#subscribe(topic)
    this.#ensure()
  }

  leave (topic: HeardTopic): void {
    this.#topics.delete(topic.name)
    this.#unsubscribe(topic)
    this.#letGo()
  }

  /** With a `ref`: what the server takes by itself has none. */
  #unsubscribe ({ name }: HeardTopic): void {
    this.hint({ op: 'unsubscribe', topic: name, ref: '' })
  }

  async message (event: string, data: unknown, topic?: string): Promise<unknown> {
    const over = overWith(this.#state)
    if (over) throw over
    const away = this.#state.is === 'waiting' || this.#state.is === 'offline'
    if (away && this.#options.offline === 0) throw new RealtimeError('OFFLINE', 'not connected')
    if (away && this.#asks.size >= this.#options.offline) throw new RealtimeError('QUEUE_FULL', 'too many wait')
    return await this.#answered(this.#asks.message(event, data, topic))
  }

  /** Said once, where there is a connection: what nobody keeps is not kept here either. */
  hint (frame: ClientFrame | Uint8Array): void {
    if (this.#state.is === 'open') this.#say(frame)
  }

  async show (topic: string, state: unknown): Promise<void> {
    const over = overWith(this.#state)
    if (over) throw over
    await this.#answered(this.#asks.ask({ op: 'presence', topic, state }))
  }

  #answered (answer: Promise<unknown>): Promise<unknown> {
    this.#ensure()
    this.#flush()
    return answer.finally(() => this.#letGo())
  }

  close (): void {
    if (this.#state.is === 'closed') return
    this.#sleep({ is: 'closed' })
    this.#over()
  }

  #over (): void {
    const over = overWith(this.#state)
    if (!over) return
    this.#asks.end(over)
    for (const topic of this.#topics.values()) topic.refused(over.code, over.message)
  }

  get #wanted (): boolean { return this.#topics.size + this.#asks.size > 0 }

  /** Idle, a macrotask after the last has left. */
  #letGo (): void {
    setTimeout(() => {
      if (this.#wanted || this.#state.is === 'closed' || this.#state.is === 'refused') return
      this.#sleep({ is: 'idle' })
    })
  }

  /** Nothing is left that runs. */
  #sleep (state: ClientState): void {
    this.#drop()
    clearTimeout(this.#hiding)
    this.#unwatch?.()
    this.#unwatch = undefined
    this.#become(state)
  }

  #become (state: ClientState): void {
    this.#state = state
    this.#stateStore.changed()
  }

  #ensure (): void { if (this.#state.is === 'idle' && this.#wanted) this.#dial('open') }

  #dial (reason: TokenReason): void {
    this.#drop()
    this.#unwatch ??= watchWake({
      awake: () => this.#awake(), hidden: () => this.#hidden(), offline: () => this.#offline()
    })
    this.#bye = undefined
    if (isOffline() || isHidden()) {
      this.#asks.lost()
      return this.#become(isOffline() ? { is: 'offline' } : { is: 'waiting', retryAt: Infinity })
    }
    const turn = ++this.#turn
    this.#become({ is: 'connecting' })
    const mine = (run: () => void): void => { if (turn === this.#turn) run() }
    this.#token.ask(reason).then((token) => mine(() => this.#open(turn, token)), () => mine(() => this.#comeBack()))
  }

  #open (turn: number, token: string | undefined): void {
    this.#lastError = ''
    const mine = (run: () => void): void => { if (turn === this.#turn) run() }
    const host: WireHost = {
      up: () => mine(() => this.#say({ op: 'open', cursors: cursorsOf(this.#topics.values()), ...token && { token } })),
      heard: (frame) => mine(() => this.#heard(frame)),
      down: (code) => mine(() => this.#down(code))
    }
    try {
      this.#wire = this.#options.dial(host)
    } catch (error) {
      // No WebSocket here, or no URL for one: it would be the same again.
      this.#drop()
      this.#refuse(error instanceof RealtimeError ? error.code : String(error))
    }
  }

  #say (frame: ClientFrame | Uint8Array): void {
    this.#wire?.send(frame)
  }

  /** Its name is what the answer is found by. */
  #subscribe ({ name, position: { id } }: HeardTopic): void {
    if (this.#state.is === 'open') this.#say({ op: 'subscribe', topic: name, ref: name, ...id !== undefined && { id } })
  }

  #flush (): void {
    if (this.#state.is === 'open') this.#asks.flush((frame) => this.#say(frame))
  }

  #heard (frame: ServerFrame): void {
    this.#pulse.heard()
    if ('op' in frame && frame.op === 'refreshed') this.#token.stop()
    if ('expires' in frame && frame.expires !== undefined) {
      this.#token.renewIn(frame.expires / 2, () => { this.#renew().catch(() => {}) })
    }
    if (!('op' in frame)) {
      if ('topic' in frame) this.#ofTopic(frame)
      return
    }
    switch (frame.op) {
      case 'open': return this.#opened(frame)
      case 'bye': this.#bye = frame; return
      case 'reply': this.#asks.answer(frame.ref, frame.data); return
      case 'error': return this.#error(frame)
      case 'unsubscribed': return this.#taken(frame)
      case 'presence': this.#asks.answer(frame.ref, undefined); return
      case 'refreshed': this.#asks.answer(frame.ref, undefined); return
      case 'pong': return
      // One that is not known (yet) says nothing to this client.
      default: if ('topic' in frame) this.#ofTopic(frame)
    }
  }

  #ofTopic (frame: Extract<ServerFrame, { topic: string }>): void {
    const { topic } = frame
    if ('op' in frame && frame.op === 'subscribed' && !this.#topics.has(topic)) this.#unheard.add(topic)
    if (topic.startsWith(PRESENCE)) this.#topics.get(topic.slice(PRESENCE.length))?.presenceFrame(frame)
    else this.#topics.get(topic)?.frame(frame)
  }

  #opened ({ heartbeat }: Extract<ServerFrame, { op: 'open' }>): void {
    this.#openedAt = Date.now()
    this.#pulse.start(heartbeat)
    this.#become({ is: 'open' })
    for (const topic of this.#topics.values()) this.#subscribe(topic)
    this.#flush()
  }

  #error ({ code, message, ref, topic }: Extract<ServerFrame, { op: 'error' }>): void {
    if (ref === undefined) this.#lastError = code
    if (this.#asks.answer(ref, undefined, new RealtimeError(code, message))) return
    const refused = this.#topics.get(topic ?? String(ref))
    if (!refused) return
    if (LATER.has(code)) this.#subscribeLater(refused)
    else refused.refused(code, message)
  }

  #subscribeLater (topic: HeardTopic): void {
    setTimeout(() => {
      if (this.peek(topic.name) === topic) this.#subscribe(topic)
    }, delayOf(1, this.#options))
  }

  /** The server took a topic: with a newer token it may be had again. */
  #taken ({ topic, reason, ref }: Extract<ServerFrame, { op: 'unsubscribed' }>): void {
    const heard = this.#topics.get(topic)
    if (!heard || ref !== undefined) return
    const refuse = (): void => heard.refused(reason === 'expired' ? 'EXPIRED' : 'FORBIDDEN', NOT_LET_IN)
    if (reason !== 'expired' || !this.#token.given) return refuse()
    const mine = (run: () => void) => (): void => { if (this.#state.is === 'open' && this.peek(topic) === heard) run() }
    this.#renew().then(mine(() => this.#subscribe(heard)), mine(refuse))
  }

  async #renew (): Promise<void> {
    const turn = this.#turn
    const token = await this.#token.ask('expiring')
    if (turn === this.#turn && token !== undefined && this.#state.is === 'open') {
      await this.#answered(this.#asks.ask({ op: 'refresh', token }))
    }
  }

  /** What does not link is asked for again, from the cursors. */
  broken (): void { this.#down(0) }

  #down (code: number): void {
    const said = this.#bye?.code ?? code
    const verdict = verdictOn(said, this.#bye)
    if (this.#openedAt > 0 && Date.now() - this.#openedAt > GOOD_MS) {
      this.#attempt = 0
      this.#renewed = false
    }
    this.#lose()
    if (verdict === 'refused' && this.#token.given && !this.#renewed) {
      this.#renewed = true
      return this.#dial('refused')
    }
    if (verdict === 'again' || (mayReturn(said) && !this.#token.given)) return this.#comeBack()
    this.#refuse(this.#lastError || String(said))
  }

  #refuse (code: string): void {
    this.#sleep({ is: 'refused', code })
    this.#over()
  }

  #comeBack (): void {
    if (!this.#wanted) return this.#sleep({ is: 'idle' })
    this.#asks.lost()
    if (isOffline()) return this.#become({ is: 'offline' })
    const wanted = this.#bye?.retry ?? delayOf(this.#attempt++, this.#options)
    const delay = isHidden() ? Infinity : Math.min(wanted, LONGEST_TIMER_MS)
    if (delay < Infinity) this.#timer = setTimeout(() => this.#dial('open'), delay)
    this.#become({ is: 'waiting', retryAt: Date.now() + delay })
  }

  #drop (): void {
    this.#turn++
    this.#unheard.clear()
    clearTimeout(this.#timer)
    this.#pulse.end()
    this.#token.stop()
    this.#openedAt = 0
    const wire = this.#wire
    this.#wire = undefined
    wire?.close()
  }

  #lose (): void {
    this.#drop()
    this.#asks.lost()
  }

  #awake (): void {
    if (isHidden()) return
    clearTimeout(this.#hiding)
    this.#attempt = 0
    const { is } = this.#state
    if (is === 'open') this.#pulse.ask()
    else if (is === 'waiting' || is === 'offline') this.#dial('open')
  }

  #hidden (): void {
    if (this.#state.is === 'waiting') {
      clearTimeout(this.#timer)
      this.#become({ is: 'waiting', retryAt: Infinity })
    }
    clearTimeout(this.#hiding)
    this.#hiding = setTimeout(() => {
      if (this.#state.is !== 'open' || !isHidden()) return
      this.#lose()
      this.#become({ is: 'waiting', retryAt: Infinity })
    }, this.#options.hiddenTimeout)
  }

  #offline (): void {
    if (this.#state.is !== 'waiting') return
    clearTimeout(this.#timer)
    this.#become({ is: 'offline' })
  }
}

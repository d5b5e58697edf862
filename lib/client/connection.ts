/** The connection of a client: it dials, reconnects, wakes, and closes when nobody needs it. It knows no topics. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { delayOf } from './backoff.ts'
import { mayReturn, verdictOn, type Bye } from './close-codes.ts'
import { RealtimeError } from './errors.ts'
import type { SessionOptions } from './options.ts'
import { Pulse, WAKE_MS } from './pulse.ts'
import type { ClientState } from './state.ts'
import { Derived } from './store.ts'
import { LONGEST_TIMER_MS, type Token, type TokenReason } from './token.ts'
import { isHidden, isOffline, watchWake } from './wake.ts'
import type { Opening, Wire } from './wire.ts'

/** After a connection has lived for so long, ms, the next delay is a short one. */
const GOOD_MS = 10_000
/** After a connection has lived for so long, ms, a refused token may be renewed again. */
const HELD_MS = 1000

type Timer = ReturnType<typeof setTimeout>

/** The owner of the connection. */
export interface ConnectionHost {
  /** True while something of the page needs the connection. */
  readonly wanted: boolean
  opening (): Omit<Opening, 'token'>
  opened (): void
  heard (frame: ServerFrame): void
  /** The connection is lost, and does not return at once. */
  lost (): void
  /** The connection is closed or refused, and does not return. */
  over (): void
}

export class Connection {
  readonly #options: SessionOptions
  readonly #token: Token
  readonly #host: ConnectionHost
  readonly state: Derived<ClientState>
  #state: ClientState = { is: 'idle' }
  #wire: Wire | undefined
  /** Counts attempts: callbacks of an older attempt are ignored. */
  #turn = 0
  #attempt = 0
  #openedAt = 0
  /** True if a token was renewed after a refusal, and no connection has lived for `HELD_MS` since. */
  #renewed = false
  #lastError = ''
  #bye: Bye | undefined
  #timer: Timer | undefined
  #hiding: Timer | undefined
  #unwatch: (() => void) | undefined
  readonly #pulse = new Pulse(() => this.say({ op: 'ping' }), () => {
    this.#lose()
    this.#dial('open')
  })

  constructor (options: SessionOptions, token: Token, host: ConnectionHost) {
    this.#options = options
    this.#token = token
    this.#host = host
    this.state = new Derived(() => this.#state, () => {})
  }

  get is (): ClientState['is'] { return this.#state.is }

  // --- what its client wants -------------------------------------------------------------

  /** Sends a frame. Does nothing if the connection is not open. */
  say (frame: ClientFrame | Uint8Array): void {
    if (this.is === 'open') this.#wire?.send(frame)
  }

  ensure (): void { if (this.is === 'idle' && this.#host.wanted) this.#dial('open') }

  /** Closes the connection in the next macrotask if nothing needs it then. */
  letGo (): void {
    setTimeout(() => {
      if (!this.#host.wanted && this.is !== 'closed' && this.is !== 'refused') this.#sleep({ is: 'idle' })
    })
  }

  /** A frame did not link. Reconnects and resumes from the cursors. */
  broken (): void { this.#down(0) }

  close (): void {
    const { is } = this
    if (is === 'closed') return
    this.#sleep({ is: 'closed' })
    // After a refusal the host knows already.
    if (is !== 'refused') this.#host.over()
  }

  // --- dialling --------------------------------------------------------------------------

  #dial (reason: TokenReason): void {
    this.#drop()
    this.#unwatch ??= watchWake({
      awake: (slept) => this.#awake(slept), hidden: () => this.#hidden(), offline: () => this.#offline()
    })
    this.#bye = undefined
    if (isOffline() || isHidden()) {
      this.#host.lost()
      return this.#wait(Infinity)
    }
    const mine = this.#ofThisTurn()
    this.#become({ is: 'connecting' })
    this.#token.ask(reason).then((token) => mine(() => this.#open(token, mine)), () => mine(() => this.#comeBack()))
  }

  /** Returns a function that runs callbacks only while this attempt is the present one. */
  #ofThisTurn (): (run: () => void) => void {
    const turn = this.#turn
    return (run) => { if (turn === this.#turn) run() }
  }

  #open (token: string | undefined, mine: (run: () => void) => void): void {
    this.#lastError = ''
    try {
      this.#wire = this.#options.dial({
        opening: () => ({ ...this.#host.opening(), token: token || undefined }),
        heard: (frame) => mine(() => this.#heard(frame)),
        down: (code) => mine(() => this.#down(code))
      })
    } catch (error) {
      // There is no WebSocket class, or the URL is wrong. Another attempt would fail too.
      this.#refuse(error instanceof RealtimeError ? error.code : String(error))
    }
  }

  #heard (frame: ServerFrame): void {
    this.#pulse.heard()
    if ('op' in frame) {
      if (frame.op === 'open') return this.#opened(frame.heartbeat)
      if (frame.op === 'bye') this.#bye = frame
      if (frame.op === 'error' && frame.ref === undefined) this.#lastError = frame.code
    }
    this.#host.heard(frame)
  }

  #opened (heartbeat: number): void {
    this.#openedAt = Date.now()
    this.#pulse.start(heartbeat)
    this.#become({ is: 'open' })
    this.#host.opened()
  }

  // --- its end ---------------------------------------------------------------------------

  #down (code: number): void {
    const said = this.#bye?.code ?? code
    const verdict = verdictOn(said, this.#bye)
    const { given } = this.#token
    const lived = this.#openedAt > 0 ? Date.now() - this.#openedAt : 0
    if (lived > GOOD_MS) this.#attempt = 0
    if (lived > HELD_MS) this.#renewed = false
    this.#lose()
    if (verdict === 'refused' && given && !this.#renewed) {
      this.#renewed = true
      this.#dial('refused')
    } else if (verdict === 'again' || (mayReturn(said) && !given)) this.#comeBack()
    else this.#refuse(this.#lastError || String(said))
  }

  #comeBack (): void {
    if (!this.#host.wanted) return this.#sleep({ is: 'idle' })
    this.#host.lost()
    this.#wait(Math.min(this.#bye?.retry ?? delayOf(this.#attempt++, this.#options), LONGEST_TIMER_MS))
  }

  /** Waits for the next attempt. A hidden page and one without a network do not dial. */
  #wait (ms: number): void {
    clearTimeout(this.#timer)
    if (isOffline()) return this.#become({ is: 'offline' })
    const delay = isHidden() ? Infinity : ms
    if (delay < Infinity) this.#timer = setTimeout(() => this.#dial('open'), delay)
    this.#become({ is: 'waiting', retryAt: Date.now() + delay })
  }

  #refuse (code: string): void {
    this.#sleep({ is: 'refused', code })
    this.#host.over()
  }

  /** Ends the connection, its timers and listeners. */
  #sleep (state: ClientState): void {
    this.#drop()
    this.#token.letGo()
    clearTimeout(this.#hiding)
    this.#unwatch?.()
    this.#unwatch = undefined
    this.#become(state)
  }

  #lose (): void {
    this.#drop()
    this.#host.lost()
  }

  #drop (): void {
    this.#turn++
    clearTimeout(this.#timer)
    this.#pulse.end()
    this.#token.stop()
    this.#openedAt = 0
    const wire = this.#wire
    this.#wire = undefined
    wire?.close()
  }

  #become (state: ClientState): void {
    this.#state = state
    this.state.changed()
  }

  // --- sleep, and the network ------------------------------------------------------------

  #awake (slept: boolean): void {
    if (isHidden()) return
    clearTimeout(this.#hiding)
    this.#attempt = 0
    // If the page did not sleep, its socket is open but may be slow, so the ping has the usual time.
    if (this.is === 'open') this.#pulse.ask(slept ? this.#wire?.patience ?? WAKE_MS : undefined)
    else if (this.is === 'waiting' || this.is === 'offline') this.#dial('open')
  }

  #hidden (): void {
    if (this.is === 'waiting') this.#wait(Infinity)
    clearTimeout(this.#hiding)
    this.#hiding = setTimeout(() => {
      if (this.is !== 'open' || !isHidden()) return
      this.#lose()
      this.#wait(Infinity)
    }, this.#options.hiddenTimeout)
  }

  #offline (): void {
    if (this.is === 'waiting') this.#wait(Infinity)
    // A socket does not report a pulled cable, so it is pinged.
    else if (this.is === 'open') this.#pulse.ask()
  }
}

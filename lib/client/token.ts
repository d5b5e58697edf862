/** The client's token. The source is asked once at a time, and again before the token expires. */
import { RealtimeError } from './errors.ts'

/**
 * Why a token is needed. `open`: for a new connection. `expiring`: half of the last one's time is over. `refused`: the
 * server has refused the last one.
 */
export type TokenReason = 'open' | 'expiring' | 'refused'
/** Returns a token. */
export type TokenSource = (why: { reason: TokenReason }) => string | Promise<string>

/** The longest timer: its ms have 32 bits, and a longer one would fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
const LEAST_MS = 1000

export class Token {
  readonly #source: TokenSource | undefined
  readonly #timeout: number
  #asking: Promise<string> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #giveUp = (): void => {}
  #patience: ReturnType<typeof setTimeout> | undefined
  /** When the token is renewed, ms since the epoch. */
  #at = Infinity

  /** `timeout`: how long to wait for the source, ms. */
  constructor (source: TokenSource | undefined, timeout: number) {
    this.#source = source
    this.#timeout = timeout
  }

  get given (): boolean { return this.#source !== undefined }

  /** Asks the source for a token. @throws RealtimeError, or what the source throws */
  async ask (reason: TokenReason): Promise<string | undefined> {
    const source = this.#source
    if (!source) return undefined
    this.#asking ??= this.#given(async () => await source({ reason })).finally(() => {
      clearTimeout(this.#patience)
      this.#asking = undefined
    })
    return await this.#asking
  }

  /** What the source returns, unless it takes too long. */
  async #given (source: () => Promise<string>): Promise<string> {
    return await new Promise((resolve, reject) => {
      this.#giveUp = () => reject(new RealtimeError('TIMEOUT', 'no token'))
      this.#patience = setTimeout(this.#giveUp, this.#timeout)
      Promise.resolve().then(source).then(resolve, reject)
    })
  }

  /** Renews in `ms`, if there is a source and no earlier renewal is due. At most once a second. */
  renewIn (ms: number, renew: () => void): void {
    const at = Date.now() + Math.max(ms, LEAST_MS)
    if (!this.#source || at >= this.#at) return
    this.stop()
    this.#at = at
    this.#timer = setTimeout(() => {
      this.#at = Infinity
      renew()
    }, Math.min(at - Date.now(), LONGEST_TIMER_MS))
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#at = Infinity
  }

  /** No connection needs a token any more. */
  letGo (): void {
    this.stop()
    this.#giveUp()
  }
}

/** Checks that an open connection is alive: it pings after a silence, and after every sleep. */

const PROBE_MS = 3000
/** After a sleep somebody looks at the page, which must be live within a second. */
export const WAKE_MS = 800

type Timer = ReturnType<typeof setTimeout>

export class Pulse {
  readonly #ping: () => void
  readonly #dead: () => void
  #beat: ReturnType<typeof setInterval> | undefined
  #probe: Timer | undefined
  /** The patience of the present ping, ms. */
  #patience = 0
  /** True if nothing was heard since the last beat. */
  #silent = false

  constructor (ping: () => void, dead: () => void) {
    this.#ping = ping
    this.#dead = dead
  }

  /** `heartbeat`: ms of silence before a ping. */
  start (heartbeat: number): void {
    this.end()
    this.#beat = setInterval(() => {
      if (this.#silent) this.ask()
      this.#silent = true
    }, heartbeat)
  }

  heard (): void {
    this.#silent = false
    if (this.#probe === undefined) return
    clearTimeout(this.#probe)
    this.#probe = undefined
  }

  /** Pings. Without an answer within `patience` ms the connection is dead. A second call can only shorten the wait. */
  ask (patience = PROBE_MS): void {
    if (this.#probe !== undefined && this.#patience <= patience) return
    clearTimeout(this.#probe)
    this.#patience = patience
    this.#ping()
    this.#probe = setTimeout(this.#dead, patience)
  }

  end (): void {
    clearInterval(this.#beat)
    this.heard()
  }
}

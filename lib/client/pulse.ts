/** Whether a connection that says it is open still is: it is asked in silence, and after every sleep. */

const PROBE_MS = 3000
/** Behind a sleep somebody looks at the page: it is live again within a second. */
export const WAKE_MS = 800

type Timer = ReturnType<typeof setTimeout>

export class Pulse {
  readonly #ping: () => void
  readonly #dead: () => void
  #beat: ReturnType<typeof setInterval> | undefined
  #probe: Timer | undefined
  /** ms of that one. */
  #patience = 0
  /** Nothing was heard since the last beat. */
  #silent = false

  constructor (ping: () => void, dead: () => void) {
    this.#ping = ping
    this.#dead = dead
  }

  /** `heartbeat`: ms of silence after which it is asked. */
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

  /** Where no answer comes within so many ms, it is dead. Who asks again does not wait for longer. */
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

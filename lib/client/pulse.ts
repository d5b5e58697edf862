/** Whether a connection that says it is open still is: it is asked in silence, and after every sleep. */

const PROBE_MS = 3000

type Timer = ReturnType<typeof setTimeout>

export class Pulse {
  readonly #ping: () => void
  readonly #dead: () => void
  #beat: ReturnType<typeof setInterval> | undefined
  #probe: Timer | undefined
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

  /** Where no answer comes, it is dead. */
  ask (): void {
    if (this.#probe !== undefined) return
    this.#ping()
    this.#probe = setTimeout(this.#dead, PROBE_MS)
  }

  end (): void {
    clearInterval(this.#beat)
    this.heard()
  }
}

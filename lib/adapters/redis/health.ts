/** Tells whether Redis can be reached, and lets callers wait for it. Only an outage that lasts is reported. */
import { overWithin } from '../../core/callbacks.ts'
import { retryDelay } from './link.ts'
import { sleep } from './sleep.ts'

/** One of the two connections to Redis. */
interface Way {
  readonly up: boolean
  readonly why: Error
}

export interface HealthHost {
  readonly commands: Way
  readonly messages: Way
  state (state: 'up' | 'down', why?: Error): void
}

/** `in doubt`: Redis is not up, and the outage is not reported yet. `down`: it is reported. */
type State =
  | { readonly is: 'well' | 'down' | 'closed' }
  | { readonly is: 'in doubt', readonly timer: NodeJS.Timeout }

/** An outage is reported when it has lasted so long. */
const GRACE_MS = 500

export class Health {
  outages = 0
  readonly #host: HealthHost
  #state: State = { is: 'well' }
  #whenUp: Array<() => void> = []

  constructor (host: HealthHost) {
    this.#host = host
  }

  /** True if both connections are up. */
  get up (): boolean {
    return this.#host.commands.up && this.#host.messages.up
  }

  /** Called when a connection comes up or is lost. */
  changed (): void {
    if (this.#host.commands.up) this.#wake()
    if (this.up) this.#heal()
    else this.#doubt()
  }

  #heal (): void {
    const state = this.#state
    if (state.is === 'closed') return
    this.#state = { is: 'well' }
    if (state.is === 'in doubt') clearTimeout(state.timer)
    if (state.is === 'down') this.#host.state('up')
  }

  #doubt (): void {
    if (this.#state.is !== 'well') return
    this.#state = { is: 'in doubt', timer: setTimeout(() => this.#fall(), GRACE_MS).unref() }
  }

  #fall (): void {
    const { commands, messages } = this.#host
    this.#state = { is: 'down' }
    this.outages++
    this.#host.state('down', commands.up ? messages.why : commands.why)
  }

  // --- for those who wait --------------------------------------------------------------

  /** Resolves when commands can be sent. @throws why they cannot */
  async upWithin (ms: number): Promise<void> {
    const { commands } = this.#host
    const deadline = performance.now() + ms
    while (!commands.up) {
      const left = deadline - performance.now()
      if (left <= 0 || this.#state.is === 'closed') throw commands.why
      await overWithin(left, new Promise<void>((resolve) => { this.#whenUp.push(resolve) }))
    }
  }

  /**
   * Resolves when it is worth trying again. If commands can be sent now, that is after a short delay; else when they
   * can be sent, or after `ms`.
   */
  async pause (attempt: number, ms: number): Promise<void> {
    if (!this.#host.commands.up) await this.upWithin(ms).catch(() => {})
    else await sleep(retryDelay(attempt))
  }

  #wake (): void {
    for (const wake of this.#whenUp.splice(0)) wake()
  }

  close (): void {
    if (this.#state.is === 'in doubt') clearTimeout(this.#state.timer)
    this.#state = { is: 'closed' }
    this.#wake()
  }
}

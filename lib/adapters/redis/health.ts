/** Whether Redis can be reached, for whoever waits for it; an outage that lasts is told of. */
import { overWithin } from '../../core/callbacks.ts'
import { retryDelay } from './link.ts'
import { sleep } from './sleep.ts'

/** A way to Redis. */
interface Way {
  readonly up: boolean
  readonly why: Error
}

export interface HealthHost {
  readonly commands: Way
  readonly messages: Way
  state (state: 'up' | 'down', why?: Error): void
}

/** `in doubt`: it is not up, and perhaps will be in a moment. `down`: it was told so. */
type State =
  | { readonly is: 'well' | 'down' | 'closed' }
  | { readonly is: 'in doubt', readonly timer: NodeJS.Timeout }

/** An outage is told of when it lasts. */
const GRACE_MS = 500

export class Health {
  outages = 0
  readonly #host: HealthHost
  #state: State = { is: 'well' }
  #whenUp: Array<() => void> = []

  constructor (host: HealthHost) {
    this.#host = host
  }

  /** Both ways are. */
  get up (): boolean {
    return this.#host.commands.up && this.#host.messages.up
  }

  /** A way is up, or is not any more. */
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

  /** Until commands can go. @throws why they cannot */
  async upWithin (ms: number): Promise<void> {
    const { commands } = this.#host
    const deadline = performance.now() + ms
    while (!commands.up) {
      const left = deadline - performance.now()
      if (left <= 0 || this.#state.is === 'closed') throw commands.why
      await overWithin(left, new Promise<void>((resolve) => { this.#whenUp.push(resolve) }))
    }
  }

  /** Until it is worth trying again: commands can go, or `ms` are over; where they can, for a moment. */
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

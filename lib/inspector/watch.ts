/**
 * Counts why clients are told of losses, while somebody looks. Nobody listens before the first and behind the last:
 * what is told of a delivery is never listened to.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'

/** A page on another node asks at least so often, or is gone. */
const LOOKS_FOR_MS = 15_000
const MAX_REASONS = 16

interface Told { app: { realtime?: unknown }, recovered?: boolean, reason?: string }

export class Watch {
  readonly #realtime: object
  readonly #reasons = new Map<string, number>()
  /** Pages that are connected to this node. */
  #here = 0
  #elsewhere: NodeJS.Timeout | undefined
  #watching = false

  constructor (realtime: object) {
    this.#realtime = realtime
  }

  get watching (): boolean { return this.#watching }
  get reasons (): Record<string, number> { return Object.fromEntries(this.#reasons) }

  came (): void {
    this.#here++
    this.#start()
  }

  left (): void {
    this.#here--
    this.#stopUnwatched()
  }

  /** A page that is connected to another node has asked. */
  asked (): void {
    this.#start()
    if (this.#elsewhere) this.#elsewhere.refresh()
    else this.#elsewhere = setTimeout(() => this.#gone(), LOOKS_FOR_MS).unref()
  }

  end (): void {
    clearTimeout(this.#elsewhere)
    this.#elsewhere = undefined
    this.#here = 0
    this.#stopUnwatched()
  }

  #gone (): void {
    this.#elsewhere = undefined
    this.#stopUnwatched()
  }

  #start (): void {
    if (this.#watching) return
    this.#watching = true
    subscribe('fastify-realtime:reset', this.#told)
    subscribe('fastify-realtime:resume', this.#told)
  }

  #stopUnwatched (): void {
    if (!this.#watching || this.#here > 0 || this.#elsewhere) return
    this.#watching = false
    unsubscribe('fastify-realtime:reset', this.#told)
    unsubscribe('fastify-realtime:resume', this.#told)
    this.#reasons.clear()
  }

  readonly #told = (message: unknown): void => {
    const { app, recovered, reason } = message as Told
    // There may be several apps in one process.
    if (app.realtime !== this.#realtime || recovered === true || reason === undefined) return
    const count = this.#reasons.get(reason)
    if (count !== undefined || this.#reasons.size < MAX_REASONS) this.#reasons.set(reason, (count ?? 0) + 1)
  }
}

/**
 * What allows one client, and when that ends: its identity, and its grants. Only clients with limited rights have one.
 */
import { expired } from '../../core/close-reasons.ts'
import type { CloseReason } from '../../core/close-reasons.ts'
import type { Deadline, Deadlines, Due } from '../../core/deadlines.ts'
import type { LapseReason } from '../../core/wire.ts'
import type { Grant } from './grant.ts'

/** The client's connection. */
export interface Holder {
  readonly closed: boolean
  /** True if the client hears this topic, or is about to. */
  concerns (topic: string): boolean
  lapse (topic: string, reason: LapseReason): void
  sendAway (reason: CloseReason): void
}

export interface HoldingHost {
  readonly deadlines: Deadlines
  /** How long an expired right still holds, ms. In this time the client can bring a newer one. */
  readonly grace: number
  /** A right has expired. For the counters. */
  expired (): void
}

interface Held {
  readonly grant: Grant
  /** When the grant ends, on the clock that never jumps. Infinity if it does not end. */
  readonly until: number
}

/** When so many grants are kept, those of topics that the client has left are dropped. */
const MIN_SWEPT = 64

export class Holding implements Due {
  readonly #host: HoldingHost
  readonly #holder: Holder
  readonly #held = new Map<string, Held>()
  #identityUntil = Infinity
  #deadline: Deadline | undefined
  #sweepAt = MIN_SWEPT

  constructor (host: HoldingHost, holder: Holder) {
    this.#host = host
    this.#holder = holder
  }

  /** The number of grants that are kept. */
  get size (): number { return this.#held.size }

  /** Sets when the identity ends (ms since the epoch). Undefined: with the connection. */
  identityEnds (expiresAt: number | undefined): void {
    this.#identityUntil = this.#moment(expiresAt)
    this.#arm()
  }

  hold (topic: string, grant: Grant): void {
    this.#held.delete(topic)
    if (grant.expiresAt !== undefined || grant.info !== undefined) {
      if (this.#held.size >= this.#sweepAt) this.#sweep()
      this.#held.set(topic, { grant, until: this.#moment(grant.expiresAt) })
    }
    this.#arm()
  }

  grant (topic: string): Grant | undefined {
    return this.#held.get(topic)?.grant
  }

  /** ms from now until the client's right to this topic ends. 0 if it has ended. */
  expires (topic: string): number | undefined {
    return this.#fromNow(Math.min(this.#identityUntil, this.#held.get(topic)?.until ?? Infinity))
  }

  /** ms from now until the first of the client's rights ends. */
  get firstEnd (): number | undefined {
    return this.#fromNow(this.#first)
  }

  get #first (): number {
    let first = this.#identityUntil
    for (const { until } of this.#held.values()) first = Math.min(first, until)
    return first
  }

  /** The connection has ended. */
  end (): void {
    this.#held.clear()
    this.#identityUntil = Infinity
    this.#disarm()
  }

  due (): void {
    this.#deadline = undefined
    const latest = this.#host.deadlines.now - this.#host.grace
    if (this.#identityUntil <= latest) {
      this.#host.expired()
      return this.#holder.sendAway(expired)
    }
    for (const [topic, { until }] of [...this.#held]) {
      if (until <= latest) this.#lapse(topic)
    }
    this.#arm()
  }

  #lapse (topic: string): void {
    this.#held.delete(topic)
    if (!this.#holder.concerns(topic)) return
    this.#host.expired()
    this.#holder.lapse(topic, 'expired')
  }

  #moment (expiresAt: number | undefined): number {
    return expiresAt === undefined ? Infinity : this.#host.deadlines.momentOf(expiresAt)
  }

  #fromNow (moment: number): number | undefined {
    return moment === Infinity ? undefined : Math.max(0, Math.round(moment - this.#host.deadlines.now))
  }

  #arm (): void {
    if (this.#holder.closed) return
    const at = this.#first + this.#host.grace
    if (this.#deadline?.at === at) return
    this.#disarm()
    if (at !== Infinity) this.#deadline = this.#host.deadlines.add(this, at)
  }

  #disarm (): void {
    if (this.#deadline) this.#host.deadlines.remove(this.#deadline)
    this.#deadline = undefined
  }

  #sweep (): void {
    for (const topic of [...this.#held.keys()]) if (!this.#holder.concerns(topic)) this.#held.delete(topic)
    this.#sweepAt = Math.max(MIN_SWEPT, this.#held.size * 2)
  }
}

/** The identities that were signed out everywhere, and when. What was issued to them until then is refused. */
import type { Deadlines } from '../../core/deadlines.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'

interface Revoked {
  /** ms since the epoch. */
  readonly at: number
  /** Until when the revocation is kept, on the clock that never jumps: a wall clock set forward must not drop it. */
  readonly until: number
}

export class RevokedIdentities {
  readonly #clock: Pick<Deadlines, 'now' | 'momentOf'>
  readonly #ms: number
  readonly #most: number
  readonly #known = new OrderOfUse<string, Revoked>()

  /** `ms`: how long each is kept. `most`: how many are kept. */
  constructor (clock: Pick<Deadlines, 'now' | 'momentOf'>, ms: number, most: number) {
    this.#clock = clock
    this.#ms = ms
    this.#most = most
  }

  get size (): number { return this.#known.size }

  /** When the identity was revoked, ms since the epoch. */
  at (identity: string): number | undefined {
    return this.#known.size === 0 ? undefined : this.#known.get(identity)?.at
  }

  /** True if this was issued (ms since the epoch) before the revocation. Without a time of issue it counts as old. */
  refuses (identity: string, issuedAt: number | undefined): boolean {
    const at = this.at(identity)
    return at !== undefined && (issuedAt === undefined || issuedAt <= at)
  }

  /** True if this identity is new, and would take the place of another. */
  isFullFor (identity: string): boolean {
    this.#forgetOld()
    return this.#known.size >= this.#most && !this.#known.has(identity)
  }

  /** False if this revocation, or a later one, is known already. */
  add (identity: string, at: number): boolean {
    this.#forgetOld()
    if (at <= (this.at(identity) ?? -Infinity)) return false
    this.#known.set(identity, { at, until: this.#clock.momentOf(at) + this.#ms })
    while (this.#known.size > this.#most) this.#known.shift()
    return true
  }

  /** Each identity with the time of its revocation. */
  * entries (): Generator<[string, number]> {
    this.#forgetOld()
    for (const [identity, { at }] of this.#known.entries()) yield [identity, at]
  }

  /** Drops old entries. They are in the order in which they became known, which is about that of their ends. */
  #forgetOld (): void {
    const now = this.#clock.now
    for (let oldest = this.#known.oldest; oldest && oldest.until <= now; oldest = this.#known.oldest) {
      this.#known.shift()
    }
  }
}

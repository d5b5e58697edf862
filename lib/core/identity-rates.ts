/** Limits how many messages one identity may send, over all of its connections to this node. */
import { Bucket } from './bucket.ts'
import { OrderOfUse } from './order-of-use.ts'

/** A burst may have as many messages as may be sent in so many seconds. */
const BURST_S = 2
/** How many buckets are checked with each message. A message adds at most one, so more go than come. */
const LOOKS = 2

export class IdentityRates {
  readonly #perSecond: number
  readonly #burst: number
  /** Buckets of identities that have sent something lately, the one that is silent for longest first. */
  readonly #buckets = new OrderOfUse<string, Bucket>()

  /** `perSecond`: Infinity for no limit. */
  constructor (perSecond: number, burst = perSecond * BURST_S) {
    this.#perSecond = perSecond
    this.#burst = burst
  }

  /** Identities that are remembered. */
  get size (): number { return this.#buckets.size }

  /** True when one more message of this identity is within its rate. */
  take (identity: string): boolean {
    if (this.#perSecond === Infinity) return true
    this.#forgetSilent()
    const bucket = this.#buckets.get(identity) ?? new Bucket(this.#burst, this.#perSecond)
    this.#buckets.set(identity, bucket)
    return bucket.take()
  }

  #forgetSilent (): void {
    for (let look = 0; look < LOOKS && this.#buckets.oldest?.full; look++) this.#buckets.shift()
  }
}

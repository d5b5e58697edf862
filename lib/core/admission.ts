/**
 * Who is let in: how many connections this node, an address and an identity may have. A client's place is taken before
 * anything is asked about it, and given back when its way in and its connection are both over: whoever runs the app's
 * code, or holds a socket, is counted.
 */
import { OrderOfUse } from './order-of-use.ts'
import { TooManyConnections } from '../errors.ts'

export interface AdmissionLimits {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxConnectionsPerIdentity: number
}

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #origins: Tally
  readonly #identities: Tally
  #size = 0

  constructor (limits: AdmissionLimits) {
    this.#limits = limits
    this.#origins = new Tally(limits.maxConnectionsPerAddress)
    this.#identities = new Tally(limits.maxConnectionsPerIdentity)
  }

  /** Places taken now. */
  get size (): number { return this.#size }
  /** Addresses and identities that are remembered. */
  get remembered (): number { return this.#origins.size + this.#identities.size }

  /** Takes a place. `origin`: an address (see address.ts) or what stands for one; undefined where only the node's limit holds. @throws TooManyConnections */
  reserve (origin: string | undefined): Place {
    const { maxConnections, maxConnectionsPerAddress } = this.#limits
    if (this.#size >= maxConnections) throw new TooManyConnections(` on this node (maxConnections: ${maxConnections})`)
    if (origin !== undefined && !this.#origins.take(origin)) {
      throw new TooManyConnections(` from this address (maxConnectionsPerAddress: ${maxConnectionsPerAddress}). Is it a proxy's, set Fastify's trustProxy`)
    }
    this.#size++
    return new Place(this, origin)
  }

  /** @throws TooManyConnections */
  identify (id: string): void {
    if (!this.#identities.take(id)) throw new TooManyConnections(` of this identity (maxConnectionsPerIdentity: ${this.#limits.maxConnectionsPerIdentity})`)
  }

  /** Called by a place, once. */
  release (origin: string | undefined, identity: string | undefined): void {
    this.#size--
    if (origin !== undefined) this.#origins.give(origin)
    if (identity !== undefined) this.#identities.give(identity)
  }
}

/** One client's place. Given back exactly once, whatever becomes of the client. */
export class Place {
  readonly #admission: Admission
  readonly #origin: string | undefined
  #identity: string | undefined
  /** What it is still held for; 0 when it was given back. */
  #held = ARRIVING | CONNECTED

  constructor (admission: Admission, origin: string | undefined) {
    this.#admission = admission
    this.#origin = origin
  }

  /** Counts it for this identity too. @throws TooManyConnections */
  identify (id: string): void {
    this.#admission.identify(id)
    this.#identity = id
  }

  /** Its way in is over: no code of the app's runs for it any more, whether it was let in or not. */
  arrived (): void {
    this.#let(ARRIVING)
  }

  /** Its connection is gone, or never came to be. */
  left (): void {
    this.#let(CONNECTED)
  }

  /** Nothing comes of it. */
  giveBack (): void {
    this.#let(ARRIVING | CONNECTED)
  }

  #let (what: number): void {
    if (this.#held === 0) return
    this.#held &= ~what
    if (this.#held === 0) this.#admission.release(this.#origin, this.#identity)
  }
}

const ARRIVING = 1
const CONNECTED = 2

/** How many of each. Nothing is kept of whoever has none. */
class Tally {
  readonly #most: number
  readonly #counts = new OrderOfUse<string, number>()

  constructor (most: number) {
    this.#most = most
  }

  get size (): number { return this.#counts.size }

  /** False when it has as many as it may. */
  take (key: string): boolean {
    if (this.#most === Infinity) return true
    const count = this.#counts.get(key) ?? 0
    if (count >= this.#most) return false
    this.#counts.set(key, count + 1)
    return true
  }

  give (key: string): void {
    const count = this.#counts.get(key) ?? 0
    if (count > 1) this.#counts.set(key, count - 1)
    else this.#counts.delete(key)
  }
}

/**
 * Who is let in: how many connections this node, an address and an identity may have. A client takes its place before
 * the app is asked about it, and gives it back when both its way in and its connection are over. So a client counts for
 * as long as the app's code runs for it, or it holds a socket.
 */
import { OrderOfUse } from './order-of-use.ts'
import { TooManyConnections } from '../errors.ts'

export interface AdmissionLimits {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxConnectionsPerIdentity: number
}

/** An address (see address.ts), or what stands for one; undefined where only the node's limit holds. */
export type Origin = string | undefined

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #places = new Set<Place>()
  readonly #origins: Tally
  readonly #identities: Tally
  /**
   * Are addresses counted? Not while the node has fewer clients than one address may have: finding out an address is a
   * system call.
   */
  #countsOrigins = false

  constructor (limits: AdmissionLimits) {
    this.#limits = limits
    this.#origins = new Tally(limits.maxConnectionsPerAddress)
    this.#identities = new Tally(limits.maxConnectionsPerIdentity)
  }

  /** Without a limit for an address nobody is ever asked for one. */
  get limitsOrigins (): boolean { return this.#limits.maxConnectionsPerAddress !== Infinity }
  /** The address of whoever comes now is counted. */
  get asksOrigins (): boolean { return this.#countsOrigins || this.size >= this.#limits.maxConnectionsPerAddress }
  /** Places taken now. */
  get size (): number { return this.#places.size }
  /** Addresses and identities that are remembered. */
  get remembered (): number { return this.#origins.size + this.#identities.size }

  /** Takes a place. `originOf` is asked once, now or later. @throws TooManyConnections */
  reserve (originOf: () => Origin): Place {
    const { maxConnections, maxConnectionsPerAddress } = this.#limits
    if (this.size >= maxConnections) throw new TooManyConnections(` on this node (maxConnections: ${maxConnections})`)
    if (this.asksOrigins) this.#countOrigins()
    const place = new Place(this, originOf)
    if (this.#countsOrigins && !place.countOrigin(this.#origins)) {
      throw new TooManyConnections(
        ` from this address (maxConnectionsPerAddress: ${maxConnectionsPerAddress}). ` +
        'If it is the address of a proxy, set Fastify\'s trustProxy'
      )
    }
    this.#places.add(place)
    return place
  }

  #countOrigins (): void {
    if (this.#countsOrigins) return
    this.#countsOrigins = true
    for (const place of this.#places) place.countOrigin(this.#origins)
  }

  /** @throws TooManyConnections */
  identify (id: string): void {
    if (!this.#identities.take(id)) {
      throw new TooManyConnections(
        ` of this identity (maxConnectionsPerIdentity: ${this.#limits.maxConnectionsPerIdentity})`
      )
    }
  }

  /** Called by a place, once. */
  release (place: Place, origin: Origin, identity: string | undefined): void {
    this.#places.delete(place)
    if (origin !== undefined) this.#origins.give(origin)
    if (identity !== undefined) this.#identities.give(identity)
    // Few clients are left. Their addresses are counted again should they become many.
    if (this.#countsOrigins && this.size < this.#limits.maxConnectionsPerAddress / 2) this.#forgetOrigins()
  }

  #forgetOrigins (): void {
    this.#countsOrigins = false
    for (const place of this.#places) place.forgetOrigin(this.#origins)
  }
}

/** One client's place. Given back exactly once, whatever becomes of the client. */
export class Place {
  readonly #admission: Admission
  #originOf: () => Origin
  /** As it was counted. */
  #origin: Origin
  #identity: string | undefined
  /** What it is still held for; 0 when it was given back. */
  #held = ARRIVING | CONNECTED

  constructor (admission: Admission, originOf: () => Origin) {
    this.#admission = admission
    this.#originOf = originOf
  }

  /** False when its origin has as many as it may. */
  countOrigin (origins: Tally): boolean {
    const origin = this.#originOf()
    if (origin === undefined) return true
    if (!origins.take(origin)) return false
    this.#origin = origin
    return true
  }

  /**
   * The client may leave before its place is counted, and the place may be held for longer. Its origin is found out
   * now: a closed socket does not know it.
   */
  keepOrigin (): void {
    if (!this.#admission.limitsOrigins) return
    const origin = this.#originOf()
    this.#originOf = () => origin
  }

  forgetOrigin (origins: Tally): void {
    if (this.#origin !== undefined) origins.give(this.#origin)
    this.#origin = undefined
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

  /** The client does not get in: both are over. */
  giveBack (): void {
    this.#let(ARRIVING | CONNECTED)
  }

  #let (what: number): void {
    if (this.#held === 0) return
    this.#held &= ~what
    if (this.#held === 0) this.#admission.release(this, this.#origin, this.#identity)
  }
}

const ARRIVING = 1
const CONNECTED = 2

/** A count for each key. A key whose count is zero is not kept. */
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

/**
 * Limits how many connections this node, an address and an identity may have. A client takes a place before the app is
 * asked about the client. The place is given back when both the client's arrival and its connection are over. So a
 * client counts for as long as the app's code runs for it, or it holds a socket.
 */
import { OrderOfUse } from './order-of-use.ts'
import { TooManyConnections } from '../errors.ts'

export interface AdmissionLimits {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxConnectionsPerIdentity: number
}

/** An address (see address.ts), or what stands for one; undefined if only the node's limit holds. */
export type Origin = string | undefined

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #places = new Set<Place>()
  readonly #origins: Tally
  readonly #identities: Tally
  /**
   * True while addresses are counted. They are not counted while the node has fewer clients than one address may have:
   * finding out an address is a system call.
   */
  #countsOrigins = false

  constructor (limits: AdmissionLimits) {
    this.#limits = limits
    this.#origins = new Tally(limits.maxConnectionsPerAddress)
    this.#identities = new Tally(limits.maxConnectionsPerIdentity)
  }

  /** False if there is no limit for an address: then no address is ever asked for. */
  get limitsOrigins (): boolean { return this.#limits.maxConnectionsPerAddress !== Infinity }
  /** True if the address of the next client is counted. */
  get asksOrigins (): boolean { return this.#countsOrigins || this.size >= this.#limits.maxConnectionsPerAddress }
  /** Places taken now. */
  get size (): number { return this.#places.size }
  /** Addresses and identities that are remembered. */
  get remembered (): number { return this.#origins.size + this.#identities.size }

  /** Takes a place. `originOf` is called when the address is needed, now or later. @throws TooManyConnections */
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
    // Few clients are left. Their addresses are counted again if there are many again.
    if (this.#countsOrigins && this.size < this.#limits.maxConnectionsPerAddress / 2) this.#forgetOrigins()
  }

  #forgetOrigins (): void {
    this.#countsOrigins = false
    for (const place of this.#places) place.forgetOrigin(this.#origins)
  }
}

/** One client's place. It is given back exactly once, whatever becomes of the client. */
export class Place {
  readonly #admission: Admission
  #originOf: () => Origin
  /** The origin that the place is counted for; undefined if it is not counted. */
  #origin: Origin
  #identity: string | undefined
  /** What the place is still held for; 0 when it was given back. */
  #held = ARRIVING | CONNECTED

  constructor (admission: Admission, originOf: () => Origin) {
    this.#admission = admission
    this.#originOf = originOf
  }

  /** False if the origin has as many places as it may. */
  countOrigin (origins: Tally): boolean {
    const origin = this.#originOf()
    if (origin === undefined) return true
    if (!origins.take(origin)) return false
    this.#origin = origin
    return true
  }

  /**
   * Finds out the origin now, and keeps it. The client may leave while the place is still held, and a closed socket
   * does not know its address.
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

  /** Counts the place for this identity too. @throws TooManyConnections */
  identify (id: string): void {
    this.#admission.identify(id)
    this.#identity = id
  }

  /** The client's arrival is over: no app code runs for it any more, whether the client was let in or not. */
  arrived (): void {
    this.#let(ARRIVING)
  }

  /** The client's connection is gone, or never came to be. */
  left (): void {
    this.#let(CONNECTED)
  }

  /** The client was not let in: its arrival and its connection are over. */
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

  /** False if the key has as many as it may. */
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

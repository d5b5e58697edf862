/**
 * Who runs a source: the node that has the lease on its topic, for as long as it renews the lease. Where the adapter
 * knows of no leases, there is only one node.
 */
import { ownershipOf, type Adapter, type Ownership } from '../../core/adapter.ts'

/** A node that says nothing for so long does not run its sources any more. */
const LEASE_MS = 6000
/** How often leases are renewed, and those of others looked at. */
export const LEASE_TICK_MS = 2000
/** Whose a run is, or how it is over. `nobody`: it has not begun, or its node is lost. */
export type Holder = 'here' | 'elsewhere' | 'nobody' | Ending
/** How a run is over. */
export type Ending = 'ended' | 'broken-off'
/** In place of an owner when the run is over. */
const OVER: Readonly<Record<Ending, string>> = { ended: 'over', 'broken-off': 'broken-off' }

export class Leases {
  readonly #ownership: Ownership | undefined
  readonly #node: string

  constructor (adapter: Adapter & Partial<Ownership>, node: string) {
    this.#ownership = ownershipOf(adapter)
    this.#node = node
  }

  /** The owner that an append to a run's topic must name. */
  get owner (): string | undefined { return this.#ownership && this.#node }

  /** Claims it, or claims it again. True when this node may run it. */
  async claim (name: string): Promise<boolean> {
    return this.#ownership === undefined || await this.#ownership.claim(name, this.#node, LEASE_MS) === this.#node
  }

  async holder (name: string): Promise<Holder> {
    const owner = await this.#ownership?.owner(name)
    if (owner === undefined) return 'nobody'
    if (owner === this.#node) return 'here'
    return owner === OVER.ended ? 'ended' : owner === OVER['broken-off'] ? 'broken-off' : 'elsewhere'
  }

  async giveBack (name: string): Promise<void> {
    await this.#ownership?.release(name, this.#node)
  }

  /** The run is over. That is known for so many ms. */
  async end (name: string, ending: Ending, ms: number): Promise<void> {
    await this.#ownership?.release(name, this.#node, { owner: OVER[ending], ms })
  }
}

/** By a node that lives. */
export function isHeld (holder: Holder): holder is 'here' | 'elsewhere' {
  return holder === 'here' || holder === 'elsewhere'
}

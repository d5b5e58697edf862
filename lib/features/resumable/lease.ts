/**
 * Leases of runs. The node that has the lease on a run's topic runs its source, as long as it renews the lease. If the
 * adapter has no leases, there is only one node.
 */
import { ownershipOf, type Adapter, type Ownership } from '../../core/adapter.ts'

/** If a node does not renew its leases for so long, its sources count as lost. */
const LEASE_MS = 6000
/** How often a node renews its leases and checks those of others. */
export const LEASE_TICK_MS = 2000
/** Where a run is, or how it has ended. `nobody`: it has not begun, or its node is lost. */
export type Holder = 'here' | 'elsewhere' | 'nobody' | Ending
/** How a run has ended. */
export type Ending = 'ended' | 'broken-off'
/** The owner of the lease of a run that has ended. */
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

  /** Claims or renews the lease. True if this node may run the source. */
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

  /** Marks the run as ended, for `ms`. */
  async end (name: string, ending: Ending, ms: number): Promise<void> {
    await this.#ownership?.release(name, this.#node, { owner: OVER[ending], ms })
  }
}

/** True if a live node has the lease. */
export function isHeld (holder: Holder): holder is 'here' | 'elsewhere' {
  return holder === 'here' || holder === 'elsewhere'
}

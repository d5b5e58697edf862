/**
 * Who runs a source: the node that has the lease on its topic, for as long as it renews the lease. Where the adapter
 * knows of no leases, there is only one node.
 */
import { ownershipOf, type Adapter, type Ownership } from '../../core/adapter.ts'

/** A node that says nothing for so long does not run its sources any more. */
const LEASE_MS = 6000
/** How often leases are renewed, and those of others looked at. */
export const LEASE_TICK_MS = 2000
/** In place of an owner when the run is over. */
const OVER = 'over'

export class Leases {
  readonly #ownership: Ownership | undefined
  readonly #node: string

  constructor (adapter: Adapter & Partial<Ownership>, node: string) {
    this.#ownership = ownershipOf(adapter)
    this.#node = node
  }

  /** Others could run it. */
  get shared (): boolean { return this.#ownership !== undefined }
  /** The owner that an append to a run's topic must name. */
  get owner (): string | undefined { return this.#ownership && this.#node }

  /** Claims it, or claims it again. True when this node may run it. */
  async claim (name: string): Promise<boolean> {
    return this.#ownership === undefined || await this.#ownership.claim(name, this.#node, LEASE_MS) === this.#node
  }

  /** Whose it is. `over`: the run has ended. `nobody`: it has not begun, or its node is lost. */
  async holder (name: string): Promise<'here' | 'elsewhere' | 'over' | 'nobody'> {
    const owner = await this.#ownership?.owner(name)
    if (owner === undefined) return 'nobody'
    return owner === OVER ? 'over' : owner === this.#node ? 'here' : 'elsewhere'
  }

  async giveBack (name: string): Promise<void> {
    await this.#ownership?.release(name, this.#node)
  }

  /** The run has ended. That is known for so many ms. */
  async end (name: string, ms: number): Promise<void> {
    await this.#ownership?.release(name, this.#node, { owner: OVER, ms })
  }
}

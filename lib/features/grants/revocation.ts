/**
 * Signing out everywhere: all nodes refuse what was issued before the order, also nodes that start later. The order
 * goes over the nodes' bus. The adapter keeps it for nodes that did not hear it.
 */
import { marksOf, type Adapter, type Marks } from '../../core/adapter.ts'
import type { AppLog } from '../../core/callbacks.ts'
import { judgedAnew, type CloseReason } from '../../core/close-reasons.ts'
import type { ReadOrder } from '../../core/cluster/node.ts'
import { isText, type Members } from '../../core/cluster/orders.ts'
import type { Deadlines } from '../../core/deadlines.ts'
import { RevocationsFull } from '../../errors.ts'
import { RevokedIdentities } from './revoked.ts'

/** The parts of a connection that a revocation needs. */
interface Revocable {
  readonly identity: { readonly id: string }
  /** When the proof of its identity was issued. Undefined if the proof does not say. */
  readonly issuedAt: number | undefined
  sendAway (reason: CloseReason): void
}

export interface RevocationHost {
  readonly adapter: Adapter & Partial<Marks>
  readonly deadlines: Deadlines
  readonly log: AppLog
  readonly node: {
    obey (op: string, read: ReadOrder): void
    order (order: Record<string, unknown>): Promise<unknown>
  }
  readonly clients: ReadonlySet<Revocable>
}

export interface RevocationSettings {
  /** How long each revocation is kept, ms. */
  readonly age: number
  /** How many revocations are kept. */
  readonly most: number
}

const SPACE = 'revoked'
const ORDER = 'revoke'
/** How much the clocks of nodes may differ. A time that is further ahead is wrong. */
const MOST_AHEAD_MS = 300_000

export class Revocation {
  readonly identities: RevokedIdentities
  readonly #host: RevocationHost
  readonly #settings: RevocationSettings
  readonly #marks: Marks | undefined
  #syncing: Promise<void> | undefined

  constructor (host: RevocationHost, settings: RevocationSettings) {
    this.#host = host
    this.#settings = settings
    this.#marks = marksOf(host.adapter)
    this.identities = new RevokedIdentities(host.deadlines, settings.age, settings.most)
    host.node.obey(ORDER, (said) => this.#obey(said))
  }

  /** Resolves when every node is told, and nodes that start later will be. @throws RevocationsFull, Unavailable */
  async revoke (identity: string): Promise<void> {
    const { age, most } = this.#settings
    const at = Date.now()
    if (this.identities.isFullFor(identity)) throw new RevocationsFull(most)
    if (this.#marks && !await this.#marks.mark(SPACE, identity, at, age, most)) throw new RevocationsFull(most)
    await this.#host.node.order({ op: ORDER, identity, at })
  }

  #obey ({ identity, at }: Members): (() => void) | undefined {
    if (!isText(identity) || !isMoment(at)) return undefined
    // The order that ends its connections follows.
    return () => { this.identities.add(identity, bounded(at)) }
  }

  /** Reads the revocations from before this node heard orders. */
  async start (): Promise<void> {
    await this.#read()
  }

  /** This node may have missed orders, or the adapter may have lost marks. Each gets what the other has. */
  resync (): void {
    this.#syncing ??= this.#sync()
      .catch((error: unknown) => this.#host.log.warn({ err: error },
        'realtime: could not read the revocations of the adapter; trying again when it is back'))
      .finally(() => { this.#syncing = undefined })
  }

  async #sync (): Promise<void> {
    const kept = await this.#read()
    for (const [identity, at] of [...this.identities.entries()]) {
      if (this.#marks && (kept.get(identity) ?? -Infinity) < at) {
        await this.#marks.mark(SPACE, identity, at, this.#settings.age, this.#settings.most)
      }
    }
  }

  async #read (): Promise<ReadonlyMap<string, number>> {
    const kept = await this.#marks?.marks(SPACE) ?? new Map<string, number>()
    const news = [...kept].filter(([identity, at]) => this.identities.add(identity, bounded(at)))
    if (news.length > 0) this.#endOld()
    return kept
  }

  /** Ends connections that the missed orders would have ended. */
  #endOld (): void {
    for (const client of [...this.#host.clients]) {
      const { identity: { id }, issuedAt } = client
      if (issuedAt !== undefined && this.identities.refuses(id, issuedAt)) client.sendAway(judgedAnew)
    }
  }
}

function isMoment (value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
}

/** Threat: with a time far ahead, a writer to the adapter's server could refuse a user for ever. */
function bounded (at: number): number {
  return Math.min(at, Date.now() + MOST_AHEAD_MS)
}

/**
 * After a failover or restart, checks that Redis still has the events that were acknowledged to this node. If one is
 * missing, VERIFY begins the topic's log anew and tells all its listeners.
 */
import type { EventId } from '../../core/adapter.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'
import { HEAD_MS } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import { VERIFY } from './scripts.ts'

interface Acknowledged { readonly id: EventId, readonly at: number }

/** How long a node remembers acknowledged events. */
const ACKNOWLEDGED_MS = 60_000
/** At most so many topics. Above it, the topics that were published to least recently are forgotten. */
const MAX_ACKNOWLEDGED = 100_000
const VERIFY_AT_ONCE = 100

export class Failover {
  readonly #node: RedisNode
  /** The last acknowledged event of each topic. */
  readonly #acknowledged = new OrderOfUse<string, Acknowledged>()

  constructor (node: RedisNode) {
    this.#node = node
  }

  acknowledged (topic: string, id: EventId): void {
    this.#acknowledged.set(topic, { id, at: performance.now() })
    if (this.#acknowledged.size > MAX_ACKNOWLEDGED) this.#acknowledged.shift()
  }

  /** Forgets events that were acknowledged more than `ACKNOWLEDGED_MS` ago. */
  expire (now: number): void {
    while (now - (this.#acknowledged.oldest?.at ?? now) >= ACKNOWLEDGED_MS) this.#acknowledged.shift()
  }

  /** `identity`: the servers that are new, joined by spaces. */
  async replaced (identity: string): Promise<void> {
    const oldest = performance.now() - ACKNOWLEDGED_MS
    const due = [...this.#acknowledged.entries()].filter(([, { at }]) => at >= oldest)
    for (let i = 0; i < due.length; i += VERIFY_AT_ONCE) {
      const some = due.slice(i, i + VERIFY_AT_ONCE)
      await Promise.all(some.map(async ([topic, { id }]) => await this.#verify(topic, id, identity)))
    }
  }

  async #verify (topic: string, id: EventId, identity: string): Promise<void> {
    const { commands, keys, announce } = this.#node
    const { log, head, fork, state, channel } = keys.of(topic)
    await commands.run(VERIFY, [log, head, fork, state], [
      id, identity, this.#node.nonce(), String(HEAD_MS), announce, channel, commands.server
    ])
  }
}

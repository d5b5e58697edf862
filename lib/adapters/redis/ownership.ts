/** Leases in Redis: who alone may append to a topic. The key expires unless its owner claims it again. */
import type { Ownership } from '../../core/adapter.ts'
import { timeToLive } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import { CLAIM, OWNER, RELEASE } from './scripts.ts'
import { orUnavailable } from './unavailable.ts'

/** A lease without an end, which is not ours, is given this one. */
const STRAY_MS = 6000

export class RedisOwnership implements Ownership {
  readonly #node: RedisNode

  constructor (node: RedisNode) {
    this.#node = node
  }

  async claim (topic: string, owner: string, ms: number): Promise<string> {
    const { commands } = this.#node
    return await orUnavailable(async () => String(
      await commands.run(CLAIM, this.#keys(topic), [owner, String(timeToLive(ms))])
    ))
  }

  async owner (topic: string): Promise<string | undefined> {
    const { commands } = this.#node
    const owner = await orUnavailable(async () => await commands.run(OWNER, this.#keys(topic), [String(STRAY_MS)]))
    return owner === null ? undefined : String(owner)
  }

  /** If Redis cannot be reached, the lease ends by itself. */
  async release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void> {
    const args = [owner, next?.owner ?? '', String(timeToLive(next?.ms ?? 1))]
    await this.#node.commands.run(RELEASE, this.#keys(topic), args).catch(() => {})
  }

  #keys (topic: string): string[] {
    return [this.#node.keys.of(topic).owner]
  }
}

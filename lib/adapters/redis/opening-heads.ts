/** Reads the heads of topics that this node begins to listen to. Reads of one turn go together. */
import type { EventId } from '../../core/adapter.ts'
import { onNextTurn } from '../../core/turn.ts'
import { GENESIS_MS } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import { HEADS } from './scripts.ts'

interface Asked {
  readonly topic: string
  readonly resolve: (head: EventId) => void
  readonly reject: (error: Error) => void
}

/** Heads that one script reads. */
const HEADS_AT_ONCE = 100

export class OpeningHeads {
  readonly #node: RedisNode
  /** Reads that were asked for in this turn. */
  readonly #asked: Asked[] = []

  constructor (node: RedisNode) {
    this.#node = node
  }

  /** Resolves with the head. If Redis has none, it creates a genesis. */
  read (topic: string): Promise<EventId> {
    return new Promise((resolve, reject) => {
      if (this.#asked.push({ topic, resolve, reject }) === 1) onNextTurn(() => this.#readAll())
    })
  }

  #readAll (): void {
    const asked = this.#asked.splice(0)
    // Keys of several slots cannot be asked for together.
    const batch = this.#node.commands.cluster ? 1 : HEADS_AT_ONCE
    for (let i = 0; i < asked.length; i += batch) this.#readSome(asked.slice(i, i + batch))
  }

  #readSome (asked: readonly Asked[]): void {
    const { commands, keys } = this.#node
    const ofTopics = asked.flatMap(({ topic }) => [keys.of(topic).log, keys.of(topic).head])
    commands.run(HEADS, ofTopics, [this.#node.nonce(), String(GENESIS_MS)]).then(
      (heads) => { for (const [i, { resolve }] of asked.entries()) resolve(String((heads as Buffer[])[i])) },
      (error: Error) => { for (const { reject } of asked) reject(error) }
    )
  }
}

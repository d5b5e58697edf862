/** Counts the listeners of a topic on all nodes: this node asks the others, and each answers with its own number. */
import type { Adapter, EphemeralEvent } from '../adapter.ts'
import { overWithin } from '../callbacks.ts'
import { randomId } from '../id.ts'
import { readQuestion, type Answer, type Question } from './orders.ts'

export interface CountingHost {
  readonly adapter: Pick<Adapter, 'ephemeral' | 'nodes'>
  /** This node's name. */
  readonly node: string
  /** The topic that every node listens to. */
  readonly everybody: string
  /** The topic in which the node of this name listens for answers. */
  answersTo (node: string): string
  listenersHere (topic: string): number
  /** A message was not understood. */
  ignored (): void
}

const ANSWER_MS = 1000

export class Counting {
  readonly #host: CountingHost
  readonly #asked = new Map<string, (answer: Answer) => void>()

  constructor (host: CountingHost) {
    this.#host = host
  }

  /** The listeners on all nodes that answer in time. */
  async count (topic: string): Promise<number> {
    const { adapter, everybody } = this.#host
    const nodes = await adapter.nodes?.(everybody) ?? 1
    const here = this.#host.listenersHere(topic)
    return nodes > 1 ? here + await this.#ask(topic, nodes - 1) : here
  }

  async #ask (topic: string, nodes: number): Promise<number> {
    const ask = randomId()
    let total = 0
    const answered = new Promise<void>((resolve) => {
      this.#asked.set(ask, ({ count }) => {
        total += count
        if (--nodes === 0) resolve()
      })
    })
    try {
      await this.#say(this.#host.everybody, { ask, from: this.#host.node, topic })
      await overWithin(ANSWER_MS, answered)
    } finally {
      this.#asked.delete(ask)
    }
    return total
  }

  heard ({ data, format }: EphemeralEvent): void {
    const said = readQuestion(data, format)
    if (!said) this.#host.ignored()
    else if ('count' in said) this.#asked.get(said.ask)?.(said)
    else if (said.from !== this.#host.node) this.#answer(said)
  }

  #answer ({ ask, from, topic }: Question): void {
    this.#say(this.#host.answersTo(from), { ask, count: this.#host.listenersHere(topic) }).catch(() => {})
  }

  async #say (topic: string, words: Question | Answer): Promise<void> {
    await this.#host.adapter.ephemeral(topic, {
      name: 'count', data: Buffer.from(JSON.stringify(words)), format: 'json'
    })
  }
}

/** Reads logs, states and heads. */
import type { EventId, KeyedEvent, Page, ReadLimits, StatePage } from '../../core/adapter.ts'
import { headOf, type Decoder } from './decode.ts'
import { GENESIS_MS } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import { pageOf, type ReadStep } from './pages.ts'
import { READ, STATE } from './scripts.ts'

export class LogReader {
  readonly #node: RedisNode
  readonly #decoder: Decoder

  constructor (node: RedisNode, decoder: Decoder) {
    this.#node = node
    this.#decoder = decoder
  }

  async read (topic: string, after: EventId | null, { count, bytes }: ReadLimits): Promise<Page> {
    const { commands, keys } = this.#node
    const { log, head } = keys.of(topic)
    const step: ReadStep = async (how, from) => await commands.run(READ, [log, head], [
      how, from, String(count), String(bytes), this.#node.nonce(), String(GENESIS_MS)
    ])
    return await pageOf(step, after, (id, prev, body) => this.#decoder.event(topic, id, prev, body))
  }

  /** Reads a part of a keyed topic's state. */
  async state (topic: string, from: string | null, count: number): Promise<StatePage> {
    const { commands, keys, announce } = this.#node
    const { log, head, state, channel } = keys.of(topic)
    const [last, next, ...fields] = await commands.run(STATE, [log, head, state], [
      from ?? '', String(count), this.#node.nonce(), String(GENESIS_MS), announce, channel
    ]) as [Buffer, Buffer, ...Buffer[]]
    const events: KeyedEvent[] = []
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const event = this.#decoder.keyed(topic, fields[i] as Buffer, fields[i + 1] as Buffer)
      if (event) events.push(event)
    }
    return { head: String(last), events, next: String(next) || undefined }
  }

  /** Resolves with the last id of each topic, or its genesis. Null if nothing is known of the topic. */
  async heads (topics: readonly string[]): Promise<Array<EventId | null>> {
    const { commands, keys } = this.#node
    const values = await commands.get(topics.map((topic) => keys.of(topic).head))
    return values.map(headOf)
  }
}

/** True if the id is the genesis of a log without events. */
export function isGenesis (id: EventId): boolean {
  return id.startsWith('0-0.')
}

/**
 * Finds events that no message announced. Each quiet topic is compared with its head in Redis once in a beat, and the
 * life of its head is renewed. Each tick handles a share of the topics.
 */
import { COMPARED_AT_ONCE, type HeadComparison } from './head-comparison.ts'
import { GENESIS_MS, HEAD_MS } from './lifetimes.ts'
import type { ListenedTopic, ListenedTopics } from './listened-topics.ts'
import { isGenesis } from './log-reader.ts'
import type { RedisNode } from './node.ts'

export const TICK_MS = 2000
const BEAT_MS = 30_000

export class Beat {
  readonly #node: RedisNode
  readonly #topics: ListenedTopics
  readonly #comparison: HeadComparison
  /** The topics that this beat has not handled yet. */
  #rest: Iterator<ListenedTopic> | undefined

  constructor (node: RedisNode, topics: ListenedTopics, comparison: HeadComparison) {
    this.#node = node
    this.#topics = topics
    this.#comparison = comparison
  }

  async tick (now: number): Promise<void> {
    const due = this.#next(Math.ceil(this.#topics.size * TICK_MS / BEAT_MS)).filter((topic) => isQuiet(topic, now))
    for (let i = 0; i < due.length; i += COMPARED_AT_ONCE) {
      const some = due.slice(i, i + COMPARED_AT_ONCE)
      await this.#comparison.compare(some)
      await Promise.all(some.map((one) => this.#renew(one, now)))
    }
  }

  /** Takes the next topics of this beat, at most `count`. */
  #next (count: number): ListenedTopic[] {
    const next: ListenedTopic[] = []
    this.#rest ??= this.#topics.all()
    while (next.length < count) {
      const { done, value } = this.#rest.next()
      if (done) {
        this.#rest = undefined
        break
      }
      next.push(value)
    }
    return next
  }

  /** The head of a topic that this node listens to must not expire, however quiet the topic is. */
  async #renew (topic: ListenedTopic, now: number): Promise<void> {
    const life = isGenesis(topic.last) ? GENESIS_MS : HEAD_MS
    if (now - topic.renewedAt < life / 3) return
    topic.renewedAt = now
    await this.#node.commands.expire(this.#node.keys.of(topic.topic).head, life)
  }
}

function isQuiet ({ durable, live, last, heardAt }: ListenedTopic, now: number): boolean {
  return durable && live && last !== '' && now - heardAt > TICK_MS
}

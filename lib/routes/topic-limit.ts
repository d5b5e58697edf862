/** How many topics one connection may carry. */
import { MAX_CURSOR_TOPICS } from '../core/cursor.ts'
import { TooManyTopics } from '../errors.ts'

export class TopicLimit {
  readonly #most: number
  /** Of those with history. */
  readonly #mostDurable: number

  /**
   * A stream has one cursor for all of its topics, and can carry no more than that can name; a channel has one for
   * each.
   */
  constructor (kind: 'stream' | 'channel', maxTopics: number) {
    this.#most = maxTopics
    this.#mostDurable = kind === 'stream' ? MAX_CURSOR_TOPICS : Infinity
  }

  /** `durable`: how many of them have a history. @throws TooManyTopics */
  check (count: number, durable: () => number): void {
    if (count > this.#most) throw new TooManyTopics(count, `maxTopics (${this.#most})`)
    if (count <= this.#mostDurable) return
    const named = durable()
    if (named > this.#mostDurable) {
      throw new TooManyTopics(named,
        `the ${this.#mostDurable} with history that a stream can carry: ` +
        'use a channel, several streams, or one topic that covers them')
    }
  }
}

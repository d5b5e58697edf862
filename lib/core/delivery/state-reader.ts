/** Reads the state of a keyed topic for the app: by pages, in the order of the keys. */
import { readStateOptions, type StateRange } from '../call-options.ts'
import type { Patience } from '../callbacks.ts'
import type { KeyedEvent } from '../adapter.ts'
import { decode } from '../payload.ts'
import type { StateItem, StatePage } from '../published.ts'
import type { TopicAt } from '../topics/topic.ts'
import { NotKeyed, Unavailable } from '../../errors.ts'
import type { ActiveTopic } from './active-topic.ts'
import type { ActiveTopics } from './active-topics.ts'

export interface StateReaderHost {
  readonly active: ActiveTopics
  readonly patience: Patience
}

export class StateReader {
  readonly #host: StateReaderHost

  constructor (host: StateReaderHost) {
    this.#host = host
  }

  /** @throws OptionInvalid, NotKeyed, Unavailable */
  async read (at: TopicAt, options?: unknown, call = 'state()'): Promise<StatePage> {
    const range = readStateOptions(call, options)
    if (!at.topic.policy.keyed) throw new NotKeyed(at.topic.pattern)
    return await this.#holding(at, async (topic) => {
      // The state must contain what was published before this call, also events that this node has not received yet.
      await topic.log?.repair()
      if (topic.state.codec.partial) topic.state.forget()
      return await topic.state.with(() => pageOf(topic, range))
    })
  }

  /** Keeps the topic open while `work` needs it, and for some seconds more. */
  async #holding<T> (at: TopicAt, work: (topic: ActiveTopic) => Promise<T>): Promise<T> {
    const { active, patience } = this.#host
    const topic = active.hold(at)
    try {
      const done = active.ready(topic).then(async () => await work(topic))
      return await patience.wait(done, () => new Unavailable('the adapter did not answer in time'))
    } finally {
      active.release(topic)
    }
  }
}

/** Synchronous: no event must come between the state and its `id`. */
function pageOf ({ state, log }: ActiveTopic, { after, limit }: StateRange): StatePage {
  const keys = state.sortedKeys
  const start = after === undefined ? 0 : behind(keys, after)
  const items = keys.slice(start, start + limit).flatMap((key) => itemOf(state.newest?.get(key)))
  return { items, id: log?.last ?? '', size: keys.length, more: start + limit < keys.length }
}

/** The index of the first key behind `after`, which may be gone. */
function behind (keys: readonly string[], after: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((keys[middle] as string) <= after) low = middle + 1
    else high = middle
  }
  return low
}

/** An event that cannot be decoded is left out, as if it were no longer kept. */
function itemOf (event: KeyedEvent | undefined): StateItem[] {
  if (!event) return []
  try {
    return [{ key: event.key, id: event.id, event: event.name, data: decode(event) }]
  } catch {
    return []
  }
}

/** The events after a client's position, step by step. Clients that come back at the same time share the bytes. */
import type { EventId } from '../adapter.ts'
import type { Entry } from '../event.ts'
import type { TopicLog } from '../log/topic-log.ts'
import type { Chunk, Encoder, HeardTopic } from '../wire.ts'

/** Some events that follow an id, as bytes. */
export interface ReplayStep {
  readonly bytes: Chunk
  readonly to: EventId
  readonly count: number
  /** The events, if some of them have an `except`; otherwise undefined. */
  readonly entries: readonly Entry[] | undefined
}

/** Steps that are kept of each encoder until the turn ends. One more drops all of them. */
const MAX_STEPS = 16
/** A step ends when its data has so many bytes. */
const STEP_BYTES = 64 * 1024

export class Replays {
  readonly #topic: HeardTopic
  readonly #log: TopicLog
  readonly #kept: () => void
  readonly #steps = new Map<Encoder, Map<EventId, ReplayStep>>()

  /** `kept` is called when a step was kept. `forget` must then be called when the turn ends. */
  constructor (topic: HeardTopic, log: TopicLog, kept: () => void) {
    this.#topic = topic
    this.#log = log
    this.#kept = kept
  }

  /** Some events after `id`, or none if it is the last. Undefined if the recent events do not reach back to it. */
  after (id: EventId): Entry[] | undefined {
    const { recent } = this.#log
    const start = this.#log.locate(id)
    if (start === undefined) return undefined
    const entries: Entry[] = []
    let bytes = 0
    for (let i = start; i < recent.end && bytes < STEP_BYTES; i++) {
      const entry = recent.at(i) as Entry
      entries.push(entry)
      bytes += entry.data.byteLength
    }
    return entries
  }

  /** The step from `id`. `level`: no event follows. `gone`: the recent events do not reach back to `id` any more. */
  step (encoder: Encoder, id: EventId): ReplayStep | 'level' | 'gone' {
    const known = this.#steps.get(encoder)?.get(id)
    if (known) return known
    const entries = this.after(id)
    if (!entries) return 'gone'
    if (entries.length === 0) return 'level'
    const partial = entries.some(({ except }) => except !== undefined)
    const step = {
      bytes: encoder.encode(entries, this.#topic),
      to: entries.at(-1)?.id as EventId,
      count: entries.length,
      entries: partial ? entries : undefined
    }
    this.#keep(encoder, id, step)
    return step
  }

  #keep (encoder: Encoder, id: EventId, step: ReplayStep): void {
    const steps = this.#steps.get(encoder) ?? new Map<EventId, ReplayStep>()
    if (steps.size >= MAX_STEPS) steps.clear()
    this.#steps.set(encoder, steps.set(id, step))
    this.#kept()
  }

  forget (): void {
    // `clear` allocates a new table, even if the map is empty.
    if (this.#steps.size > 0) this.#steps.clear()
  }
}

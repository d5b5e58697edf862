/** What follows a client's place in a topic, step by step, and the bytes of it: shared by all who come back at once. */
import type { EventId } from '../adapter.ts'
import type { Entry } from '../event.ts'
import type { TopicLog } from '../log/topic-log.ts'
import type { Chunk, Encoder, HeardTopic } from '../wire.ts'

/** Some events that follow an id, as bytes. */
export interface ReplayStep {
  readonly bytes: Chunk
  readonly to: EventId
  readonly count: number
  /** The events, where some are not for everybody; otherwise undefined. */
  readonly entries: readonly Entry[] | undefined
}

/** Steps kept for the rest of a turn, of each encoder. */
const MAX_STEPS = 16
/** Bytes of one step. */
const STEP_BYTES = 64 * 1024

export class Replays {
  readonly #topic: HeardTopic
  readonly #log: TopicLog
  readonly #kept: () => void
  readonly #steps = new Map<Encoder, Map<EventId, ReplayStep>>()

  /** `kept`: a step is kept, and `forget` is to be called when the turn is over. */
  constructor (topic: HeardTopic, log: TopicLog, kept: () => void) {
    this.#topic = topic
    this.#log = log
    this.#kept = kept
  }

  /** Some events after `id`, none where it is the last; undefined when they are not among the recent ones any more. */
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

  /** The step from `id`. `level`: nothing follows. `gone`: what follows is not among the recent events any more. */
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
    // Clearing a map makes a new one inside, even where the map is empty.
    if (this.#steps.size > 0) this.#steps.clear()
  }
}

/**
 * A keyed topic's state, as it is sent to those who join: in parts, each of whose bytes are made once for all who are
 * given it. One that has been made goes on being given, while what followed it is at hand and little: whoever gets it
 * is given that too.
 */
import type { KeyedEvent } from '../adapter.ts'
import type { TopicLog } from '../log/topic-log.ts'
import type { KeyedState } from './keyed-state.ts'
import type { StateCodec } from '../state-codec.ts'
import type { SnapshotPart, TopicSnapshot } from './snapshots.ts'

/** Bytes of a part's data, about. */
const PART_BYTES = 32 * 1024
/** Changes behind a snapshot for which it is not made anew: so many, or a fraction of its keys. */
const FEW_CHANGES = 64
const FRACTION = 8
/** Bytes of a key and its names in a part. */
const OVERHEAD = 64

/**
 * Older ones that clients are still given. The oldest is given up for one more: whoever reads it so slowly starts over.
 */
const MOST_GIVEN = 4

interface Made extends TopicSnapshot {
  parts: readonly StatePart[]
  readonly changes: number
  readonly keys: number
}

export class KeyedSnapshots {
  readonly #topic: string
  readonly #event: string | undefined
  readonly #state: KeyedState
  readonly #log: TopicLog
  /** The newest last. */
  #given: Made[] = []

  constructor (topic: string, event: string | undefined, state: KeyedState, log: TopicLog) {
    this.#topic = topic
    this.#event = event
    this.#state = state
    this.#log = log
  }

  get bytes (): number {
    return this.#given.flatMap(({ parts }) => parts).reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** @throws Unavailable */
  async take (): Promise<TopicSnapshot> {
    return await this.#state.with((newest) => {
      const last = this.#given.at(-1)
      return last && this.#isFresh(last) ? last : this.#make([...newest.values()])
    })
  }

  /** There is time to read it before what follows it is gone. */
  #isFresh ({ from, changes, keys }: Made): boolean {
    const { recent } = this.#log
    const place = this.#log.locate(from)
    return !this.#state.codec.partial && place !== undefined && recent.end - place <= recent.retention.limit / 2 &&
      this.#state.changes - changes <= Math.max(FEW_CHANGES, keys / FRACTION)
  }

  #make (events: readonly KeyedEvent[]): Made {
    const runs = runsOf(events)
    const last = runs.length - 1
    const parts = runs.map((run, part) =>
      new StatePart(this.#topic, this.#state.codec, this.#event, run, part, part < last))
    const made = { parts, from: this.#log.last, changes: this.#state.changes, keys: events.length }
    this.#given.push(made)
    this.#giveUp()
    return made
  }

  /** Threat: a client that does not read would keep one for itself, each time. */
  #giveUp (): void {
    const { length } = this.#given
    const kept = this.#given.filter(({ from }, i) =>
      i >= length - MOST_GIVEN && this.#log.locate(from) !== undefined)
    for (const made of this.#given) if (!kept.includes(made)) made.parts = []
    this.#given = kept
  }
}

class StatePart implements SnapshotPart {
  readonly event: string | undefined
  readonly #topic: string
  readonly #codec: StateCodec
  readonly #part: number
  readonly #more: boolean
  readonly #events: readonly KeyedEvent[]
  #data: Uint8Array | undefined

  constructor (
    topic: string, codec: StateCodec, event: string | undefined, events: readonly KeyedEvent[], part: number,
    more: boolean
  ) {
    this.#topic = topic
    this.#codec = codec
    this.event = event
    this.#events = events
    this.#part = part
    this.#more = more
  }

  /** What it keeps, about. */
  get bytes (): number { return this.#data?.byteLength ?? PART_BYTES }

  get data (): Uint8Array {
    this.#data ??= Buffer.from(this.#text())
    return this.#data
  }

  #text (): string {
    return this.#codec.part(this.#topic, this.#part, this.#more, this.#events)
  }
}

/** At least one, which may be empty. */
function runsOf (events: readonly KeyedEvent[]): KeyedEvent[][] {
  const runs: KeyedEvent[][] = [[]]
  let bytes = 0
  for (const event of events) {
    bytes += event.data.byteLength + event.key.length + OVERHEAD
    if (bytes > PART_BYTES && runs.at(-1)?.length !== 0) {
      runs.push([])
      bytes = event.data.byteLength
    }
    runs.at(-1)?.push(event)
  }
  return runs
}

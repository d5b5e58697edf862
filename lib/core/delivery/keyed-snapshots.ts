/**
 * The state of a keyed topic, in parts, for clients that join. The bytes of a part are made once for all clients. A
 * snapshot is reused while few events have followed it and the log still has them: a client gets the snapshot, and then
 * those events.
 */
import type { KeyedEvent } from '../adapter.ts'
import type { TopicLog } from '../log/topic-log.ts'
import type { KeyedState } from './keyed-state.ts'
import type { StateCodec } from '../state-codec.ts'
import type { SnapshotPart, TopicSnapshot } from './snapshots.ts'

/** About how many bytes of data a part has. */
const PART_BYTES = 32 * 1024
/** A snapshot is reused until it misses more changes than this, and more than this fraction of its keys. */
const FEW_CHANGES = 64
const FRACTION = 8
/** Bytes that an item needs in a part besides its key and data. */
const OVERHEAD = 64

/** Snapshots that are kept, with the newest. One more drops the oldest: a client that still reads it starts over. */
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
  /** The snapshots that clients are given, the newest last. */
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

  /** True if few events have followed the snapshot, so that a client can read it before the log drops them. */
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

  /** Threat: a client that does not read would keep a snapshot in memory, and another one each time it joins. */
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

  /** About how many bytes of memory the part takes. */
  get bytes (): number { return this.#data?.byteLength ?? PART_BYTES }

  get data (): Uint8Array {
    this.#data ??= Buffer.from(this.#text())
    return this.#data
  }

  #text (): string {
    return this.#codec.part(this.#topic, this.#part, this.#more, this.#events)
  }
}

/** Returns at least one run, which may be empty. */
function runsOf (events: readonly KeyedEvent[]): KeyedEvent[][] {
  const runs: KeyedEvent[][] = [[]]
  let bytes = 0
  for (const event of events) {
    const size = event.data.byteLength + event.key.length + OVERHEAD
    bytes += size
    if (bytes > PART_BYTES && runs.at(-1)?.length !== 0) {
      runs.push([])
      bytes = size
    }
    runs.at(-1)?.push(event)
  }
  return runs
}

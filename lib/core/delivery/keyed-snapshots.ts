/**
 * A keyed topic's state, as it is sent to those who join: in parts, each of whose bytes are made once for all who are
 * given it. One that has been made goes on being given, while what followed it is at hand and little: whoever gets it is
 * given that too.
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

interface Made extends TopicSnapshot { readonly changes: number, readonly keys: number }

export class KeyedSnapshots {
  readonly #topic: string
  readonly #event: string | undefined
  readonly #state: KeyedState
  readonly #log: TopicLog
  #made: Made | undefined

  constructor (topic: string, event: string | undefined, state: KeyedState, log: TopicLog) {
    this.#topic = topic
    this.#event = event
    this.#state = state
    this.#log = log
  }

  /** @throws Unavailable */
  async take (): Promise<TopicSnapshot> {
    const newest = await this.#state.ready()
    if (!this.#made || !this.#isFresh(this.#made)) this.#made = this.#make([...newest.values()])
    return this.#made
  }

  #isFresh ({ from, changes, keys }: Made): boolean {
    return !this.#state.codec.partial && this.#state.changes - changes <= Math.max(FEW_CHANGES, keys / FRACTION) &&
      this.#log.locate(from) !== undefined
  }

  #make (events: readonly KeyedEvent[]): Made {
    const runs = runsOf(events)
    const parts = runs.map((run, part) => new StatePart(this.#topic, this.#state.codec, this.#event, run, part, part < runs.length - 1))
    return { parts, from: this.#log.last, changes: this.#state.changes, keys: events.length }
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

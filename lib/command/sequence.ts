/** What many clients of one URL hear, compared: each must hear the same, in one order. Pure. */
import type { Heard } from './dial.ts'

export interface Faults { gaps: number, duplicates: number, disorder: number }

/** Half of the ids that are remembered of a topic, in whole chunks: 524,288 together. */
const HALF = 256 * 1024
/** What is behind these is not compared. */
const MAX_TOPICS = 10_000
/** Of a client and a topic, parts that ended with a loss it was told of: the gaps of older ones are not counted. */
const MAX_PARTS = 100
/** Places in a chunk of a client's memory, as a power of two. */
const CHUNK = 10
/** Ids of a stream of several topics are cursors, each client's own. */
const ID = /^(\d{13})-(\d{1,15})\./

/** An id that somebody has heard. `place`: its number in the order in which they came, only to remember it by. */
interface Known { readonly ms: number, readonly seq: number, readonly place: number }

/** By what the ids say, not by who was read first: clients are read in any order. */
function compare (a: Known, b: Known): number {
  return a.ms - b.ms || a.seq - b.seq
}

/** What one client heard of a topic without being told of a loss. */
class Part {
  readonly #first: Known
  #last: Known
  /** A bit for each place. */
  readonly #heard = new Map<number, Uint32Array>()

  constructor (first: Known) {
    this.#first = this.#last = first
    this.#mark(first)
  }

  /** Nothing can be missing between less than two. */
  get short (): boolean { return this.#first === this.#last }

  hear (known: Known, faults: Faults): void {
    const order = compare(known, this.#last)
    if (order > 0) this.#last = known
    else if (this.#has(known)) faults.duplicates++
    // The same time and number in an id of another log: which one is first cannot be said.
    else if (order < 0) faults.disorder++
    this.#mark(known)
  }

  /** How many of these it has passed over. `known` is in order. */
  missed (known: readonly Known[]): number {
    let missed = 0
    for (let at = firstBehind(known, this.#first); at < known.length; at++) {
      const one = known[at]!
      if (compare(one, this.#last) >= 0) break
      if (!this.#has(one)) missed++
    }
    return missed
  }

  forget (before: number): void {
    for (const chunk of this.#heard.keys()) if (chunk < before >> CHUNK) this.#heard.delete(chunk)
  }

  #has ({ place }: Known): boolean {
    const bits = this.#heard.get(place >> CHUNK)
    return bits !== undefined && (bits[(place >> 5) & 31]! & (1 << (place & 31))) !== 0
  }

  #mark ({ place }: Known): void {
    let bits = this.#heard.get(place >> CHUNK)
    if (!bits) this.#heard.set(place >> CHUNK, bits = new Uint32Array(32))
    bits[(place >> 5) & 31]! |= 1 << (place & 31)
  }
}

/** The index of the first that is greater. */
function firstBehind (known: readonly Known[], than: Known): number {
  let [from, to] = [0, known.length]
  while (from < to) {
    const middle = (from + to) >> 1
    if (compare(known[middle]!, than) > 0) to = middle
    else from = middle + 1
  }
  return from
}

/** All that was heard of a topic, by anybody. */
class Topic {
  readonly #half: number
  /** The older half is forgotten as a whole: a Map whose oldest is deleted each time is walked through its holes. */
  #older = new Map<string, Known>()
  #newer = new Map<string, Known>()
  #size = 0
  /** The greatest that is forgotten. */
  #floor: Known | undefined
  /** Gaps among what is forgotten. */
  #gaps = 0
  readonly #tracks: Track[] = []

  constructor (half: number) {
    this.#half = half
  }

  /** Undefined: it cannot be compared. */
  knownOf (id: string): Known | undefined {
    return this.#newer.get(id) ?? this.#older.get(id) ?? this.#learn(id)
  }

  track (): Track {
    const track = new Track()
    this.#tracks.push(track)
    return track
  }

  /** Counted behind the event: what is missing is known only when others have heard it. */
  get gaps (): number {
    return this.#gaps + this.#missed([...this.#older.values(), ...this.#newer.values()])
  }

  #learn (id: string): Known | undefined {
    const [, ms, seq] = ID.exec(id) ?? []
    if (ms === undefined) return undefined
    const known = { ms: Number(ms), seq: Number(seq), place: this.#size }
    // It may have been known, and who has heard it is forgotten.
    if (this.#floor && compare(known, this.#floor) <= 0) return undefined
    if (this.#newer.size === this.#half) this.#forget()
    this.#newer.set(id, known)
    this.#size++
    return known
  }

  #missed (known: Known[]): number {
    known.sort(compare)
    return this.#tracks.reduce((sum, track) => sum + track.missed(known), 0)
  }

  #forget (): void {
    const old = [...this.#older.values()]
    this.#gaps += this.#missed(old)
    const greatest = old.at(-1)
    if (greatest && (!this.#floor || compare(greatest, this.#floor) > 0)) this.#floor = greatest
    this.#older = this.#newer
    this.#newer = new Map()
    for (const track of this.#tracks) track.forget(this.#size - this.#half)
  }
}

/** What one client heard of one topic. */
class Track {
  readonly #ended: Part[] = []
  #part: Part | undefined

  hear (known: Known, faults: Faults): void {
    if (this.#part) this.#part.hear(known, faults)
    else this.#part = new Part(known)
  }

  lost (): void {
    if (this.#part?.short === false && this.#ended.push(this.#part) > MAX_PARTS) this.#ended.shift()
    this.#part = undefined
  }

  missed (known: readonly Known[]): number {
    return this.#ended.reduce((sum, part) => sum + part.missed(known), this.#part?.missed(known) ?? 0)
  }

  forget (before: number): void {
    for (const part of this.#ended) part.forget(before)
    this.#part?.forget(before)
  }
}

export class Orders {
  /** Events that could be compared. */
  compared = 0
  readonly #topics = new Map<string, Topic>()
  readonly #half: number
  readonly #told: Faults = { gaps: 0, duplicates: 0, disorder: 0 }

  /** `half` of the ids of a topic that are remembered: a multiple of 1024. */
  constructor (half = HALF) {
    this.#half = half
  }

  /** What is amiss in all that was heard until now. Walks through all of it. */
  get faults (): Faults {
    const topics = [...this.#topics.values()]
    return { ...this.#told, gaps: topics.reduce((sum, { gaps }) => sum + gaps, 0) }
  }

  /** Undefined where there are too many. */
  of (name: string): Topic | undefined {
    let topic = this.#topics.get(name)
    if (!topic && this.#topics.size < MAX_TOPICS) this.#topics.set(name, topic = new Topic(this.#half))
    return topic
  }

  compare (track: Track, known: Known): void {
    this.compared++
    track.hear(known, this.#told)
  }
}

/** One client. */
export class Sequence {
  readonly #orders: Orders
  readonly #tracks = new Map<string, Track>()

  constructor (orders: Orders) {
    this.#orders = orders
  }

  /** From here on anything may come: it is behind a loss that it was told of. */
  lost (topic: string): void {
    this.#tracks.get(topic)?.lost()
  }

  heard ({ id, topic: name = '' }: Pick<Heard, 'id' | 'topic'>): void {
    if (id === undefined || !ID.test(id)) return
    const topic = this.#orders.of(name)
    const known = topic?.knownOf(id)
    if (!topic || !known) return
    let track = this.#tracks.get(name)
    if (!track) this.#tracks.set(name, track = topic.track())
    this.#orders.compare(track, known)
  }
}

/** ms since the epoch at which an id was given; undefined for an id that does not say it. */
export function givenAt (id: string | undefined): number | undefined {
  const found = id === undefined ? undefined : ID.exec(id)?.[1]
  return found === undefined ? undefined : Number(found)
}

/** Times in whole ms, counted: as much memory for a thousand as for a billion. */
export class Latencies {
  readonly #counts = new Float64Array(60_001)
  #count = 0

  add (ms: number): void {
    this.#counts[Math.min(60_000, Math.max(0, Math.round(ms)))]!++
    this.#count++
  }

  /** Undefined where there are none. */
  percentile (share: number): number | undefined {
    let left = Math.ceil(this.#count * share)
    if (left === 0) return undefined
    for (const [ms, count] of this.#counts.entries()) if ((left -= count) <= 0) return ms
    return undefined
  }
}

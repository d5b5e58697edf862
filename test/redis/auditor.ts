/**
 * Reads what was published and what every client got, and says what is wrong with it. It knows the promises (docs/,
 * PROTOCOL.md), and no code of lib/.
 */
import type { Heard, Note } from './listeners.ts'

export interface Publisher {
  readonly name: string
  /** By topic, then by number: the ids of what was acknowledged. */
  readonly acknowledged: Map<string, Map<number, string>>
  /** It was killed: what only it knew is gone with it. */
  killed: boolean
}

export interface Client {
  readonly name: string
  readonly notes: ReadonlyMap<string, readonly Note[]>
  readonly faults: readonly string[]
}

export interface Evidence {
  readonly publishers: readonly Publisher[]
  readonly clients: readonly Client[]
  /** Redis lost acknowledged events: its own fault, of which every listener must be told. */
  readonly lossy: boolean
  /** A topic whose history is long enough for all that was published. */
  readonly keeps: (topic: string) => boolean
}

export interface Verdict {
  readonly faults: string[]
  readonly delivered: number
  readonly acknowledged: number
  /** Acknowledged, not delivered to some client, and it was told so. */
  covered: number
  /** Told only after a later event had come. */
  late: number
  /** Not told, and could not be: Redis lost them, and their publisher died as well (`wait` is for those who mind). */
  excused: number
  /** Came once more behind a reset: in doubt when Redis lost its data, so published again. */
  again: number
  resets: number
  /** By reason: resets before which nothing had been missed. */
  readonly needless: Map<string, number>
}

export function audit (evidence: Evidence): Verdict {
  const verdict: Verdict = { faults: [], delivered: 0, acknowledged: 0, covered: 0, late: 0, excused: 0, again: 0, resets: 0, needless: new Map() }
  const counted = { ...verdict, delivered: 0, acknowledged: 0 }
  for (const { acknowledged } of evidence.publishers) for (const numbers of acknowledged.values()) counted.acknowledged += numbers.size
  const links = linksOf(evidence.clients, counted.faults)
  for (const client of evidence.clients) {
    counted.faults.push(...client.faults.map((fault) => `${client.name}: ${fault}`))
    for (const [topic, notes] of client.notes) new Reading(client.name, topic, notes, evidence, counted, links).check()
  }
  return counted
}

/** For each id the one it follows, as channels were told; all of them the same. */
function linksOf (clients: readonly Client[], faults: string[]): Map<string, string> {
  const links = new Map<string, string>()
  for (const { notes } of clients) {
    for (const [topic, some] of notes) {
      for (const note of some) {
        if (note.type === 'reset' || note.id === undefined || note.prev === undefined) continue
        const key = `${topic} ${note.id}`
        const known = links.get(key)
        if (known !== undefined && known !== note.prev) faults.push(`${topic}: ${note.id} follows ${known} for one client, ${note.prev} for another`)
        links.set(key, note.prev)
      }
    }
  }
  return links
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** What one client got of one topic. */
class Reading {
  readonly #who: string
  readonly #topic: string
  readonly #notes: readonly Note[]
  readonly #evidence: Evidence
  readonly #verdict: Mutable<Verdict>
  readonly #links: ReadonlyMap<string, string>
  /** By publisher and number: where it came first. */
  readonly #places = new Map<string, number>()
  readonly #resets: number[] = []

  constructor (client: string, topic: string, notes: readonly Note[], evidence: Evidence, verdict: Mutable<Verdict>, links: ReadonlyMap<string, string>) {
    this.#who = `${client}, ${topic}`
    this.#topic = topic
    this.#notes = notes
    this.#evidence = evidence
    this.#verdict = verdict
    this.#links = links
  }

  check (): void {
    this.#order()
    const missed = this.#missed()
    this.#explain(missed)
  }

  #fault (text: string): void {
    this.#verdict.faults.push(`${this.#who}: ${text}`)
  }

  #resetBetween (from: number, to: number): boolean {
    return this.#resets.some((at) => at > from && at < to)
  }

  #order (): void {
    const ids = new Map<string, number>()
    const last = new Map<string, { n: number, at: number }>()
    let before: Heard | undefined
    for (const [at, note] of this.#notes.entries()) {
      if (note.type === 'reset') {
        this.#resets.push(at)
        this.#verdict.resets++
        before = undefined
        continue
      }
      this.#verdict.delivered++
      this.#link(before, note)
      before = note
      if (note.id !== undefined && ids.has(note.id)) this.#fault(`${note.p} ${note.n} (${note.id}) came twice`)
      if (note.id !== undefined) ids.set(note.id, at)
      this.#numbered(note, at, last.get(note.p))
      last.set(note.p, { n: note.n, at })
    }
  }

  /** Between two events without a reset nothing was left out. */
  #link (before: Heard | undefined, note: Heard): void {
    if (before?.id === undefined || note.id === undefined) return
    const prev = this.#links.get(`${this.#topic} ${note.id}`)
    if (prev !== undefined && prev !== before.id) this.#fault(`${note.p} ${note.n} (${note.id}) came behind ${before.id}, and follows ${prev}`)
  }

  #numbered ({ p, n }: Heard, at: number, last: { n: number, at: number } | undefined): void {
    const key = `${p} ${n}`
    const known = this.#places.get(key)
    if (known === undefined) this.#places.set(key, at)
    else if (!this.#resetBetween(known, at)) this.#fault(`${key} came twice`)
    else this.#verdict.again++
    if (known === undefined && last && n < last.n && !this.#resetBetween(last.at, at)) this.#fault(`${key} came behind ${p} ${last.n}`)
  }

  /** The notes between which something acknowledged is missing. */
  #missed (): Array<[number, number]> {
    const missed: Array<[number, number]> = []
    for (const publisher of this.#evidence.publishers) {
      const numbers = publisher.acknowledged.get(this.#topic)
      if (!numbers) continue
      for (const n of numbers.keys()) {
        const place = this.#places.get(`${publisher.name} ${n}`)
        if (place !== undefined) continue
        const range = this.#around(publisher.name, n)
        missed.push(range)
        this.#judge(publisher, n, range)
      }
    }
    return missed
  }

  /** Behind which note it should have come, and before which. */
  #around (publisher: string, n: number): [number, number] {
    let [from, to] = [-1, Infinity]
    for (const [at, note] of this.#notes.entries()) {
      if (note.type !== 'event' || note.p !== publisher) continue
      if (note.n < n) from = at
      else {
        to = at
        break
      }
    }
    return [from, to]
  }

  #judge (publisher: Publisher, n: number, [from, to]: [number, number]): void {
    const { lossy } = this.#evidence
    if (!lossy && this.#evidence.keeps(this.#topic) && this.#resetBetween(from, to)) this.#fault(`${publisher.name} ${n} was not delivered, and Redis had it`)
    else if (this.#resetBetween(from, to)) this.#verdict.covered++
    else if (lossy && this.#resetBetween(from, Infinity)) this.#verdict.late++
    else if (lossy && publisher.killed) this.#verdict.excused++
    else this.#fault(`${publisher.name} ${n} (${publisher.acknowledged.get(this.#topic)?.get(n)}) was acknowledged and never came, and nobody said so`)
  }

  #explain (missed: ReadonlyArray<[number, number]>): void {
    for (const at of this.#resets) {
      if (missed.some(([from, to]) => at > from && at < to)) continue
      const { reason } = this.#notes[at] as { reason: string }
      const why = `${reason}${this.#evidence.lossy ? ', it had what Redis lost' : ''}`
      this.#verdict.needless.set(why, (this.#verdict.needless.get(why) ?? 0) + 1)
    }
  }
}

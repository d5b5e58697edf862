/** What must have been heard: a model that knows what was published and what each client was given, and no code of lib/. */

export class Fault extends Error {}

/** One event, as it was published. */
export interface Said {
  readonly n: number
  readonly name: string
  readonly key: string | undefined
  /** Its data, exactly. */
  readonly text: string
  /** The connection that must not get it. */
  readonly except: string | undefined
  /** What `publish` returned. */
  id: string | undefined
}

export class TopicModel {
  readonly name: string
  /** Events kept; undefined for a topic without history. */
  readonly limit: number | undefined
  readonly snapshot: boolean
  readonly events: Said[] = []
  /** Up to here some client was given it: the node has delivered that far. */
  heard = 0
  /** So many of the first publishes have been answered. */
  acknowledged = 0
  readonly #numbers = new Map<string, number>()
  #genesis: string | undefined

  constructor (name: string, limit: number | undefined, snapshot: boolean) {
    this.name = name
    this.limit = limit
    this.snapshot = snapshot
  }

  get count (): number { return this.events.length }

  say (name: string, key: string | undefined, text: string, except?: string): Said {
    const said: Said = { n: this.events.length, name, key, text, except, id: undefined }
    this.events.push(said)
    return said
  }

  acknowledge (said: Said, id: string | undefined): void {
    this.#learn(said, id)
    while (this.acknowledged < this.count && (this.limit === undefined || this.events[this.acknowledged]?.id !== undefined)) this.acknowledged++
  }

  #learn (said: Said, id: string | undefined): void {
    if ((id === undefined) !== (this.limit === undefined)) throw new Fault(`${this.name}: event ${said.n} has the id ${id}`)
    if (id === undefined) return
    if (said.id !== undefined && said.id !== id) throw new Fault(`${this.name}: event ${said.n} has the ids ${said.id} and ${id}`)
    const known = this.#numbers.get(id)
    if (known !== undefined && known !== said.n) throw new Fault(`${this.name}: events ${known} and ${said.n} have one id, ${id}`)
    said.id = id
    this.#numbers.set(id, said.n)
  }

  /** The event a client says it got, with everything about it right. */
  recognize (n: unknown, name: string, text: string, id?: string): Said {
    const said = this.events[n as number]
    if (!said) throw new Fault(`${this.name}: nobody published ${text}`)
    if (said.name !== name || said.text !== text) throw new Fault(`${this.name}: event ${said.n} arrived changed: ${name} ${text}`)
    if (id !== undefined) this.#learn(said, id)
    return said
  }

  /** The number of the event after `id`; undefined when that cannot be told yet. */
  after (id: string): number | undefined {
    const known = this.#numbers.get(id)
    if (known !== undefined) return known + 1
    if (this.acknowledged < this.count) return undefined
    this.#genesis ??= id
    if (id !== this.#genesis) throw new Fault(`${this.name}: nobody knows the id ${id}`)
    return 0
  }

  /** Could a client that waits for event `n` (or an earlier one) have lost it for good? */
  mayBeGone (n: number): boolean {
    return this.limit !== undefined && this.count - n > this.limit
  }
}

/** What a snapshot holds: the first `n` events, and perhaps it says so itself. */
export interface State { n: number, exact: boolean }

/** What one client knows of one topic: the next event's number lies between `lo` and `hi`. */
export class View {
  readonly topic: TopicModel
  /** The ids that the client's connections have had: events excepted for one of these need not come. */
  readonly #ids: ReadonlySet<string>
  lo: number | undefined
  hi = 0
  /** No event may come before the snapshot. */
  awaits = false
  /** It has come, and no event since. */
  #fresh = false
  /** A conflated client: events that were left out, and those that came. */
  readonly skipped: number[] = []
  readonly seen = new Set<number>()
  /** The next event may leave some out (`slow: 'latest'`): so the client was told, in a block that is not for one topic. */
  mayJump = false
  /** It was cut off before that event. */
  jumping = false

  constructor (topic: TopicModel, ids: ReadonlySet<string>) {
    this.topic = topic
    this.#ids = ids
  }

  #own (n: number): boolean {
    return this.#ids.has(this.topic.events[n]?.except ?? '')
  }

  /** An event that it has sent itself is among those that it is to be told of yet. */
  get ownAhead (): boolean {
    return this.topic.events.some((_event, n) => n >= this.hi && this.#own(n))
  }

  #fault (text: string): never {
    throw new Fault(`${this.topic.name}: ${text} (the next is ${this.lo}..${this.hi} of ${this.topic.count})`)
  }

  get placed (): boolean { return this.lo !== undefined }

  starts (lo: number, hi: number): void {
    if (lo > hi) this.#fault(`a client starts between ${lo} and ${hi}`)
    this.lo = lo
    this.hi = hi
  }

  event (n: number): void {
    if (this.awaits) this.#fault(`event ${n} came before the snapshot`)
    if (this.lo === undefined) this.#fault(`event ${n} came before there was a position`)
    if (n < this.lo) this.#fault(this.seen.has(n) ? `event ${n} came twice` : `event ${n} came late`)
    if (n > this.hi) this.#jump(n)
    this.lo = this.hi = n + 1
    this.mayJump = this.jumping = this.#fresh = false
    this.seen.add(n)
    this.topic.heard = Math.max(this.topic.heard, n + 1)
  }

  #jump (n: number): void {
    for (let i = this.hi; i < n; i++) {
      if (this.#own(i)) continue
      if (this.topic.limit !== undefined && !this.mayJump) this.#fault(`event ${n} came, and nobody said what became of ${i}`)
      this.skipped.push(i)
    }
  }

  /** The server says that the position moved, without loss of anything that counts. */
  moves (to: number): void {
    if (this.lo === undefined || to < this.lo || to > this.topic.count) this.#fault(`the position moved to ${to}`)
    for (let i = this.hi; i < to; i++) if (!this.#own(i)) this.skipped.push(i)
    this.lo = this.hi = to
  }

  /** Events were lost for good, for one of the reasons that go without proof, or because they are gone. `to`: where it goes on, if that was said. */
  reset (reason: unknown, excused: readonly string[], to?: number): void {
    const { topic } = this
    const from = this.lo ?? 0
    const gone = (reason === 'expired' || reason === 'lost') && topic.mayBeGone(from)
    if (!gone && !excused.includes(String(reason))) this.#fault(`reset for ${String(reason)} without need`)
    if (to !== undefined && (to < from || to > topic.count)) this.#fault(`reset to ${to}`)
    this.lo = to ?? from
    this.hi = to ?? topic.count
    // What was left out before is not owed any more.
    this.skipped.length = 0
    // Another snapshot follows, but for the one that outlived what it stood on.
    this.awaits = topic.snapshot && !this.#fresh
  }

  /** The state as of the first `n` events; those that follow it must come, some that it contains may, unless it is `exact`. */
  snapshot ({ n, exact }: State, to?: number): void {
    if (!this.topic.snapshot) this.#fault('a snapshot of a topic that has none')
    if (n > this.topic.count) this.#fault(`a snapshot of ${n}`)
    if (to !== undefined && (to > n || to < (this.lo ?? 0))) this.#fault(`a snapshot of ${n}, to be followed by ${to}`)
    // Short of what it said it holds only where that is gone: a reset follows.
    if (exact && to !== undefined && to !== n && !this.topic.mayBeGone(to)) this.#fault(`an exact snapshot of ${n}, to be followed by ${to}`)
    this.lo = to ?? (exact ? n : Math.min(this.lo ?? 0, n))
    this.hi = to ?? n
    this.awaits = false
    this.#fresh = true
  }

  get level (): boolean {
    let { hi } = this
    while (this.#own(hi)) hi++
    return this.lo !== undefined && !this.awaits && hi >= this.topic.count
  }

  get exact (): boolean {
    return this.level && this.lo === this.topic.count
  }

  /** An event that was left out was replaced by a newer one of its name and key. */
  checkSkipped (): void {
    const { events } = this.topic
    for (const n of this.skipped) {
      const { name, key } = events[n] as Said
      if (!events.some((later) => later.n > n && later.name === name && later.key === key && this.seen.has(later.n))) {
        this.#fault(`event ${n} (${name}, ${key}) was left out, and nothing newer came in its place`)
      }
    }
  }
}

/** A topic without history: at most once, in order. */
export class LooseView {
  readonly topic: TopicModel
  #next = 0

  constructor (topic: TopicModel) {
    this.topic = topic
  }

  event (n: number): void {
    if (n < this.#next) throw new Fault(`${this.topic.name}: event ${n} came twice or late (the next was ${this.#next})`)
    this.#next = n + 1
  }
}

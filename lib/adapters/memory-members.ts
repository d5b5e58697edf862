/** Members in one process: this node holds all of them. */
import type { Holding, KeyedEvent, LeaveReason, MemberChange, MemberStore, MemberTopic } from '../core/adapter.ts'
import { countText, leaveText, MEMBERS_OF_EVENT, membersText } from '../core/member-events.ts'

/** The log and the state of a topic, as its members change them. */
export interface MemberLog {
  has (topic: string, id: string): boolean
  get (topic: string, id: string): KeyedEvent | undefined
  size (topic: string): number
  /** Appends one event, and changes the state in the same step. */
  append (
    topic: MemberTopic, text: string, put: ReadonlyMap<string, string>, removed: readonly string[]
  ): void
}

interface Waiting { readonly topic: MemberTopic, readonly holdings: Map<string, Holding> }

export class MemoryMembers implements MemberStore {
  readonly settle = 0
  readonly #log: MemberLog
  readonly #waiting = new Map<string, Waiting>()
  /** Members for whom a topic has no room, by topic: id and data, in the order in which they came. */
  readonly #refused = new Map<string, Map<string, string>>()
  #told: (topic: MemberTopic, change: MemberChange) => void = () => {}
  #flush: Promise<void> | undefined

  constructor (log: MemberLog) {
    this.#log = log
  }

  watch (told: (topic: MemberTopic, change: MemberChange) => void): void {
    this.#told = told
  }

  hold (topic: MemberTopic, id: string, holding: Holding): void {
    let waiting = this.#waiting.get(topic.topic)
    if (!waiting) this.#waiting.set(topic.topic, waiting = { topic, holdings: new Map() })
    waiting.holdings.set(id, holding)
    // The calls of one turn are applied together, so that few events are appended.
    this.#flush ??= Promise.resolve().then(() => this.#apply())
  }

  /** Does nothing: memory loses no member. */
  doubt (): void {}

  async held (): Promise<void> {
    await this.#flush
  }

  close (): void {
    this.#waiting.clear()
    this.#refused.clear()
  }

  #apply (): void {
    this.#flush = undefined
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { topic, holdings } of waiting) this.#applyTo(topic, [...holdings])
  }

  #applyTo (topic: MemberTopic, holdings: Array<[string, Holding]>): void {
    for (const reason of ['left', 'lost', 'removed'] as const) {
      const isGone = ([, holding]: [string, Holding]): boolean => holding.is === 'gone' && holding.reason === reason
      this.#leave(topic, holdings.filter(isGone).map(([id]) => id), reason)
    }
    const there = holdings.flatMap(([id, holding]) => holding.is === 'there' ? [[id, holding.data] as const] : [])
    const known = there.filter(([id]) => this.#log.has(topic.topic, id))
    this.#put(topic, 'update', known.filter(([id, data]) => textOf(this.#log.get(topic.topic, id)) !== data))
    this.#letIn(topic, holdings)
  }

  /** Members join while there is room. Those who find none join as soon as others leave. */
  #letIn (topic: MemberTopic, holdings: ReadonlyArray<[string, Holding]>): void {
    const refused = this.#refused.get(topic.topic) ?? new Map<string, string>()
    for (const [id, holding] of holdings) {
      if (holding.is === 'gone') refused.delete(id)
      else if (!this.#log.has(topic.topic, id)) refused.set(id, holding.data)
    }
    const room = Math.max(0, topic.maxMembers - this.#log.size(topic.topic))
    const joining: Array<[string, string]> = []
    for (const one of refused) {
      if (joining.length === room) break
      joining.push(one)
    }
    for (const [id] of joining) refused.delete(id)
    if (refused.size > 0) this.#refused.set(topic.topic, refused)
    else this.#refused.delete(topic.topic)
    this.#put(topic, 'join', joining)
  }

  #leave (topic: MemberTopic, ids: readonly string[], reason: LeaveReason): void {
    const there = ids.filter((id) => this.#log.has(topic.topic, id))
    for (const some of chunks(there)) {
      const text = topic.mode === 'count'
        ? countText(topic.subject, this.#log.size(topic.topic) - some.length)
        : leaveText(topic.subject, some, reason)
      this.#log.append(topic, text, new Map(), some)
      this.#told(topic, { type: 'leave', ids: some, reason })
    }
  }

  #put (topic: MemberTopic, type: 'join' | 'update', members: ReadonlyArray<readonly [string, string]>): void {
    for (const some of chunks(members)) {
      const texts = some.map(([, data]) => data)
      const count = this.#log.size(topic.topic) + (type === 'join' ? some.length : 0)
      const text = topic.mode === 'count' ? countText(topic.subject, count) : membersText(topic.subject, type, texts)
      this.#log.append(topic, text, new Map(some), [])
      if (type === 'join') this.#told(topic, { type, members: texts })
    }
  }
}

function textOf (event: KeyedEvent | undefined): string | undefined {
  return event && Buffer.from(event.data).toString()
}

function chunks<T> (all: readonly T[]): T[][] {
  const parts: T[][] = []
  for (let i = 0; i < all.length; i += MEMBERS_OF_EVENT) parts.push(all.slice(i, i + MEMBERS_OF_EVENT))
  return parts
}

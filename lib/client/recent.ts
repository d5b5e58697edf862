/** What the leading tab keeps of a topic, for tabs that join later. */
import type { ServerFrame } from '../protocol.ts'

export type TopicFrame = Extract<ServerFrame, { topic: string }>
type Op<Name extends string> = Extract<ServerFrame, { op: Name }>
export type SnapshotFrame = Op<'snapshot'>
type EventFrame = Extract<TopicFrame, { event: string, data: unknown }>

interface Item { key: string, event: string, data: unknown, encoding?: 'base64' }
interface Part { part: number, more: boolean, items: Item[] }
interface Member { id: string }
interface Presence {
  type: string, part?: number, more?: boolean, members?: Member[], ids?: string[], count?: number
}

export const isEvent = (frame: ServerFrame): frame is EventFrame => !('op' in frame) && 'topic' in frame
/** The position that a frame leads to. */
export const placeOf = (frame: TopicFrame): string | undefined => 'id' in frame ? frame.id : undefined

/** The newest frames of a topic's log, from a position on. */
export class Recent {
  /** The position before the first frame. Undefined if it is not known yet. */
  #base: string | undefined
  #frames: TopicFrame[] = []
  readonly #most: number

  constructor (most: number) {
    this.#most = most
  }

  get last (): string | undefined {
    const newest = this.#frames.at(-1)
    return newest ? placeOf(newest) : this.#base
  }

  start (base: string | undefined): void {
    this.#base = base
    this.#frames = []
  }

  push (frame: TopicFrame): void {
    this.#frames.push(frame)
    // Drops half of them at once, because each drop moves all others.
    if (this.#frames.length <= this.#most) return
    const old = this.#frames.splice(0, Math.ceil(this.#most / 2))
    this.#base = placeOf(old.at(-1) as TopicFrame)
  }

  /** The frames after this position. Undefined if the position is not kept. */
  after (id: string): readonly TopicFrame[] | undefined {
    if (id === this.#base) return this.#frames
    const at = this.#frames.findLastIndex((frame) => placeOf(frame) === id)
    return at < 0 ? undefined : this.#frames.slice(at + 1)
  }
}

/** A copy of the state of a keyed topic. */
export class KeyedCopy {
  readonly #items = new Map<string, Item>()
  #more = true
  #name: string | undefined

  static isPart (data: unknown): data is Part { return Array.isArray((Object(data) as Partial<Part>).items) }

  snapshot ({ event, data }: SnapshotFrame): void {
    const { part, more, items } = data as Part
    if (part === 0) this.#items.clear()
    for (const item of items) this.#items.set(item.key, item)
    this.#more = more
    this.#name = event
  }

  event ({ event, key, data }: EventFrame): void {
    if (event === 'realtime:removed') this.#items.delete((data as { key: string }).key)
    else if (key !== undefined) this.#items.set(key, { key, event, data })
  }

  /** Returns the state as one part. `at`: the log's position. */
  told (topic: string, at: string | undefined): SnapshotFrame {
    const data: Part = { part: 0, more: this.#more, items: [...this.#items.values()] }
    return { op: 'snapshot', topic, ...!this.#more && { id: at }, event: this.#name, data }
  }
}

/** A copy of a topic's members, or of their number. */
export class MembersCopy {
  readonly #members = new Map<string, Member>()
  #count: Presence | undefined
  #known = false
  #more = false
  #topic = ''
  #name: string | undefined
  #at: string | undefined

  get known (): boolean { return this.#known }

  /** False if the frame does not link to the one before. */
  take (frame: TopicFrame): boolean {
    this.#topic = frame.topic
    if (isEvent(frame)) return this.#event(frame)
    if (frame.op === 'snapshot') this.#snapshot(frame)
    else this.#at = placeOf(frame) ?? this.#at
    return true
  }

  #event ({ id, prev, data }: EventFrame): boolean {
    const before = this.#at
    if (id !== undefined && id === before) return true
    this.#fold(data as Presence)
    if (id === undefined) return true
    this.#at = id
    return before === undefined || prev === before
  }

  #snapshot ({ id, event, data }: SnapshotFrame): void {
    this.#known = true
    this.#name = event
    this.#at = id
    this.#more = (data as Presence).more === true
    this.#fold(data as Presence)
  }

  #fold (said: Presence): void {
    if (said.type === 'count') this.#count = said
    if (said.type === 'members' && said.part === 0) this.#members.clear()
    for (const member of said.members ?? []) this.#members.set(member.id, member)
    for (const id of said.ids ?? []) this.#members.delete(id)
  }

  told (name: string): SnapshotFrame {
    const list = { topic: name, type: 'members', part: 0, more: this.#more, members: [...this.#members.values()] }
    return { op: 'snapshot', topic: this.#topic, id: this.#at, event: this.#name, data: this.#count ?? list }
  }
}

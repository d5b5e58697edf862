/** One topic of this client: its position, its listeners, its members and its state. */
import type { ResetReason, ServerFrame } from '../protocol.ts'
import { RealtimeError } from './errors.ts'
import { bytesOf } from './bytes.ts'
import { Position } from './log.ts'
import { Listeners } from './listeners.ts'
import { Derived } from './store.ts'

/** The name of the topic of a topic's members is this prefix and the topic's name. */
export const PRESENCE = 'realtime:presence/'

/** What a listener gets. */
export interface HeardEvent {
  topic: string
  event: string
  data: unknown
  /** Undefined if the event is in no history. */
  id: string | undefined
  /** The key, in a keyed topic. */
  key: string | undefined
  /** Where it was published, if the server tells its clients. */
  traceparent: string | undefined
}

/** A member of a topic. `info` is what the server says of it, `state` what its client says. */
export interface HeardMember { id: string, info?: unknown, state?: unknown }
/** The newest event of one key of a keyed topic. */
export interface StateEntry { event: string, data: unknown }

export interface TopicHost {
  /** The topic has its first listener. */
  join (topic: HeardTopic): void
  /** The topic has no listener any more. */
  leave (topic: HeardTopic): void
  /** A frame did not link: the client must resume from its cursors. */
  broken (): void
}

type TopicFrame = Extract<ServerFrame, { topic: string }>
type Frame<Op extends string> = Extract<ServerFrame, { op: Op }>
interface EventFrame {
  event: string
  id?: string
  prev?: string
  key?: string
  traceparent?: string
  data: unknown
}
type Item = { key: string, event: string, data: unknown, encoding?: 'base64' }
type Snapshot = { part: number, more: boolean, items: Item[] }
interface Presence { type: string, part?: number, members?: HeardMember[], ids?: string[], count?: number }

export class HeardTopic {
  readonly name: string
  readonly position = new Position()
  /** The position in the topic of its members. */
  readonly presence = new Position()
  readonly #host: TopicHost
  readonly #listeners = new Listeners<HeardEvent>()
  readonly #members = new Map<string, HeardMember>()
  readonly #state = new Map<string, StateEntry>()
  #count = 0
  #holds = 0
  #joined = false
  #refusal: HeardEvent | undefined
  #keyed = false
  /** True after the first `subscribed` of the server. */
  #subscribedTo = false
  readonly members: Derived<readonly HeardMember[]>
  readonly count: Derived<number>
  readonly state: Derived<ReadonlyMap<string, StateEntry>>

  constructor (name: string, host: TopicHost) {
    this.name = name
    this.#host = host
    const held = (more: boolean): void => { if (more) this.hold(); else this.release() }
    this.members = new Derived<readonly HeardMember[]>(() => [...this.#members.values()], held)
    this.count = new Derived(() => this.#count, held)
    this.state = new Derived<ReadonlyMap<string, StateEntry>>(() => new Map(this.#state), held)
  }

  // --- who listens -----------------------------------------------------------------------

  on (event: string, run: (event: HeardEvent) => void): () => void {
    // A listener that is added after a refusal is told of the refusal.
    const leave = this.#listeners.add(event, run, () => this.release(), this.#refusal)
    this.hold()
    return leave
  }

  hold (): void {
    this.#holds++
    if (this.#joined) return
    this.#joined = true
    this.#host.join(this)
  }

  /** Leaves in the next macrotask. A page that renders again (React's StrictMode) leaves and joins at once. */
  release (): void {
    if (--this.#holds === 0) setTimeout(() => this.#leave())
  }

  #leave (): void {
    if (this.#holds > 0 || !this.#joined) return
    this.#joined = false
    this.#host.leave(this)
  }

  // --- what it is told -------------------------------------------------------------------

  frame (frame: TopicFrame): void {
    if (!('op' in frame)) return this.#event(frame)
    this.position.stand(frame)
    if (frame.op === 'subscribed') this.#subscribed()
    if (frame.op === 'snapshot') this.#snapshot(frame)
    if (frame.op === 'reset') this.#tell('reset', { reason: frame.reason }, frame.id)
  }

  #subscribed (): void {
    this.#refusal = undefined
    this.#subscribedTo = true
  }

  #event ({ event, id, prev, key, traceparent, data }: EventFrame): void {
    // The event belongs to an earlier subscription. Its id would move the position past the snapshot that is to come.
    if (!this.#subscribedTo) return
    if (id !== undefined && !this.#follows(this.position, id, prev)) return
    if (key !== undefined || event === 'realtime:removed') this.#keep(event, key, data)
    this.#tell(event, data, id, key, traceparent)
  }

  #follows (position: Position, id: string, prev: string | undefined): boolean {
    const step = position.take(id, prev)
    if (step === 'gap') this.#host.broken()
    if (step === 'lost') this.#tell('reset', { reason: 'lost' satisfies ResetReason }, id)
    return step === 'next' || step === 'lost'
  }

  #snapshot ({ id, event, data }: Frame<'snapshot'>): void {
    if (isPart(data)) this.#keepPart(data)
    else this.#tell(event ?? 'snapshot', data, id)
  }

  refused (code: string, message: string): void {
    this.#refusal = this.#told('error', { code, message })
    this.#listeners.tell(this.#refusal)
  }

  #tell (event: string, data: unknown, id?: string, key?: string, traceparent?: string): void {
    this.#listeners.tell(this.#told(event, data, id, key, traceparent))
  }

  #told (event: string, data: unknown, id?: string, key?: string, traceparent?: string): HeardEvent {
    return { topic: this.name, event, data, id, key, traceparent }
  }

  // --- the state of a keyed topic --------------------------------------------------------

  #keepPart ({ part, more, items }: Snapshot): void {
    this.#keyed = true
    if (part === 0) this.#state.clear()
    for (const { key, event, data, encoding } of items) {
      this.#state.set(key, { event, data: encoding ? bytesOf(data as string) : data })
    }
    if (!more) this.state.changed()
  }

  #keep (event: string, key: string | undefined, data: unknown): void {
    if (!this.#keyed) return
    if (event === 'realtime:removed') this.#state.delete((data as { key: string }).key)
    else this.#state.set(key as string, { event, data })
    this.state.changed()
  }

  // --- who is there ----------------------------------------------------------------------

  presenceFrame (frame: TopicFrame): void {
    if (!('op' in frame)) {
      const { id, prev, data } = frame as EventFrame
      if (id === undefined || this.#follows(this.presence, id, prev)) this.#show(data as Presence)
      return
    }
    this.presence.stand(frame)
    if (frame.op === 'snapshot') this.#show(frame.data as Presence)
  }

  #show ({ type, part, members = [], ids = [], count }: Presence): void {
    if (type === 'members' && part === 0) this.#members.clear()
    for (const member of members) this.#members.set(member.id, member)
    for (const id of ids) this.#members.delete(id)
    this.#count = count ?? this.#members.size
    this.members.changed()
    this.count.changed()
  }

  // --- iteration -------------------------------------------------------------------------

  /** `most`: how many events may wait for their reader. @throws RealtimeError */
  async * iterate (most: number): AsyncGenerator<HeardEvent, void, undefined> {
    const waiting: HeardEvent[] = []
    const end: RealtimeError[] = []
    let wake = (): void => {}
    const off = this.on('*', (told) => {
      const { code, message } = Object(told.data) as { code: string, message: string }
      if (end.length > 0) return
      if (told.event === 'error') end.push(new RealtimeError(code, message))
      else if (waiting.length < most) waiting.push(told)
      else end.push(new RealtimeError('SLOW_CONSUMER', `more than ${most} events wait`))
      wake()
    })
    try {
      for (;;) {
        const event = waiting.shift()
        if (event) yield event
        else if (end[0]) throw end[0]
        else await new Promise<void>((resolve) => { wake = resolve })
      }
    } finally {
      off()
    }
  }
}

function isPart (data: unknown): data is Snapshot {
  const { part, items } = Object(data) as Partial<Snapshot>
  return part !== undefined && Array.isArray(items)
}

/** The cursors from which a client resumes its topics. */
export function cursorsOf (topics: Iterable<HeardTopic>): Record<string, string> {
  const cursors: Record<string, string> = {}
  for (const { name, position, presence } of topics) {
    if (position.id !== undefined) cursors[name] = position.id
    if (presence.id !== undefined) cursors[PRESENCE + name] = presence.id
  }
  return cursors
}

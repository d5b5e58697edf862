/** One topic on the one connection, and the tabs that hear it: each at its own place in the log until it is level. */
import type { Ref, ServerFrame } from '../protocol.ts'
import { isEvent, KeyedCopy, MembersCopy, placeOf, Recent, type SnapshotFrame, type TopicFrame } from './recent.ts'

type Op<Name extends string> = Extract<ServerFrame, { op: Name }>

/** Of one tab. */
interface Seat {
  /** Where it is, while it is not level. */
  at: string | undefined
  readonly ref: Ref | undefined
  /** It is where the connection is, and is told all that comes. */
  level: boolean
  /** It has the list of members, and is told what changes. */
  members: boolean
  /** It was told that it is in the topic. */
  told: boolean
  /** Ends the connection on which it catches up. */
  stop: (() => void) | undefined
}

export interface SharedTopicHost {
  /** Frames kept of a topic. */
  readonly recent: number
  tell (tabs: readonly string[], frame: ServerFrame): void
  /** What follows `from` (or a beginning: a snapshot) on a connection for that alone. Returns what ends it. */
  catchUp (tab: string, topic: string, from: string | undefined, heard: (frame: TopicFrame) => void): () => void
  /** What the server has said does not link. */
  broken (): void
}

/** What a tab is to be told that comes without a cursor. */
type Beginning =
  /** This connection was given none, since it came with a cursor. */
  | { is: 'unknown' }
  /** It has not come yet; it never does where the topic has no history. */
  | { is: 'waiting' }
  | { is: 'none' }
  | { is: 'snapshot', frame: SnapshotFrame }
  | { is: 'keyed', copy: KeyedCopy }

export class SharedTopic {
  readonly name: string
  /** The cursor that the connection joined it with. */
  #from: string | undefined
  readonly #host: SharedTopicHost
  readonly #seats = new Map<string, Seat>()
  readonly #log: Recent
  readonly #members = new MembersCopy()
  #joined = false
  #beginning: Beginning = { is: 'unknown' }

  constructor (name: string, from: string | undefined, host: SharedTopicHost) {
    this.name = name
    this.#from = from
    this.#host = host
    this.#log = new Recent(host.recent)
  }

  /** Where the connection stands. */
  get last (): string | undefined { return this.#log.last }
  get empty (): boolean { return this.#seats.size === 0 }
  get tabs (): string[] { return [...this.#seats.keys()] }

  // --- who hears it ----------------------------------------------------------------------

  /** `at`: the tab's cursor. */
  add (tab: string, at: string | undefined, ref: Ref | undefined): void {
    this.remove(tab)
    const seat: Seat = { at, ref, level: false, members: false, told: false, stop: undefined }
    this.#seats.set(tab, seat)
    if (this.#joined) this.#admit(tab, seat)
  }

  remove (tab: string): void {
    this.#seats.get(tab)?.stop?.()
    this.#seats.delete(tab)
  }

  end (): void {
    for (const tab of this.tabs) this.remove(tab)
  }

  /** The server does not let the client in. */
  refused (error: Op<'error'>): void {
    for (const [tab, { ref }] of this.#seats) this.#host.tell([tab], { ...error, ref })
    this.end()
  }

  #admit (tab: string, seat: Seat): void {
    this.#showMembers(tab, seat)
    if (seat.at === undefined) this.#begin(tab, seat)
    else if (!this.#link(tab, seat)) this.#catchUp(tab, seat)
  }

  /** Without a cursor: what the topic is now. */
  #begin (tab: string, seat: Seat): void {
    const beginning = this.#beginning
    if (beginning.is === 'waiting') return this.#level(tab, seat, {})
    if (beginning.is === 'none') return this.#level(tab, seat, { id: this.#log.last })
    if (beginning.is === 'keyed') {
      return this.#level(tab, seat, {}, [beginning.copy.told(this.name, this.#log.last)])
    }
    // With events behind it the tab would be told what happened before it came: the server has a newer one.
    if (beginning.is === 'snapshot' && this.#log.last === beginning.frame.id) {
      return this.#level(tab, seat, {}, [beginning.frame])
    }
    this.#catchUp(tab, seat)
  }

  #level (tab: string, seat: Seat, said: Partial<Op<'subscribed'>>, frames: readonly ServerFrame[] = []): void {
    seat.level = true
    seat.stop?.()
    seat.stop = undefined
    this.#tellIn(tab, seat, said)
    for (const frame of frames) this.#host.tell([tab], frame)
  }

  #tellIn (tab: string, seat: Seat, said: Partial<Op<'subscribed'>>): void {
    if (seat.told) return
    seat.told = true
    this.#host.tell([tab], { ...said, op: 'subscribed', topic: this.name, ref: seat.ref })
  }

  /** Where its place is one that is kept, it is told what follows. */
  #link (tab: string, seat: Seat): boolean {
    const missed = seat.at === undefined ? undefined : this.#log.after(seat.at)
    if (missed) this.#level(tab, seat, { recovered: true }, missed)
    return missed !== undefined
  }

  /**
   * Ids say nothing of who is ahead. So it is told what follows its place by another connection, until that, or this
   * one, comes to where the other has been.
   */
  #catchUp (tab: string, seat: Seat): void {
    seat.stop = this.#host.catchUp(tab, this.name, seat.at, (frame) => {
      if (this.#seats.get(tab) === seat && !seat.level) this.#caughtUp(tab, seat, frame)
    })
  }

  #caughtUp (tab: string, seat: Seat, frame: TopicFrame): void {
    if ('op' in frame && frame.op === 'subscribed') {
      // A cursor means nothing there: the topic has no history (any more).
      if (seat.at !== undefined && frame.recovered === undefined) return this.#level(tab, seat, {})
      this.#tellIn(tab, seat, frame)
      seat.at ??= frame.id
    // What has no place comes on this connection.
    } else if (!isEvent(frame) || frame.id !== undefined) {
      this.#host.tell([tab], frame)
      seat.at = placeOf(frame)
    }
    this.#link(tab, seat)
  }

  // --- what the server says --------------------------------------------------------------

  /** `from`: the cursor that it was joined with, where that is another. */
  subscribed (frame: Op<'subscribed'>, from = this.#from): void {
    // Over HTTP another stream says it again, and goes on where the one before it was.
    if (this.#joined) return
    this.#joined = true
    this.#from = from
    const { id, recovered } = frame
    this.#log.start(recovered ? from : id)
    // Also where a cursor means nothing: it has no history (any more).
    if (recovered === undefined) this.#beginning = { is: id === undefined ? 'waiting' : 'none' }
    for (const [tab, seat] of [...this.#seats]) {
      if (seat.at === from) this.#level(tab, seat, frame)
      else this.#admit(tab, seat)
    }
  }

  heard (frame: TopicFrame): void {
    // What comes before is of an earlier time, which was left.
    if (!this.#joined) return
    if (isEvent(frame)) return this.#event(frame)
    const { op } = frame
    if (op === 'snapshot') this.#snapshot(frame)
    else if (op === 'reset') this.#reset(frame.id)
    else if (op === 'at' && frame.id !== undefined) this.#log.push(frame)
    this.#spread(frame)
  }

  #event (frame: Extract<TopicFrame, { event: string, data: unknown }>): void {
    const { last } = this.#log
    if (frame.id === undefined || frame.id === last) return this.#spread(frame)
    this.#log.push(frame)
    if (this.#beginning.is === 'keyed') this.#beginning.copy.event(frame)
    this.#spread(frame)
    if (last !== undefined && frame.prev !== last) this.#host.broken()
  }

  #snapshot (frame: SnapshotFrame): void {
    this.#log.start(frame.id)
    if (!KeyedCopy.isPart(frame.data)) this.#beginning = { is: 'snapshot', frame }
    else {
      if (this.#beginning.is !== 'keyed') this.#beginning = { is: 'keyed', copy: new KeyedCopy() }
      this.#beginning.copy.snapshot(frame)
    }
  }

  /** A snapshot follows, where the topic has one. */
  #reset (id: string | undefined): void {
    this.#log.start(id)
    if (this.#beginning.is !== 'none') this.#beginning = { is: 'unknown' }
  }

  #spread (frame: TopicFrame): void {
    const level = this.#those(({ level }) => level)
    if (level.length > 0) this.#host.tell(level, frame)
    for (const [tab, seat] of [...this.#seats]) if (!seat.level) this.#link(tab, seat)
  }

  #those (are: (seat: Seat) => boolean): string[] {
    return [...this.#seats].filter(([, seat]) => are(seat)).map(([tab]) => tab)
  }

  // --- who is there ----------------------------------------------------------------------

  presence (frame: TopicFrame): void {
    const links = this.#members.take(frame)
    if ('op' in frame && frame.op === 'snapshot') for (const seat of this.#seats.values()) seat.members = true
    const told = this.#those(({ members }) => members)
    if (told.length > 0) this.#host.tell(told, frame)
    if (!links) this.#host.broken()
  }

  #showMembers (tab: string, seat: Seat): void {
    if (seat.members || !this.#members.known) return
    seat.members = true
    this.#host.tell([tab], this.#members.told(this.name))
  }
}

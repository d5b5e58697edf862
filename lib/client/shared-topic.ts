/**
 * One topic on the shared connection, and its tabs. Each tab has its own position until it is level with the
 * connection.
 */
import type { Ref, ServerFrame } from '../protocol.ts'
import { isEvent, KeyedCopy, MembersCopy, placeOf, Recent, type SnapshotFrame, type TopicFrame } from './recent.ts'

type Op<Name extends string> = Extract<ServerFrame, { op: Name }>

/** The state of one tab. */
interface Seat {
  /** The tab's position, while the tab is not level. */
  at: string | undefined
  readonly ref: Ref | undefined
  /** True if the tab is where the connection is, and gets every frame. */
  level: boolean
  /** True if the tab has the list of members, and gets its changes. */
  members: boolean
  /** True if the tab has got its `subscribed`. */
  told: boolean
  /** Ends the connection on which the tab catches up. */
  stop: (() => void) | undefined
}

export interface SharedTopicHost {
  /** How many frames are kept of a topic. */
  readonly recent: number
  tell (tabs: readonly string[], frame: ServerFrame): void
  /**
   * Opens a connection of one tab, for what follows `from`, or without it for a beginning (a snapshot). Returns what
   * ends it.
   */
  catchUp (tab: string, topic: string, from: string | undefined, heard: (frame: TopicFrame) => void): () => void
  /** A frame of the server did not link. */
  broken (): void
}

/** What a tab without a cursor gets first. */
type Beginning =
  /** Not known: the connection joined with a cursor, and so got no beginning. */
  | { is: 'unknown' }
  /** It has not come yet. In a topic without history it never comes. */
  | { is: 'waiting' }
  | { is: 'none' }
  | { is: 'snapshot', frame: SnapshotFrame }
  | { is: 'keyed', copy: KeyedCopy }

export class SharedTopic {
  readonly name: string
  /** The cursor with which the connection joined the topic. */
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

  /** The position of the connection. */
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

  /** The server refused the topic. */
  refused (error: Op<'error'>): void {
    for (const [tab, { ref }] of this.#seats) this.#host.tell([tab], { ...error, ref })
    this.end()
  }

  #admit (tab: string, seat: Seat): void {
    this.#showMembers(tab, seat)
    if (seat.at === undefined) this.#begin(tab, seat)
    else if (!this.#link(tab, seat)) this.#catchUp(tab, seat)
  }

  /** Gives a tab without a cursor the present state of the topic. */
  #begin (tab: string, seat: Seat): void {
    const beginning = this.#beginning
    if (beginning.is === 'waiting') return this.#level(tab, seat, {})
    if (beginning.is === 'none') return this.#level(tab, seat, { id: this.#log.last })
    if (beginning.is === 'keyed') {
      return this.#level(tab, seat, {}, [beginning.copy.told(this.name, this.#log.last)])
    }
    // If events came after the snapshot, the tab would get events from before it joined. The server has a newer
    // snapshot.
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

  /** If the tab's position is among the kept frames, gives it the frames after it. */
  #link (tab: string, seat: Seat): boolean {
    const missed = seat.at === undefined ? undefined : this.#log.after(seat.at)
    if (missed) this.#level(tab, seat, { recovered: true }, missed)
    return missed !== undefined
  }

  /**
   * Ids cannot show whether the tab or the connection is ahead. So the tab gets what follows its position over another
   * connection, until one of the two reaches a position of the other.
   */
  #catchUp (tab: string, seat: Seat): void {
    seat.stop = this.#host.catchUp(tab, this.name, seat.at, (frame) => {
      if (this.#seats.get(tab) === seat && !seat.level) this.#caughtUp(tab, seat, frame)
    })
  }

  #caughtUp (tab: string, seat: Seat, frame: TopicFrame): void {
    if ('op' in frame && frame.op === 'subscribed') {
      // The cursor was ignored, so the topic has no history (any more).
      if (seat.at !== undefined && frame.recovered === undefined) return this.#level(tab, seat, {})
      this.#tellIn(tab, seat, frame)
      seat.at ??= frame.id
    // Events without an id come on the shared connection.
    } else if (!isEvent(frame) || frame.id !== undefined) {
      this.#host.tell([tab], frame)
      seat.at = placeOf(frame)
    }
    this.#link(tab, seat)
  }

  // --- what the server says --------------------------------------------------------------

  /** `from`: the cursor with which the topic was joined, if it is not the first one. */
  subscribed (frame: Op<'subscribed'>, from = this.#from): void {
    // Over HTTP each new stream sends it again, and continues from the old one.
    if (this.#joined) return
    this.#joined = true
    this.#from = from
    const { id, recovered } = frame
    this.#log.start(recovered ? from : id)
    // Also if the cursor was ignored, because the topic has no history (any more).
    if (recovered === undefined) this.#beginning = { is: id === undefined ? 'waiting' : 'none' }
    for (const [tab, seat] of [...this.#seats]) {
      if (seat.at === from) this.#level(tab, seat, frame)
      else this.#admit(tab, seat)
    }
  }

  heard (frame: TopicFrame): void {
    // Frames before `subscribed` belong to an earlier subscription.
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

  /** If the topic has snapshots, one follows the reset. */
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

/**
 * The members of one topic that are connected to this node, each by one or more connections. A member that has lost its
 * last connection stays for the grace, because it may be reloading a page. If it comes back in time, nobody is told
 * anything.
 */
import type { LeaveReason, MemberStore, MemberTopic } from '../../core/adapter.ts'

/** Which member a connection belongs to. `info`: as JSON text. */
export interface Membership { readonly id: string, readonly info: string | undefined }

/** How a connection has left. `lost`: it may come back. */
export type Departure = 'lost' | Exclude<LeaveReason, 'lost'>

interface MemberHere {
  readonly connections: Set<object>
  info: string | undefined
  /** What the member's client says of itself, as JSON text. */
  state: string | undefined
  /** The text that the store has. */
  shown: string
  grace: NodeJS.Timeout | undefined
}

export class MembersHere {
  readonly topic: MemberTopic
  readonly #store: MemberStore
  readonly #empty: () => void
  readonly #members = new Map<string, MemberHere>()

  /** `empty`: called when the last member is gone. */
  constructor (store: MemberStore, topic: MemberTopic, empty: () => void) {
    this.#store = store
    this.topic = topic
    this.#empty = empty
  }

  enter (connection: object, { id, info }: Membership): void {
    const known = this.#members.get(id)
    if (!known) return this.#begin(connection, id, info)
    clearTimeout(known.grace)
    known.grace = undefined
    known.connections.add(connection)
    known.info = info
    this.#show(id, known, 'ours')
  }

  #begin (connection: object, id: string, info: string | undefined): void {
    const member: MemberHere = {
      connections: new Set([connection]), info, state: undefined, shown: '', grace: undefined
    }
    this.#members.set(id, member)
    this.#show(id, member, 'theirs')
  }

  #show (id: string, member: MemberHere, shows: 'ours' | 'theirs'): void {
    const { info, state } = member
    const data = `{"id":${JSON.stringify(id)}${info === undefined ? '' : `,"info":${info}`}` +
      `${state === undefined ? '' : `,"state":${state}`}}`
    if (data === member.shown) return
    member.shown = data
    this.#store.hold(this.topic, id, { is: 'there', data, shows })
  }

  /** Sets what the member's client says of itself. False if it is no member. */
  update (id: string, state: string): boolean {
    const member = this.#members.get(id)
    if (!member) return false
    member.state = state
    this.#show(id, member, 'ours')
    return true
  }

  leave (connection: object, id: string, how: Departure): void {
    const member = this.#members.get(id)
    if (!member?.connections.delete(connection) || member.connections.size > 0) return
    if (how !== 'lost' || this.topic.grace === 0) return this.#end(id, how === 'lost' ? 'left' : how)
    member.grace = setTimeout(() => this.#end(id, 'left'), this.topic.grace).unref()
  }

  #end (id: string, reason: LeaveReason): void {
    this.#members.delete(id)
    this.#store.hold(this.topic, id, { is: 'gone', reason })
    if (this.#members.size === 0) this.#empty()
  }

  /** The node closes. The store decides what becomes of its members. */
  close (): void {
    for (const { grace } of this.#members.values()) clearTimeout(grace)
    this.#members.clear()
  }
}

/**
 * The topics that a connection is about to join, those that it has left before it began, and those that were taken from
 * it. Most connections have none of these.
 */
import { Forbidden } from '../../errors.ts'

/** A join in progress: the app is asked, or history is read. */
export interface Join {
  readonly name: string
  fate: 'pending' | 'left' | 'taken'
}

/** Names of taken topics that are kept for one connection. One more, and the client must come back. */
export const MAX_TAKEN = 1000

export class Joins {
  // Each set is made when there is something to keep.
  #pending: Set<Join> | undefined
  #left: Set<string> | undefined
  #taken: Set<string> | undefined

  /** @throws Forbidden if the topic was taken from the connection */
  start (name: string): Join {
    if (this.#taken?.has(name)) throw new Forbidden(name, 'subscribe')
    const join: Join = { name, fate: 'pending' }
    this.#pending = (this.#pending ?? new Set()).add(join)
    return join
  }

  end (join: Join): void {
    this.#pending?.delete(join)
  }

  get pending (): string[] { return [...this.#pending ?? []].map(({ name }) => name) }
  /** Too many topics were taken to keep another name. */
  get full (): boolean { return (this.#taken?.size ?? 0) > MAX_TAKEN }

  isPending (name: string): boolean {
    for (const join of this.#pending ?? []) if (join.name === name && join.fate === 'pending') return true
    return false
  }

  /** Gives up a join that is under way. The topic may be joined another time. */
  leave (name: string): void {
    this.#end(name, 'left')
  }

  /** Leaves a topic that the connection was to begin with. */
  leaveEarly (name: string): void {
    this.#left = (this.#left ?? new Set()).add(name)
  }

  begun (): void {
    this.#left = undefined
  }

  /** Takes the topic from the connection, for good. */
  take (name: string): void {
    this.#taken = (this.#taken ?? new Set()).add(name)
    this.#end(name, 'taken')
  }

  /** True for a topic that was neither taken nor left. */
  admits (name: string): boolean {
    return this.#taken?.has(name) !== true && this.#left?.has(name) !== true
  }

  #end (name: string, fate: Join['fate']): void {
    for (const join of this.#pending ?? []) if (join.name === name && join.fate !== 'taken') join.fate = fate
  }
}

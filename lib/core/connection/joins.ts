/**
 * What a connection is about to join, what it has left before it began, and what was taken from it. Most connections
 * have none of these.
 */
import { Forbidden } from '../../errors.ts'

/** A topic that is being joined: the app is asked, history is read. */
export interface Join {
  readonly name: string
  fate: 'pending' | 'left' | 'taken'
}

/** Names kept of what was taken from one connection. */
export const MAX_TAKEN = 1000

export class Joins {
  // Made when there is something to keep.
  #pending: Set<Join> | undefined
  #left: Set<string> | undefined
  #taken: Set<string> | undefined

  /** @throws Forbidden where the topic was taken */
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
  /** No more can be kept. */
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

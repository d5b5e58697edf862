/** All connections of this node: those that are open, and those that have been told to go and have not gone yet. */
import { shuttingDown, type CloseReason } from '../close-reasons.ts'
import { Leaving } from './leaving.ts'
import type { Connection } from './connection.ts'

/** Clients told to come back are spread so that about so many come each second. */
const RETURNS_PER_SECOND = 1000
const MAX_SPREAD_MS = 60_000

export class Connections {
  /** From when orders find them to when they are closed. */
  readonly open = new Set<Connection>()
  /** The app's own subscriptions: no order concerns them, and no limit. */
  readonly own = new Set<Connection>()
  readonly leaving = new Leaving()
  readonly #retry: number

  /** `retry`: when a client should come back, at most and with nobody else (ms). */
  constructor (retry: number) {
    this.#retry = retry
  }

  /** It has ended; its wire may still be saying so. */
  closing (connection: Connection): void {
    if (!this.own.delete(connection) && this.open.delete(connection)) this.leaving.add(connection)
  }

  /** Its wire is gone. */
  ended (connection: Connection): void {
    connection.place?.left()
    this.leaving.delete(connection)
  }

  /** When a client should come back (ms): spread over a window that grows with their number. */
  retryAfter (clients = this.open.size): number {
    const window = Math.min(MAX_SPREAD_MS, Math.max(this.#retry, clients * 1000 / RETURNS_PER_SECOND))
    return Math.round(this.#retry / 2 + Math.random() * window)
  }

  /** The app closes. */
  sendAll (reason: CloseReason = shuttingDown): void {
    const clients = this.open.size
    for (const connection of this.all) connection.end(reason, this.retryAfter(clients))
  }

  get all (): Connection[] { return [...this.open, ...this.own] }
}

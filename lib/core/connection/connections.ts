/** All connections of this node: the open ones, and those that have been told to go and have not gone yet. */
import { shuttingDown, type CloseReason } from '../close-reasons.ts'
import { Leaving } from './leaving.ts'
import type { Connection } from './connection.ts'

/** Clients that are told to come back are spread, so that about so many come each second. */
const RETURNS_PER_SECOND = 1000
const MAX_SPREAD_MS = 60_000

export class Connections {
  /** Connections that orders find, until they are closed. */
  readonly open = new Set<Connection>()
  /** The app's own subscriptions: no order and no limit concerns them. */
  readonly own = new Set<Connection>()
  readonly leaving = new Leaving()
  readonly #retry: number

  /** `retry`: ms after which a client should come back, on average, if there are few clients. */
  constructor (retry: number) {
    this.#retry = retry
  }

  /** The connection has ended. The wire may still be telling the client. */
  closing (connection: Connection): void {
    if (!this.own.delete(connection) && this.open.delete(connection)) this.leaving.add(connection)
  }

  /** The connection's wire is gone. */
  ended (connection: Connection): void {
    connection.place?.left()
    this.leaving.delete(connection)
  }

  /** When a client should come back (ms): random, in a window that grows with the number of clients. */
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

/** One subscription within the process, from the call to its end. */
import { clientLeft, shuttingDown, type CloseReason } from '../../core/close-reasons.ts'
import type { Connection } from '../../core/connection/connection.ts'
import type { Joining } from '../../core/connection/joining.ts'
import type { Item } from './batch.ts'
import type { Source } from './events.ts'
import { Inbox, type HeardName } from './inbox.ts'
import { ProcessOutlet, type ProcessOutletHost } from './outlet.ts'
import { SubscriptionEnded } from '../../errors.ts'

interface Standing { id: string | undefined }

export class ProcessSubscription implements Source<Item>, ProcessOutletHost {
  readonly inbox: Inbox
  readonly ready: Promise<Standing>
  /** Whose it is. The app's own end quietly with the app; a client must be told to come back. */
  readonly #whose: 'app' | 'client'
  #connection: Connection | undefined
  #state: 'opening' | 'open' | 'over' = 'opening'
  #settle: { resolve (standing: Standing): void, reject (error: Error): void } | undefined
  /** Undoes what it has put on what others own. */
  #undo: Array<() => void> = []

  constructor (topic: HeardName, whose: 'app' | 'client') {
    this.inbox = new Inbox(topic)
    this.#whose = whose
    this.ready = new Promise((resolve, reject) => { this.#settle = { resolve, reject } })
    // Nobody need wait for it.
    this.ready.catch(() => {})
  }

  get over (): boolean { return this.#state === 'over' }

  next (): Promise<IteratorResult<Item, undefined>> {
    return this.inbox.next()
  }

  /** It leaves when `watch` calls back. */
  leaveWhen (watch: (leave: () => void) => () => void): void {
    if (!this.over) this.#undo.push(watch(() => this.leave()))
  }

  // --- its beginning -------------------------------------------------------------------

  /** It has a connection, which is not open yet. */
  enter (connection: Connection): void {
    this.#connection = connection
    if (this.over) connection.gone(clientLeft)
  }

  /** False where the connection was closed before it could begin: `joining` is still to be released. */
  begin (connection: Connection, joining: Joining[]): boolean {
    if (connection.closed) {
      this.ended(connection.reason ?? clientLeft)
      return false
    }
    connection.attach(new ProcessOutlet(connection, this))
    connection.begin(joining)
    return true
  }

  opened (id: string | undefined): void {
    if (this.over) return
    this.#state = 'open'
    this.#settle?.resolve({ id })
  }

  // --- its end -------------------------------------------------------------------------

  /** It could not begin. */
  fail (error: Error): void {
    this.#end(error)
  }

  /** It could not begin, since the app closes. */
  closed (error: Error): void {
    this.#end(this.#whose === 'client' ? error : undefined)
  }

  ended (reason: CloseReason): void {
    this.#end(this.#mustComeBack(reason) ? ended(reason) : undefined)
  }

  #mustComeBack (reason: CloseReason): boolean {
    return reason.reconnect && (reason !== shuttingDown || this.#whose === 'client')
  }

  /** The consumer wants nothing more. */
  leave (): void {
    this.#end(undefined)
    this.inbox.cut()
    this.#connection?.gone(clientLeft)
  }

  #end (error: Error | undefined): void {
    if (this.over) return
    this.#state = 'over'
    this.inbox.end(error)
    this.#settle?.reject(error ?? ended(clientLeft))
    for (const undo of this.#undo.splice(0)) undo()
  }
}

function ended (reason: CloseReason): Error {
  return Object.assign(new SubscriptionEnded(reason.text), { reason })
}

/** Counts the bytes of events that wait for Redis, sets their deadlines, and answers each publisher once. */
import type { AppendOptions, EventId } from '../../core/adapter.ts'
import { Unavailable } from '../../errors.ts'
import type { Ticket } from './batch.ts'

export interface PendingSettings {
  /** ms */
  readonly publishTimeout: number
  /** Bytes of events that wait for Redis. */
  readonly maxPending: number
}

/** What each waiting event uses besides its data, bytes. */
const OVERHEAD = 256

export class PendingEvents {
  bytes = 0
  readonly #settings: PendingSettings

  constructor (settings: PendingSettings) {
    this.#settings = settings
  }

  /** Returns the error if an event of this size would exceed `maxPending`. */
  refusal (size: number): Error | undefined {
    if (this.bytes + size + OVERHEAD <= this.#settings.maxPending) return undefined
    return new Unavailable(`${this.bytes} bytes already wait for Redis (maxPending), so the event was not published`)
  }

  add (
    body: string | Buffer, size: number, options: AppendOptions, resolve: Ticket['resolve'], reject: Ticket['reject']
  ): Ticket {
    this.bytes += size + OVERHEAD
    const deadline = performance.now() + this.#settings.publishTimeout
    return { body, size, options, deadline, settled: false, resolve, reject }
  }

  resolve (ticket: Ticket, id: EventId): void {
    if (this.#leave(ticket)) ticket.resolve(id)
  }

  reject (ticket: Ticket, error: Error): void {
    if (this.#leave(ticket)) ticket.reject(error)
  }

  /** Rejects the publish. It is not known whether the event was appended. */
  giveUp (ticket: Ticket): void {
    if (!ticket.settled) this.reject(ticket, this.#unknown(ticket))
  }

  /** Takes the event out of the count. False if its publisher has the answer already. */
  #leave (ticket: Ticket): boolean {
    if (ticket.settled) return false
    ticket.settled = true
    this.bytes -= ticket.size + OVERHEAD
    return true
  }

  /** The error has the dedupe key, with which the app can publish again without doubling the event. */
  #unknown ({ options: { dedupe } }: Ticket): Error {
    const key = dedupe === undefined
      ? 'With a "dedupe" key you could safely try again.'
      : `Try again under its key, "${dedupe}".`
    const why = `Redis did not answer within publishTimeout (${this.#settings.publishTimeout} ms). ${key}`
    return Object.assign(new Unavailable(why, { unknown: true }), { dedupe })
  }
}

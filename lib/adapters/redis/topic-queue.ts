/**
 * One topic's events on their way to Redis. A batch keeps its number when it is tried again, until its deadline, and
 * APPEND's mark makes Redis apply it only once. Several batches can be on their way, and Redis applies each only after
 * the one before it. If one fails, the queue waits for the answers to those after it, and then sends all again one by
 * one. So the order of the calls is kept over retries.
 */
import type { EventId } from '../../core/adapter.ts'
import { Conflict, NotOwner, StateFull, Unavailable } from '../../errors.ts'
import { takeTickets, type Batch, type Ticket } from './batch.ts'
import { conflicting, isAppended } from './decode.ts'
import type { PendingEvents } from './pending-events.ts'

export interface TopicQueueHost {
  readonly pending: PendingEvents
  /** Appends a batch in one step. Resolves with the ids, or with '' if Redis has a later batch already. */
  append (topic: string, batch: Batch): Promise<string>
  /** Resolves when it is worth trying again; never rejects. */
  pause (attempt: number): Promise<void>
  acknowledged (topic: string, id: EventId): void
  /** The number for a batch. It is higher than all before, of any topic. */
  nextNumber (): number
  /** The queue has no events any more. */
  empty (topic: string): void
}

/** At most so many batches are on their way. */
const IN_FLIGHT = 8
/** Errors that a retry cannot help. All others are tried again. */
const FINAL = /^(NOTOWNER|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE|ERR )/

export class TopicQueue {
  readonly #topic: string
  readonly #host: TopicQueueHost
  readonly #waiting: Ticket[] = []
  /** Batches on their way, the oldest first. */
  readonly #flight: Batch[] = []
  /** `gathers`: events of the same turn join one batch. `stuck`: a batch has failed, and no new one is sent. */
  #state: 'sends' | 'gathers' | 'stuck' = 'sends'
  /** The number of the newest acknowledged batch. */
  #newest = 0

  constructor (topic: string, host: TopicQueueHost) {
    this.#topic = topic
    this.#host = host
  }

  add (ticket: Ticket): void {
    this.#waiting.push(ticket)
    if (this.#state !== 'sends') return
    this.#state = 'gathers'
    queueMicrotask(() => this.#gathered())
  }

  #gathered (): void {
    if (this.#state === 'gathers') this.#state = 'sends'
    this.#send()
  }

  #send (): void {
    while (this.#state !== 'stuck' && this.#waiting.length > 0 && this.#flight.length < IN_FLIGHT) this.#sendBatch()
    if (this.#waiting.length === 0 && this.#flight.length === 0) this.#host.empty(this.#topic)
  }

  #sendBatch (): void {
    const batch = this.#takeBatch()
    this.#flight.push(batch)
    this.#host.append(this.#topic, batch).then(
      (ids) => this.#arrived(batch, ids),
      (error: Error) => this.#failed(batch, error)
    )
  }

  #takeBatch (): Batch {
    const number = this.#host.nextNumber()
    const after = this.#flight.at(-1)?.number ?? 0
    const oldest = this.#flight[0]?.number ?? number
    return { number, tickets: takeTickets(this.#waiting), after, oldest, state: 'on its way' }
  }

  // --- answers -----------------------------------------------------------------------

  #arrived (batch: Batch, ids: string): void {
    this.#settle(batch, ids)
    this.#over(batch)
  }

  #failed (batch: Batch, error: Error): void {
    if (FINAL.test(error.message)) {
      this.#refuse(batch, error)
      this.#over(batch)
      return
    }
    this.#state = 'stuck'
    batch.state = 'failed'
    this.#goOn()
  }

  #over (batch: Batch): void {
    this.#flight.splice(this.#flight.indexOf(batch), 1)
    this.#goOn()
  }

  #goOn (): void {
    if (this.#state !== 'stuck') this.#send()
    else if (this.#flight.every(({ state }) => state === 'failed')) this.#sendAgain().catch(() => {})
  }

  /** Sends the failed batches again, one by one, so that their order is kept. */
  async #sendAgain (): Promise<void> {
    await this.#host.pause(0)
    for (let batch = this.#flight[0]; batch; batch = this.#flight[0]) {
      batch.after = 0
      batch.oldest = batch.number
      await this.#deliver(batch)
      this.#flight.shift()
    }
    this.#state = 'sends'
    this.#send()
  }

  async #deliver (batch: Batch): Promise<void> {
    for (let attempt = 1; batch.tickets.some(({ settled }) => !settled); attempt++) {
      try {
        this.#settle(batch, await this.#host.append(this.#topic, batch))
        return
      } catch (error) {
        if (FINAL.test((error as Error).message)) return this.#refuse(batch, error as Error)
      }
      await this.#host.pause(attempt)
    }
  }

  #settle ({ number, tickets }: Batch, answer: string): void {
    // Redis has a later batch, so the fate of this one is unknown. Usually its publishers do not wait any more.
    if (answer === '') return this.#giveUp(tickets)
    const ids: EventId[] = answer.split(' ')
    const last = ids.findLast(isAppended)
    if (number > this.#newest && last !== undefined) this.#host.acknowledged(this.#topic, last)
    this.#newest = Math.max(this.#newest, number)
    for (const [i, ticket] of tickets.entries()) this.#answer(ticket, ids[i] as EventId)
  }

  #answer (ticket: Ticket, id: EventId): void {
    const last = conflicting(id)
    if (last !== undefined) this.#host.pending.reject(ticket, new Conflict(this.#topic, last))
    else if (id.startsWith('#')) this.#host.pending.reject(ticket, this.#full(ticket, id))
    else this.#host.pending.resolve(ticket, id === '~' ? '' : id)
  }

  #full ({ options: { keyed } }: Ticket, answer: EventId): Error {
    const { maxKeys, maxBytes } = keyed?.bounds ?? {}
    return new StateFull(this.#topic, answer === '#k' ? `${maxKeys} keys (maxKeys)` : `${maxBytes} bytes (maxBytes)`)
  }

  #refuse ({ tickets }: Batch, error: Error): void {
    const coded = error.message.startsWith('NOTOWNER') ? new NotOwner(this.#topic) : new Unavailable(error.message)
    for (const ticket of tickets) this.#host.pending.reject(ticket, coded)
  }

  // --- giving up ---------------------------------------------------------------------

  /** Gives up events whose deadline has passed. */
  expire (now: number): void {
    for (const { tickets } of this.#flight) this.#giveUp(tickets.filter(({ deadline }) => deadline <= now))
    const left = this.#waiting.findIndex(({ deadline }) => deadline > now)
    this.#giveUp(this.#waiting.splice(0, left === -1 ? this.#waiting.length : left))
  }

  #giveUp (tickets: readonly Ticket[]): void {
    for (const ticket of tickets) this.#host.pending.giveUp(ticket)
  }

  /** Rejects all events. */
  close (why: () => Error): void {
    const tickets = [...this.#flight.flatMap(({ tickets }) => tickets), ...this.#waiting.splice(0)]
    for (const ticket of tickets) this.#host.pending.reject(ticket, why())
  }
}

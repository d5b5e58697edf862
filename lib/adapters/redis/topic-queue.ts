/**
 * One topic's events on their way to Redis. A batch has a number and is tried under it again until its time is up;
 * Redis applies it once (APPEND's mark). Some are on their way at a time, each of which Redis applies only behind the
 * one before it; when one fails, those behind it wait for their answers, and then go again one by one. So the order of
 * the calls is kept over retries.
 */
import type { EventId } from '../../core/adapter.ts'
import { Conflict, NotOwner, StateFull, Unavailable } from '../../errors.ts'
import { takeTickets, type Batch, type Ticket } from './batch.ts'
import { conflicting, isAppended } from './decode.ts'
import type { PendingEvents } from './pending-events.ts'

export interface TopicQueueHost {
  readonly pending: PendingEvents
  /** Appends a batch in one step; resolves with the ids, or '' when a later batch is there already. */
  append (topic: string, batch: Batch): Promise<string>
  /** Resolves when it is worth trying again; never rejects. */
  pause (attempt: number): Promise<void>
  acknowledged (topic: string, id: EventId): void
  /** A batch's number: higher than all before it, of any topic. */
  nextNumber (): number
  /** Nothing is left. */
  empty (topic: string): void
}

/** Batches on their way. */
const IN_FLIGHT = 8
/** What will not get better by waiting. All else is tried again. */
const FINAL = /^(NOTOWNER|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE|ERR )/

export class TopicQueue {
  readonly #topic: string
  readonly #host: TopicQueueHost
  readonly #waiting: Ticket[] = []
  /** On their way, the oldest first. */
  readonly #flight: Batch[] = []
  /** `gathers`: what the same turn publishes goes along. `stuck`: a batch has failed, and nothing new is sent. */
  #state: 'sends' | 'gathers' | 'stuck' = 'sends'
  /** Number of the newest batch that is acknowledged. */
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

  /** One by one, so that none overtakes another. */
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
    // A later one is there, and what became of these is not known any more: as a rule nobody waits for them.
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

  /** Those whose time is up. */
  expire (now: number): void {
    for (const { tickets } of this.#flight) this.#giveUp(tickets.filter(({ deadline }) => deadline <= now))
    const left = this.#waiting.findIndex(({ deadline }) => deadline > now)
    this.#giveUp(this.#waiting.splice(0, left === -1 ? this.#waiting.length : left))
  }

  #giveUp (tickets: readonly Ticket[]): void {
    for (const ticket of tickets) this.#host.pending.giveUp(ticket)
  }

  /** All of them. */
  close (why: () => Error): void {
    const tickets = [...this.#flight.flatMap(({ tickets }) => tickets), ...this.#waiting.splice(0)]
    for (const ticket of tickets) this.#host.pending.reject(ticket, why())
  }
}

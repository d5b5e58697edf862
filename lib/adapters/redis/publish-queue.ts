/**
 * Publishing: a lane for each topic. A batch has a number and is tried under it again until its time is up; Redis applies
 * it once (APPEND's mark). Some are on their way at a time, each of which Redis applies only behind the one before it;
 * when one fails, those behind it wait for their answers, and then go again one by one. So the order of the calls is
 * kept over retries.
 */
import type { AppendOptions, Id } from '../../core/adapter.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'
import { NotOwner, Unavailable } from '../../errors.ts'
import type { Argument } from './commands.ts'

export interface Ticket {
  readonly body: string | Buffer
  /** Bytes of its data. */
  readonly size: number
  readonly options: AppendOptions
  readonly deadline: number
  settled: boolean
  readonly resolve: (id: Id) => void
  readonly reject: (error: Error) => void
}

export interface PublishQueueHost {
  /** Appends a batch in one step; resolves with the ids, or '' when a later batch is there already. */
  readonly append: (topic: string, batch: Batch) => Promise<string>
  /** Resolves when it is worth trying again; never rejects. */
  readonly pause: (attempt: number) => Promise<void>
  readonly acknowledged: (topic: string, id: Id) => void
}

export interface PublishQueueSettings {
  /** ms */
  readonly publishTimeout: number
  /** Bytes of events that wait for Redis. */
  readonly maxPending: number
}

/** What goes in one step. */
export interface Batch {
  readonly number: number
  readonly tickets: readonly Ticket[]
  /** The one that must be there before it; 0: none is on its way. */
  after: number
  /** The oldest that is not acknowledged. */
  oldest: number
  failed: boolean
}

interface Lane {
  readonly topic: string
  queue: Ticket[]
  /** On their way, the oldest first. */
  readonly flight: Batch[]
  /** A turn's events are being gathered. */
  gathering: boolean
  /** One has failed: nothing new is sent. */
  stuck: boolean
  /** Number of the newest that is acknowledged. */
  newest: number
}

/** Batches of a lane on their way. */
const IN_FLIGHT = 8
const BATCH_EVENTS = 64
const BATCH_BYTES = 256 * 1024
/** What one that waits costs besides its data, bytes. */
const OVERHEAD = 256
const SWEEP_MS = 100
/** What will not get better by waiting. All else is tried again. */
const FINAL = /^(NOTOWNER|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE|ERR )/

export class PublishQueue {
  readonly #host: PublishQueueHost
  readonly #settings: PublishQueueSettings
  readonly #lanes = new OrderOfUse<string, Lane>()
  #pending = 0
  #number = 0
  #sweep: NodeJS.Timeout | undefined
  #closed = false
  #idle: (() => void) | undefined

  constructor (host: PublishQueueHost, settings: PublishQueueSettings) {
    this.#host = host
    this.#settings = settings
  }

  /** Bytes that wait. */
  get pending (): number { return this.#pending }

  /** @throws Unavailable */
  publish (topic: string, body: string | Buffer, size: number, options: AppendOptions): Promise<Id> {
    if (this.#closed) return Promise.reject(new Unavailable('the adapter is closed'))
    if (this.#pending + size + OVERHEAD > this.#settings.maxPending) {
      return Promise.reject(new Unavailable(`${this.#pending} bytes wait for Redis already (maxPending); the event was not published`))
    }
    this.#pending += size + OVERHEAD
    this.#sweep ??= setInterval(() => this.#expire(), SWEEP_MS).unref()
    return new Promise((resolve, reject) => {
      this.#enqueue(topic, { body, size, options, deadline: performance.now() + this.#settings.publishTimeout, settled: false, resolve, reject })
    })
  }

  /** Waits for what is on its way, so long, and gives up the rest. */
  async close (ms: number): Promise<void> {
    this.#closed = true
    if (this.#lanes.size > 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#idle = resolve
        timer = setTimeout(resolve, ms)
      })
      clearTimeout(timer)
    }
    clearInterval(this.#sweep)
    for (const [, lane] of this.#lanes.entries()) {
      for (const ticket of [...lane.flight.flatMap(({ tickets }) => tickets), ...lane.queue.splice(0)]) this.#giveUp(ticket, new Unavailable('the adapter was closed', { unknown: true }))
    }
    this.#lanes.clear()
  }

  #enqueue (topic: string, ticket: Ticket): void {
    let lane = this.#lanes.get(topic)
    if (!lane) this.#lanes.set(topic, lane = { topic, queue: [], flight: [], gathering: false, stuck: false, newest: 0 })
    lane.queue.push(ticket)
    if (lane.gathering) return
    lane.gathering = true
    // What the same turn publishes goes along.
    queueMicrotask(() => {
      lane.gathering = false
      this.#send(lane)
    })
  }

  #send (lane: Lane): void {
    while (!lane.stuck && lane.queue.length > 0 && lane.flight.length < IN_FLIGHT) this.#sendBatch(lane)
    if (lane.queue.length > 0 || lane.flight.length > 0) return
    this.#lanes.delete(lane.topic)
    if (this.#lanes.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
    this.#idle?.()
  }

  #sendBatch (lane: Lane): void {
    const number = ++this.#number
    const batch: Batch = {
      number, tickets: takeBatch(lane.queue), after: lane.flight.at(-1)?.number ?? 0, oldest: lane.flight[0]?.number ?? number, failed: false
    }
    lane.flight.push(batch)
    this.#host.append(lane.topic, batch).then(
      (ids) => this.#arrived(lane, batch, ids),
      (error: Error) => this.#failed(lane, batch, error)
    )
  }

  #arrived (lane: Lane, batch: Batch, ids: string): void {
    this.#settle(lane, batch, ids)
    this.#over(lane, batch)
  }

  #failed (lane: Lane, batch: Batch, error: Error): void {
    if (FINAL.test(error.message)) {
      this.#refuse(lane.topic, batch, error)
      this.#over(lane, batch)
      return
    }
    lane.stuck = batch.failed = true
    this.#goOn(lane)
  }

  #over (lane: Lane, batch: Batch): void {
    lane.flight.splice(lane.flight.indexOf(batch), 1)
    this.#goOn(lane)
  }

  #goOn (lane: Lane): void {
    if (!lane.stuck) this.#send(lane)
    else if (lane.flight.every(({ failed }) => failed)) this.#sendAgain(lane).catch(() => {})
  }

  /** One by one, so that none overtakes another. */
  async #sendAgain (lane: Lane): Promise<void> {
    await this.#host.pause(0)
    for (let batch = lane.flight[0]; batch; batch = lane.flight[0]) {
      batch.after = 0
      batch.oldest = batch.number
      await this.#deliver(lane, batch)
      lane.flight.shift()
    }
    lane.stuck = false
    this.#send(lane)
  }

  async #deliver (lane: Lane, batch: Batch): Promise<void> {
    for (let attempt = 1; batch.tickets.some(({ settled }) => !settled); attempt++) {
      try {
        this.#settle(lane, batch, await this.#host.append(lane.topic, batch))
        return
      } catch (error) {
        if (FINAL.test((error as Error).message)) return this.#refuse(lane.topic, batch, error as Error)
      }
      await this.#host.pause(attempt)
    }
  }

  #settle (lane: Lane, { number, tickets }: Batch, answer: string): void {
    if (answer === '') return this.#lost(tickets)
    const ids: Id[] = answer.split(' ')
    if (number > lane.newest) this.#host.acknowledged(lane.topic, ids[ids.length - 1] as Id)
    lane.newest = Math.max(lane.newest, number)
    for (const [i, ticket] of tickets.entries()) if (this.#leave(ticket)) ticket.resolve(ids[i] as Id)
  }

  /** A later one is there, and what became of these is not known any more: as a rule nobody waits for them. */
  #lost (tickets: readonly Ticket[]): void {
    for (const ticket of tickets) this.#giveUp(ticket, this.#unknown(ticket))
  }

  #refuse (topic: string, { tickets }: Batch, error: Error): void {
    const coded = error.message.startsWith('NOTOWNER') ? new NotOwner(topic) : new Unavailable(error.message)
    for (const ticket of tickets) this.#giveUp(ticket, coded)
  }

  #giveUp (ticket: Ticket, error: Error): void {
    if (this.#leave(ticket)) ticket.reject(error)
  }

  /** False: it had its answer. */
  #leave (ticket: Ticket): boolean {
    if (ticket.settled) return false
    ticket.settled = true
    this.#pending -= ticket.size + OVERHEAD
    return true
  }

  #expire (): void {
    const now = performance.now()
    for (const [, lane] of this.#lanes.entries()) {
      for (const { tickets } of lane.flight) for (const ticket of tickets) if (ticket.deadline <= now) this.#giveUp(ticket, this.#unknown(ticket))
      const due = lane.queue.findIndex(({ deadline }) => deadline > now)
      for (const ticket of lane.queue.splice(0, due === -1 ? lane.queue.length : due)) this.#giveUp(ticket, this.#unknown(ticket))
    }
  }

  /** The key under which it may be published once more without being doubled. */
  #unknown ({ options }: Ticket): Error {
    const { publishTimeout } = this.#settings
    const key = options.dedupe === undefined ? 'Give "dedupe" a key to be able to try again safely.' : `Try again under its key, "${options.dedupe}".`
    return Object.assign(new Unavailable(`Redis did not answer within publishTimeout (${publishTimeout} ms). ${key}`, { unknown: true }), { dedupe: options.dedupe })
  }
}

/** The oldest that may go together: their options are one command's. */
function takeBatch (queue: Ticket[]): readonly Ticket[] {
  const first = (queue[0] as Ticket).options
  let count = 0
  let bytes = 0
  for (const { options, size } of queue) {
    if (count === BATCH_EVENTS || (count > 0 && bytes + size > BATCH_BYTES)) break
    if (options.retention !== first.retention || options.lifetime !== first.lifetime || options.owner !== first.owner) break
    bytes += size
    count++
  }
  return queue.splice(0, count)
}

/** What a batch adds to APPEND's arguments, and its dedupe keys. */
export function batchArguments (batch: readonly Ticket[], dedupeKey: (key: string) => string): { keys: string[], args: Argument[] } {
  const keys: string[] = []
  const args: Argument[] = []
  for (const { body, size, options } of batch) {
    const index = options.dedupe === undefined ? 0 : keys.push(dedupeKey(options.dedupe))
    args.push(String(index), String(size), body)
  }
  return { keys, args }
}

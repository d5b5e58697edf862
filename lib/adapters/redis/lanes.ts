/**
 * Publishing: a lane for each topic, with one batch on its way at a time, so that the order of the calls is kept over
 * retries. A batch has a number and is tried under it again until its time is up; Redis applies it once (APPEND's mark).
 */
import type { AppendOptions, Id } from '../../core/adapter.ts'
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

export interface LanesHost {
  /** Appends a batch in one step; resolves with the ids, or '' when a later batch is there already. */
  readonly append: (topic: string, number: number, batch: readonly Ticket[]) => Promise<string>
  /** Resolves when it is worth trying again; never rejects. */
  readonly pause: (attempt: number) => Promise<void>
  readonly acknowledged: (topic: string, id: Id) => void
}

export interface LanesSettings {
  /** ms */
  readonly publishTimeout: number
  /** Bytes of events that wait for Redis. */
  readonly maxPending: number
}

interface Lane { readonly topic: string, queue: Ticket[], batch: readonly Ticket[] }

const BATCH_EVENTS = 64
const BATCH_BYTES = 256 * 1024
/** What one that waits costs besides its data, bytes. */
const OVERHEAD = 256
const SWEEP_MS = 100
/** What will not get better by waiting. All else is tried again. */
const FINAL = /^(NOTOWNER|NOPERM|NOAUTH|WRONGPASS|WRONGTYPE|ERR )/

export class Lanes {
  readonly #host: LanesHost
  readonly #settings: LanesSettings
  readonly #lanes = new Map<string, Lane>()
  #pending = 0
  #number = 0
  #sweep: NodeJS.Timeout | undefined
  #closed = false
  #idle: (() => void) | undefined

  constructor (host: LanesHost, settings: LanesSettings) {
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
    for (const { batch, queue } of this.#lanes.values()) {
      for (const ticket of [...batch, ...queue]) this.#giveUp(ticket, new Unavailable('the adapter was closed; whether the event was published is not known'))
    }
    this.#lanes.clear()
  }

  #enqueue (topic: string, ticket: Ticket): void {
    const lane = this.#lanes.get(topic)
    if (lane) {
      lane.queue.push(ticket)
      return
    }
    const opened: Lane = { topic, queue: [ticket], batch: [] }
    this.#lanes.set(topic, opened)
    // What the same turn publishes goes along.
    queueMicrotask(() => { this.#run(opened).catch(() => {}) })
  }

  async #run (lane: Lane): Promise<void> {
    while (lane.queue.length > 0) {
      lane.batch = takeBatch(lane.queue)
      await this.#deliver(lane, ++this.#number)
    }
    this.#lanes.delete(lane.topic)
    if (this.#lanes.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
    this.#idle?.()
  }

  async #deliver ({ topic, batch }: Lane, number: number): Promise<void> {
    for (let attempt = 0; batch.some(({ settled }) => !settled); attempt++) {
      try {
        const ids = await this.#host.append(topic, number, batch)
        if (ids !== '') this.#settle(topic, batch, ids.split(' '))
        return
      } catch (error) {
        if (FINAL.test((error as Error).message)) return this.#refuse(topic, batch, error as Error)
      }
      await this.#host.pause(attempt)
    }
  }

  #settle (topic: string, batch: readonly Ticket[], ids: Id[]): void {
    const last = ids.at(-1)
    if (last !== undefined) this.#host.acknowledged(topic, last)
    for (const [i, ticket] of batch.entries()) if (this.#leave(ticket)) ticket.resolve(ids[i] as Id)
  }

  #refuse (topic: string, batch: readonly Ticket[], error: Error): void {
    const coded = error.message.startsWith('NOTOWNER') ? new NotOwner(topic) : new Unavailable(error.message)
    for (const ticket of batch) this.#giveUp(ticket, Object.assign(coded, { cause: error }))
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
    for (const lane of this.#lanes.values()) {
      for (const ticket of lane.batch) if (ticket.deadline <= now) this.#giveUp(ticket, this.#unknown(ticket))
      const due = lane.queue.findIndex(({ deadline }) => deadline > now)
      for (const ticket of lane.queue.splice(0, due === -1 ? lane.queue.length : due)) this.#giveUp(ticket, this.#unknown(ticket))
    }
  }

  /** The key under which it may be published once more without being doubled. */
  #unknown ({ options }: Ticket): Error {
    const { publishTimeout } = this.#settings
    const key = options.dedupe === undefined ? 'Give "dedupe" a key to be able to try again safely.' : `Try again under its key, "${options.dedupe}".`
    return Object.assign(new Unavailable(`Redis did not answer within publishTimeout (${publishTimeout} ms); whether the event was published is not known. ${key}`), { dedupe: options.dedupe })
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

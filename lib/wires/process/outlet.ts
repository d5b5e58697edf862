/** One consumer's end of a subscription within the process. */
import { connectionLost, forbidden, type CloseReason } from '../../core/close-reasons.ts'
import { bytesOf } from '../../core/delivery/bytes.ts'
import type { Entry } from '../../core/event.ts'
import type { Encoder, HeardSubscription, Notice, Outlet, OutletHost } from '../../core/wire.ts'
import { batches, batchOf, type Batch } from './batch.ts'
import type { Inbox } from './inbox.ts'

/** Past this the consumer counts as slow, and the core keeps what follows, as for a socket whose buffer is full. */
const HIGH_WATER = 16 * 1024

/** The subscription, as its outlet sees it. */
export interface ProcessOutletHost {
  readonly inbox: Inbox
  /** It hears its topic from here on; `id`: where it stands. */
  opened (id: string | undefined): void
  /** It was ended from this side. */
  ended (reason: CloseReason): void
}

export class ProcessOutlet implements Outlet {
  readonly kind = 'process'
  readonly #connection: OutletHost
  readonly #host: ProcessOutletHost
  #full = false

  constructor (connection: OutletHost, host: ProcessOutletHost) {
    this.#connection = connection
    this.#host = host
    host.inbox.onEmpty = () => this.#taken()
  }

  encoder (): Encoder<Batch> { return batches }
  release (): void {}

  encodeOne (entry: Entry, { topic }: HeardSubscription): Batch {
    return bytesOf(batches, [entry], topic)
  }

  join (chunks: readonly Batch[]): Batch {
    return batchOf(chunks.flatMap(({ parcels }) => parcels))
  }

  notice (notice: Notice): Batch | undefined {
    switch (notice.type) {
      case 'opened': return this.#opened(notice.subscriptions)
      case 'revoked': return this.#revoked()
      case 'reset': return resetBatch(notice)
      case 'snapshot': return snapshotBatch(notice)
      case 'direct': return batchOf([{ id: undefined, name: notice.event, data: notice.data, format: notice.format }])
      default: return undefined
    }
  }

  /** While a loss has not been told, the consumer stands where it said it was: cut now, it must find out again. */
  #opened ([subscription]: readonly HeardSubscription[]): undefined {
    this.#host.opened(subscription?.lost === undefined ? subscription?.position : subscription.lost || undefined)
  }

  /** There is nothing left for it to hear. Not at once: its connection is in the middle of losing the topic. */
  #revoked (): undefined {
    queueMicrotask(() => {
      if (this.#connection.subscriptions.length === 0) this.close(forbidden)
    })
  }

  write (batch: Batch): boolean {
    this.#host.inbox.put(batch)
    this.#full = this.buffered >= HIGH_WATER
    return !this.#full
  }

  get buffered (): number { return this.#host.inbox.bytes }

  #taken (): void {
    if (!this.#full) return
    this.#full = false
    this.#connection.drained()
  }

  close (reason: CloseReason): void {
    this.#host.ended(reason)
    this.#connection.gone(reason)
  }

  destroy (): void {
    this.close(connectionLost)
  }

  beat (): void {}
}

function resetBatch ({ subscription: { topic, position }, reason }: Notice & { type: 'reset' }): Batch {
  const data = Buffer.from(JSON.stringify({ topic: topic.name, reason }))
  return batchOf([{ id: position, name: 'realtime:reset', data, format: 'json' }])
}

function snapshotBatch (
  { subscription: { position }, event = 'realtime:snapshot', data }: Notice & { type: 'snapshot' }
): Batch {
  return batchOf([{ id: position, name: event, data, format: 'json' }])
}

/** Batches: events of a topic that are appended in one step. */
import type { AppendOptions, EventId } from '../../core/adapter.ts'

/** One event that waits, and its publisher's promise. */
export interface Ticket {
  readonly body: string | Buffer
  /** Bytes of its data. */
  readonly size: number
  readonly options: AppendOptions
  readonly deadline: number
  /** True once the publisher has its answer. */
  settled: boolean
  readonly resolve: (id: EventId) => void
  readonly reject: (error: Error) => void
}

export interface Batch {
  readonly number: number
  readonly tickets: readonly Ticket[]
  /** The number of the batch that Redis must have applied before this one. 0: none is on its way. */
  after: number
  /** The number of the oldest batch that is not acknowledged. */
  oldest: number
  state: 'on its way' | 'failed'
}

const BATCH_EVENTS = 64
const BATCH_BYTES = 256 * 1024

/** Takes the oldest events that may share a command, because their options are the same, out of the queue. */
export function takeTickets (queue: Ticket[]): readonly Ticket[] {
  const first = (queue[0] as Ticket).options
  let count = 0
  let bytes = 0
  for (const { options, size } of queue) {
    if (count === BATCH_EVENTS || (count > 0 && bytes + size > BATCH_BYTES) || !goTogether(options, first)) break
    bytes += size
    count++
  }
  return queue.splice(0, count)
}

function goTogether (one: AppendOptions, other: AppendOptions): boolean {
  return one.retention === other.retention && one.lifetime === other.lifetime && one.owner === other.owner &&
    one.keyed?.bounds === other.keyed?.bounds
}

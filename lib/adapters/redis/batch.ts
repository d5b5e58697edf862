/** Events of a topic that go to Redis in one step. */
import type { AppendOptions, EventId } from '../../core/adapter.ts'

/** An event whose publisher waits. */
export interface Ticket {
  readonly body: string | Buffer
  /** Bytes of its data. */
  readonly size: number
  readonly options: AppendOptions
  readonly deadline: number
  /** Its publisher has the answer. */
  settled: boolean
  readonly resolve: (id: EventId) => void
  readonly reject: (error: Error) => void
}

export interface Batch {
  readonly number: number
  readonly tickets: readonly Ticket[]
  /** The one that must be there before it; 0: none is on its way. */
  after: number
  /** The oldest that is not acknowledged. */
  oldest: number
  state: 'on its way' | 'failed'
}

const BATCH_EVENTS = 64
const BATCH_BYTES = 256 * 1024

/** Takes the oldest that may go together out of the queue: their options are one command's. */
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

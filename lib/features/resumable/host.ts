/** What runs need of their node. */
import type { Adapter, AppendOptions, Ownership } from '../../core/adapter.ts'
import type { AppLog } from '../../core/callbacks.ts'
import type { ReadOrder } from '../../core/cluster/node.ts'
import type { ActiveTopic } from '../../core/delivery/active-topic.ts'
import type { TopicHost } from '../../core/topics/topic.ts'

export interface RunsHost extends TopicHost {
  readonly adapter: Adapter & Partial<Ownership>
  readonly log: AppLog
  readonly node: {
    readonly name: string
    obey (op: string, read: ReadOrder): void
    order (order: Record<string, unknown>): Promise<unknown>
  }
  readonly publisher: { append (name: string, event: string, data: Uint8Array, options: AppendOptions): Promise<void> }
  readonly active: { get (name: string): ActiveTopic | undefined }
}

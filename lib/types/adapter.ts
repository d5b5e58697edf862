/** The adapter contract: what joins nodes and keeps history. */
export type {
  Adapter, AppendOptions, EphemeralEvent, LogEvent, Marks, Ownership, Page, ReadLimits, Retention, Sink
} from '../core/adapter.ts'

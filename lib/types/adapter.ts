/** The adapter contract: what joins nodes and keeps history. */
export type {
  Adapter, AppendOptions, EphemeralEvent, LogEvent, Ownership, Page, ReadLimits, Retention, Sink
} from '../core/adapter.ts'

/** What this node has done since it started. */
export class Counters {
  subscriptions = 0
  published = 0
  delivered = 0
  recovered = 0
  resets = 0
  repairs = 0
  reads = 0
  slowClosed = 0
  dropped = 0
  refused = 0
  ringBytes = 0
  /** Orders and questions of other nodes that were not understood. */
  ignored = 0
}

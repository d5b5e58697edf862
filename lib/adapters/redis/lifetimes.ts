/** How long things live in Redis, ms. */

/** How long a head is kept after the topic's last event. */
export const HEAD_MS = 86_400_000
/**
 * How long a topic without events is kept after its last listener has left. A client that is cut off before its first
 * event has so long to come back. It must be at least four beats, because the beat renews it while somebody listens.
 */
export const GENESIS_MS = 120_000

/** Rounds to a time to live that Redis accepts. */
export function timeToLive (ms: number): number {
  return Math.min(Math.ceil(ms), 2 ** 42)
}

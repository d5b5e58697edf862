/** How long things live in Redis, ms. */

/** A topic's head, behind its last event. */
export const HEAD_MS = 86_400_000
/**
 * A topic that was only listened to is forgotten so long after its last listener: whoever is cut off before its first
 * event has so long to come back. No shorter than four beats, at which it is renewed as long as somebody listens.
 */
export const GENESIS_MS = 120_000

/** What Redis takes for a time to live. */
export function timeToLive (ms: number): number {
  return Math.min(Math.ceil(ms), 2 ** 42)
}

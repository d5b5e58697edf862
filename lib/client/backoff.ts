/** When to come back. */

export interface Delays {
  /** ms: the first delay is at most so long, and the bound doubles with each attempt. */
  firstDelay: number
  /** ms: no delay is longer. */
  longestDelay: number
}

export const FIRST_MS = 1000
export const LONGEST_MS = 30_000

/** Full jitter: anything up to the bound, so that those who were cut together do not return together. */
export function delayOf (attempt: number, { firstDelay, longestDelay }: Delays): number {
  return Math.random() * Math.min(longestDelay, firstDelay * 2 ** attempt)
}

/** When to come back. */

export interface Delays {
  /** The longest first delay, ms. The bound doubles with each attempt. */
  firstDelay: number
  /** The longest of all delays, ms. */
  longestDelay: number
}

export const FIRST_MS = 1000
export const LONGEST_MS = 30_000

/** Full jitter: a random delay below the bound, so that clients that were cut together do not return together. */
export function delayOf (attempt: number, { firstDelay, longestDelay }: Delays): number {
  return Math.random() * Math.min(longestDelay, firstDelay * 2 ** attempt)
}

/** When to come back. */

export interface Delays {
  /** ms: the first delay is at most so long, and the bound doubles with each attempt. */
  first: number
  /** ms: no delay is longer. */
  longest: number
}

export const FIRST_MS = 1000
export const LONGEST_MS = 30_000

/** Full jitter: anything up to the bound, so that those who were cut together do not return together. */
export function delayOf (attempt: number, { first, longest }: Delays, random: () => number = Math.random): number {
  return random() * Math.min(longest, first * 2 ** attempt)
}

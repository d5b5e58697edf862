/** When to come back. */

const FIRST_MS = 1000
const LONGEST_MS = 30_000

/** Full jitter: anything up to a bound that doubles, so that those who were cut together do not return together. */
export function delayOf (attempt: number, random: () => number = Math.random): number {
  return random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt)
}

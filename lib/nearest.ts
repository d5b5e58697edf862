/** A name that is not known is a slip, more often than not: which one was meant? */

const MAX_COMPARED = 80
/** Names that differ by no more letters may be meant. */
const MAX_SLIPS = 2

/** Of the known names the one that this is likely to be; undefined where it is like none. */
export function nearest (name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let fewest = Math.min(MAX_SLIPS, name.length / 2) + 1
  for (const other of known) {
    const slips = distance(fold(name), fold(other))
    if (slips >= fewest) continue
    best = other
    fewest = slips
  }
  return best
}

/** `max_age`, `MaxAge` and `maxAge` are one. */
function fold (name: string): string {
  return name.slice(0, MAX_COMPARED).replace(/[-_\s]/g, '').toLowerCase()
}

/** Letters added, left out or replaced between two words (Levenshtein). */
function distance (a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}

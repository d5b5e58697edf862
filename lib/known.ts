/**
 * An options object of ours holds nothing that we do not know: a name misspelt would be an option left out in silence.
 * (Options of a route are another matter: other plugins have theirs among them.)
 */
import { OptionInvalid } from './errors.ts'

const MAX_SHOWN = 80
/** Names that differ by no more letters may be meant. */
const MAX_SLIPS = 2

/** @throws OptionInvalid */
export function onlyKnown (name: string, value: object, known: ReadonlySet<string>): void {
  const unknown = unknownIn(value, known)
  if (unknown !== undefined) {
    throw new OptionInvalid(name ? `${name}.${shown(unknown)}` : shown(unknown), whyUnknown(unknown, known))
  }
}

/** @throws OptionInvalid */
export function record (name: string, value: unknown): asserts value is object {
  if (!isRecord(value)) throw new OptionInvalid(name, 'must be an object')
}

export function isRecord (value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The first name in it that is not known. */
export function unknownIn (value: object, known: ReadonlySet<string>): string | undefined {
  for (const key in value) if (!known.has(key) && Object.hasOwn(value, key)) return key
  return undefined
}

/** For options that are open to others: what is known and may be meant by one of them, as the end of an error. */
export function slipIn (value: object, known: ReadonlySet<string>): string {
  for (const key of Object.keys(value)) {
    const meant = known.has(key) ? undefined : likeliest(key, known)
    if (meant !== undefined) return `: "${shown(key)}" is not known. Did you mean "${meant}"?`
  }
  return ''
}

/** `is not known. Known: a, b. Did you mean "b"?` */
export function whyUnknown (name: string, known: ReadonlySet<string>): string {
  const meant = likeliest(name, known)
  return `is not known. Known: ${[...known].join(', ')}${meant === undefined ? '' : `. Did you mean "${meant}"?`}`
}

export function shown (name: string): string {
  return name.slice(0, MAX_SHOWN)
}

function likeliest (name: string, known: ReadonlySet<string>): string | undefined {
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
  return shown(name).replace(/[-_\s]/g, '').toLowerCase()
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

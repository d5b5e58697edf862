/**
 * An options object of ours holds nothing that we do not know: a name misspelt would be an option left out in silence.
 * (Options of a route are another matter: other plugins have theirs among them.)
 */
import { OptionInvalid } from './errors.ts'
import { nearest } from './nearest.ts'

const MAX_SHOWN = 80

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
    const meant = known.has(key) ? undefined : nearest(key, known)
    if (meant !== undefined) return `: "${shown(key)}" is not known. Did you mean "${meant}"?`
  }
  return ''
}

/** `is not known. Known: a, b. Did you mean "b"?` */
export function whyUnknown (name: string, known: ReadonlySet<string>): string {
  const meant = nearest(name, known)
  return `is not known. Known: ${[...known].join(', ')}${meant === undefined ? '' : `. Did you mean "${meant}"?`}`
}

export function shown (name: string): string {
  return name.slice(0, MAX_SHOWN)
}

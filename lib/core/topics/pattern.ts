/** Patterns of topics: segments joined by "/", with `:params` and a final `*`. */
import { PatternInvalid } from '../../errors.ts'
import { hasControl, printable, RESERVED } from '../event-name.ts'

/** The limit for patterns and for names. */
export const MAX_NAME_BYTES = 255
const PARAM_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

export const isParam = (segment: string): boolean => segment.startsWith(':') || segment === '*'
export const paramName = (segment: string): string => segment === '*' ? '*' : segment.slice(1)

/** Splits a pattern into its segments. @throws PatternInvalid */
export function readPattern (pattern: unknown): string[] {
  if (typeof pattern !== 'string' || pattern === '') {
    throw new PatternInvalid(printable(pattern), 'must be a non-empty string')
  }
  const shown = printable(pattern)
  if (hasControl(pattern) || !pattern.isWellFormed()) {
    throw new PatternInvalid(shown, 'has control characters or is not well-formed Unicode')
  }
  if (Buffer.byteLength(pattern) > MAX_NAME_BYTES) throw new PatternInvalid(shown, `exceeds ${MAX_NAME_BYTES} bytes`)
  if (pattern.startsWith(RESERVED)) throw new PatternInvalid(shown, 'starts with "realtime:", which is reserved')
  const segments = pattern.split('/')
  const names = new Set<string>()
  for (const [index, segment] of segments.entries()) {
    const fault = segmentFault(segment, index === segments.length - 1)
    if (fault) throw new PatternInvalid(shown, fault)
    if (!isParam(segment)) continue
    if (names.has(segment)) throw new PatternInvalid(shown, `names the param "${paramName(segment)}" twice`)
    names.add(segment)
  }
  return segments
}

function segmentFault (segment: string, last: boolean): string | undefined {
  if (segment === '') return 'has an empty segment (no "/" at its start or end, no "//")'
  if (segment === '*') return last ? undefined : 'has a "*" that is not at its end'
  if (segment.startsWith(':')) {
    return PARAM_NAME.test(segment.slice(1))
      ? undefined
      : `has "${segment}": a param is letters, digits and "_", without regular expressions or "?"`
  }
  if (/^(\{\w+\}|<\w+>|\[\w+\])$/.test(segment)) {
    return `has "${segment}": a param is written ":${segment.slice(1, -1)}"`
  }
  if (/[:*?#%();\s]/.test(segment) || /^\.+$/.test(segment)) {
    return `has "${segment}": text may not contain : * ? # % ( ) ; or spaces, and not consist of dots`
  }
  return undefined
}

/** Two patterns that differ only in their params' names are the same to a router. */
export function shapeOf (pattern: string): string {
  return pattern.split('/').map((segment) => segment.startsWith(':') ? ':' : segment).join('/')
}

/**
 * Encodes a param's value as a segment of a name. The value of `*` may have several segments.
 * @throws URIError if the value is not well-formed Unicode
 */
export function encodeParam (param: string, value: string): string {
  return param === '*' ? value.split('/').map(encodeSegment).join('/') : encodeSegment(value)
}

// encodeURIComponent does not encode ".". Anything that treats the name as a path would resolve a segment of only dots
// away. Threat: it does not encode "*" either. A topic's name could then be the text of a pattern, which a token may
// name.
export function encodeSegment (text: string): string {
  const encoded = encodeURIComponent(text).replaceAll('*', '%2A')
  return /^\.+$/.test(encoded) ? encoded.replaceAll('.', '%2E') : encoded
}

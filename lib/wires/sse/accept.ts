/** Content negotiation (RFC 9110 §12.5.1) for one question: does this client want an event stream? */

interface Range { type: string, quality: number }

const SSE = 'text/event-stream'
/** A longer Accept is cut: what is behind it is not looked at. */
const MAX_RANGES = 64

/** `other`: the route has something else to offer, and gives it to a client that prefers another type by name. */
export function wantsEventStream (accept: string | undefined, other: boolean): boolean {
  if (accept === undefined || accept === SSE || accept.trim() === '') return true
  const ranges = accept.split(',', MAX_RANGES).map(readRange)
  const quality = qualityOf(ranges)
  if (quality <= 0) return false
  return !other || !ranges.some((range) => range.quality > quality && !range.type.includes('*') && range.type !== SSE)
}

function readRange (text: string): Range {
  const [type = '', ...parameters] = text.split(';')
  const weight = parameters
    .map((parameter) => /^\s*q\s*=\s*([0-9.]{1,5})\s*$/i.exec(parameter)?.[1])
    .find((q) => q !== undefined)
  return { type: type.trim().toLowerCase(), quality: weight === undefined ? 1 : Number(weight) || 0 }
}

/** The most specific range that matches decides. */
function qualityOf (ranges: Range[]): number {
  for (const type of [SSE, 'text/*', '*/*']) {
    const range = ranges.find((one) => one.type === type)
    if (range) return range.quality
  }
  return 0
}

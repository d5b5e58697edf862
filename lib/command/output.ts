/** Data goes to stdout, all else to stderr. What a server says reaches the terminal as text alone. */

// Threat: an event's data may hold escapes that move the cursor, change the title or paste into a shell.
/* eslint-disable-next-line no-control-regex -- these are what is looked for */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g

/** As JSON writes them: what was JSON stays the same JSON. */
export function harmless (text: string): string {
  return text.replace(UNSAFE, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

export function harmlessJson (value: unknown): string {
  return harmless(JSON.stringify(value) ?? 'null')
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

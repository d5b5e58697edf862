/** Which names events may have, and which characters must not enter a field of a frame. */
import { EventNameInvalid, PublishOptionInvalid } from '../errors.ts'
import { FINAL_EVENTS, PRESENCE, REMOVED } from './event.ts'

/** Names of topics and events that start with this belong to this package. */
export const RESERVED = 'realtime:'

// Threat: a CR, LF or NUL in an SSE field would forge fields or events (WHATWG, event stream interpretation).
// eslint-disable-next-line no-control-regex -- controls are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/
const MAX_NAME_BYTES = 255

export function hasControl (text: string): boolean {
  return CONTROL.test(text)
}

/** Why an event cannot have this name; undefined if it can. */
export function eventNameFault (name: unknown): string | undefined {
  if (typeof name !== 'string' || name === '') return 'must be a non-empty string. It comes before the data'
  if (CONTROL.test(name)) return 'must not hold control characters (CR, LF, NUL …)'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `must not exceed ${MAX_NAME_BYTES} bytes`
  if (!name.isWellFormed()) return 'must be well-formed Unicode'
  if (name.startsWith(RESERVED)) return 'starts with "realtime:", which is reserved'
  // An SSE event of this name would fire EventSource's own handlers.
  if (name === 'error' || name === 'open') return 'is reserved: it would fire EventSource\'s own handler'
  return undefined
}

/** Names that were checked and are good: an app publishes the same few again and again. */
const good = new Set<unknown>()
const MAX_GOOD = 1024

export function checkEventName (name: unknown): asserts name is string {
  if (good.has(name)) return
  const fault = eventNameFault(name)
  if (fault) throw new EventNameInvalid(printable(name), fault)
  if (good.size < MAX_GOOD) good.add(name)
}

/** True for a name that an event of this topic may have, whoever published it. */
export function isEventName (name: string, topic: string): boolean {
  if (good.has(name)) return true
  if (name === REMOVED || (topic.startsWith(RESERVED) && (FINAL_EVENTS.has(name) || name === PRESENCE))) return true
  if (eventNameFault(name) !== undefined) return false
  if (good.size < MAX_GOOD) good.add(name)
  return true
}

/** True for a good `key`, `dedupe`, `except` or `expect`. */
export function isPublishKey (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= MAX_NAME_BYTES &&
    !CONTROL.test(value) && value.isWellFormed()
}

export function checkPublishKey (option: string, value: unknown): void {
  if (value === undefined) return
  if (!isPublishKey(value)) {
    throw new PublishOptionInvalid(option,
      `must be a non-empty string of at most ${MAX_NAME_BYTES} bytes ` +
      'of well-formed Unicode without control characters')
  }
}

/** Makes untrusted text fit for a message or a log. */
export function printable (value: unknown): string {
  return textOf(value).slice(0, 80)
    .replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return `of type ${typeof value}`
  }
}

/** Is the data of an event that others wrote what its format says? */
import { isUtf8 } from 'node:buffer'
import type { Format } from './adapter.ts'
import { isJson } from './json.ts'

/**
 * Threat: text that is no JSON would forge members of a frame (`1,"op":"bye"`), and bytes that are no UTF-8 would have
 * every WebSocket client fail its connection (RFC 6455 §8.1). Once for each event, whatever the number of listeners.
 */
export function isReadable (data: Uint8Array, format: Format): boolean {
  if (format === 'binary') return true
  if (!isUtf8(data)) return false
  return format === 'text' || isJson(data)
}

/** Checks that the data of an event that others wrote has its format. */
import { isUtf8 } from 'node:buffer'
import type { Format } from './adapter.ts'
import { isJson } from './json.ts'

/**
 * Threat: text that is not JSON could forge members of a frame (`1,"op":"bye"`). Bytes that are not UTF-8 would make
 * every WebSocket client fail its connection (RFC 6455 §8.1). Checked once for each event, whatever the number of
 * listeners.
 */
export function isReadable (data: Uint8Array, format: Format): boolean {
  if (format === 'binary') return true
  if (!isUtf8(data)) return false
  return format === 'text' || isJson(data)
}

/** JSON from clients. */
import sjson from 'secure-json-parse'
import type { Payload } from '../../../core/payload.ts'
import { Fault } from '../fault.ts'

export type Json = Record<string, unknown>

// Threat: "__proto__" and "constructor.prototype" in a client's JSON would reach objects that the app merges.
/** @throws Fault */
export function parseObject (text: string): Json {
  let value: unknown
  try {
    value = sjson.parse(text, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    throw new Fault('INVALID_JSON', 'not JSON, or it has a forbidden key')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Fault('INVALID_JSON', 'a message must be a JSON object')
  }
  return value as Json
}

/** The JSON text of an event's data. */
export function jsonText ({ data, format }: Payload): Uint8Array {
  return format === 'text' ? Buffer.from(JSON.stringify(Buffer.from(data).toString())) : data
}

/** Encodes what the source of a run yields, for its topic. */
import type { Format } from '../../core/adapter.ts'
import { checkEventName } from '../../core/event-name.ts'
import { bounded, encodeAny, type Payload } from '../../core/payload.ts'
import { checkYielded } from '../../core/yielded.ts'
import { EventDataInvalid } from '../../errors.ts'

export interface RunEvent { event?: string, data?: unknown }

/** `data`: the source yields the data itself, not events. */
export type Yields = 'events' | 'data' | undefined

export interface Told { readonly name: string, readonly data: Uint8Array, readonly format: Format }

/** @throws EventDataInvalid, EventNameInvalid, EventTooLarge */
export function encodeYielded (value: unknown, topic: string, yields: Yields, mostBytes: number): Told {
  const { event: name = 'message', data } = yields === 'data' ? dataOf(value, topic) : eventOf(value, topic)
  checkEventName(name)
  const encoded: Payload = typeof data === 'string'
    ? { data: Buffer.from(data), format: 'text' }
    : encodeAny(topic, name, data)
  return { name, ...bounded(encoded, topic, name, mostBytes) }
}

function eventOf (value: unknown, topic: string): RunEvent {
  checkYielded(topic, value)
  return value
}

function dataOf (data: unknown, topic: string): RunEvent {
  if (data === undefined) throw new EventDataInvalid(topic, 'message', 'yielded undefined')
  return { data }
}

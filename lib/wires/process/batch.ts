/** Events as they are handed over within the process: no bytes are made of them. Pure. */
import type { Format, TraceContext } from '../../core/adapter.ts'
import { isPlace, type Entry } from '../../core/event.ts'
import { decode } from '../../core/payload.ts'
import { keepTrace } from '../../core/trace.ts'
import type { Chunk, Encoder, HeardTopic } from '../../core/wire.ts'

/** One event for a consumer. */
export interface Parcel {
  readonly id: string | undefined
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  /** In a keyed topic. */
  readonly stateKey?: string | undefined
  /** Where it was published. */
  readonly trace?: TraceContext | undefined
}

/** What a consumer is handed of a parcel. */
export interface Item { id: string | undefined, event: string, data: unknown, key?: string }

/** Some events that follow each other. All consumers of a topic are given the same one. */
export interface Batch extends Chunk {
  readonly parcels: readonly Parcel[]
}

/** What an event costs besides its data, bytes. */
const OVERHEAD = 128

export function batchOf (parcels: readonly Parcel[]): Batch {
  let byteLength = 0
  for (const parcel of parcels) byteLength += sizeOf(parcel)
  return { byteLength, parcels }
}

export function sizeOf ({ data, name }: Parcel): number {
  return data.byteLength + name.length + OVERHEAD
}

/** An object of the consumer's own: others must not see what it does to the data. */
export function itemOf (parcel: Parcel, topic: { readonly name: string, readonly pattern: string }): Item {
  const { id, name: event, stateKey: key, trace } = parcel
  const data = decode(parcel)
  return keepTrace(key === undefined ? { id, event, data } : { id, event, data, key }, trace, topic)
}

class BatchEncoder implements Encoder<Batch> {
  readonly shared = true

  encode (entries: readonly Entry[], { keyed }: HeardTopic): Batch {
    const events = entries.some(isPlace) ? entries.filter((entry) => !isPlace(entry)) : entries
    return batchOf(keyed ? events.map(keyedParcel) : events)
  }
}

function keyedParcel ({ id, name, data, format, key: stateKey, trace }: Entry): Parcel {
  return { id, name, data, format, stateKey, trace }
}

export const batches: Encoder<Batch> = new BatchEncoder()

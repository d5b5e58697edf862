/** A topic that a page looks at live: the app hears it itself, and passes it on by a stream. */
import { QueryInvalid } from '../errors.ts'
import type { Realtime } from '../types/realtime.ts'
import type { AnyItem } from '../types/topic.ts'
import type { TailEvent } from './shapes.ts'

/** Bytes that may wait for a page that is slow. Past it the rest is dropped, and the page is told so. */
const MAX_WAITING = 256 * 1024

interface Yielded { event: string, data: TailEvent | { topic: string } }

/** The source of the page's stream. @throws QueryInvalid, TopicUnknown */
export async function * tail (realtime: Realtime, topic: unknown, signal: AbortSignal): AsyncGenerator<Yielded> {
  if (typeof topic !== 'string') throw new QueryInvalid('topic', 'must be there once, and name a topic')
  const subscription = realtime.subscribe(topic, { signal, slow: 'reset', maxBuffered: MAX_WAITING })
  await subscription.ready
  // By this the page knows that it is live.
  yield { event: 'live', data: { topic } }
  for await (const item of subscription) yield { event: 'tail', data: shownItem(topic, item) }
}

function shownItem (topic: string, { event, data, id, key }: AnyItem): TailEvent {
  return { topic, event, data: shownData(data), id: id ?? null, key: key ?? null }
}

/** Bytes are shown by their number. */
export function shownData (data: unknown): unknown {
  return data instanceof Uint8Array ? { bytes: data.byteLength } : data
}

/** How the events of a keyed topic change its state, and how the state is written for clients that join. */
import type { EventId, KeyedEvent } from './adapter.ts'
import { REMOVED, type Entry } from './event.ts'
import { jsonTextOf } from './payload.ts'

/** Undefined: the key holds nothing any more. */
export type Change = KeyedEvent | undefined

export interface StateCodec {
  /** True if the events do not say all of the state. Then it is read from the adapter each time that the app asks. */
  readonly partial?: boolean
  changes (entry: Entry): ReadonlyArray<readonly [key: string, change: Change]>
  /** One part of the topic's state, as JSON text. */
  part (topic: string, part: number, more: boolean, events: readonly KeyedEvent[]): string
}

/** Each event is the newest of its key. */
export const newestOfEach: StateCodec = {
  changes (entry) {
    const { key, id, name, data, format } = entry
    if (key === undefined) return []
    return [[key, name === REMOVED ? undefined : { id: id as EventId, key, name, data, format }]]
  },
  part: (_topic, part, more, events) => `{"part":${part},"more":${more},"items":[${events.map(itemText).join(',')}]}`
}

function itemText (event: KeyedEvent): string {
  const { key, name, format } = event
  const encoding = format === 'binary' ? ',"encoding":"base64"' : ''
  return `{"key":${JSON.stringify(key)},"event":${JSON.stringify(name)}${encoding},"data":${jsonTextOf(event)}}`
}

/** One encode for each event and encoder, whatever the number of listeners. */
import type { Entry } from '../event.ts'
import type { Encoder, HeardTopic } from '../wire.ts'

export function bytesOf (encoder: Encoder, entries: readonly Entry[], topic: HeardTopic): Uint8Array {
  return encoder.shared && entries.length === 1
    ? kept(encoder, entries[0] as Entry, topic)
    : encoder.encode(entries, topic)
}

function kept (encoder: Encoder, entry: Entry, topic: HeardTopic): Uint8Array {
  for (let known = entry.encoded; known; known = known.next) if (known.encoder === encoder) return known.bytes
  const bytes = encoder.encode([entry], topic)
  entry.encoded = { encoder, bytes, next: entry.encoded }
  return bytes
}

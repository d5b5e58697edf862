/** Encodes each event once per shared encoder, however many listeners there are. */
import type { Entry } from '../event.ts'
import type { Chunk, Encoder, HeardTopic } from '../wire.ts'

export function bytesOf<Bytes extends Chunk> (
  encoder: Encoder<Bytes>, entries: readonly Entry[], topic: HeardTopic
): Bytes {
  return encoder.shared && entries.length === 1
    ? kept(encoder, entries[0] as Entry, topic)
    : encoder.encode(entries, topic)
}

function kept<Bytes extends Chunk> (encoder: Encoder<Bytes>, entry: Entry, topic: HeardTopic): Bytes {
  for (let known = entry.encoded; known; known = known.next) if (known.encoder === encoder) return known.bytes as Bytes
  const bytes = encoder.encode([entry], topic)
  entry.encoded = { encoder, bytes, next: entry.encoded }
  return bytes
}

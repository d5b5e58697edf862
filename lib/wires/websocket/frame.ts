/** WebSocket frames (RFC 6455 §5.2), built once and written to every socket as they are. Pure. */

const TEXT = 0x81
const BINARY = 0x82

/** One unfragmented, unmasked frame, in one piece of memory: it is made for every event. */
export function frame (kind: 'text' | 'binary', ...parts: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const part of parts) length += part.byteLength
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const bytes = Buffer.allocUnsafe(head + length)
  bytes[0] = kind === 'text' ? TEXT : BINARY
  bytes[1] = head === 2 ? length : head === 4 ? 126 : 127
  if (head === 4) bytes.writeUInt16BE(length, 2)
  if (head === 10) bytes.writeBigUInt64BE(BigInt(length), 2)
  let at = head
  for (const part of parts) {
    bytes.set(part, at)
    at += part.byteLength
  }
  return bytes
}

/** How a format's frames travel. */
export interface Carriage {
  /** A frame of JSON, in parts. */
  text (...parts: readonly Uint8Array[]): Buffer
  /** An event of bytes. `start`: its JSON without `data`, and without its end. */
  bytes (start: string, data: Uint8Array): Buffer
}

/** Over a WebSocket. */
export const webSocketFrames: Carriage = {
  text: (...parts) => frame('text', ...parts),
  bytes (start, data) {
    const head = Buffer.from(start + '}')
    const length = Buffer.alloc(4)
    length.writeUInt32BE(head.byteLength)
    return frame('binary', length, head, data)
  }
}

/** A text frame of JSON. */
export function jsonFrame (value: unknown): Buffer {
  return frame('text', Buffer.from(JSON.stringify(value)))
}

/** Frames that leave together. */
export function joined (frames: Buffer[]): Buffer {
  return frames.length === 1 ? frames[0] as Buffer : Buffer.concat(frames)
}

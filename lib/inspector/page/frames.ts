/** Frames of `fastify-realtime.v1`, as they are shown. Pure. */
import { bytesOf } from '../../client/bytes.ts'
import { parsed, type Heard } from './carrier.ts'

export type Frame = Record<string, unknown>

export function frameOf (text: string): Frame {
  const frame = parsed(text)
  return typeof frame === 'object' && frame !== null ? frame as Frame : {}
}

/** PROTOCOL.md 4.5: the length of the head, the head, and then the bytes. */
export function binaryFrame (data: ArrayBuffer): { frame: Frame, raw: string } {
  const length = data.byteLength < 4 ? Infinity : new DataView(data).getUint32(0)
  if (length > data.byteLength - 4) return { frame: { event: 'unreadable', bytes: data.byteLength }, raw: '' }
  const head = new TextDecoder().decode(new Uint8Array(data, 4, length))
  const bytes = data.byteLength - 4 - length
  return { frame: { ...frameOf(head), bytes }, raw: `${head} and ${bytes} bytes` }
}

export function heardOf (frame: Frame, raw: string): Heard {
  const { op, event, topic, id } = frame
  const bytes = sizeOf(frame)
  return {
    name: String(op ?? event),
    data: op !== undefined ? frame : bytes !== undefined ? { bytes } : frame.data,
    raw,
    frame: op !== undefined,
    bytes: bytes !== undefined,
    ...typeof topic === 'string' && { topic },
    ...typeof id === 'string' && { id }
  }
}

/** Undefined for what is JSON. */
function sizeOf ({ bytes, encoding, data }: Frame): number | undefined {
  if (typeof bytes === 'number') return bytes
  return encoding === 'base64' && typeof data === 'string' ? bytesOf(data).byteLength : undefined
}

/** Where a client is once it has heard this. */
export function move (cursors: Map<string, string>, { op, topic, id }: Frame): void {
  if (typeof topic !== 'string') return
  if (typeof id === 'string') cursors.set(topic, id)
  else if (op === 'snapshot' || op === 'unsubscribed') cursors.delete(topic)
}

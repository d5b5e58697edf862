/** The flat format: `{"type":name, …data}` both ways, for clients that know nothing of this library. */
import { isPlace, type Entry } from '../../../core/event.ts'
import { encodeJson, type Payload } from '../../../core/payload.ts'
import type { Encoder, Notice } from '../../../core/wire.ts'
import type { FlatError } from '../../../protocol.ts'
import { Fault } from '../fault.ts'
import { frame, joined, jsonFrame } from '../frame.ts'
import { jsonText, parseObject, type Json } from './json.ts'
import type { Asked, Protocol, ToldError } from './protocol.ts'

const COMMA = 0x2c
const OPEN = 0x7b
const CLOSE = 0x7d
const BACKSLASH = 0x5c
const QUOTED_TYPE = Buffer.from('"type"')

class FlatEncoder implements Encoder {
  readonly shared = true

  encode (entries: readonly Entry[]): Uint8Array {
    return joined(entries.flatMap((entry) => isPlace(entry) ? [] : eventFrame(entry.name, entry)))
  }
}

class Flat implements Protocol {
  readonly subprotocol = undefined
  readonly encoder = new FlatEncoder()
  readonly clientOpens = false

  read (text: string): Asked {
    const { type, ...data } = parseObject(text)
    if (typeof type !== 'string') throw new Fault('INVALID_FRAME', 'a message needs a "type"')
    return { do: 'message', name: type, data, topic: undefined, key: undefined, ref: undefined }
  }

  /** Only in the app's own words: of ours, a flat client is sent errors alone. */
  notice (notice: Notice): Uint8Array | undefined {
    switch (notice.type) {
      case 'direct': return eventFrame(notice.event, notice)
      case 'reset': {
        const topic = notice.subscription.topic.name
        const message = `events of ${topic} were lost: ${notice.reason}`
        return this.error({ code: 'reset', message, topic, reason: notice.reason })
      }
      case 'snapshot': return notice.event === undefined ? undefined : flatFrame(notice.event, notice.data)
      default: return undefined
    }
  }

  error ({ code, message, topic, reason }: ToldError): Uint8Array {
    return jsonFrame({ type: 'error', code, message, topic, reason } satisfies FlatError)
  }

  /** An object with a `type` is one more message. */
  reply (_asked: Asked, result: unknown): Uint8Array | undefined {
    if (typeof result !== 'object' || result === null || typeof (result as Json).type !== 'string') return undefined
    const { type, ...rest } = result as Json & { type: string }
    return flatFrame(type, encodeJson(undefined, type, rest))
  }

  pong (): undefined {}
  subscribed (): undefined {}
  refreshed (): undefined {}
  unsubscribed (): undefined {}
  shown (): undefined {}
  bye (): undefined {}
}

export const flat: Protocol = new Flat()

function eventFrame (name: string, payload: Payload): Buffer {
  return payload.format === 'binary' ? frame('binary', payload.data) : flatFrame(name, jsonText(payload))
}

/**
 * `{"type":name, …data}`. Data that is no object, or has a `type` of its own which would forge the name, is put under
 * `data` instead.
 */
export function flatFrame (name: string, data: Uint8Array): Buffer {
  const view = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const start = Buffer.from(`{"type":${JSON.stringify(name)}`)
  const body = membersOf(view)
  if (body === undefined) return frame('text', start, Buffer.from(',"data":'), view, Buffer.from('}'))
  return body[0] === CLOSE ? frame('text', start, body) : frame('text', start, Buffer.from([COMMA]), body)
}

/** What follows the opening brace, when the text is an object without a `type`. */
function membersOf (text: Buffer): Buffer | undefined {
  const open = behindSpace(text, 0)
  if (text[open] !== OPEN) return undefined
  if (mayHoldType(text) && Object.hasOwn(JSON.parse(text.toString()) as object, 'type')) return undefined
  return text.subarray(behindSpace(text, open + 1))
}

/** What JSON allows between two tokens (RFC 8259 §2). */
function behindSpace (text: Buffer, from: number): number {
  let at = from
  while (text[at] === 0x20 || text[at] === 0x0a || text[at] === 0x0d || text[at] === 0x09) at++
  return at
}

// A key can be written with escapes ("\u0074ype"), so a backslash calls for the closer look as well.
function mayHoldType (text: Buffer): boolean {
  return text.includes(QUOTED_TYPE) || text.includes(BACKSLASH)
}

/** The envelope's frames as events of a stream: each is the data of one (PROTOCOL.md, section 4.9). Pure. */
import type { Carriage } from '../websocket/frame.ts'
import { Envelope } from '../websocket/protocols/envelope.ts'
import { chunk, dataLines } from '../sse/encode.ts'

const LF = 10
const CR = 13
const START = Buffer.from('data: ')
const END = Buffer.from('\n\n')

/** `framed`: as a chunk of HTTP/1.1. */
function eventOf (framed: boolean, parts: readonly Uint8Array[]): Buffer {
  const text = Buffer.concat(parts)
  // JSON may stand in several lines, where white space may.
  const event = text.includes(LF) || text.includes(CR)
    ? Buffer.from(dataLines(text.toString()) + '\n\n')
    : Buffer.concat([START, text, END])
  return framed ? chunk(event) : event
}

function eventFrames (framed: boolean): Carriage {
  return {
    text: (...parts) => eventOf(framed, parts),
    bytes: (start, data) => eventOf(framed,
      [Buffer.from(`${start},"encoding":"base64","data":"${Buffer.from(data).toString('base64')}"}`)])
  }
}

const chunked = new Envelope(eventFrames(true))
const plain = new Envelope(eventFrames(false))

export function envelopeFor (framed: boolean): Envelope {
  return framed ? chunked : plain
}

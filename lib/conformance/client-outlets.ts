/** What a frame is on each wire, byte for byte. */
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Frame, LineOutlet, Said } from './client-line.ts'
import type { Refusal } from './client-script.ts'

const TEXT = 0x81
const BINARY = 0x82

const textOf = (frame: Frame | string): string => typeof frame === 'string' ? frame : JSON.stringify(frame)

/** A whole frame of a server (RFC 6455 §5.2): not masked. */
function socketFrame (frame: Said): Buffer {
  const payload = Buffer.isBuffer(frame) ? frame : Buffer.from(textOf(frame))
  const long = payload.length > 125
  const head = Buffer.alloc(long ? 4 : 2)
  head[0] = Buffer.isBuffer(frame) ? BINARY : TEXT
  head[1] = long ? 126 : payload.length
  if (long) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}

/** `client` has the handshake and what is read; what is said goes around it. */
export function socketOutlet (client: WebSocket, socket: Duplex): LineOutlet {
  return {
    encode: socketFrame,
    write: (bytes, done) => {
      if (socket.writable) socket.write(bytes, () => done())
      else done()
    },
    end: (code) => client.close(code),
    destroy: () => socket.destroy()
  }
}

/** 4.5 and 4.9: bytes are base64 there, which a script says itself. */
export function httpOutlet (response: ServerResponse): LineOutlet {
  return responseOutlet(response, (frame) => `data: ${textOf(frame)}\n\n`)
}

export function sseOutlet (response: ServerResponse): LineOutlet {
  return responseOutlet(response, (frame) => {
    if (typeof frame === 'string') return frame
    const { event, id, data } = frame
    const name = event === undefined || event === 'message' ? '' : `event: ${String(event)}\n`
    const place = id === undefined ? '' : `id: ${String(id)}\n`
    return `${name}${place}data: ${JSON.stringify(data)}\n\n`
  })
}

function responseOutlet (response: ServerResponse, encode: (frame: Frame | string) => string): LineOutlet {
  return {
    encode: (frame) => Buffer.isBuffer(frame) ? frame : Buffer.from(encode(frame)),
    write: (bytes, done) => {
      if (response.writable && !response.destroyed) response.write(bytes, () => done())
      else done()
    },
    end: () => response.end(),
    destroy: () => response.destroy()
  }
}

/** To an upgrade. */
export function rawAnswer ({ status, headers = {} }: Refusal): string {
  const lines = Object.entries({ ...headers, connection: 'close', 'content-length': '0' })
  return `HTTP/1.1 ${status} No\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}

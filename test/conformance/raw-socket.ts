/** A WebSocket's bytes, written from RFC 6455: what no proper client would send. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { Inbox, portOf, type Ends } from './clients.ts'

/** A WebSocket made by hand: it sends what it is told, and answers nothing. */
export class RawSocket {
  readonly socket: Socket
  readonly frames = new Inbox<{ opcode: number, payload: Buffer }>()
  readonly closed: Promise<void>
  #rest = Buffer.alloc(0)

  private constructor (socket: Socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => {
      this.frames.end('the socket was closed')
      resolve()
    }))
  }

  static async open (t: Ends, app: FastifyInstance, path: string, { protocol = '', early = Buffer.alloc(0) as Uint8Array } = {}): Promise<RawSocket> {
    const socket = connect({ host: '127.0.0.1', port: portOf(app) })
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    const raw = new RawSocket(socket)
    const head = [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`, ...protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : [], '', ''].join('\r\n')
    const upgraded = new Promise<void>((resolve) => {
      let answered = false
      socket.on('data', (bytes) => {
        raw.#rest = Buffer.concat([raw.#rest, bytes])
        const end = answered ? -1 : raw.#rest.indexOf('\r\n\r\n')
        if (end >= 0) {
          answered = true
          raw.#rest = raw.#rest.subarray(end + 4)
          resolve()
        }
        if (answered) raw.#cut()
      })
    })
    socket.write(Buffer.concat([Buffer.from(head), early]))
    await upgraded
    return raw
  }

  #cut (): void {
    for (let frame = this.#frame(); frame; frame = this.#frame()) this.frames.push(frame)
  }

  #frame (): { opcode: number, payload: Buffer } | undefined {
    const bytes = this.#rest
    if (bytes.length < 2) return undefined
    const short = (bytes[1] as number) & 0x7f
    const start = short === 127 ? 10 : short === 126 ? 4 : 2
    if (bytes.length < start) return undefined
    const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short
    if (bytes.length < start + length) return undefined
    this.#rest = bytes.subarray(start + length)
    return { opcode: (bytes[0] as number) & 0x0f, payload: bytes.subarray(start, start + length) }
  }

  send (opcode: number, payload: Uint8Array | string): void {
    this.socket.write(maskedFrame(opcode, payload))
  }
}

/** A client's frame (RFC 6455 §5.2), masked. */
export function maskedFrame (opcode: number, payload: Uint8Array | string, final = true): Buffer {
  const data = Buffer.from(payload as string)
  const mask = randomBytes(4)
  const extended = data.length > 65_535 ? 127 : data.length > 125 ? 126 : data.length
  const length = Buffer.alloc(extended === 127 ? 8 : extended === 126 ? 2 : 0)
  if (extended === 127) length.writeBigUInt64BE(BigInt(data.length))
  if (extended === 126) length.writeUInt16BE(data.length)
  for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) ^ (mask[i % 4] as number)
  return Buffer.concat([Buffer.from([(final ? 0x80 : 0) | opcode, 0x80 | extended]), length, mask, data])
}

/** A channel by WebSocket, in either format (PROTOCOL.md, sections 3 and 4). */
import { MARK } from './api.ts'
import { NotOpen, type Carrier, type CarrierHost } from './carrier.ts'
import { flat } from './code.ts'
import { binaryFrame, frameOf, heardOf, move } from './frames.ts'

export class SocketCarrier implements Carrier {
  readonly #host: CarrierHost
  readonly #socket: WebSocket
  /** Of the cookie, which is taken away again once the socket is open. */
  readonly #cookie: string
  #opened = false
  #refs = 0

  constructor (host: CarrierHost) {
    this.#host = host
    const { url, format } = host.plan
    const target = new URL(url)
    target.protocol = target.protocol.replace('http', 'ws')
    // A page can send no header with it, but cookies.
    this.#cookie = `${MARK}=${host.mark()}; path=${target.pathname}; samesite=strict`
    document.cookie = `${this.#cookie}; max-age=30`
    const socket = this.#socket = new WebSocket(target, format === 'envelope' ? ['fastify-realtime.v1'] : [])
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => this.#open()
    socket.onmessage = ({ data }) => this.#hear(data as string | ArrayBuffer)
    socket.onclose = ({ code, reason }) => this.#closed(code, reason)
  }

  close (): void { this.#socket.close(1000) }

  send (event: string, data: unknown): void {
    const { format } = this.#host.plan
    this.#say(format === 'flat' ? flat({ event, data }) : { event, data, ref: ++this.#refs }, event)
  }

  join (topic: string): void {
    this.#say({ op: 'subscribe', topic, ref: topic, id: this.#host.cursors.get(topic) }, 'subscribe')
  }

  #open (): void {
    document.cookie = `${this.#cookie}; max-age=0`
    this.#opened = true
    const { plan: { format, token, join }, cursors } = this.#host
    this.#host.opened('open: 101')
    if (format === 'flat') return
    this.#say({ op: 'open', cursors: Object.fromEntries(cursors), ...token !== '' && { token } }, 'open')
    for (const topic of join) this.join(topic)
  }

  #say (frame: object, name: string): void {
    if (this.#socket.readyState !== WebSocket.OPEN) throw new NotOpen()
    const raw = JSON.stringify(frame)
    this.#socket.send(raw)
    this.#host.said(name, frame, raw)
  }

  #hear (data: string | ArrayBuffer): void {
    if (this.#host.plan.format === 'flat') return this.#hearFlat(data)
    const { frame, raw } = typeof data === 'string' ? { frame: frameOf(data), raw: data } : binaryFrame(data)
    move(this.#host.cursors, frame)
    this.#host.heard(heardOf(frame, raw))
  }

  #hearFlat (data: string | ArrayBuffer): void {
    if (typeof data !== 'string') {
      return this.#host.heard({ name: 'bytes', data: { bytes: data.byteLength }, raw: '', bytes: true })
    }
    const { type, ...rest } = frameOf(data)
    this.#host.heard({ name: String(type), data: rest, raw: data })
  }

  #closed (code: number, reason: string): void {
    if (this.#opened) this.#host.cut(`closed: ${code} ${reason}`, '')
    else this.#host.cut('refused', 'A browser does not say why. "Copy as curl" shows the answer.')
  }
}

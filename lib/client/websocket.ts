/** The WebSocket wire, in the envelope format (PROTOCOL.md section 4). */
import type { ServerFrame, SUBPROTOCOL as Protocol } from '../protocol.ts'
import type { Wire, WireHost } from './wire.ts'

// Its own: a bundle of the client must reach nothing of the server.
const SUBPROTOCOL: typeof Protocol = 'fastify-realtime.v1'
/** A connection on which nothing is said for longer is given up, ms. */
const HANDSHAKE_MS = 10_000

/** What is used of a WebSocket: the browser's, Node's (22), or that of `ws`. */
export interface AnySocket {
  binaryType: string
  onopen: unknown
  onmessage: unknown
  onclose: unknown
  onerror: unknown
  send (data: string | Uint8Array): void
  close (code?: number): void
}
export type SocketClass = new (url: string, protocols: string[]) => AnySocket

export function openSocket (url: string, host: WireHost, Socket: SocketClass): Wire {
  const socket = new Socket(url.replace(/^http/, 'ws'), [SUBPROTOCOL])
  let over = false
  const patience = setTimeout(() => end(0), HANDSHAKE_MS)
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => {
    if (!over) host.up()
  }
  socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => { if (!over) hear(data) }
  socket.onclose = ({ code }: { code: number }) => end(code)
  // `close` follows, and says more.
  socket.onerror = () => {}

  function hear (data: string | ArrayBuffer): void {
    clearTimeout(patience)
    try {
      host.heard(typeof data === 'string' ? JSON.parse(data) as ServerFrame : binaryFrame(data))
    } catch {
      // What comes behind half a frame, or none, cannot be relied on either: it comes again.
      end(0)
    }
  }

  function end (code: number): void {
    if (over) return
    close()
    host.down(code)
  }

  function close (): void {
    over = true
    clearTimeout(patience)
    socket.close(1000)
  }

  return {
    send: (said) => socket.send(said instanceof Uint8Array ? said : JSON.stringify(said)),
    close
  }
}

/** PROTOCOL.md 4.5: the length of the head, the head, and then the bytes. */
function binaryFrame (data: ArrayBuffer): ServerFrame {
  const length = new DataView(data).getUint32(0)
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as object
  return { ...head, data: new Uint8Array(data, 4 + length) } as ServerFrame
}

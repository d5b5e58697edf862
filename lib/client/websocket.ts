/** The WebSocket wire, in the envelope format (PROTOCOL.md section 4). */
import type { ServerFrame, SUBPROTOCOL as Protocol } from '../protocol.ts'
import { RealtimeError } from './errors.ts'
import type { SocketClass } from './socket-class.ts'
import type { WireKind } from './wire.ts'

export type { SocketClass } from './socket-class.ts'

// A copy of the constant, because a bundle of the client must not include server code.
const SUBPROTOCOL: typeof Protocol = 'fastify-realtime.v1'

/** A WebSocket. The default of `connect`. */
export const websocket: WireKind = (place, host) => {
  const Socket = place.WebSocket ?? globalSocket()
  const socket = new Socket(place.url.replace(/^http/, 'ws'), [SUBPROTOCOL])
  let over = false
  const patience = setTimeout(() => end(0), place.handshakeTimeout)
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => {
    if (over) return
    const { cursors, token } = host.opening()
    socket.send(JSON.stringify({ op: 'open', cursors, token }))
  }
  socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => { if (!over) hear(data) }
  socket.onclose = ({ code }: { code: number }) => end(code)
  // The `close` event that follows says more.
  socket.onerror = () => {}

  function hear (data: string | ArrayBuffer): void {
    clearTimeout(patience)
    try {
      host.heard(typeof data === 'string' ? JSON.parse(data) as ServerFrame : binaryFrame(data))
    } catch {
      // After a broken frame nothing else can be relied on. The client resumes.
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

function globalSocket (): SocketClass {
  const { WebSocket } = globalThis as { WebSocket?: SocketClass }
  if (!WebSocket) throw new RealtimeError('NO_WEBSOCKET', 'give connect() that of "ws"')
  return WebSocket
}

/** PROTOCOL.md 4.5: the length of the head, the head, and then the bytes. */
function binaryFrame (data: ArrayBuffer): ServerFrame {
  const length = new DataView(data).getUint32(0)
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as object
  return { ...head, data: new Uint8Array(data, 4 + length) } as ServerFrame
}

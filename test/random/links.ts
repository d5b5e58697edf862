/** Connections to an app that break after a given number of bytes, wherever in a head, a chunk or a frame that is. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'

/** After how many bytes, in which direction, the connection is cut. */
export interface Cut {
  down?: number
  up?: number
  /** With an RST, where there is such a thing. */
  hard: boolean
}

export interface Links {
  /** A new connection. Without a cut it holds. */
  open (cut?: Cut): Duplex
  close (): Promise<void>
}

/** Passes bytes both ways, with backpressure, until one direction has had its share. */
function relay (client: Duplex, server: Duplex, cut: Cut | undefined): void {
  const end = (): void => {
    server.destroy()
    if (cut?.hard && 'resetAndDestroy' in client) (client as Socket).resetAndDestroy()
    else client.end(() => client.destroy())
  }
  pass(server, client, cut?.down, end)
  pass(client, server, cut?.up, end)
  client.on('error', () => server.destroy())
  server.on('error', () => client.destroy())
  client.once('close', () => server.destroy())
  server.once('close', () => { if (!client.writableEnded) client.end(() => client.destroy()) })
}

function pass (from: Duplex, to: Duplex, budget = Infinity, end: () => void): void {
  let left = budget
  if (left <= 0) return end()
  from.on('data', (chunk: Buffer) => {
    if (left <= 0) return
    const part = chunk.subarray(0, Math.min(left, chunk.length))
    left -= part.length
    if (to.destroyed || to.writableEnded) return
    if (left <= 0) {
      to.write(part)
      end()
    } else if (!to.write(part)) {
      from.pause()
      to.once('drain', () => from.resume())
    }
  })
  from.once('end', () => { if (!to.writableEnded) to.end() })
}

/** A TCP proxy before a port. */
export async function tcpLinks (port: number): Promise<Links & { port: number }> {
  const proxy = new TcpProxy(port)
  await proxy.listen()
  return proxy
}

/** Less than it takes until a port is used again. */
const ABANDONED_MS = 500

class TcpProxy implements Links {
  readonly #upstream: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** The two halves of a connection meet by the client's port. */
  readonly #waiting = new Map<number, Socket | { cut: Cut | undefined }>()

  constructor (port: number) {
    this.#upstream = port
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
      this.#keep(socket)
      this.#meet(socket.remotePort as number, socket)
    })
  }

  get port (): number { return (this.#server.address() as AddressInfo).port }

  async listen (): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  open (cut?: Cut): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true })
    this.#keep(socket)
    socket.once('connect', () => {
      const port = socket.localPort as number
      const half = { cut }
      this.#meet(port, half)
      socket.once('close', () => { if (this.#waiting.get(port) === half) this.#waiting.delete(port) })
    })
    return socket
  }

  #meet (port: number, half: Socket | { cut: Cut | undefined }): void {
    const other = this.#waiting.get(port)
    // One of the same side is left over from a connection that was given up, whose port is in use again.
    if (!other || 'cut' in other === 'cut' in half) {
      this.#waiting.set(port, half)
      if (!('cut' in half)) this.#giveUp(port, half)
      return
    }
    this.#waiting.delete(port)
    const [socket, { cut }] = 'cut' in half ? [other as Socket, half] : [half, other as { cut: Cut | undefined }]
    const upstream = connect({ port: this.#upstream, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#keep(upstream)
    relay(socket, upstream, cut)
    socket.resume()
  }

  /** A client that left before it knew that it was connected never comes: its port will be another's. */
  #giveUp (port: number, half: Socket): void {
    setTimeout(() => {
      if (this.#waiting.get(port) !== half) return
      this.#waiting.delete(port)
      half.destroy()
    }, ABANDONED_MS).unref()
  }

  #keep (socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
  }

  async close (): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    if (this.#server.listening) await once(this.#server, 'close')
  }
}

/** The same without sockets: pairs of streams whose buffers hold so many bytes. */
export function memoryLinks (app: FastifyInstance, bufferBytes: number): Links {
  const open = new Set<Duplex>()
  return {
    open (cut) {
      const [client, near] = pair(bufferBytes)
      const [far, server] = pair(bufferBytes)
      for (const half of [client, near, far, server]) {
        open.add(half)
        half.on('error', () => {})
        half.once('close', () => open.delete(half))
      }
      relay(near, far, cut)
      app.server.emit('connection', server)
      return client
    },
    async close () {
      for (const half of open) half.destroy()
    }
  }
}

export function pair (bufferBytes: number): [Duplex, Duplex] {
  const one = new Half(bufferBytes)
  const other = new Half(bufferBytes)
  one.other = other
  other.other = one
  return [one, other]
}

class Half extends Duplex {
  other!: Half
  #resume: (() => void) | undefined

  constructor (highWaterMark: number) {
    super({ allowHalfOpen: true, highWaterMark })
  }

  override _read (): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  override _write (chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const { other } = this
    if (other.destroyed || other.readableEnded) return done()
    if (other.push(chunk)) setImmediate(done)
    else other.#resume = done
  }

  override _final (done: () => void): void {
    if (!this.other.destroyed) this.other.push(null)
    done()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    this.#resume?.()
    setImmediate(() => this.other.destroy())
    done(error)
  }
}

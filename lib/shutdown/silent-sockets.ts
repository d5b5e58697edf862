/**
 * Connections on which nobody has asked for anything yet: browsers open them in advance, and Node does not count them
 * among the idle ones that it closes with a server. Without this, `app.close()` would wait for them.
 */
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage, Server } from 'node:http'
import { Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'

const CROWD = 64

type Listener = Parameters<NodeJS.EventEmitter['on']>[1]

export class SilentSockets {
  readonly #silent = new Map<Socket | string, Socket>()
  #keyOf: (socket: Socket) => Socket | string = (socket) => socket
  /** Those that have closed are let go of when there are so many. */
  #crowd = CROWD
  readonly #ends: Array<() => void> = []

  /** `overhears` marks a listener that answers nobody. */
  watch (app: FastifyInstance, overhears: (listener: object) => void): void {
    // HTTP/2 has sessions instead.
    if (app.initialConfig.http2 !== undefined) return
    const { server } = app
    // A TLS socket stands for the one beneath it.
    if (server instanceof TlsServer) this.#keyOf = peerOf
    overhears(this.#heard)
    this.#listen(server, 'removeListener', (event: string) => { if (event === 'upgrade') this.#notAlone(server) })
    this.#listen(server, 'connection', (socket: Socket) => {
      this.#besideOthers(server)
      this.#keep(socket)
    })
    this.#listen(server, 'secureConnection', (socket: Socket) => this.#keep(socket))
    this.#listen(server, 'request', this.#heard)
  }

  /** Something was asked on this socket. */
  readonly #heard = ({ socket }: IncomingMessage): void => { this.#silent.delete(this.#keyOf(socket)) }

  // Node leaves an upgrade to whoever listens, and this answers none. Where nobody else listens, it is to be a request
  // like any other.
  #besideOthers (server: Server): void {
    if (server.listenerCount('upgrade') > 0 && !server.listeners('upgrade').includes(this.#heard)) {
      this.#listen(server, 'upgrade', this.#heard)
    }
  }

  #notAlone (server: Server): void {
    if (server.listeners('upgrade').every((listener) => listener === this.#heard)) server.off('upgrade', this.#heard)
  }

  #listen (server: Server, event: string, listener: Listener): void {
    server.on(event, listener)
    this.#ends.push(() => server.off(event, listener))
  }

  /** The app is closed; its server may live on. */
  end (): void {
    for (const end of this.#ends.splice(0)) end()
  }

  /** Cuts those that have sent nothing; the others when their time is up. */
  close (timeoutMs: number): void {
    for (const socket of this.#silent.values()) if (socket.bytesRead === 0) socket.destroy()
    setTimeout(() => {
      for (const socket of this.#silent.values()) socket.destroy()
    }, timeoutMs).unref()
  }

  #keep (socket: Socket): void {
    // Not one in memory.
    if (!(socket instanceof Socket)) return
    this.#silent.set(this.#keyOf(socket), socket)
    if (this.#silent.size > this.#crowd) this.#sift()
  }

  /** A listener for the end of each socket would stay with it for life. */
  #sift (): void {
    for (const [key, socket] of this.#silent) if (socket.destroyed) this.#silent.delete(key)
    this.#crowd = Math.max(CROWD, this.#silent.size * 2)
  }
}

function peerOf ({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

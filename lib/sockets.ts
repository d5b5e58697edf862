/**
 * Connections on which nobody has asked for anything yet: browsers open them in advance, and Node does not count them
 * among the idle ones that it closes with a server. Without this, `app.close()` would wait for them.
 */
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'

const CROWD = 64

export class SilentSockets {
  readonly #silent = new Map<Socket | string, Socket>()
  #keyOf: (socket: Socket) => Socket | string = (socket) => socket
  /** Those that have closed are let go of when there are so many. */
  #crowd = CROWD

  /** `overhears` marks a listener that answers nobody. */
  watch (app: FastifyInstance, overhears: (listener: object) => void): void {
    // HTTP/2 has sessions instead.
    if (app.initialConfig.http2 !== undefined) return
    const { server } = app
    // A TLS socket stands for the one beneath it.
    if (server instanceof TlsServer) this.#keyOf = peerOf
    const heard = ({ socket }: IncomingMessage): void => { this.#silent.delete(this.#keyOf(socket)) }
    overhears(heard)
    server.on('connection', (socket: Socket) => {
      // Only beside others: Node leaves an upgrade to whoever listens, and where nobody does it is a request like any other.
      if (server.listenerCount('upgrade') > 0 && !server.listeners('upgrade').includes(heard)) server.on('upgrade', heard)
      this.#keep(socket)
    })
    server.on('secureConnection', (socket: Socket) => this.#keep(socket))
    server.on('request', heard)
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

/**
 * Connections on which nobody has asked for anything yet: browsers open them in advance, and Node does not count them
 * among the idle ones that it closes with a server. Without this, `app.close()` would wait for them.
 */
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

export class SilentSockets {
  /** By peer: a TLS socket stands for the one beneath it. */
  readonly #silent = new Map<string, Socket>()

  /** `overhears` marks a listener that answers nobody. */
  watch (app: FastifyInstance, overhears: (listener: object) => void): void {
    // HTTP/2 has sessions instead.
    if (app.initialConfig.http2 !== undefined) return
    const { server } = app
    const heard = ({ socket }: IncomingMessage): void => { this.#silent.delete(peerOf(socket)) }
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
    // A socket in memory.
    if (socket.remotePort === undefined) return
    const peer = peerOf(socket)
    this.#silent.set(peer, socket)
    socket.once('close', () => {
      if (this.#silent.get(peer) === socket) this.#silent.delete(peer)
    })
  }
}

function peerOf ({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

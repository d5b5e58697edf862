/** HTTP/2 sessions, which keep `app.close()` waiting even when idle. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { overWithin } from '../core/callbacks.ts'

interface Socket {
  readonly remoteAddress?: string
  readonly remotePort?: number
  destroy (): void
  once (event: 'close', listener: () => void): void
}

interface Session {
  readonly destroyed: boolean
  /** A view of the socket that cannot be destroyed. */
  readonly socket: Pick<Socket, 'remoteAddress' | 'remotePort'> & { destroySoon (): void }
  close (): void
  destroy (): void
  once (event: 'close', listener: () => void): void
}

export class Http2Sessions {
  readonly #sessions = new Set<Session>()
  readonly #sockets = new Map<string, Socket>()

  watch (app: FastifyInstance): void {
    const server: NodeJS.EventEmitter = app.server
    // The server may be HTTP/1, which emits no sessions.
    server.on('session', (session: Session) => this.#add(session))
    if (app.initialConfig.http2 === undefined) return
    server.on('connection', (socket: Socket) => this.#keep(socket))
    // TLS comes later, and its socket stands for the one beneath.
    server.on('secureConnection', (socket: Socket) => this.#keep(socket))
    // Fastify's second server for localhost is not to be had: its sessions are known by their requests.
    app.addHook('onRequest', async (request) => this.#see(request))
  }

  #see (request: FastifyRequest): void {
    const session = (request.raw as { stream?: { session?: Session } }).stream?.session
    if (session) this.#add(session)
  }

  #add (session: Session): void {
    if (this.#sessions.has(session) || session.destroyed) return
    this.#sessions.add(session)
    session.once('close', () => this.#sessions.delete(session))
  }

  #keep (socket: Socket): void {
    const peer = peerOf(socket)
    this.#sockets.set(peer, socket)
    socket.once('close', () => {
      if (this.#sockets.get(peer) === socket) this.#sockets.delete(peer)
    })
  }

  /** Lets open requests finish, for so long. */
  async close (timeoutMs: number): Promise<void> {
    const open = [...this.#sessions].filter(({ destroyed }) => !destroyed)
    if (open.length === 0) return
    const cuts = new Map(open.map((session) => [session, this.#cutter(session)]))
    const closed = Promise.all(open.map((session) => new Promise<void>((resolve) => {
      session.once('close', () => {
        cuts.delete(session)
        resolve()
      })
      session.close()
    })))
    await overWithin(timeoutMs, closed)
    for (const cut of cuts.values()) cut()
  }

  /**
   * A session that was told to close only ends its side when it is destroyed, and waits for a client that may never end
   * its own.
   */
  #cutter (session: Session): () => void {
    const view = session.socket
    const socket = this.#sockets.get(peerOf(view))
    // Bound while there still is a session to ask.
    const soon = view.destroySoon
    return () => {
      if (!session.destroyed) session.destroy()
      if (socket) socket.destroy()
      else soon()
    }
  }
}

function peerOf ({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>): string {
  return `${remoteAddress} ${remotePort}`
}

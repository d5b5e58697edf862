/** HTTP/2 sessions, which keep `app.close()` waiting even when idle. */
import type { FastifyInstance, FastifyRequest } from 'fastify'

interface Session {
  destroyed: boolean
  close (): void
  destroy (): void
  once (event: 'close', listener: () => void): void
}

type Server = { on (event: 'session', listener: (session: Session) => void): void }

export class Http2Sessions {
  readonly #sessions = new Set<Session>()

  watch (app: FastifyInstance): void {
    // The server may be HTTP/1, which emits no sessions.
    (app.server as unknown as Server).on('session', (session) => this.#add(session))
    // Fastify's second server for localhost is not to be had: its sessions are known by their requests.
    if (app.initialConfig.http2 !== undefined) app.addHook('onRequest', async (request) => this.#see(request))
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

  /** Lets open requests finish, for so long. */
  async close (timeoutMs: number): Promise<void> {
    const open = [...this.#sessions]
    if (open.length === 0) return
    const closed = Promise.all(open.map((session) => new Promise<void>((resolve) => {
      session.once('close', resolve)
      session.close()
    })))
    let timer: NodeJS.Timeout | undefined
    await Promise.race([closed, new Promise((resolve) => { timer = setTimeout(resolve, timeoutMs) })])
    clearTimeout(timer)
    for (const session of open) if (!session.destroyed) session.destroy()
  }
}

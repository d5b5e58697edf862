/**
 * How a test client reaches the app: by a real socket if it listens, otherwise by a pair of streams that its HTTP
 * server is given.
 */
import { connect, type AddressInfo, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'

export interface Link {
  readonly host: string
  readonly open: () => Duplex
}

export async function linkTo (app: FastifyInstance): Promise<Link> {
  await app.ready()
  const address = app.server.address()
  if (address && typeof address === 'object') return overSocket(app, address)
  return { host: 'localhost', open: () => inMemory(app) }
}

function overSocket (app: FastifyInstance, { address, port }: AddressInfo): Link {
  const host = address === '::' || address === '0.0.0.0' ? '127.0.0.1' : address
  const secure = 'addContext' in app.server
  const open = (): Socket => secure
    ? connectTls({ host, port, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
    : connect({ host, port })
  return { host: `${host.includes(':') ? `[${host}]` : host}:${port}`, open }
}

/** An HTTP server takes any duplex as a connection. A server with TLS takes it as one whose handshake is over. */
function inMemory (app: FastifyInstance): Duplex {
  const [client, server] = pair()
  const secure = 'addContext' in app.server
  if (secure) Object.assign(server, { encrypted: true, alpnProtocol: 'http/1.1', server: app.server })
  app.server.emit(secure ? 'secureConnection' : 'connection', server)
  return client
}

function pair (): [Duplex, Duplex] {
  const client = new Half()
  const server = new Half()
  client.other = server
  server.other = client
  return [client, server]
}

class Half extends Duplex {
  other!: Half
  #resume: (() => void) | undefined

  constructor () {
    super({ allowHalfOpen: true, autoDestroy: true })
  }

  override _read (): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  override _write (chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.other.destroyed) return done()
    if (this.other.push(chunk)) process.nextTick(done)
    else this.other.#resume = done
  }

  override _final (done: () => void): void {
    if (!this.other.destroyed) this.other.push(null)
    done()
  }

  /** If one side is cut, so is the other. */
  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    const { other } = this
    process.nextTick(() => other.destroy())
    done(error)
  }
}

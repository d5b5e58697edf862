/** What a client is counted by, besides the node: its address, where that says who it is, and its identity. */
import { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isLocal, networkOf } from '../core/address.ts'
import type { Place } from '../core/admission.ts'
import type { Hub } from '../core/hub.ts'
import { ConnectionClosed, Pipelined } from '../errors.ts'

/** So many clients are looked at from the start: a proxy in front of the app is to be reported before it matters. */
const LOOKS = 16

export class Peers {
  readonly #hub: Hub
  readonly #sessions = new WeakMap<object, string>()
  #named = 0
  /** Clients that are still to be looked at, whatever their number. */
  #looks = LOOKS
  #told = false

  constructor (hub: Hub) {
    this.#hub = hub
    if (hub.settings.maxConnectionsPerAddress === Infinity) this.#looks = 0
  }

  /**
   * Takes a place for the client, before anything of the app's is asked about it.
   * @throws TooManyConnections, ConnectionClosed
   */
  admit (request: FastifyRequest): Place {
    try {
      // Threat: it could have the app asked about it as often as it likes, and never be counted.
      if (this.#hub.admission.asksOrigins && hasVanished(request)) throw new ConnectionClosed()
      const place = this.#hub.admission.reserve(() => this.#originOf(request))
      if (this.#looks > 0) this.#look(request)
      return place
    } catch (error) {
      throw this.#refused(request, error)
    }
  }

  #look (request: FastifyRequest): void {
    this.#looks--
    this.#originOf(request)
  }

  /** It is known now who the client is. @throws TooManyConnections */
  identify (
    request: FastifyRequest, place: Place, identity: { readonly id: string, readonly anonymous?: unknown }
  ): void {
    // Anonymous clients may all bear one name.
    if (identity.anonymous === true) return
    try {
      place.identify(identity.id)
    } catch (error) {
      throw this.#refused(request, error)
    }
  }

  /**
   * Threat: a stream that is asked for behind an unfinished response (RFC 9112 §9.3.2) cannot begin, and would hold a
   * place all the same: one socket could take them all. @throws Pipelined
   */
  inTurn (request: FastifyRequest, { raw }: FastifyReply): void {
    // An HTTP/2 stream has its own turn; a response that waits for its turn has no socket yet.
    if (!('stream' in raw) && raw.socket === null) throw this.#refused(request, new Pipelined())
  }

  #refused (request: FastifyRequest, error: unknown): unknown {
    this.#hub.refused(error, () => addressOf(request) ?? '')
    return error
  }

  #originOf (request: FastifyRequest): string | undefined {
    const ip = addressOf(request)
    // Its socket is closed: it is about to give its place back.
    if (ip === undefined && request.raw.socket?.destroyed) return undefined
    if (ip !== undefined && (!isLocal(ip) || isClients(request, ip))) return networkOf(ip)
    this.#tell(ip)
    // One session is one client, then: it must not hold thousands of streams.
    return this.#sessionOf(request)
  }

  #sessionOf ({ raw }: FastifyRequest): string | undefined {
    const session = (raw as { stream?: { session?: object } }).stream?.session
    if (!session) return undefined
    let name = this.#sessions.get(session)
    if (name === undefined) this.#sessions.set(session, name = `session ${++this.#named}`)
    return name
  }

  /** Logged once: for an app behind a proxy, and without `trustProxy`, no limit for an address holds. */
  #tell (ip: string | undefined): void {
    if (this.#told) return
    this.#told = true
    this.#looks = 0
    this.#hub.log.info({ address: ip },
      'realtime: clients come from a private or loopback address, ' +
      'which maxConnectionsPerAddress does not count: it may be a proxy. ' +
      'If it is, set Fastify\'s trustProxy')
  }
}

/** Its socket was reset, which Node has not read yet: it has no address any more. (That of a pipe never had one.) */
function hasVanished (request: FastifyRequest): boolean {
  const { socket } = request.raw
  return addressOf(request) === undefined && socket instanceof Socket && socket.localAddress !== undefined
}

/**
 * The client's address. It is the socket's where the app's `trustProxy` throws over what is forwarded, which a client
 * may have written.
 */
export function addressOf (request: FastifyRequest): string | undefined {
  try {
    return request.ip
  } catch {
    return request.raw.socket?.remoteAddress
  }
}

/** Is a private address the client's own (an intranet), and not that of a proxy whose word was not taken? */
function isClients (request: FastifyRequest, ip: string): boolean {
  // Fastify gives `ips` to requests of an app with trustProxy alone.
  if (!('ips' in request)) return false
  return request.headers['x-forwarded-for'] === undefined || request.raw.socket?.remoteAddress !== ip
}

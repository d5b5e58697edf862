/**
 * How an upgrade request comes to a route. Node gives it to 'upgrade' listeners, not to the router; @fastify/websocket
 * passes it on where the app has that plugin, and this does where it has not.
 */
import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import FindMyWay from 'find-my-way'
import type { FastifyInstance } from 'fastify'
import { NoDispatcher } from '../../errors.ts'

export interface Upgrade {
  readonly socket: Duplex
  /** What came with the head: the first frames may be in it. */
  readonly head: Buffer
}

export class Upgrades {
  readonly #app: FastifyInstance
  readonly #enabled: boolean
  readonly #pending = new WeakMap<IncomingMessage, Upgrade>()
  readonly #urls = new Set<string>()
  #router: ReturnType<typeof FindMyWay> | undefined

  constructor (app: FastifyInstance, enabled: boolean) {
    this.#app = app
    this.#enabled = enabled
  }

  /** The upgrade that this request is, if it is one. */
  of (raw: IncomingMessage): Upgrade | undefined {
    return this.#pending.get(raw)
  }

  /** A channel is declared: from now on upgrades are noted before anybody else sees them. */
  expect (url: string): void {
    if (this.#urls.size === 0) this.#app.server.prependListener('upgrade', this.#note)
    this.#urls.add(url)
  }

  /** Every plugin is loaded: somebody must dispatch. @throws NoDispatcher */
  ready (): void {
    if (this.#urls.size === 0 || hasWebSocketPlugin(this.#app)) return
    if (!this.#enabled) throw new NoDispatcher()
    this.#router = this.#channelRouter()
    this.#app.server.on('upgrade', this.#dispatch)
  }

  #channelRouter (): ReturnType<typeof FindMyWay> {
    const { caseSensitive = true, ignoreTrailingSlash = false, ignoreDuplicateSlashes = false } = this.#app.initialConfig
    const router = FindMyWay({ caseSensitive, ignoreTrailingSlash, ignoreDuplicateSlashes })
    for (const url of this.#urls) router.on('GET', url, () => {})
    return router
  }

  readonly #note = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    this.#pending.set(raw, { socket, head })
  }

  readonly #dispatch = (raw: IncomingMessage, socket: Duplex): void => {
    // Others may listen too (socket.io …): theirs are left to them.
    const others = this.#app.server.listeners('upgrade').some((listener) => listener !== this.#note && listener !== this.#dispatch)
    if (others && !this.#router?.find('GET', raw.url ?? '/')) return
    // Node took its own error listener off before 'upgrade'.
    socket.on('error', () => socket.destroy())
    const response = new ServerResponse(raw)
    response.shouldKeepAlive = false
    response.assignSocket(socket as never)
    response.once('finish', () => socket.end())
    this.#app.routing(raw, response)
  }
}

/** Anywhere in the app, whatever the order of registration. */
function hasWebSocketPlugin (app: FastifyInstance): boolean {
  return /@fastify\/websocket\b/.test(app.printPlugins())
}

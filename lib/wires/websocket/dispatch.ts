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

/** The listeners of every instance, since scopes beside each other may each have one. */
const notes = new WeakSet<object>()
const dispatchers = new WeakSet<object>()

/** This listener answers no upgrade. */
export function overhears (listener: object): void {
  notes.add(listener)
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
    notes.add(this.#note)
    dispatchers.add(this.#dispatch)
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
    const { routerOptions = {}, caseSensitive = true, ignoreTrailingSlash = false, ignoreDuplicateSlashes = false } =
      this.#app.initialConfig as RouterConfig & { routerOptions?: RouterConfig }
    const router = FindMyWay({
      caseSensitive: caseSensitive && routerOptions.caseSensitive !== false,
      ignoreTrailingSlash: ignoreTrailingSlash || routerOptions.ignoreTrailingSlash === true,
      ignoreDuplicateSlashes: ignoreDuplicateSlashes || routerOptions.ignoreDuplicateSlashes === true,
      allowUnsafeRegex: true,
      // The app's own router says what is too long, with an answer.
      maxParamLength: 1 << 16
    })
    for (const url of this.#urls) router.on('GET', url, () => {})
    return router
  }

  readonly #note = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    this.#pending.set(raw, { socket, head })
    // @fastify/websocket stops listening as soon as the app closes: nobody else would answer, nor let the socket go.
    const listeners = this.#app.server.listeners('upgrade')
    if (listeners[0] === this.#note && listeners.every((listener) => notes.has(listener))) this.#route(raw, socket, head)
  }

  readonly #dispatch = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const listeners = this.#app.server.listeners('upgrade').filter((listener) => !notes.has(listener))
    // Others may listen too (socket.io …): theirs are left to them.
    const others = listeners.some((listener) => !dispatchers.has(listener))
    // Of several of ours the first takes them all: it is the same app.
    const mine = others ? this.#router?.find('GET', raw.url ?? '/') : listeners[0] === this.#dispatch
    if (mine) this.#route(raw, socket, head)
  }

  #route (raw: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Node took its own error listener off before 'upgrade'.
    socket.on('error', destroy)
    if (raw.headers.upgrade?.toLowerCase() !== 'websocket') return readAnew(this.#app, raw, socket, head)
    const response = new ServerResponse(raw)
    response.shouldKeepAlive = false
    response.assignSocket(socket as never)
    response.once('finish', () => letGo(socket))
    this.#app.routing(raw, response)
  }

  /** It is a WebSocket from here on: what came with its head is not kept for as long as it lives. */
  taken (raw: IncomingMessage): void {
    this.#pending.delete(raw)
  }

  /** The upgrade was refused: the answer is out, whoever dispatched it. */
  refused (raw: IncomingMessage): void {
    const socket = this.#pending.get(raw)?.socket
    if (socket) letGo(socket)
  }
}

type RouterConfig = { caseSensitive?: boolean, ignoreTrailingSlash?: boolean, ignoreDuplicateSlashes?: boolean }

/**
 * Some clients offer h2c with every request (Java's do), and Node parts such a request from its body as soon as anybody
 * listens for upgrades. An offer may be ignored (RFC 9110 §7.8): the request is read once more, without it.
 */
function readAnew (app: FastifyInstance, raw: IncomingMessage, socket: Duplex, head: Buffer): void {
  const lines = [`${raw.method} ${raw.url} HTTP/${raw.httpVersion}`]
  for (let i = 0; i < raw.rawHeaders.length; i += 2) {
    const [name, value] = [raw.rawHeaders[i] as string, raw.rawHeaders[i + 1] as string]
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${value}`)
    else if (/^connection$/i.test(name) && /(^|[\s,])close([\s,]|$)/i.test(value)) lines.push('connection: close')
  }
  socket.unshift(head)
  socket.unshift(Buffer.from(lines.join('\r\n') + '\r\n\r\n', 'latin1'))
  app.server.emit('encrypted' in socket ? 'secureConnection' : 'connection', socket)
}

function destroy (this: Duplex): void {
  this.destroy()
}

/** Ends both sides: a peer that keeps its own open would keep the app from closing. What it still sends is dropped. */
function letGo (socket: Duplex): void {
  socket.resume()
  socket.end(() => socket.destroy())
}

/** Anywhere in the app, whatever the order of registration. */
function hasWebSocketPlugin (app: FastifyInstance): boolean {
  return /@fastify\/websocket\b/.test(app.printPlugins())
}

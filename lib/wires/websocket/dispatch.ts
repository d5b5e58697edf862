/**
 * How an upgrade request comes to a route, and to an end. Node gives it to 'upgrade' listeners, not to the router.
 * There may be others (@fastify/websocket, proxies, socket.io), each of which may answer it at once, later, or never.
 * Whoever does first owns it. What is a channel's, and what nobody has taken in time, is answered by the app.
 */
import { ServerResponse, type IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { Http2Only, NoDispatcher } from '../../errors.ts'
import { isCut, isHttp2Offer, isOffer, noteLimit, readAnew } from './offer.ts'
import { afterEarlier, hasEnded, isAnswered, ownerOf, Upgrade } from './upgrade.ts'
import { ChannelUrls, type Constraints } from './urls.ts'

/** The listeners of every instance that answer no upgrade. */
const notes = new WeakSet<object>()

/** This listener answers no upgrade. */
export function overhears (listener: object): void {
  notes.add(listener)
}

/**
 * After closeTimeout, for an answer that is being made: hooks may wait for the connections' end, which takes that long.
 */
const LAST_WORD_MS = 1000

type Marked = IncomingMessage & { [mark: symbol]: Upgrade | 'entered' | undefined }

/** One for each server: scopes beside each other may each have the plugin. */
const byServer = new WeakMap<object, Upgrades>()

export class Upgrades {
  readonly #app: FastifyInstance
  readonly #channels: ChannelUrls
  /** On a request: its upgrade, and from when a route has got it, that it was there. */
  readonly #mark = Symbol('fastify-realtime.upgrade')
  /** Those that may yet have to be ended. */
  readonly #open = new Set<Upgrade>()
  /** How long others may take, ms. */
  readonly #patience: number
  #dispatches = false
  #closing = false
  /** No other listener answers upgrades. Undefined when that is to be looked at again. */
  #alone: boolean | undefined

  constructor (app: FastifyInstance, patience: number) {
    this.#app = app
    this.#patience = patience
    this.#channels = new ChannelUrls(app)
    notes.add(this.#hear)
  }

  static of (app: FastifyInstance, patience: number): Upgrades {
    let upgrades = byServer.get(app.server)
    if (!upgrades) byServer.set(app.server, upgrades = new Upgrades(app, patience))
    return upgrades
  }

  /**
   * The upgrade that this request is, if it is one, for the route that gets it first. A proxy that has the app route
   * the same request once more gets nothing.
   */
  enter (raw: IncomingMessage): Upgrade | 'entered' | undefined {
    const upgrade = (raw as Marked)[this.#mark]
    if (upgrade !== undefined) (raw as Marked)[this.#mark] = 'entered'
    return upgrade
  }

  /** It is a WebSocket from here on. */
  taken (upgrade: Upgrade): void {
    this.#forget(upgrade)
    upgrade.handOver()
  }

  /** A channel is declared: from now on upgrades are heard before anybody else sees them. */
  expect (url: string, constraints?: Constraints): void {
    if (this.#channels.none) this.#listen(this.#app.server)
    this.#channels.add(url, constraints)
  }

  #listen (server: Server): void {
    server.prependListener('upgrade', this.#hear)
    for (const event of ['newListener', 'removeListener']) server.on(event, this.#lookAgain)
    for (const event of ['connection', 'secureConnection']) server.on(event, this.#noteLimit)
  }

  readonly #lookAgain = (): void => { this.#alone = undefined }
  readonly #noteLimit = (socket: Duplex): void => noteLimit(this.#app.server, socket)

  /** The app is closed; its server may live on, and serve another. */
  end (): void {
    const { server } = this.#app
    if (byServer.get(server) === this) byServer.delete(server)
    server.off('upgrade', this.#hear)
    for (const event of ['newListener', 'removeListener']) server.off(event, this.#lookAgain)
    for (const event of ['connection', 'secureConnection']) server.off(event, this.#noteLimit)
  }

  /** Every plugin is loaded: somebody must dispatch. @throws NoDispatcher, Http2Only */
  ready (enabled: boolean): void {
    if (this.#channels.none) return
    if (isHttp2Only(this.#app)) throw new Http2Only()
    if (!enabled && !hasWebSocketPlugin(this.#app)) throw new NoDispatcher()
    this.#dispatches ||= enabled
  }

  /** Whom nobody has answered is answered now, and cut when the time is up; whose hooks still run, a little later. */
  close (timeoutMs: number): void {
    this.#closing = true
    for (const upgrade of this.#open) if (!upgrade.ours && ownerOf(upgrade) === undefined) this.#answer(upgrade)
    setTimeout(() => this.#cut((upgrade) => ownerOf(upgrade) === undefined), timeoutMs).unref()
    setTimeout(() => this.#cut(() => true), timeoutMs + LAST_WORD_MS).unref()
  }

  #cut (which: (upgrade: Upgrade) => boolean): void {
    for (const upgrade of this.#open) if (!isAnswered(upgrade) && which(upgrade)) upgrade.socket.destroy()
  }

  readonly #hear = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    // Somebody passes it on.
    if ((raw as Marked)[this.#mark] !== undefined) return
    const upgrade = (raw as Marked)[this.#mark] = new Upgrade(raw, socket, head)
    // @fastify/websocket stops listening as soon as the app closes: nobody else would answer, nor let the socket go.
    this.#alone ??= this.#app.server.listeners('upgrade').every((listener) => notes.has(listener))
    if (this.#alone) this.#answer(upgrade)
    // When the other listeners have had their turn.
    else process.nextTick(() => this.#decide(upgrade))
    // Most are WebSockets by now.
    if (upgrade.watch(() => this.#open.delete(upgrade))) this.#open.add(upgrade)
  }

  #decide (upgrade: Upgrade): void {
    const owner = ownerOf(upgrade)
    if (owner === undefined && this.#isOurs(upgrade)) return this.#answer(upgrade)
    if (owner === 'other') return this.#leave(upgrade)
    if (owner) endsWith(owner, upgrade.socket)
    this.#wait(upgrade)
  }

  #isOurs ({ raw }: Upgrade): boolean {
    return this.#closing || (this.#dispatches && (isHttp2Offer(raw) || this.#channels.has(raw)))
  }

  /** Others may take their time; what they have not taken then is the app's, which says 404 as to any request. */
  #wait (upgrade: Upgrade): void {
    setTimeout(() => {
      if (!this.#open.has(upgrade)) return
      const owner = ownerOf(upgrade)
      if (owner === undefined) this.#answer(upgrade)
      else if (owner === 'other' || isAnswered(upgrade)) this.#leave(upgrade)
    }, this.#patience).unref()
  }

  /** It is another's. One that he has ended is not kept open by a client that does not end it. */
  #leave (upgrade: Upgrade): void {
    this.#forget(upgrade)
    if (hasEnded(upgrade)) letGo(upgrade.socket)
  }

  #answer (upgrade: Upgrade): void {
    if (upgrade.socket.destroyed) return
    upgrade.ours = true
    if (isCut(upgrade.raw, upgrade.socket, this.#app.server)) return refuseCut(upgrade.socket)
    afterEarlier(upgrade, this.#patience, () => {
      if (isOffer(upgrade.raw)) this.#readAnew(upgrade)
      else this.#route(upgrade)
    })
  }

  #readAnew (upgrade: Upgrade): void {
    this.taken(upgrade)
    readAnew(upgrade.raw, upgrade.socket, upgrade.head, this.#app.server)
  }

  #route (upgrade: Upgrade): void {
    const { raw, socket } = upgrade
    const response = new ServerResponse(raw)
    response.shouldKeepAlive = false
    response.assignSocket(socket as Socket)
    this.#app.routing(raw, response)
    if (!upgrade.settled) endsWith(response, socket)
  }

  #forget (upgrade: Upgrade): void {
    this.#open.delete(upgrade)
    upgrade.release()
  }
}

/** An ordinary response on a socket that nobody reads any more is the last one. */
function endsWith (response: ServerResponse, socket: Duplex): void {
  if (response.writableFinished) letGo(socket)
  else response.once('finish', () => letGo(socket))
}

/** As Node itself answers where a request's head is too large. */
function refuseCut (socket: Duplex): void {
  socket.write('HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
  letGo(socket)
}

/** Ends both sides: a peer that keeps its own open would keep the app from closing. What it still sends is dropped. */
function letGo (socket: Duplex): void {
  socket.resume()
  if (socket.writableFinished) socket.destroy()
  else socket.end(() => socket.destroy())
}

/** Anywhere in the app, whatever the order of registration. */
function hasWebSocketPlugin (app: FastifyInstance): boolean {
  return /@fastify\/websocket\b/.test(app.printPlugins())
}

/** There an upgrade cannot happen (RFC 9113 §8.6). */
function isHttp2Only (app: FastifyInstance): boolean {
  const { http2, https } = app.initialConfig as { http2?: boolean, https?: boolean | { allowHTTP1?: boolean } }
  // A serverFactory may have made another server than was asked for: HTTP/1 ones know this.
  if (http2 !== true || 'maxHeadersCount' in app.server) return false
  return typeof https !== 'object' || https.allowHTTP1 !== true
}

/**
 * Requests that offer another protocol and are not a WebSocket's: h2c, which some clients offer with every request
 * (Java's do), and whatever else. Node parts such a request from its body as soon as anybody listens for upgrades. An
 * offer may be ignored (RFC 9110 §7.8), so the request is read once more, without it.
 */
import * as http from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** Node's own default, where a server does not say. */
const MAX_HEADERS = 1000

type Reader = (this: Server, socket: Duplex) => void
/** What Node itself does with a new connection, be it plain, TLS, or HTTP/1.1 beside HTTP/2. */
const readRequests = Reflect.get(http, '_connectionListener') as Reader | undefined

/** An HTTP/1.0 client cannot upgrade, and a WebSocket is asked for by GET (RFC 9110 §7.8, RFC 6455 §4.1). */
export function isOffer ({ method, headers, httpVersion }: IncomingMessage): boolean {
  return method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket' || httpVersion === '1.0'
}

/** No library for Node takes this up by listening for upgrades. */
export function isHttp2Offer ({ headers }: IncomingMessage): boolean {
  return /(^|[\s,])h2c?([\s,]|$)/i.test(headers.upgrade ?? '')
}

/** How many headers the parser of each connection keeps, where its server said so: that may change later. */
const limits = new WeakMap<object, number>()

export function noteLimit (server: Server, socket: object): void {
  const { maxHeadersCount } = server
  if (typeof maxHeadersCount === 'number') limits.set(socket, maxHeadersCount)
}

/**
 * Threat: past its limit Node leaves headers out without a word, and among them may be the one that says how long the
 * body is. Read anew without it, the body would be the next request.
 */
export function isCut ({ rawHeaders }: IncomingMessage, socket: Duplex, main: Server): boolean {
  const { server } = socket as { server?: Server }
  // A connection of another server than the app's own was not seen when it began.
  const limit = limits.get(socket) ??
    (server === undefined || server === main ? undefined : server.maxHeadersCount) ?? MAX_HEADERS
  return limit > 0 && (rawHeaders?.length ?? 0) / 2 >= limit
}

export function readAnew (raw: IncomingMessage, socket: Duplex, head: Buffer, main: Server): void {
  // An earlier response may have set the time for which the socket may be idle.
  (socket as { setTimeout?: (ms: number) => void }).setTimeout?.(0)
  socket.unshift(head)
  socket.unshift(Buffer.from(withoutOffer(raw), 'latin1'))
  const { server = main } = socket as { server?: Server }
  noteLimit(server, socket)
  // Not as a new connection: whoever counts those, or adds listeners to each, has had this one.
  if (readRequests) readRequests.call(server, socket)
  else server.emit('encrypted' in socket ? 'secureConnection' : 'connection', socket)
}

function withoutOffer ({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i] as string, rawHeaders[i + 1] as string]
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${value}`)
    else if (/^connection$/i.test(name)) {
      lines.push(...(value.match(/\b(close|keep-alive)\b/gi) ?? []).map((token) => `connection: ${token}`))
    }
  }
  return lines.join('\r\n') + '\r\n\r\n'
}

/**
 * Who is let in. What decides is the socket's own address and the Host that the client wrote, never what a proxy says
 * of somebody else. Whoever is refused is answered as if nothing were here.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { originAt, readHost, readOrigin } from '../core/origin.ts'

const LOOPBACK_IPV4 = /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/i
const LOOPBACK_HOST = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?$/
/** Whoever writes one of these is a proxy, and speaks for a client that may be anywhere. */
const FORWARDED = ['forwarded', 'via', 'x-real-ip', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']

/** What a request says of where it comes from. */
export interface Caller {
  /** The socket's; undefined for a Unix socket. */
  readonly address: string | undefined
  readonly headers: Readonly<Record<string, unknown>>
}

/** A program on this machine, that has called it by a name which no other site can have. */
export function isLoopback ({ address, headers }: Caller): boolean {
  return isLoopbackAddress(address) && isLoopbackHost(hostOf(headers)) &&
    FORWARDED.every((name) => headers[name] === undefined)
}

function isLoopbackAddress (address: string | undefined): boolean {
  return address !== undefined && (address === '::1' || LOOPBACK_IPV4.test(address))
}

/** Threat: a site that points a name of its own at 127.0.0.1 (DNS rebinding) is found out by that name. */
function isLoopbackHost (written: string | undefined): boolean {
  const host = written === undefined ? undefined : readHost(written)
  return host !== undefined && LOOPBACK_HOST.test(host)
}

/** HTTP/2 has it elsewhere. */
function hostOf (headers: Caller['headers']): string | undefined {
  const host = headers[':authority'] ?? headers.host
  return typeof host === 'string' ? host : undefined
}

/**
 * Is it asked by a page of another site? Browsers say so of whatever could be read or could act: `Origin` with an
 * upgrade or a POST, `Sec-Fetch-Site` with the rest. A link to the page is none of these.
 */
export function isForeign (headers: Caller['headers'], host: string): boolean {
  const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode } = headers
  if (origin !== undefined) return typeof origin !== 'string' || !isOwn(origin, host)
  return (site === 'cross-site' || site === 'same-site') && mode !== 'navigate'
}

/** Behind a proxy nobody knows by which of the two schemes the page came. */
function isOwn (written: string, host: string): boolean {
  const origin = readOrigin(written)
  return origin !== undefined && /^https?:$/.test(origin.scheme) && originAt(origin.scheme, host) === origin.text
}

type Hook = (request: FastifyRequest, reply: FastifyReply, done: () => void) => void

/** Refuses pages of other sites, whatever else lets them in. */
export const refuseForeign: Hook = (request, reply, done) => {
  if (isForeign(request.raw.headers, request.host ?? '')) reply.callNotFound()
  else done()
}

/** In place of a hook of the app's own. */
export const onlyLoopback: Hook = ({ raw }, reply, done) => {
  if (isLoopback({ address: raw.socket?.remoteAddress, headers: raw.headers })) done()
  else reply.callNotFound()
}

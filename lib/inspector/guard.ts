/**
 * Who is let in. What decides is the socket's own address and the Host that the client wrote, never what a proxy says
 * of somebody else. Whoever is refused is answered as if nothing were here.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { originAt, readHost, readOrigin } from '../core/origin.ts'
import { checkHost, type Hosts } from '../routes/hosts.ts'

const LOOPBACK_IPV4 = /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/i
const LOOPBACK_HOST = /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?$/
/**
 * Whoever writes one of these, or any `x-forwarded-…`, is a proxy, and speaks for a client that may be anywhere.
 * A proxy that writes none of them is not found out.
 */
const FORWARDED: ReadonlySet<string> = new Set([
  'forwarded', 'forwarded-for', 'via', 'cdn-loop', 'x-real-ip', 'x-client-ip', 'x-cluster-client-ip',
  'x-originating-ip', 'x-remote-ip', 'x-remote-addr', 'x-original-forwarded-for', 'x-original-host',
  'x-original-url', 'x-host', 'x-proxyuser-ip', 'client-ip', 'true-client-ip', 'proxy-client-ip',
  'wl-proxy-client-ip', 'cf-connecting-ip', 'cf-connecting-ipv6', 'cf-pseudo-ipv4', 'cf-ray',
  'fastly-client-ip', 'fastly-ff', 'fly-client-ip', 'do-connecting-ip', 'x-appengine-user-ip',
  'x-azure-clientip', 'x-azure-socketip', 'x-envoy-external-address', 'x-envoy-original-path',
  'x-nf-client-connection-ip', 'x-vercel-forwarded-for', 'x-sucuri-clientip', 'incap-client-ip'
])
const isForwarding = (name: string): boolean => name.startsWith('x-forwarded') || FORWARDED.has(name)

/** What a request says of where it comes from. */
export interface Caller {
  /** The socket's; undefined for a Unix socket. */
  readonly address: string | undefined
  readonly headers: Readonly<Record<string, unknown>>
}

/** A program on this machine, that has called it by a name which no other site can have. */
export function isLoopback ({ address, headers }: Caller): boolean {
  return isLoopbackAddress(address) && isLoopbackHost(hostOf(headers)) &&
    !Object.keys(headers).some(isForwarding)
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

/**
 * Threat: to a hook that looks at the address, a page of a site that points its own name at this server (DNS rebinding)
 * is its visitor, who may be let in. Only the name tells.
 */
export function onlyHosts (hosts: Hosts): Hook {
  return (request, reply, done) => {
    try {
      checkHost(hosts, request)
    } catch {
      reply.callNotFound()
      return
    }
    done()
  }
}

/**
 * Which proxies are in front nobody can tell: but who listens on the network is told what opens the inspector to it.
 */
export function warnIfReached (app: FastifyInstance): void {
  app.addHook('onListen', async () => {
    // A Unix socket is a text.
    const reached = app.addresses().flatMap((at) => typeof at === 'string' ? [] : at.address)
      .filter((address) => !isLoopbackAddress(address))
    if (reached.length > 0) app.log.warn(reachedBy(reached))
  })
}

function reachedBy (addresses: readonly string[]): string {
  return `realtime inspector: the app listens on ${addresses.join(', ')}, and the inspector has no "onRequest" hook. ` +
    'It answers programs on this machine alone. A proxy or a forwarder on this machine counts as one of them, unless ' +
    'it adds a forwarding header, and lets everybody in whom it serves. If there is one, give the inspector a hook.'
}

/** In place of a hook of the app's own. */
export const onlyLoopback: Hook = ({ raw }, reply, done) => {
  if (isLoopback({ address: raw.socket?.remoteAddress, headers: raw.headers })) done()
  else reply.callNotFound()
}

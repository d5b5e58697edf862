/**
 * Which pages may open a channel. Browsers send their origin with an upgrade, and no CORS protects it (RFC 6455
 * §10.2).
 */
import type { FastifyRequest } from 'fastify'
import { printable } from '../../core/event-name.ts'
import { originAt, readOrigin, type Origin } from '../../core/origin.ts'
import { OriginRefused } from '../../errors.ts'
import { checkHost, type Hosts } from '../../routes/hosts.ts'

const ORIGIN = 'origin'

export interface OriginPolicy {
  readonly origins: readonly string[] | '*'
  readonly hosts: Hosts
}

/**
 * Passes what has no Origin, since it comes from no page; an origin that is listed; and an http or https origin of the
 * request's own host. @throws HostRefused, OriginRefused
 */
export function checkOrigin ({ origins, hosts }: OriginPolicy, request: FastifyRequest): void {
  const written = originHeader(request)
  if (written === undefined) return
  checkHost(hosts, request)
  if (origins === '*') return
  const origin = readOrigin(written)
  if (origin === undefined || !(origins.includes(origin.text) || isOwn(origin, request))) {
    throw refusal(written, origin, request)
  }
}

/** As it came: a schema of the route's headers may have taken it away since. Two are one that no list has. */
function originHeader ({ raw }: FastifyRequest): string | undefined {
  // A request in memory may have no raw ones.
  const pairs = raw.rawHeaders ?? []
  let found: string | undefined
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i]?.length !== ORIGIN.length || pairs[i]?.toLowerCase() !== ORIGIN) continue
    found = found === undefined ? pairs[i + 1] : `${found}, ${pairs[i + 1]}`
  }
  return found ?? raw.headers.origin
}

function isOwn ({ scheme, text }: Origin, request: FastifyRequest): boolean {
  if (scheme !== 'https:' && (scheme !== 'http:' || isSecure(request))) return false
  return originAt(scheme, request.host ?? '') === text
}

/**
 * Threat: whoever can change plain HTTP on a network can serve a page as http://site, which must not speak for
 * https://site. The other way round it is TLS that ended at a proxy. Some proxies forward "ws" and "wss" as the
 * protocol.
 */
function isSecure ({ protocol }: FastifyRequest): boolean {
  return protocol !== undefined && !/^(http|ws)$/i.test(protocol)
}

function refusal (written: string, origin: Origin | undefined, request: FastifyRequest): Error {
  if (origin === undefined) {
    return new OriginRefused(printable(written),
      'It cannot be listed in "origins": files, sandboxed frames and programs send such origins. ' +
      'Only origins: \'*\' allows it')
  }
  const text = printable(origin.text)
  const listed = `If it is yours, list it: origins: ['${text}']`
  const sameHost = originAt(origin.scheme, request.host ?? '') === origin.text
  if (origin.scheme === 'http:' && sameHost) {
    return new OriginRefused(text, `The page came by http, but this request by https. ${listed}`)
  }
  return new OriginRefused(text, `This request is for another host. ${listed}. ` +
    'If a development proxy has changeOrigin: true, set it to false. Behind another proxy, set trustProxy')
}

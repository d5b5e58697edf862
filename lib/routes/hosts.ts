/** The `hosts` option: by which names this server may be reached. */
import type { FastifyRequest } from 'fastify'
import { printable } from '../core/event-name.ts'
import { readHost } from '../core/origin.ts'
import { HostRefused } from '../errors.ts'

export type Hosts = readonly string[] | '*'

/**
 * Threat: a site that points its own name at this server's address (DNS rebinding) is of the same origin as the server,
 * to the browser and by the request's Host. Only who knows the server's names can tell. @throws HostRefused
 */
export function checkHost (hosts: Hosts, request: FastifyRequest): void {
  if (hosts === '*') return
  const host = readHost(request.host ?? '')
  if (host === undefined || !hosts.includes(host)) throw new HostRefused(printable(request.host ?? ''))
}

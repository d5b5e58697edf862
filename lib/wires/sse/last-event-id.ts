/** Where an EventSource says it is (WHATWG HTML §9.2.4): the Last-Event-ID that it sends when it comes back. */
import type { FastifyRequest } from 'fastify'
import { MAX_CURSOR_BYTES } from '../../core/cursor.ts'

/** The header wins; the query is for clients that cannot set headers. */
export function lastEventId (request: FastifyRequest): string | undefined {
  const header = request.headers['last-event-id']
  if (typeof header === 'string' && header !== '') return header
  const query = request.raw.url?.split('?', 2)[1]
  return query?.includes('lastEventId=') ? new URLSearchParams(query).getAll('lastEventId').at(-1) : undefined
}

/** Headers arrive as latin1; an EventSource sends UTF-8. */
export function sourceCursor (request: FastifyRequest): string | undefined {
  const id = lastEventId(request)
  if (id === undefined || id === '' || id.length > MAX_CURSOR_BYTES) return undefined
  return id === request.headers['last-event-id'] ? Buffer.from(id, 'latin1').toString() : id
}

/** What a client says in a request: its body is a frame, or bytes. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isPublishKey, printable } from '../../core/event-name.ts'
import { MediaTypeUnknown } from '../../errors.ts'
import { Fault } from '../websocket/fault.ts'
import { parseObject, type Json } from '../websocket/protocols/json.ts'

/** Requests of ours are given to a parser of their own, whatever the app parses others by. */
const OURS = 'application/vnd.fastify-realtime.frame'

// Threat: a page of any site may send a form, or plain text, without asking. JSON it may send only where CORS says so.
/** The type of its body. @throws MediaTypeUnknown */
export function mediaType ({ raw: { headers } }: FastifyRequest): 'application/json' | 'application/octet-stream' {
  const [type = ''] = (headers['content-type'] ?? '').split(';', 1)
  const name = type.trim().toLowerCase()
  if (name === 'application/json' || name === 'application/octet-stream') return name
  throw new MediaTypeUnknown(printable(name))
}

/** From here on its body is read as it is, up to the route's `bodyLimit`. */
export function readAsBytes (request: FastifyRequest): void {
  request.headers = { ...request.headers, 'content-type': OURS }
}

/** Called for each route of ours: those of one scope share a parser. */
export function addParser (scope: FastifyInstance): void {
  if (scope.hasContentTypeParser(OURS)) return
  scope.addContentTypeParser(OURS, { parseAs: 'buffer' }, (request, body, done) => {
    // Hooks behind it see what the client has sent.
    request.headers = { ...request.headers, 'content-type': request.raw.headers['content-type'] }
    done(null, body)
  })
}

/** What only requests say besides the frame: the topics to begin with, and which connection is the sender's. */
export interface Besides {
  readonly topics: readonly string[]
  readonly connection: string | undefined
}

/** @throws Fault */
export function besides (text: string, maxTopics: number): Besides {
  const said = parseObject(text)
  return { topics: topicsOf(said, maxTopics), connection: connectionOf(said) }
}

function topicsOf ({ op, topics }: Json, most: number): string[] {
  if (op !== 'open' || topics === undefined) return []
  if (!Array.isArray(topics) || !topics.every((one) => typeof one === 'string')) {
    throw new Fault('INVALID_FRAME', '"topics" must be an array of names')
  }
  if (topics.length > most) throw new Fault('INVALID_FRAME', `more than ${most} topics`)
  return [...new Set<string>(topics)]
}

function connectionOf ({ op, connection }: Json): string | undefined {
  if (op !== undefined || connection === undefined) return undefined
  if (isPublishKey(connection)) return connection
  throw new Fault('INVALID_FRAME', '"connection" must be the id from the server\'s "open" frame')
}

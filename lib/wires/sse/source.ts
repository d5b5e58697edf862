/** A `source`: events for one client, pulled no faster than it reads, and returned when it leaves. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { types } from 'node:util'
import type { FastifyRequest } from 'fastify'
import { sourceEnded } from '../../core/close-reasons.ts'
import type { Connection } from '../../core/connection.ts'
import { checkEventName, hasControl, printable } from '../../core/event.ts'
import { jsonOf } from '../../core/payload.ts'
import { EventDataInvalid } from '../../errors.ts'
import type { SourceEvent } from '../../types.ts'
import { block } from './encode.ts'
import type { SseOutlet } from './outlet.ts'

type Events = AsyncIterable<SourceEvent> | Iterable<SourceEvent>
export type Source = (request: FastifyRequest, context: { cursor: string | undefined, signal: AbortSignal }) => Events | Promise<Events>

export type SourceIterator = AsyncIterator<SourceEvent> | Iterator<SourceEvent>

/** Before the stream starts: what it throws is still an ordinary HTTP error. */
export async function openSource (source: Source, request: FastifyRequest, cursor: string | undefined, signal: AbortSignal): Promise<SourceIterator> {
  return iteratorOf(await source(request, { cursor, signal }))
}

/** A source that never waits is made to, so that others get their turns. */
const TURN_EVENTS = 64

export async function runSource (connection: Connection, outlet: SseOutlet, iterator: SourceIterator): Promise<void> {
  // A source that waits for something of its own is told at once, not at its next event.
  const left = (): void => {
    // Called in a promise: what a sync iterator throws must not reach the signal's listeners.
    Promise.resolve().then(() => iterator.return?.()).catch((error: unknown) => connection.hub.log.error({ err: error }, 'realtime: a source failed'))
  }
  connection.signal.addEventListener('abort', left, { once: true })
  let events = 0
  for (let result = await iterator.next(); !result.done && !connection.closed; result = await iterator.next()) {
    outlet.writeBlock(sourceBlock(result.value))
    await connection.writable()
    if (++events % TURN_EVENTS === 0) await nextTurn()
  }
  connection.signal.removeEventListener('abort', left)
  connection.end(sourceEnded)
}

function iteratorOf (events: Events): SourceIterator {
  if (typeof events === 'object' && events !== null) {
    if (Symbol.asyncIterator in events) return events[Symbol.asyncIterator]()
    if (Symbol.iterator in events) return events[Symbol.iterator]()
  }
  throw new EventDataInvalid('source', 'message', 'must return an iterable of events, e.g. be an async generator')
}

/** @throws EventNameInvalid, EventDataInvalid */
function sourceBlock (value: SourceEvent): Buffer {
  if (typeof value !== 'object' || value === null) throw new EventDataInvalid('source', 'message', `yielded ${printable(value)}, not an event like { event, data }`)
  const { event, data, id, retry, comment } = value
  if (event !== undefined) checkEventName(event)
  if (id !== undefined && (typeof id !== 'string' || hasControl(id))) {
    throw new EventDataInvalid('source', event ?? 'message', 'an id must be a string without control characters')
  }
  if (comment !== undefined && typeof comment !== 'string') throw new EventDataInvalid('source', event ?? 'message', 'a comment must be a string')
  if (retry !== undefined && !(Number.isInteger(retry) && retry >= 0)) {
    throw new EventDataInvalid('source', event ?? 'message', 'retry must be a whole number of ms')
  }
  return block({ id, event, retry, comment, data: text(event ?? 'message', data) })
}

function text (event: string, data: unknown): string | undefined {
  if (data === undefined || typeof data === 'string') return data
  return types.isUint8Array(data) ? Buffer.from(data).toString('base64') : jsonOf('source', event, data)
}

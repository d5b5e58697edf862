/** A `source`: events for one client, pulled no faster than it reads, and returned when it leaves. */
import { types } from 'node:util'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { internalError, sourceEnded } from '../../core/close-reasons.ts'
import { quiet } from '../../core/callbacks.ts'
import type { Connection } from '../../core/connection/connection.ts'
import { checkEventName, hasControl } from '../../core/event-name.ts'
import { jsonOf } from '../../core/payload.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import { SourceReader, type Events, type Step } from '../../core/source-reader.ts'
import { checkYielded } from '../../core/yielded.ts'
import { nextTurn } from '../../core/turn.ts'
import { EventDataInvalid } from '../../errors.ts'
import type { SourceEvent } from '../../types/stream.ts'
import { block } from './encode.ts'
import type { SourceFormat } from './format.ts'
import type { SseOutlet } from './outlet.ts'

export type Source = (
  request: FastifyRequest, context: { cursor: string | undefined, signal: AbortSignal, reply: FastifyReply }
) => MaybePromise<Events<SourceEvent>>
export type BlockReader = SourceReader<SourceEvent, Buffer>

/** A source that never waits is made to, so that others get their turns. */
const TURN_EVENTS = 64

export function readSource (
  { source, format }: { source: Source, format: SourceFormat | undefined }, request: FastifyRequest,
  context: Parameters<Source>[1]
): BlockReader {
  const { signal } = context
  return new SourceReader({
    open: () => source(request, context),
    encode: format ? dataBlock : sourceBlock,
    signal,
    log: request.log
  })
}

/** Tells the client everything. `first` is written in this same step, so that it leaves with the head. */
export async function tellSource (
  request: FastifyRequest, connection: Connection, outlet: SseOutlet, reader: BlockReader,
  first: Step<Buffer> | undefined
): Promise<void> {
  try {
    let events = 0
    for (let step = first ?? await reader.next(); !step.done && !connection.closed; step = await reader.next()) {
      outlet.writeBlock(step.value)
      await connection.writable()
      if (++events % TURN_EVENTS === 0) await nextTurn()
    }
    connection.end(sourceEnded)
  } catch (error) {
    if (connection.closed) return
    quiet(request.log).error({ err: error }, 'realtime: a source failed')
    // What it has said goes first.
    await connection.writable()
    outlet.breakOff()
    connection.end(internalError)
  }
}

/** What a source in a foreign format yields is the data itself. @throws EventDataInvalid */
function dataBlock (value: unknown): Buffer {
  if (value === undefined) throw new EventDataInvalid('source', 'message', 'yielded undefined')
  return block({ data: text('message', value) })
}

/** @throws EventNameInvalid, EventDataInvalid */
function sourceBlock (value: SourceEvent): Buffer {
  checkYielded('source', value)
  const { event, data, id, retry, comment } = value
  if (event !== undefined) checkEventName(event)
  if (id !== undefined && (typeof id !== 'string' || hasControl(id))) {
    throw new EventDataInvalid('source', event ?? 'message', 'an id must be a string without control characters')
  }
  if (comment !== undefined && typeof comment !== 'string') {
    throw new EventDataInvalid('source', event ?? 'message', 'a comment must be a string')
  }
  if (retry !== undefined && !(Number.isInteger(retry) && retry >= 0)) {
    throw new EventDataInvalid('source', event ?? 'message', 'retry must be a whole number of ms')
  }
  return block({ id, event, retry, comment, data: text(event ?? 'message', data) })
}

function text (event: string, data: unknown): string | undefined {
  if (data === undefined || typeof data === 'string') return data
  return types.isUint8Array(data) ? Buffer.from(data).toString('base64') : jsonOf('source', event, data)
}

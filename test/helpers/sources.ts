/** What the tests of sources have in common. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type { RealtimeOptions, SourceContext, SourceEvent } from '../../lib/index.ts'
import { live, type ServerOptions } from './app.ts'
import { Log } from '../conformance/clients.ts'

export type Events = AsyncIterable<SourceEvent> | Iterable<SourceEvent>
export type Source = (request: FastifyRequest, context: SourceContext) => Events | Promise<Events>

export const SSE = { accept: 'text/event-stream' }
export const ABORTED = 'event: realtime:aborted\ndata: {"reason":"failed"}\n\n'
export const WARN = 40

export async function logged (t: Test, options: RealtimeOptions = {}, server: ServerOptions = {}): Promise<{ app: FastifyInstance, log: Log }> {
  const log = new Log()
  const app = await live(t, options, { logger: { level: 'debug', stream: log }, ...server })
  return { app, log }
}

/** Nothing of a client is left. */
export function quiet (t: Test, app: FastifyInstance): void {
  t.same(app.realtime.connections(), [])
  t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, subscriptions: 0, topics: 0 })
}

export const status = (statusCode: number): Error => Object.assign(new Error('not now'), { statusCode, code: `STATUS_${statusCode}` })

/** An iterator that counts how often it is let go of. */
export function counted (next: () => unknown, returned: () => void): Events {
  return { [Symbol.asyncIterator]: () => ({ next: next as () => Promise<IteratorResult<SourceEvent>>, return: async () => ({ done: true, value: returned() }) }) }
}

export function hungAfter (data: string): () => Promise<IteratorResult<SourceEvent>> {
  let said = false
  return () => said ? new Promise<never>(() => {}) : Promise.resolve({ done: false, value: { event: 'word', data: (said = true) && data } })
}

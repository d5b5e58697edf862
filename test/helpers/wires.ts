/** A stream and a channel, declared alike, and a client of each. */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'

/** A stream and a channel of one topic, both at once: every rule holds for both. */
export const wires = {
  stream: (t: Test, app: FastifyInstance, url = '/stream', headers: Record<string, string> = {}) => connectStream(app, url, { t, headers }),
  channel: (t: Test, app: FastifyInstance, url = '/channel', headers: Record<string, string> = {}) => connectChannel(app, url, { t, headers })
}

export function declare (app: FastifyInstance, options: object = {}): void {
  app.stream('/stream', { topics: 'news', ...options })
  app.channel('/channel', { topics: 'news', ...options })
}

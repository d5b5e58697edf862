/** What the tests of upgrades have in common. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import realtime, { type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel } from '../../lib/testing/index.ts'
import { dial, HANDSHAKE, type RawClient } from './app.ts'

// Nothing here may hang.
export const HANGS = { timeout: 30_000 }

export const PATIENCE = 300

export type Listener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

export const ours = (app: FastifyInstance, options: RealtimeOptions = {}) => app.register(realtime, { closeTimeout: 200, joinTimeout: PATIENCE, ...options })

/** A channel, and a note of what each request was that went through the app's hooks. */
export function declare (app: FastifyInstance): string[] {
  const asked: string[] = []
  app.topic('news')
  app.channel('/ours', {
    topics: 'news',
    onRequest: async (request) => { asked.push(request.url) },
    messages: { echo: { handler: (data) => ({ type: 'echo', ...data as object }) } }
  })
  return asked
}

export async function echoes (t: Test, app: FastifyInstance, url = '/ours'): Promise<void> {
  const client = await connectChannel(app, url, { t })
  client.send('echo', { text: 'hello' })
  t.same((await client.next('echo')).data, { text: 'hello' })
}

export async function knock (t: Test, app: FastifyInstance, url: string, headers: Record<string, string> = {}): Promise<RawClient> {
  const client = await dial(t, app, { half: true })
  client.ask(`GET ${url}`, { ...HANDSHAKE, ...headers })
  return client
}

export const idle = (app: FastifyInstance): unknown => app.server.on('upgrade', () => {})

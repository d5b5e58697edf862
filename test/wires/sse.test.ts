/** Event streams: the encoder, and what a client of a stream is told. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { openStream, type StreamEvent } from '../conformance/clients.ts'
import { wireConformance, type WireClient, type WireEvent } from '../conformance/wire.ts'

async function connect (t: Test, app: FastifyInstance): Promise<WireClient> {
  const stream = await openStream(t, app, '/stream')
  const understood = ({ type, data }: StreamEvent): WireEvent => ({ event: type, data: parsed(data) })
  return {
    next: async (event) => understood(await stream.next(event)),
    nextBytes: async (event) => Buffer.from((await stream.next(event)).data, 'base64'),
    heard: () => stream.inbox.all.map(understood),
    pause: () => stream.socket.pause(),
    resume: () => stream.socket.resume(),
    leave: () => stream.leave(),
    ended: stream.ended
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

wireConformance('SSE', connect)

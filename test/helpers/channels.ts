/** What the tests of channels beside others have in common. */
import type { FastifyInstance } from 'fastify'
import realtime, { type RealtimeOptions } from '../../lib/index.ts'

export const ours = (app: FastifyInstance, options: RealtimeOptions = {}) => app.register(realtime, { closeTimeout: 1000, ...options })

export function declare (app: FastifyInstance): void {
  app.topic('news')
  app.channel('/ours', {
    topics: 'news',
    preHandler: async (request, reply) => { if (request.headers.refuse) return reply.code(401).send({ message: 'who are you?' }) },
    limits: { messageBytes: 100 },
    messages: { echo: { handler: (data) => ({ type: 'echo', ...data as object }) } }
  })
}

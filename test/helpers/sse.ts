/** What the tests of event streams have in common. */
import type { FastifyInstance } from 'fastify'

export const publish = async (app: FastifyInstance, topic: string, data: unknown, event = 'said'): Promise<string> =>
  (await app.realtime.publish(topic, event, data)).id as string

/** An app with a client on each wire, whose Redis others write to. */
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { redis } from '../../lib/adapters/redis/index.ts'
import {
  connectionsOf, openChannel, openEnvelope, openStream, serve, turn, type Channel, type Stream
} from '../conformance/clients.ts'
import type { RedisServer } from '../helpers/redis.ts'

let prefixes = 0
/** Of nobody else's keys and channels. */
export const freshPrefix = (): string => `hostile${prefixes++}:`

export interface House {
  readonly app: FastifyInstance
  readonly prefix: string
  readonly stranger: Redis
  readonly stream: Stream
  readonly flat: Channel
  readonly envelope: Channel
}

/** An app, a client on each wire, and a stranger's connection to the same Redis. */
export async function openHouse (t: Test, { url }: RedisServer): Promise<House> {
  const prefix = freshPrefix()
  const app = await serve(t, { adapter: redis({ url, prefix }), identify: () => ({ id: 'somebody' }) }, (app) => {
    const news = app.topic('news', { authorize: () => true })
    const loose = app.topic('loose', { history: false, authorize: () => true })
    app.stream('/stream', { topics: [news, loose] })
    app.stream('/news', { topics: [news] })
    app.channel('/channel', { topics: [news, loose] })
  })
  const stranger = new Redis(url)
  t.teardown(() => stranger.disconnect())
  const stream = await openStream(t, app, '/stream')
  const [flat, envelope] = [await openChannel(t, app, '/channel'), await openEnvelope(t, app, '/channel')]
  await envelope.next({ op: 'subscribed', topic: 'loose' })
  while (connectionsOf(app).some(({ topics }) => topics.length < 2)) await turn()
  return { app, prefix, stranger, stream, flat, envelope }
}

/** Messages and entries that could not be read. */
export function invalidOf (app: FastifyInstance): number {
  return Number((app.realtime.stats().adapter as { invalid?: number }).invalid)
}

/** Everybody is there still, and hears the next event; nobody has heard anything else. */
export async function unharmed (t: Test, { app, stream, flat, envelope }: House, topic = 'news'): Promise<void> {
  await app.realtime.publish(topic, 'sentinel', { right: true })
  t.equal((await stream.next()).type, 'sentinel')
  t.match(await flat.next(), { type: 'sentinel' })
  let frame = await envelope.next()
  while (frame.op === 'subscribed') frame = await envelope.next()
  t.match(frame, { event: 'sentinel' })
  t.equal(connectionsOf(app).length, 3, 'nobody was disconnected')
}

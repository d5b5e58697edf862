/** A channel over HTTP with several nodes: any of them may be asked to carry a message, or to go on with a stream. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { redis } from '../../../lib/adapters/redis/index.ts'
import { serve } from '../../conformance/clients.ts'
import { openFrames, post } from '../../helpers/posts.ts'
import { RedisServer } from '../../helpers/redis.ts'

t.test('a message goes to any node, and its sender\'s stream on another is left out; that may go on anywhere', async (t) => {
  const server = await RedisServer.start(t)
  const node = (): Promise<FastifyInstance> => serve(t, {
    adapter: redis({ url: server.url, prefix: 'http:' }),
    closeTimeout: 500,
    identify: ({ headers }) => ({ id: String(headers['x-user']) })
  }, (app) => {
    const room = app.topic('rooms/:id')
    app.channel('/rooms/:id', {
      http: true,
      topics: room,
      messages: {
        wave: { relay: true },
        say: { handler: async (data, { params, key }) => await room.publish(params, 'said', data, key === undefined ? {} : { dedupe: key }) }
      }
    })
  })
  const [one, two] = [await node(), await node()]
  const ann = { 'x-user': 'ann' }
  const [own, other] = [await openFrames(t, one, '/rooms/1', {}, ann), await openFrames(t, one, '/rooms/1', {}, { 'x-user': 'bob' })]
  await post(t, two, '/rooms/1', { event: 'wave', data: 1, connection: own.id }, ann)
  t.same((await other.next({ event: 'wave' })).data, 1)
  const first = await post(t, two, '/rooms/1', { event: 'say', data: { n: 1 }, key: 'k' }, ann)
  t.same((await post(t, one, '/rooms/1', { event: 'say', data: { n: 1 }, key: 'k' }, ann)).body, first.body)
  const { id } = await own.next({ event: 'said' })
  t.notOk(own.inbox.all.some(({ event }) => event === 'wave'))
  await own.stream.leave()
  await post(t, one, '/rooms/1', { event: 'say', data: { n: 2 } }, ann)
  const again = await openFrames(t, two, '/rooms/1', { cursors: { 'rooms/1': id as string } }, ann)
  t.match(await again.next({ event: 'said' }), { prev: id, data: { n: 2 } })
})

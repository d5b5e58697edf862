import Fastify from 'fastify'
import realtime, { errors, memory, type Connection, type RealtimeOptions } from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'
import { connectChannel, type ChannelClient } from 'fastify-realtime/testing'

const options: RealtimeOptions = { adapter: process.env.REDIS_URL ? redis(process.env.REDIS_URL) : memory() }

export async function start (): Promise<ChannelClient> {
  const app = Fastify()
  await app.register(realtime, options)
  const room = app.topic('rooms/:roomId')
  app.channel('/rooms/:roomId', {
    topics: room,
    onConnect: (connection: Connection) => { connection.send('hello', { id: connection.id }) }
  })
  await room.publish({ roomId: '1' }, 'said', { text: 'x' })
  // @ts-expect-error -- the pattern's param is missing
  await room.publish({}, 'said', { text: 'x' })
  try {
    return await connectChannel(app, '/rooms/1')
  } catch (error) {
    if (error instanceof errors.TopicUnknown) throw new Error(error.code)
    throw error
  }
}

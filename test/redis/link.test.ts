/** One connection to one server, which is made anew whatever its driver thinks. */
import { Redis } from 'ioredis'
import t from 'tap'
import { Link, SETTINGS } from '../../lib/adapters/redis/link.ts'
import { RedisServer, until } from '../helpers/redis.ts'

t.test('a connection that ioredis has given up for good is made anew', async (t) => {
  const server = await RedisServer.start(t)
  const client = new Redis({ port: server.port, host: '127.0.0.1', ...SETTINGS })
  const link = new Link(client, { prepare: async () => {}, changed: () => {} })
  t.teardown(() => link.close())
  let ended = 0
  client.on('end', () => ended++)
  link.connect()
  // In the turn in which it is about to connect.
  client.disconnect(true)
  await until('the connection', () => link.up)
  t.equal(ended, 1)
})

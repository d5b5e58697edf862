// An event whose bytes cannot be made is given up alone: its listeners are told of a loss, and hear its neighbours.

import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { memory } from '../../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../../lib/testing/index.ts'
import { calls, live } from '../../helpers/app.ts'

/** Data of which no wire can make anything. */
const unreadable = new Proxy(new Uint8Array(3), {
  get (target, key) {
    if (key === 'byteLength') return target.byteLength
    throw new Error('cannot be read')
  }
})
/** Another node let this through. A flat client's frame cannot be made of it. */
const half = Buffer.from('{"type":')
const retention = { limit: 1000, maxAge: 60_000, maxBytes: 1 << 20 }

/** An app, and what another node would do: publish bytes past every check. */
async function start (t: Test, declare: (app: FastifyInstance) => void) {
  const adapter = memory()
  const errors = calls<string>()
  const app = await live(t, { adapter }, { logger: { level: 'error', stream: { write: (line: string) => errors.note(String(JSON.parse(line).msg)) } } })
  declare(app)
  await app.ready()
  const foreign = (topic: string, data: Uint8Array) => adapter.publish(topic, 'bad', data, { retention, format: 'json' })
  const passing = (topic: string, data: Uint8Array, name = 'bad') => adapter.ephemeral(topic, { name, data, format: 'json' })
  return { app, foreign, passing, errors }
}

type Client = ChannelClient | StreamClient

async function until (client: Client, event: string): Promise<string[]> {
  await client.next(event)
  return client.events.map(({ event }) => event).filter((name) => !['realtime:open', 'realtime:subscribed'].includes(name))
}

const isReset = (name: string): boolean => name === 'realtime:reset'

t.test('live, on every wire and in every group, once for each listener and in its place', async (t) => {
  const { app, foreign, errors } = await start(t, (app) => {
    app.topic('news')
    app.topic('other')
    app.stream('/one', { topics: 'news' })
    app.stream('/two', { topics: ['news', 'other'] })
    app.stream('/latest', { topics: ['news', 'other'], slow: 'latest' })
    app.channel('/ws', { topics: ['news', 'other'] })
  })
  const envelope = await connectChannel(app, '/ws', { t, format: 'envelope' })
  const clients: Client[] = [envelope]
  for (const url of ['/one', '/one', '/two', '/two', '/latest']) clients.push(await connectStream(app, url, { t }))
  while (app.realtime.countLocal('news') < clients.length) await new Promise((resolve) => setImmediate(resolve))
  const turn = [
    app.realtime.publish('news', 'before', 1), foreign('news', unreadable), app.realtime.publish('news', 'between', 2), foreign('news', unreadable),
    app.realtime.publish('news', 'after', 3)
  ]
  await Promise.all(turn)
  for (const client of clients) t.same(await until(client, 'after'), ['before', 'realtime:reset', 'between', 'realtime:reset', 'after'])
  t.match(envelope.events.filter(({ event }) => isReset(event)).map(({ data }) => data), [{ topic: 'news', reason: 'lost' }, { topic: 'news', reason: 'lost' }])
  t.same(errors.all.filter((line) => line.includes('could not be written')).length, 2, 'one line for each, whatever the number of listeners')

  await app.realtime.publish('news', 'later', 4)
  for (const client of clients) {
    t.ok(await client.next('later'), 'and everything goes on')
    await client.resume()
    await app.realtime.publish('news', 'resumed', 5)
    await client.next('resumed')
    t.equal(client.events.filter(({ event }) => isReset(event)).length, 2, 'from behind it, without another loss')
  }
})

t.test('a flat client of an event that others can read is told alone', async (t) => {
  const { app, foreign } = await start(t, (app) => {
    app.topic('news')
    app.channel('/ws', { topics: 'news' })
    app.stream('/sse', { topics: 'news' })
  })
  const flat = await connectChannel(app, '/ws', { t })
  const stream = await connectStream(app, '/sse', { t })
  while (app.realtime.countLocal('news') < 2) await new Promise((resolve) => setImmediate(resolve))
  await Promise.all([app.realtime.publish('news', 'before', 1), foreign('news', half), app.realtime.publish('news', 'after', 3)])
  await flat.next('after')
  t.match(flat.events.map(({ event, data }) => event === 'error' ? data : event), ['before', { code: 'reset' }, 'after'])
  t.same(await until(stream, 'after'), ['before', 'bad', 'after'])
})

t.test('whoever comes back over it is told of it there, and gets what is before and behind', async (t) => {
  const { app, foreign } = await start(t, (app) => {
    app.topic('news')
    app.topic('other')
    app.stream('/one', { topics: 'news' })
    app.stream('/two', { topics: ['news', 'other'] })
    app.channel('/ws', { topics: 'news' })
  })
  const clients: Client[] = [await connectStream(app, '/one', { t }), await connectStream(app, '/two', { t }), await connectChannel(app, '/ws', { t, format: 'envelope' })]
  while (app.realtime.countLocal('news') < clients.length) await new Promise((resolve) => setImmediate(resolve))
  await app.realtime.publish('news', 'start', 0)
  for (const client of clients) {
    await client.next('start')
    await client.drop()
  }
  await app.realtime.publish('news', 'before', 1)
  await foreign('news', unreadable)
  await app.realtime.publish('news', 'after', 3)
  for (const client of clients) {
    await client.resume()
    t.same(await until(client, 'after'), ['start', 'before', 'realtime:reset', 'after'])
  }
})

t.test('of a topic without history too, and a relay beside it arrives', async (t) => {
  const { app, passing, foreign } = await start(t, (app) => {
    app.topic('moves', { history: false })
    app.topic('news')
    app.stream('/moves', { topics: 'moves' })
    app.stream('/news', { topics: 'news' })
  })
  const moves = await connectStream(app, '/moves', { t })
  const news = await connectStream(app, '/news', { t })
  await Promise.all([app.realtime.publish('moves', 'before', 1), passing('moves', unreadable), app.realtime.publish('moves', 'after', 2)])
  t.same(await until(moves, 'after'), ['before', 'realtime:reset', 'after'])
  await Promise.all([foreign('news', unreadable), passing('news', Buffer.from('1'), 'relayed'), passing('news', unreadable), app.realtime.publish('news', 'after', 1)])
  const heard = await until(news, 'after')
  t.same(heard.filter((name) => !isReset(name)), ['relayed', 'after'])
  t.equal(heard.filter(isReset).length, 2)
})

t.test('where the topic has a snapshot, that follows the loss and makes it good', async (t) => {
  const { app, foreign } = await start(t, (app) => {
    app.topic('news', { snapshot: () => 'all of it' })
    app.stream('/news', { topics: 'news' })
  })
  const stream = await connectStream(app, '/news', { t })
  await stream.next('realtime:snapshot')
  await foreign('news', unreadable)
  await stream.next('realtime:reset')
  t.match((await stream.next('realtime:snapshot')).data, { data: 'all of it' })
  await app.realtime.publish('news', 'after', 1)
  t.ok(await stream.next('after'))
})

t.test('history leaves out what cannot be read, and says that it is not whole', async (t) => {
  const { app, foreign } = await start(t, (app) => { app.topic('news') })
  await app.realtime.publish('news', 'before', 1)
  await foreign('news', half)
  await app.realtime.publish('news', 'after', 3)
  const { events, linked } = await app.realtime.history('news')
  t.same(events.map(({ data }) => data), [1, 3])
  t.equal(linked, false)
})

/** Subscribers of node:diagnostics_channel may act on what they hear: nothing comes twice, to the wrong client, or too early. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t, { type Test } from 'tap'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import type { Connection } from '../../lib/index.ts'
import { dial, listen, live } from '../helpers/app.ts'

/** Calls `act` for each event of this channel, until the test ends. */
function watch (t: Test, what: string, act: (message: { connection: Connection }) => void): void {
  const heard = (message: unknown): void => act(message as { connection: Connection })
  subscribe(`fastify-realtime:${what}`, heard)
  t.teardown(() => unsubscribe(`fastify-realtime:${what}`, heard))
}

const once = (act: () => void): () => void => {
  let done = false
  return () => {
    if (!done) act()
    done = true
  }
}

t.test('deliver: an event that is published meanwhile does not come back to its sender', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  const client = await connectStream(app, '/news', { t })
  const [sender] = app.realtime.connections() as [Connection]
  watch(t, 'deliver', once(() => { news.publish({}, 'own', {}, { except: sender.id }).catch(t.fail) }))
  await news.publish({}, 'first', {})
  await news.publish({}, 'last', {})
  await client.next('last')
  t.same(client.events.map(({ event }) => event), ['realtime:open', 'first', 'last'])
})

t.test('deliver: a client that leaves a topic meanwhile gets each event of the others once', async (t) => {
  const app = await live(t)
  const [news, other] = [app.topic('news'), app.topic('other')]
  app.stream('/both', { topics: [news, other] })
  const client = await connectStream(app, '/both', { t })
  const [connection] = app.realtime.connections() as [Connection]
  watch(t, 'deliver', once(() => connection.unsubscribe('other')))
  for (const name of ['first', 'second', 'last']) await news.publish({}, name, {})
  await client.next('last')
  t.same(client.events.map(({ event }) => event), ['realtime:open', 'first', 'second', 'last'])
})

t.test('slow: another client that is closed meanwhile makes nobody hear an event twice', async (t) => {
  const app = await live(t, { maxBuffered: 98_304 })
  const news = app.topic('news')
  const named: Record<string, Connection> = {}
  app.stream('/news/:name', { topics: news, onConnect: (connection, { params }) => { named[params.name] = connection } })
  await listen(app)
  await connectStream(app, '/news/first', { t })
  const slow = await dial(t, app)
  slow.socket.pause()
  slow.ask('GET /news/slow')
  while (app.realtime.stats().connections.sse < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  const last = await connectStream(app, '/news/last', { t })
  watch(t, 'slow', () => named.first?.close())
  const text = 'x'.repeat(60_000)
  let count = 0
  for (; app.realtime.stats().slowClosed === 0; count++) await news.publish({}, 'more', { count, text })
  await news.publish({}, 'last', {})
  await last.next('last')
  const heard = last.events.filter(({ event }) => event === 'more').map(({ data }) => (data as { count: number }).count)
  t.same(heard, Array.from({ length: count }, (_, index) => index))
})

t.test('connect: what is sent then comes behind the opening, on both wires', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  app.channel('/talk', { topics: news })
  watch(t, 'connect', ({ connection }) => connection.send('hello', {}))
  const stream = await connectStream(app, '/news', { t })
  await stream.next('hello')
  t.same(stream.events.map(({ event }) => event), ['realtime:open', 'hello'])
  const channel = await connectChannel(app, '/talk', { t, format: 'envelope' })
  await channel.next('hello')
  t.same(channel.events.map(({ event }) => event), ['realtime:open', 'realtime:subscribed', 'hello'])
})

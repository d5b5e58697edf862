/** `except`: everybody but one connection hears an event, on every wire; that one is told its place, and links go on. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Connection, PublishOptions } from '../../lib/index.ts'
import { connectionsOf, openChannel, openEnvelope, openStream, serve, turn } from '../conformance/clients.ts'

const TOPICS = 'news/1,other/1,loose/1'

async function start (t: Parameters<typeof serve>[0], coalesce = 0): Promise<FastifyInstance> {
  return await serve(t, { identify: ({ headers }) => ({ id: String(headers['x-user'] ?? 'nobody') }) }, (app) => {
    app.topic('news/:id', { coalesce })
    app.topic('other/:id')
    app.topic('loose/:id', { history: false })
    const topics = ({ query }: { query: unknown }): string[] => (query as { topics: string }).topics.split(',')
    app.stream('/stream', { topics })
    app.channel('/channel', { topics, messages: { wave: { relay: { topic: 'loose/1' } } } })
  })
}

/** The connection made by this, the newest. */
async function connectionOf<T> (app: FastifyInstance, opening: Promise<T>): Promise<[T, Connection]> {
  const before = new Set(connectionsOf(app))
  const client = await opening
  let made: Connection | undefined
  while (!(made = connectionsOf(app).find((one) => !before.has(one) && one.topics.length > 0))) await turn()
  return [client, made]
}

/** Two events for the others, before, between and behind events for all; all in one turn. */
async function say (app: FastifyInstance, topic: string, options: PublishOptions): Promise<Array<string | undefined>> {
  const published = await Promise.all([
    app.realtime.publish(topic, 'said', { n: 0 }, options),
    app.realtime.publish(topic, 'said', { n: 1 }),
    app.realtime.publish(topic, 'said', { n: 2 }, options),
    app.realtime.publish(topic, 'said', { n: 3 }),
    app.realtime.publish(topic, 'said', { n: 4 }, options)
  ])
  return published.map(({ id }) => id)
}

for (const coalesce of [0, 50]) {
  t.test(`a stream of one topic moves on by ids alone, written each ${coalesce} ms`, async (t) => {
    const app = await start(t, coalesce)
    const [sender, { id: except }] = await connectionOf(app, openStream(t, app, '/stream?topics=news/1'))
    const other = await openStream(t, app, '/stream?topics=news/1')
    const ids = await say(app, 'news/1', { except })
    for (let n = 0; n < 5; n++) t.same(await other.json(), { n })
    t.same([await sender.json(), await sender.json()], [{ n: 1 }, { n: 3 }])
    await sender.blocks.take((block) => block.length === 1 && block[0]?.[1] === ids[4])
    t.same(sender.reader.blocks.slice(1).map((block) => block.map(([field, value]) => field === 'id' ? ids.indexOf(value) : field)),
      [[0], [1, 'event', 'data'], [2], [3, 'event', 'data'], [4]], 'each place is told')
    await sender.leave()
    const back = await openStream(t, app, '/stream?topics=news/1', { lastEventId: ids[0] as string })
    t.same([await back.json(), await back.json(), await back.json(), await back.json()], [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }],
      'who comes back is another connection: it hears what it has not been told of')
  })

  t.test(`a stream of several topics: its cursor names the place of each, written each ${coalesce} ms`, async (t) => {
    const app = await start(t, coalesce)
    const [sender, { id: except }] = await connectionOf(app, openStream(t, app, `/stream?topics=${TOPICS}`))
    const other = await openStream(t, app, `/stream?topics=${TOPICS}`)
    await say(app, 'news/1', { except })
    await say(app, 'loose/1', { except })
    for (let n = 0; n < 10; n++) await other.next()
    for (let n = 0; n < 4; n++) await sender.next()
    await app.realtime.publish('other/1', 'last', {}, { except })
    await other.next('last')
    await sender.blocks.take(([first, ...more]) => first?.[0] === 'id' && more.length === 0 && first[1] === other.lastEventId, 'the last place')
    await sender.leave()
    const back = await openStream(t, app, `/stream?topics=${TOPICS}`, { lastEventId: sender.lastEventId })
    await app.realtime.publish('news/1', 'new', {})
    t.equal((await back.next()).type, 'new', 'nothing is told twice, nothing is missing')
  })

  t.test(`fastify-realtime.v1: op "at" tells each place, written each ${coalesce} ms`, async (t) => {
    const app = await start(t, coalesce)
    const [sender, { id: except }] = await connectionOf(app, openEnvelope(t, app, `/channel?topics=${TOPICS}`))
    const other = await openEnvelope(t, app, `/channel?topics=${TOPICS}`)
    const { id: genesis } = await sender.next({ op: 'subscribed', topic: 'news/1' })
    await other.next({ op: 'subscribed', topic: 'loose/1' })
    const ids = await say(app, 'news/1', { except })
    await say(app, 'loose/1', { except })
    for (let n = 0; n < 5; n++) t.match(await other.next({ topic: 'news/1', event: 'said' }), { id: ids[n], prev: n === 0 ? genesis : ids[n - 1] })
    for (let n = 0; n < 5; n++) t.match(await other.next({ topic: 'loose/1', event: 'said' }), { data: { n } })
    const at = (n: number) => ({ op: 'at', topic: 'news/1', id: ids[n], why: 'excepted' })
    const event = (n: number) => ({ topic: 'news/1', event: 'said', id: ids[n], prev: ids[n - 1], data: { n } })
    for (const frame of [at(0), event(1), at(2), event(3), at(4)]) t.same(await sender.next({ topic: 'news/1' }), frame)
    t.same([await sender.next({ topic: 'loose/1', event: 'said' }), await sender.next({ topic: 'loose/1', event: 'said' })].map(({ data }) => data), [{ n: 1 }, { n: 3 }])
  })

  t.test(`plain JSON: nothing of it is seen, written each ${coalesce} ms`, async (t) => {
    const app = await start(t, coalesce)
    const [sender, { id: except }] = await connectionOf(app, openChannel(t, app, `/channel?topics=${TOPICS}`))
    const [other] = await connectionOf(app, openChannel(t, app, `/channel?topics=${TOPICS}`))
    await say(app, 'news/1', { except })
    await say(app, 'loose/1', { except })
    await app.realtime.publish('other/1', 'own', {}, { except })
    await app.realtime.publish('other/1', 'last', {})
    await sender.next({ type: 'last' })
    await other.next({ type: 'last' })
    const heard = ({ inbox }: typeof sender): unknown[] => inbox.all.map(({ type, n }) => type === 'said' ? n : type)
    t.same(heard(sender).filter((one) => one !== 'last').sort(), [1, 1, 3, 3])
    t.same(heard(other).filter((one) => one !== 'last').sort(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 'own'])
  })
}

t.test('a stream goes on whose only event of a turn was its own, with a place or without', async (t) => {
  const app = await start(t)
  for (const topics of ['loose/1', 'news/1', TOPICS]) {
    const [stream, { id: except }] = await connectionOf(app, openStream(t, app, `/stream?topics=${topics}`))
    const topic = topics === 'news/1' ? 'news/1' : 'loose/1'
    await app.realtime.publish(topic, 'own', {}, { except })
    await turn()
    await app.realtime.publish(topic, 'said', {})
    t.equal((await stream.next()).type, 'said', topics)
  }
})

t.test('bytes, and an event that is the only one of its turn', async (t) => {
  const app = await start(t)
  const [sender, { id: except }] = await connectionOf(app, openEnvelope(t, app, '/channel?topics=news/1'))
  await sender.next({ op: 'subscribed' })
  const { id } = await app.realtime.publish('news/1', 'picture', new Uint8Array([1, 2, 3]), { except })
  t.same(await sender.next(), { op: 'at', topic: 'news/1', id, why: 'excepted' })
  await app.realtime.publish('news/1', 'picture', new Uint8Array([4]))
  const frame = await sender.bytes.take()
  t.match(JSON.parse(frame.subarray(4, 4 + frame.readUInt32BE(0)).toString()), { prev: id })
})

t.test('it is in the history as any other, and its dedupe key holds', async (t) => {
  const app = await start(t)
  const once = { except: 'somebody', dedupe: 'once', key: 'k' }
  const { id } = await app.realtime.publish('news/1', 'said', { n: 1 }, once)
  t.equal((await app.realtime.publish('news/1', 'said', { n: 1 }, once)).id, id)
  t.same((await app.realtime.history('news/1')).events, [{ id, event: 'said', data: { n: 1 } }])
})

t.test('an id of no connection leaves nobody out; what cannot be one is refused', async (t) => {
  const app = await start(t)
  const [client] = await connectionOf(app, openChannel(t, app, '/channel?topics=news/1'))
  await app.realtime.publish('news/1', 'said', { n: 1 }, { except: 'x'.repeat(255) })
  t.same(await client.next(), { type: 'said', n: 1 })
  for (const except of ['', 'x'.repeat(256), 'é'.repeat(128), 'a\nb', '\ud800', 42, null, {}, ['x']] as never[]) {
    for (const topic of ['news/1', 'loose/1']) {
      await t.rejects(app.realtime.publish(topic, 'said', {}, { except }), { code: 'FST_ERR_REALTIME_PUBLISH_OPTION' }, JSON.stringify(except))
    }
  }
})

t.test('a relay leaves its sender out only where id and identity are both its own', async (t) => {
  const app = await start(t)
  const [sender, own] = await connectionOf(app, openChannel(t, app, '/channel?topics=loose/1', { headers: { 'x-user': 'mallory' } }))
  const [victim, its] = await connectionOf(app, openChannel(t, app, '/channel?topics=loose/1', { headers: { 'x-user': 'alice' } }))
  sender.send({ type: 'wave', n: 1 })
  t.same(await victim.next(), { type: 'wave', n: 1 })
  // Were an id ever a client's choice: mallory's connection by the name of alice's.
  Object.defineProperty(own, 'id', { value: its.id })
  sender.send({ type: 'wave', n: 2 })
  t.same(await victim.next(), { type: 'wave', n: 2 }, 'hidden from nobody else')
  await app.realtime.publish('loose/1', 'last', {})
  t.same(await sender.next(), { type: 'last' }, 'and not told to its sender')
})

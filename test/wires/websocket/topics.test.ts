/** Topics of a channel: joining and leaving at run time, and coming back with cursors. */
import createError from '@fastify/error'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Connection, RealtimeOptions } from '../../../lib/index.ts'
import { connectionsOf, listenFlat, openChannel, openEnvelope, serve, turn, type Channel, type Json } from '../../conformance/clients.ts'
import { gate } from '../../helpers/app.ts'

/** One that has said `open`, and has been told of its topics. */
async function join (t: Test, app: FastifyInstance, path: string, topics = 1, cursors?: Record<string, string>): Promise<Channel> {
  const channel = await openEnvelope(t, app, path, cursors)
  for (let n = 0; n < topics; n++) await channel.next({ op: 'subscribed' })
  return channel
}

// --- joining and leaving ----------------------------------------------------------------

/** Rooms to join: `/lobby` has one of its own, and `no` is refused. */
async function rooms (t: Test, options: RealtimeOptions = {}): Promise<FastifyInstance> {
  return await serve(t, options, (app) => {
    const TooFull = createError('TOO_FULL', 'no seat left', 409)
    const room = app.topic('rooms/:id', {
      async authorize (_request, { params: { id }, action }) {
        await turn()
        if (id === 'full') throw new TooFull()
        if (id === 'broken') throw new Error('secret')
        return action === 'subscribe' && id !== 'no'
      }
    })
    const hall = app.topic('halls/:id', { history: false, authorize: 'anyone' })
    app.topic('private/:id')
    app.channel('/lobby', { topics: 'private/lobby', subscribe: [room, hall] })
    app.channel('/closed', { topics: 'private/closed' })
  })
}

t.test('a client joins and leaves topics that the channel allows', async (t) => {
  const app = await rooms(t)
  const channel = await join(t, app, '/lobby')
  channel.send({ op: 'subscribe', topic: 'rooms/1', ref: 'a' })
  const joined = await channel.next()
  t.same(joined, { op: 'subscribed', topic: 'rooms/1', id: joined.id, ref: 'a' })
  const { id } = await app.realtime.publish('rooms/1', 'said', 1)
  t.same(await channel.next(), { topic: 'rooms/1', event: 'said', id, prev: joined.id, data: 1 })
  channel.send({ op: 'subscribe', topic: 'halls/a%2Fb', ref: 2 })
  t.same(await channel.next(), { op: 'subscribed', topic: 'halls/a%2Fb', ref: 2 })
  channel.send({ op: 'subscribe', topic: 'rooms/1' })
  t.same(await channel.next(), { op: 'subscribed', topic: 'rooms/1' }, 'once more: it has its position')
  t.same(connectionsOf(app)[0]?.topics, ['private/lobby', 'rooms/1', 'halls/a%2Fb'])

  channel.send({ op: 'unsubscribe', topic: 'rooms/1', ref: 'b' })
  t.same(await channel.next(), { op: 'unsubscribed', topic: 'rooms/1', ref: 'b' })
  t.equal(app.realtime.countLocal('rooms/1'), 0)
  await app.realtime.publish('rooms/1', 'unheard', 2)
  channel.send({ op: 'unsubscribe', topic: 'rooms/1' })
  t.same(await channel.next(), { op: 'unsubscribed', topic: 'rooms/1' }, 'leaving twice is no fault')
  channel.send({ op: 'unsubscribe', topic: 'private/lobby' })
  await channel.next({ op: 'unsubscribed' })
  channel.send({ op: 'subscribe', topic: 'private/lobby' })
  t.match(await channel.next(), { op: 'subscribed', topic: 'private/lobby' }, 'one of the channel\'s own may be joined again')
  await app.realtime.publish('private/lobby', 'welcome', 'back')
  t.match(await channel.next(), { topic: 'private/lobby', event: 'welcome' })
})

t.test('a hostile name joins a topic of its own, under the name it has in full', async (t) => {
  const app = await rooms(t)
  const channel = await join(t, app, '/lobby')
  for (const [asked, name] of [['rooms/*', 'rooms/%2A'], ['rooms/:id', 'rooms/%3Aid'], ['rooms/\u0000', 'rooms/%00'], ['rooms/%2e%2e', 'rooms/%2E%2E'], ['rooms/a%2fb', 'rooms/a%2Fb'], ['rooms/é', 'rooms/%C3%A9']] as const) {
    channel.send({ op: 'subscribe', topic: asked })
    t.match(await channel.next(), { op: 'subscribed', topic: name })
    t.equal(app.realtime.countLocal(name), 1)
    await app.realtime.publish('rooms/other', 'leak', {})
    await app.realtime.publish(name, 'own', {})
    t.match(await channel.next(), { topic: name, event: 'own' })
  }
})

t.test('what a client may not join is refused by its code, and leaves nothing behind', async (t) => {
  const app = await rooms(t)
  const channel = await join(t, app, '/lobby')
  const refused: Array<[unknown, string]> = [
    ['rooms/no', 'FORBIDDEN'], ['rooms/broken', 'FORBIDDEN'], ['rooms/full', 'TOO_FULL'],
    ['private/1', 'UNKNOWN_TOPIC'], ['private/closed', 'UNKNOWN_TOPIC'], ['nowhere/1', 'UNKNOWN_TOPIC'], ['rooms/', 'UNKNOWN_TOPIC'], ['rooms/a/b', 'UNKNOWN_TOPIC'],
    ['/rooms/1', 'UNKNOWN_TOPIC'], ['rooms/../private/1', 'UNKNOWN_TOPIC'], ['rooms/%', 'UNKNOWN_TOPIC'],
    ['x'.repeat(5000), 'UNKNOWN_TOPIC'], [undefined, 'UNKNOWN_TOPIC'], [5, 'UNKNOWN_TOPIC'], [{ topic: 'rooms/1' }, 'UNKNOWN_TOPIC'], [['rooms/1'], 'UNKNOWN_TOPIC']
  ]
  for (const [topic, code] of refused) {
    channel.send({ op: 'subscribe', topic, ref: 'r' })
    const frame = await channel.next()
    t.match(frame, { op: 'error', code, ref: 'r', message: /^.{1,300}$/ }, JSON.stringify(topic)?.slice(0, 60))
    t.notOk(JSON.stringify(frame).includes('secret'))
  }
  channel.send({ op: 'unsubscribe', topic: 'nowhere/1', ref: 'r' })
  t.match(await channel.next(), { op: 'error', code: 'UNKNOWN_TOPIC', ref: 'r' })
  for (const id of [5, null, {}]) {
    channel.send({ op: 'subscribe', topic: 'rooms/1', id })
    t.match(await channel.next(), { op: 'error', code: 'INVALID_FRAME' })
  }
  t.same(connectionsOf(app)[0]?.topics, ['private/lobby'])
  t.match(app.realtime.stats(), { topics: 1, subscriptions: 1 })

  const closed = await join(t, app, '/closed')
  closed.send({ op: 'subscribe', topic: 'rooms/1' })
  t.match(await closed.next(), { op: 'error', code: 'UNKNOWN_TOPIC' }, 'a channel without `subscribe`')
})

t.test('a connection carries at most maxTopics, whoever joins them, and may join another when it has left one', async (t) => {
  const app = await rooms(t, { maxTopics: 3 })
  const channel = await join(t, app, '/lobby')
  const subscribe = async (topic: string): Promise<Json> => {
    channel.send({ op: 'subscribe', topic })
    return await channel.next()
  }
  for (const room of ['rooms/1', 'rooms/2']) t.match(await subscribe(room), { op: 'subscribed' })
  t.match(await subscribe('rooms/3'), { op: 'error', code: 'TOO_MANY_TOPICS' })
  t.match(await subscribe('rooms/1'), { op: 'subscribed' }, 'one that it has is no other')
  const [connection] = connectionsOf(app) as [Connection]
  await t.rejects(connection.subscribe('rooms/3'), { code: 'FST_ERR_REALTIME_TOO_MANY_TOPICS' })
  connection.unsubscribe('rooms/2')
  t.match(await subscribe('rooms/3'), { op: 'subscribed' })
  connection.unsubscribe('rooms/3')
  connection.unsubscribe('rooms/1')
  const joins = await Promise.allSettled(['rooms/4', 'rooms/5', 'rooms/6', 'rooms/7'].map((room) => connection.subscribe(room)))
  t.same(joins.map(({ status }) => status), ['fulfilled', 'fulfilled', 'rejected', 'rejected'], 'also where they are joined at once')
  t.same(connection.topics, ['private/lobby', 'rooms/4', 'rooms/5'])
})

t.test('onConnect joins at most maxTopics', async (t) => {
  const results: string[] = []
  const app = await serve(t, { maxTopics: 3 }, (app) => {
    app.topic('rooms/:id')
    app.channel('/', {
      topics: 'rooms/own',
      async onConnect (connection) {
        for (const id of [1, 2, 2, 3, 4]) results.push(await connection.subscribe(`rooms/${id}`).then(() => 'joined', ({ code }: { code: string }) => code))
      }
    })
  })
  await join(t, app, '/', 3)
  const tooMany = 'FST_ERR_REALTIME_TOO_MANY_TOPICS'
  t.same(results, ['joined', 'joined', 'joined', tooMany, tooMany])
  t.same(connectionsOf(app)[0]?.topics, ['rooms/own', 'rooms/1', 'rooms/2'])
})

// --- coming back --------------------------------------------------------------------------

t.test('a topic that onConnect joins without waiting is joined, however late it is allowed', async (t) => {
  const [asked, mayJoin, settled] = [gate(), gate(), gate<unknown>()]
  const app = await serve(t, {}, (app) => {
    const slow = app.topic('slow', {
      authorize: async () => {
        asked.open()
        await mayJoin.passed
        return true
      }
    })
    app.channel('/', {
      topics: app.topic('news'),
      onConnect (connection) { connection.subscribe(slow.at({})).then(() => settled.open('joined'), settled.open) }
    })
  })
  const channel = await join(t, app, '/')
  await asked.passed
  mayJoin.open()
  t.equal(await settled.passed, 'joined')
  await app.realtime.publish('slow', 'said', { n: 1 })
  await channel.next({ event: 'said' })
})

t.test('a topic that is left before it was joined is not joined', async (t) => {
  const [asked, mayJoin] = [gate(), gate()]
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    const slow = app.topic('slow', {
      authorize: async () => {
        asked.open()
        await mayJoin.passed
        return true
      }
    })
    app.channel('/', {
      topics: app.topic('news'),
      async onConnect (connection) {
        await connection.subscribe('rooms/1')
        connection.unsubscribe('rooms/1')
      },
      messages: {
        both: {
          handler: async (_data, { connection }) => {
            const joining = connection.subscribe(slow.at({}))
            await asked.passed
            connection.unsubscribe(slow.at({}))
            mayJoin.open()
            await joining
            return connection.topics
          }
        }
      }
    })
  })
  const channel = await join(t, app, '/')
  channel.send({ event: 'both', ref: 1 })
  t.same((await channel.next({ op: 'reply' })).data, ['news'])
})

t.test('a client that names its cursors gets what it missed, topic by topic; who cannot is told', async (t) => {
  const app = await serve(t, { history: { limit: 4 } }, (app) => {
    app.topic('rooms/:id')
    app.topic('halls/:id', { history: false })
    app.channel('/', { topics: ['rooms/1', 'rooms/2', 'halls/1'], subscribe: app.topic('more/:id', { authorize: 'anyone' }) })
  })
  const ids: Record<string, string[]> = { 'rooms/1': [], 'rooms/2': [], 'more/1': [] }
  for (let n = 0; n < 3; n++) {
    for (const [name, own] of Object.entries(ids)) own.push(String((await app.realtime.publish(name, 'said', n)).id))
  }
  const [one, two, more] = Object.values(ids) as [string[], string[], string[]]
  const back = await openEnvelope(t, app, '/', { 'rooms/1': one[0] as string, 'rooms/2': two[2] as string, 'halls/1': 'made up', 'rooms/9': 'another channel\'s' })
  t.same(await back.next({ topic: 'rooms/1' }), { op: 'subscribed', topic: 'rooms/1', id: one[0], recovered: true })
  t.same(await back.next({ topic: 'rooms/2' }), { op: 'subscribed', topic: 'rooms/2', id: two[2], recovered: true })
  t.same(await back.next({ topic: 'halls/1' }), { op: 'subscribed', topic: 'halls/1' })
  for (const n of [1, 2]) t.same(await back.next(), { topic: 'rooms/1', event: 'said', id: one[n], prev: one[n - 1], data: n })
  back.send({ op: 'subscribe', topic: 'more/1', id: more[1], ref: 1 })
  t.same(await back.next(), { op: 'subscribed', topic: 'more/1', id: more[1], recovered: true, ref: 1 })
  t.same(await back.next(), { topic: 'more/1', event: 'said', id: more[2], prev: more[1], data: 2 })
  await app.realtime.publish('rooms/1', 'said', 3)
  t.match(await back.next(), { topic: 'rooms/1', prev: one[2], data: 3 }, 'and then what is new')

  for (let n = 4; n < 8; n++) await app.realtime.publish('rooms/1', 'said', n)
  const late = await openEnvelope(t, app, '/', { 'rooms/1': one[0] as string, 'rooms/2': 'not one of ours' })
  t.same(await late.next({ topic: 'rooms/1' }), { op: 'subscribed', topic: 'rooms/1', recovered: false }, 'the reset carries the position')
  const reset = await late.next({ topic: 'rooms/1' })
  t.match(reset, { op: 'reset', id: String, reason: /^(expired|unknown-cursor)$/ })
  t.same(await late.next({ topic: 'rooms/2' }), { op: 'subscribed', topic: 'rooms/2', recovered: false })
  t.same(await late.next({ topic: 'rooms/2' }), { op: 'reset', topic: 'rooms/2', reason: 'unknown-cursor', id: two[2] })
  await app.realtime.publish('rooms/1', 'said', 8)
  t.match(await late.next({ topic: 'rooms/1' }), { prev: reset.id, data: 8 })
})

t.test('cursors that are no cursors are refused, and the client may open after that', async (t) => {
  const app = await serve(t, {}, (app) => { app.channel('/', { topics: app.topic('rooms') }) })
  const channel = await openChannel(t, app, '/', { protocols: ['fastify-realtime.v1'] })
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`rooms/${n}`, 'x']))
  for (const cursors of [null, [], 'x', 5, true, { rooms: 5 }, { rooms: null }, { rooms: ['x'] }, many]) {
    channel.send({ op: 'open', cursors })
    t.match(await channel.next(), { op: 'error', code: 'INVALID_FRAME' }, JSON.stringify(cursors).slice(0, 60))
  }
  channel.send({ op: 'open', cursors: { rooms: 'x'.repeat(60_000) } })
  t.match(await channel.next({ op: 'open' }), { op: 'open' })
  t.match(await channel.next({ op: 'subscribed' }), { recovered: false })
  t.match(await channel.next({ op: 'reset' }), { reason: 'unknown-cursor' })
})

t.test('a snapshot comes first to who has no usable cursor, in the words of each format', async (t) => {
  const app = await serve(t, {}, (app) => {
    const stock = [1, 2]
    app.topic('board', { snapshot: () => stock })
    app.topic('named', { snapshot: async () => ({ event: 'stock', data: { items: stock } }) })
    app.channel('/board', { topics: 'board' })
    app.channel('/named', { topics: 'named' })
  })
  for (const name of ['board', 'named']) {
    const channel = await openEnvelope(t, app, `/${name}`)
    t.same(await channel.next(), { op: 'subscribed', topic: name }, 'the snapshot carries the position')
    const snapshot = await channel.next()
    const said = name === 'board' ? { data: [1, 2] } : { event: 'stock', data: { items: [1, 2] } }
    t.same(snapshot, { op: 'snapshot', topic: name, id: snapshot.id, ...said })
    const { id } = await app.realtime.publish(name, 'change', 1)
    t.match(await channel.next(), { id, prev: snapshot.id })
    await channel.leave()
    const back = await openEnvelope(t, app, `/${name}`, { [name]: String(id) })
    t.same(await back.next(), { op: 'subscribed', topic: name, id, recovered: true })
    await app.realtime.publish(name, 'change', 2)
    t.match(await back.next(), { event: 'change', prev: id }, 'none for who resumes')
    const lost = await openEnvelope(t, app, `/${name}`, { [name]: 'made up' })
    t.match([await lost.next(), await lost.next(), await lost.next()], [{ op: 'subscribed', recovered: false }, { op: 'reset' }, { op: 'snapshot' }])
  }
  const plain = await listenFlat(t, app, '/board')
  const named = await listenFlat(t, app, '/named')
  t.same(await named.next(), { type: 'stock', items: [1, 2] })
  await app.realtime.publish('board', 'change', {})
  t.same(await plain.next(), { type: 'change' }, 'no frame of ours')
})

/** What allows a client may end while it is connected: it is told, on every wire, and never left there as nobody. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { RealtimeOptions, RealtimeStats } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, codeOf, live, refusalOf, talkTo } from '../helpers/app.ts'
import { hubOf, insidesOf } from '../helpers/insides.ts'

const SOON = 150

// The plugin's timers keep no process alive, and clients in memory have no socket that would.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

/** `rooms/short` is allowed for a moment, `rooms/long` for a day, and others for as long as the client stays. */
async function rooms (t: Test, options: RealtimeOptions = {}): Promise<FastifyInstance> {
  const app = await live(t, { expiryGrace: 0, retry: 10, ...options })
  const room = app.topic('rooms/:id', {
    authorize: (_request, { params }) => {
      if (params.id === 'short') return { allow: true, expiresAt: Date.now() + SOON, info: { seat: 1 } }
      return params.id === 'long' ? { allow: true, expiresAt: Date.now() + 86_400_000 } : true
    }
  })
  app.stream('/stream/:id', { topics: room })
  app.channel('/channel/:id', { topics: room, subscribe: room })
  app.channel('/hall', { subscribe: room })
  app.get('/plain/:id', async (request) => {
    const seen: unknown[] = []
    try {
      for await (const { event } of room.subscribe(request.params as { id: string }, { request })) seen.push(event)
      return seen
    } catch (error) {
      return { code: (error as { code: string }).code, reason: (error as { reason?: { name: string } }).reason?.name }
    }
  })
  return app
}

const stats = (app: FastifyInstance): RealtimeStats => app.realtime.stats()

t.test('envelope: a topic whose grant has ended is taken, and the rest goes on', async (t) => {
  const app = await rooms(t)
  const client = await talkTo(app, '/channel/open', { t })
  client.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/short', ref: 1 }))
  const { data: subscribed } = await client.next('realtime:subscribed') as { data: { expires: number } }
  t.ok(subscribed.expires > 0 && subscribed.expires <= SOON)
  const gone = await client.next('realtime:unsubscribed')
  t.same(gone.data, { op: 'unsubscribed', topic: 'rooms/short', reason: 'expired' })
  await app.realtime.publish('rooms/short', 'said', 'secret')
  await app.realtime.publish('rooms/open', 'said', 'hello')
  t.equal((await client.next('said')).data, 'hello')
  t.equal(stats(app).expired, 1)
  client.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/short', ref: 2 }))
  t.match((await client.next('realtime:subscribed')).data, { ref: 2, topic: 'rooms/short' }, 'it may be joined again, where authorize says so')
})

t.test('a topic without an end says none, and one that was left ends nothing', async (t) => {
  const app = await rooms(t)
  const client = await connectChannel(app, '/hall', { t, format: 'envelope' })
  await client.next('realtime:open')
  for (const [ref, topic] of ['rooms/open', 'rooms/long', 'rooms/short'].entries()) {
    client.sendRaw(JSON.stringify({ op: 'subscribe', topic, ref }))
    const { data } = await client.next('realtime:subscribed') as { data: { expires?: number } }
    if (topic === 'rooms/open') t.notOk('expires' in data)
    if (topic === 'rooms/long') t.ok(data.expires as number > 86_000_000)
  }
  client.sendRaw(JSON.stringify({ op: 'unsubscribe', topic: 'rooms/short', ref: 9 }))
  t.same((await client.next('realtime:unsubscribed')).data, { op: 'unsubscribed', topic: 'rooms/short', ref: 9 })
  client.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/long', ref: 'again' }))
  t.match((await client.next('realtime:subscribed')).data, { ref: 'again', expires: Number }, 'also for one that it is in already')
  await client.close()
  t.equal(stats(app).expired, 0)
  t.equal(hubOf(app).deadlines.size, 0)
})

t.test('a stream, a flat channel and a subscription of a request end, and are told to come back', async (t) => {
  const app = await rooms(t)
  const stream = await connectStream(app, '/stream/short', { t })
  await stream.ended
  const flat = await connectChannel(app, '/channel/short', { t })
  t.match(await flat.ended, { code: 4401 })
  t.same((await app.inject('/plain/short')).json(), { code: 'FST_ERR_REALTIME_SUBSCRIPTION_ENDED', reason: 'expired' })
  t.equal(stats(app).expired, 3)
  t.same(insidesOf(app), [])
  t.equal(hubOf(app).deadlines.size, 0)
})

t.test('an identity that has ended ends its connections with 4401, on every wire', async (t) => {
  const app = await live(t, {
    expiryGrace: 0,
    retry: 10,
    identify: () => ({ id: 'ada', expiresAt: Date.now() + SOON })
  })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.channel('/channel', { topics: 'news' })
  const clients = { stream: await connectStream(app, '/stream', { t }), flat: await connectChannel(app, '/channel', { t }), envelope: await connectChannel(app, '/channel', { t, format: 'envelope' }) }
  const { data } = await clients.envelope.next('realtime:subscribed') as { data: { expires: number } }
  t.ok(data.expires <= SOON)
  t.match((await clients.envelope.next('realtime:bye')).data, { code: 4401, reconnect: true, retry: Number })
  t.match(await clients.envelope.ended, { code: 4401 })
  t.match(await clients.flat.ended, { code: 4401 })
  await clients.stream.ended
  t.equal(stats(app).expired, 3)
})

t.test('what has ended goes on for the grace', async (t) => {
  const app = await rooms(t, { expiryGrace: 60_000 })
  const client = await talkTo(app, '/channel/short', { t })
  const [connection] = insidesOf(app)
  while (connection?.expires('rooms/short') !== 0) await new Promise(setImmediate)
  await app.realtime.publish('rooms/short', 'said', 'still here')
  t.equal((await client.next('said')).data, 'still here')
  t.equal(stats(app).expired, 0)
})

t.test('the default identity ends with `exp` of request.user, where that is a token\'s', async (t) => {
  const now = Date.now() / 1000
  const USERS: Record<string, [object, number | undefined | 'refused']> = {
    token: [{ sub: 'ada', iat: now - 5, exp: now + 60 }, 60_000],
    'no iat': [{ sub: 'ada', exp: now + 60 }, undefined],
    'a database\'s': [{ id: 1, exp: 7, expiresAt: '2020-01-01', issuedAt: new Date() }, undefined],
    'exp before iat': [{ id: 1, iat: now, exp: now - 60 }, undefined],
    text: [{ id: 1, iat: String(now), exp: String(now + 60) }, undefined],
    over: [{ sub: 'ada', iat: now - 60, exp: now - 5 }, 'refused']
  }
  for (const expiry of [true, false]) {
    const app = await live(t, { expiry })
    app.decorateRequest('user', null)
    app.topic('news')
    app.stream('/stream', {
      topics: 'news',
      onRequest: async (request) => { (request as unknown as { user: object }).user = USERS[String(request.headers.as)]?.[0] as object }
    })
    for (const [as, [, expected]] of Object.entries(USERS)) {
      const connecting = connectStream(app, '/stream', { t, headers: { as } })
      if (expected === 'refused' && expiry) {
        t.match(await refusalOf(connecting), { statusCode: 401, body: { code: 'FST_ERR_REALTIME_EXPIRED' } })
        continue
      }
      await connecting
      const { identity } = app.realtime.connections()[0] as { identity: { id: string, expiresAt?: number } }
      t.match(identity.id, /^(ada|1)$/)
      if (expiry && typeof expected === 'number') t.ok(Math.abs(identity.expiresAt as number - Date.now() - expected) < 5000, as)
      else t.equal(identity.expiresAt, undefined, `${as}, ${expiry}`)
      await (await connecting).close()
    }
  }
})

t.test('moments that are none are the app\'s fault, and let nobody in', async (t) => {
  let moment: unknown
  const app = await live(t, { identify: ((request: FastifyRequest) => request.headers.who === 'identity' ? { id: 'ada', expiresAt: moment } : { id: 'ada' }) as never })
  app.topic('rooms/:id', { authorize: ((request: FastifyRequest) => request.headers.who === 'grant' ? { allow: true, expiresAt: moment } : true) as never })
  app.stream('/stream/:id', { topics: 'rooms/:id' })
  app.channel('/channel/:id', { topics: 'rooms/:id' })
  for (const who of ['identity', 'grant']) {
    for (const [value, code, statusCode] of [[NaN, 'EXPIRY_INVALID', 500], ['soon', 'EXPIRY_INVALID', 500], [Date.now() / 1000 + 60, 'EXPIRY_INVALID', 500], [Date.now() - 1000, 'EXPIRED', 401]] as const) {
      moment = value
      for (const connect of [() => connectStream(app, '/stream/1', { t, headers: { who } }), () => connectChannel(app, '/channel/1', { t, headers: { who } })]) {
        t.match(await refusalOf(connect()), { statusCode, body: { code: `FST_ERR_REALTIME_${code}` } }, `${who} ${String(value)}`)
      }
      t.equal((await app.inject({ method: 'HEAD', url: '/stream/1', headers: { who } })).statusCode, statusCode)
    }
  }
  t.equal(hubOf(app).deadlines.size, 0)
  t.equal(hubOf(app).admission.size, 0)
})

t.test('the app is told what allows a client in a topic', async (t) => {
  const app = await rooms(t, { expiryGrace: 60_000 })
  const client = await talkTo(app, '/channel/short', { t })
  const [connection] = app.realtime.connections()
  t.match(connection?.grant('rooms/short'), { expiresAt: Number, info: { seat: 1 } })
  t.equal(connection?.grant('rooms/open'), undefined)
  t.equal(await codeOf(() => connection?.grant('halls/1')), 'FST_ERR_REALTIME_TOPIC_UNKNOWN')
  await client.close()
  t.equal(connection?.grant('rooms/short'), undefined)
})

t.test('one timer for all, and none where nothing ends', async (t) => {
  const app = await rooms(t)
  const { deadlines } = hubOf(app)
  await connectStream(app, '/stream/open', { t })
  t.same([deadlines.size, deadlines.timers], [0, 0])
  const clients = await Promise.all(Array.from({ length: 20 }, async () => await connectStream(app, '/stream/long', { t })))
  t.same([deadlines.size, deadlines.timers], [20, 1])
  await Promise.all(clients.map(async (client) => await client.close()))
  t.same([deadlines.size, deadlines.timers], [0, 0])
})

t.test('options are checked', async (t) => {
  for (const options of [{ expiry: 1 }, { expiry: 'yes' }, { expiryGrace: -1 }, { expiryGrace: 300_001 }, { expiryGrace: '10' }]) {
    const app = bare(t)
    t.equal(await codeOf(async () => await app.register((await import('../../lib/index.ts')).default, options as never)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
  }
})

/** Subscribers within the process: where they begin, what they are told, and how they end. */
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { memory, type AnyItem, type SubscribeOptions, type TopicSubscription } from '../../../lib/index.ts'
import { codeOf, dial, gate, listen, live } from '../../helpers/app.ts'
import { hubOf } from '../../helpers/insides.ts'

async function take<Item> (subscription: TopicSubscription<Item>, count: number): Promise<Item[]> {
  const items: Item[] = []
  for (let n = 0; n < count; n++) {
    const { done, value } = await subscription.next()
    if (done) throw new Error(`it ended after ${n} items`)
    items.push(value)
  }
  return items
}

const numbers = (items: AnyItem[]): unknown[] => items.map(({ data }) => (data as { n: number }).n)
const connectionsOf = (app: FastifyInstance): object => app.realtime.stats().connections
const NOBODY = { sse: 0, websocket: 0, process: 0 }

/** The request of a client whose response never ends. */
async function requestOf (t: Parameters<typeof dial>[0], app: FastifyInstance, path = '/hold') {
  const held = new Promise<FastifyRequest>((resolve) => { holds.set(app, resolve) })
  const client = await dial(t, app)
  client.ask(`GET ${path}`)
  return { client, request: await held }
}

const holds = new WeakMap<FastifyInstance, (request: FastifyRequest) => void>()

async function holding (t: Parameters<typeof live>[0], options: Parameters<typeof live>[1] = {}): Promise<FastifyInstance> {
  const app = await live(t, options)
  app.get('/hold', (request) => {
    holds.get(app)?.(request)
    return new Promise(() => {})
  })
  return app
}

// --- its beginning -----------------------------------------------------------------------

t.test('replay is joined to live: in order, without a gap or a duplicate', async (t) => {
  const app = await live(t)
  const topic = app.topic('rooms/:id')
  const ids: string[] = []
  const publish = async (n: number): Promise<void> => {
    const { id } = await topic.publish({ id: '1' }, 'tick', { n })
    ids.push(id as string)
  }
  for (let n = 0; n < 50; n++) await publish(n)
  const subscription = topic.subscribe({ id: '1' }, { after: ids[9] })
  const publishing = (async () => { for (let n = 50; n < 100; n++) await publish(n) })()
  const items = await take(subscription, 90)
  await publishing
  t.same(numbers(items), Array.from({ length: 90 }, (_, n) => n + 10))
  t.same(items.map(({ id }) => id), ids.slice(10))
  t.same(items[0], { id: ids[10], event: 'tick', data: { n: 10 } })
  t.match(app.realtime.stats(), { connections: { process: 1 }, subscriptions: 1, recovered: 1 })
  t.match(app.realtime.connections().map(({ kind, topics }) => ({ kind, topics })), [{ kind: 'process', topics: ['rooms/1'] }])
  t.equal(app.realtime.countLocal('rooms/1'), 1)
})

t.test('ready says where it stands: who is cut before the first item goes on from there', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const { id: last } = await topic.publish({}, 'tick', { n: 0 })
  const first = topic.subscribe({})
  const { id } = await first.ready
  t.equal(id, last)
  await first.return()
  await topic.publish({}, 'tick', { n: 1 })
  const second = topic.subscribe({}, { after: id ?? null })
  t.same(await second.ready, { id })
  t.same(numbers(await take(second, 1)), [1])
  const empty = app.realtime.subscribe('news')
  t.equal((await empty.ready).id, (await topic.history({})).events.at(-1)?.id)
})

t.test('a topic that nobody has published to yet, and one without history', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const loose = app.topic('weather', { history: false })
  const first = topic.subscribe({})
  const { id } = await first.ready
  await first.return()
  await topic.publish({}, 'tick', { n: 0 })
  t.same(numbers(await take(topic.subscribe({}, { after: id ?? null }), 1)), [0], 'from the log\'s genesis')
  const drops = loose.subscribe({}, { after: 'whatever' })
  t.same(await drops.ready, { id: undefined })
  await loose.publish({}, 'rain', { n: 1 })
  t.same(await take(drops, 1), [{ id: undefined, event: 'rain', data: { n: 1 } }])
})

t.test('a loss is an item, and who is cut before it finds out again', async (t) => {
  const app = await live(t)
  const topic = app.topic('news', { history: { limit: 2 } })
  const { id } = await topic.publish({}, 'tick', { n: 0 })
  for (let n = 1; n < 5; n++) await topic.publish({}, 'tick', { n })
  for (const [after, reason] of [[id as string, 'expired'], ['9999999999999-0.elsewhere', 'unknown-cursor'], ['\n', 'unknown-cursor']] as const) {
    const subscription = topic.subscribe({}, { after })
    t.same(await subscription.ready, { id: after === '\n' ? undefined : after }, 'as far as it had said itself')
    const [reset] = await take(subscription, 1)
    const last = (await topic.history({})).events.at(-1)?.id
    t.same(reset, { id: last, event: 'realtime:reset', data: { topic: 'news', reason } })
    await topic.publish({}, 'tick', { n: 5 })
    t.same(numbers(await take(subscription, 1)), [5])
  }
})

t.test('a snapshot comes first, and ready names no place before it', async (t) => {
  const app = await live(t)
  let state = 0
  const plain = app.topic('board', { snapshot: () => ({ state }) })
  const named = app.topic('prices', { snapshot: () => ({ event: 'state', data: { state } }) })
  state = 7
  await plain.publish({}, 'tick', { n: 0 })
  for (const [topic, event] of [[plain, 'realtime:snapshot'], [named, 'state']] as const) {
    const subscription = topic.subscribe({})
    t.same(await subscription.ready, { id: undefined })
    const [first] = await take(subscription, 1)
    t.match(first, { id: String, event, data: { state: 7 } })
    await topic.publish({}, 'tick', { n: 1 })
    t.same(numbers(await take(subscription, 1)), [1])
    await subscription.return()
    const back = topic.subscribe({}, { after: first?.id ?? null })
    t.same(numbers(await take(back, 1)), [1], 'and no snapshot for who comes back')
  }
})

// --- items -------------------------------------------------------------------------------

t.test('an item is a plain object of the consumer\'s own', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const [one, other] = [topic.subscribe({}), topic.subscribe({})]
  await Promise.all([one.ready, other.ready])
  const bytes = Uint8Array.of(1, 2, 3)
  await topic.publish({}, 'list', { deep: [1] })
  await topic.publish({}, 'picture', bytes)
  const [list, picture] = await take(one, 2)
  t.equal(Object.getPrototypeOf(list), Object.prototype)
  t.same(Object.keys(list as object), ['id', 'event', 'data'])
  ;(list?.data as { deep: number[] }).deep.push(2)
  ;(picture?.data as Uint8Array).fill(9)
  t.same((await take(other, 2)).map(({ data }) => data), [{ deep: [1] }, bytes])
  t.same((await topic.history({})).events.map(({ data }) => data), [{ deep: [1] }, bytes])
})

t.test('next() may be called again before it has answered', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const subscription = topic.subscribe({})
  const asked = Array.from({ length: 5 }, async () => await subscription.next())
  await subscription.ready
  for (let n = 0; n < 3; n++) await topic.publish({}, 'tick', { n })
  await turn()
  await subscription.return()
  const answers = await Promise.all(asked)
  t.same(answers.map(({ done, value }) => done ? 'over' : (value as AnyItem).data), [{ n: 0 }, { n: 1 }, { n: 2 }, 'over', 'over'])
})

t.test('map changes items, waits for what is promised, and ends where it throws', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const subscription = topic.subscribe({}).map(async ({ data }) => {
    await turn()
    const { n } = data as { n: number }
    if (n === 2) throw new Error('not that one')
    return n * 10
  })
  await subscription.ready
  for (let n = 0; n < 4; n++) await topic.publish({}, 'tick', { n })
  t.same(await take(subscription, 2), [0, 10])
  await t.rejects(subscription.next(), { message: 'not that one' })
  t.same(await subscription.next(), { done: true, value: undefined })
  t.same(connectionsOf(app), NOBODY)
})

t.test('connection.send reaches it, and a relay', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const subscription = topic.subscribe({})
  await subscription.ready
  const [connection] = app.realtime.connections()
  connection?.send('hello', { to: 'you' })
  t.same(await take(subscription, 1), [{ id: undefined, event: 'hello', data: { to: 'you' } }])
  await app.realtime.publish('news', 'tick', { n: 0 }, { except: connection?.id as string })
  await app.realtime.publish('news', 'tick', { n: 1 })
  t.same(numbers(await take(subscription, 1)), [1])
})

// --- its end -----------------------------------------------------------------------------

/** What ends a subscription quietly, while its consumer waits. */
const QUIET: Record<string, (app: FastifyInstance, subscription: TopicSubscription<AnyItem>, abort: AbortController) => unknown> = {
  'return()': (_app, subscription) => subscription.return(),
  'await using': (_app, subscription) => subscription[Symbol.asyncDispose](),
  'its signal': (_app, _subscription, abort) => abort.abort(),
  'connection.close()': (app) => app.realtime.connections()[0]?.close(),
  'the app closes': (app) => app.close()
}

for (const [what, end] of Object.entries(QUIET)) {
  t.test(`it ends without a throw: ${what}`, async (t) => {
    const app = await live(t)
    app.topic('news')
    const abort = new AbortController()
    const subscription = app.realtime.subscribe('news', { signal: abort.signal })
    await subscription.ready
    const waiting = subscription.next()
    await end(app, subscription, abort)
    t.same(await waiting, { done: true, value: undefined })
    t.same(await subscription.next(), { done: true, value: undefined })
    t.same(connectionsOf(app), NOBODY)
    t.equal(app.realtime.stats().subscriptions, 0)
    t.same(app.realtime.connections(), [])
  })
}

t.test('a break ends it at once, and what waited is let go', async (t) => {
  const app = await live(t)
  const topic = app.topic('news')
  const subscription = topic.subscribe({})
  await subscription.ready
  for (let n = 0; n < 3; n++) await topic.publish({}, 'tick', { n })
  for await (const { data } of subscription) if ((data as { n: number }).n === 1) break
  t.same(connectionsOf(app), NOBODY)
  t.same(await subscription.next(), { done: true, value: undefined })
})

t.test('a signal that was aborted before, and an end before it has begun', async (t) => {
  const app = await live(t)
  app.topic('news')
  const aborted = app.realtime.subscribe('news', { signal: AbortSignal.abort() })
  await t.rejects(aborted.ready, { code: 'FST_ERR_REALTIME_SUBSCRIPTION_ENDED' })
  t.same(await aborted.next(), { done: true, value: undefined })
  const abort = new AbortController()
  const early = app.realtime.subscribe('news', { signal: abort.signal })
  abort.abort()
  await t.rejects(early.ready, { code: 'FST_ERR_REALTIME_SUBSCRIPTION_ENDED' })
  await turn()
  t.same(connectionsOf(app), NOBODY)
  t.equal(hubOf(app).active.get('news')?.holds, 0)
})

t.test('it throws where the consumer should come back', async (t) => {
  const app = await holding(t, { maxBuffered: 200_000 })
  const topic = app.topic('news')
  await listen(app)
  const ended = { code: 'FST_ERR_REALTIME_SUBSCRIPTION_ENDED', statusCode: 503 }

  const { request, client } = await requestOf(t, app)
  const closed = topic.subscribe({}, { request })
  await closed.ready
  app.realtime.connections()[0]?.close({ reconnect: true })
  await t.rejects(closed.next(), { ...ended, reason: { name: 'closed-by-app', reconnect: true } })
  t.same(await closed.next(), { done: true, value: undefined }, 'once')

  const slow = topic.subscribe({}, { slow: 'close', maxBuffered: 30_000 })
  await slow.ready
  for (let n = 0; n < 100; n++) {
    await topic.publish({}, 'tick', { n, text: 'x'.repeat(1000) })
    await turn()
  }
  const heard: unknown[] = []
  await t.rejects(async () => { for await (const { data } of slow) heard.push((data as { n: number }).n) }, { ...ended, reason: { name: 'slow-client' } })
  t.same(heard, Array.from({ length: heard.length }, (_, n) => n), 'what it was given came first')
  t.ok(heard.length > 0 && heard.length < 100)

  const clients = topic.subscribe({}, { request })
  await clients.ready
  const end = clients.next()
  const closing = app.close()
  await t.rejects(end, { ...ended, reason: { name: 'shutting-down' } })
  client.socket.destroy()
  await closing
})

t.test('while the adapter is away nobody can begin, and a consumer that never looks harms nobody', async (t) => {
  const adapter = memory()
  const { subscribe } = adapter
  let away = false
  adapter.subscribe = async (...args) => {
    if (away) throw new Error('away')
    return await subscribe.apply(adapter, args)
  }
  const app = await live(t, { adapter })
  app.topic('news')
  away = true
  const failing = app.realtime.subscribe('news')
  app.realtime.subscribe('news')
  await t.rejects(failing.ready, { message: 'away' })
  await t.rejects(failing.next(), { message: 'away' })
  t.same(await failing.next(), { done: true, value: undefined })
  t.same(connectionsOf(app), NOBODY)
  away = false
  await app.realtime.subscribe('news').ready
})

// --- a slow consumer ---------------------------------------------------------------------

t.test('a consumer that does not read costs no more than it may, and loses nothing that is in the history', async (t) => {
  const app = await live(t, { history: { limit: 5000, maxBytes: 64 << 20 } })
  const topic = app.topic('news')
  const subscription = topic.subscribe({}, { maxBuffered: 50_000 })
  await subscription.ready
  const [connection] = app.realtime.connections()
  for (let n = 0; n < 1000; n++) {
    await topic.publish({}, 'tick', { n, text: 'x'.repeat(500) })
    await turn()
    if ((connection?.buffered ?? 0) > 50_000) t.fail(`${connection?.buffered} bytes wait`)
  }
  t.same(numbers(await take(subscription, 1000)), Array.from({ length: 1000 }, (_, n) => n))
  await topic.publish({}, 'tick', { n: 1000 })
  t.same(numbers(await take(subscription, 1)), [1000])
  t.match(app.realtime.stats(), { dropped: 0, resets: 0, slowClosed: 0 })
})

t.test('bursts that are larger than what may wait cost a consumer nothing', async (t) => {
  const app = await live(t, { history: { limit: 5000, maxBytes: 64 << 20 } })
  const topic = app.topic('news')
  const subscription = topic.subscribe({}, { maxBuffered: 1024 })
  await subscription.ready
  for (let burst = 0; burst < 10; burst++) {
    await Promise.all(Array.from({ length: 100 }, async (_, n) => await topic.publish({}, 'tick', { n: burst * 100 + n, text: 'x'.repeat(500) })))
    await turn()
  }
  t.same(numbers(await take(subscription, 1000)), Array.from({ length: 1000 }, (_, n) => n))
  t.match(app.realtime.stats(), { connections: { process: 1 }, slowClosed: 0 })
})

// --- for a client ------------------------------------------------------------------------

t.test('with a request it is that client\'s: authorize, identify, limits, disconnect and revoke', async (t) => {
  const app = await holding(t, { maxConnectionsPerIdentity: 2, identify: ({ headers }) => ({ id: String(headers.user ?? 'ada') }) })
  const asked: string[] = []
  const topic = app.topic('rooms/:id', {
    authorize: (_request, { topic: name, action }) => {
      asked.push(`${action} ${name}`)
      return name !== 'rooms/closed'
    }
  })
  await listen(app)
  const { request } = await requestOf(t, app)
  const [one, other] = [topic.subscribe({ id: '1' }, { request }), topic.subscribe({ id: '2' }, { request })]
  await Promise.all([one.ready, other.ready])
  t.same(asked, ['subscribe rooms/1', 'subscribe rooms/2'])
  t.same(app.realtime.connections().map(({ identity }) => identity.id), ['ada', 'ada'])
  t.equal(await codeOf(async () => await topic.subscribe({ id: '3' }, { request }).next()), 'FST_ERR_REALTIME_TOO_MANY_CONNECTIONS')
  await one.return()
  const refused = topic.subscribe({ id: 'closed' }, { request })
  t.equal(await codeOf(async () => await refused.ready), 'FST_ERR_REALTIME_FORBIDDEN')
  t.equal(await codeOf(async () => await refused.next()), 'FST_ERR_REALTIME_FORBIDDEN')
  t.same(connectionsOf(app), { ...NOBODY, process: 1 })

  const own = topic.subscribe({ id: '2' })
  await own.ready
  await app.realtime.revoke({ identity: 'ada' }, 'rooms/2')
  t.same(await other.next(), { done: true, value: undefined }, 'there is nothing left for it to hear')
  const again = topic.subscribe({ id: '4' }, { request })
  await again.ready
  await app.realtime.disconnect({ topic: 'rooms/4' })
  t.same(await again.next(), { done: true, value: undefined })
  await app.realtime.disconnect({ topic: 'rooms/2' })
  await topic.publish({ id: '2' }, 'tick', { n: 1 })
  t.same(numbers(await take(own, 1)), [1], 'no order concerns the app\'s own')
  t.match(app.realtime.stats(), { connections: { process: 1 }, arriving: 0 })
})

t.test('an order that is given while the request\'s hooks run concerns what is heard for it afterwards', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'ada' }) })
  const topic = app.topic('rooms/:id')
  const hooks = gate()
  const inHook = gate()
  app.get('/heard', {
    preHandler: async () => {
      inHook.open()
      await hooks.passed
    }
  }, async (request) => await topic.subscribe({ id: '1' }, { request }).next())
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /heard', { connection: 'close' })
  await inHook.passed
  await app.realtime.disconnect({ identity: 'ada' })
  hooks.open()
  await client.until('{"done":true}')
  t.same(connectionsOf(app), NOBODY)
})

t.test('it ends with the socket of its request', async (t) => {
  const app = await holding(t)
  const topic = app.topic('rooms/:id')
  await listen(app)
  const { request, client } = await requestOf(t, app)
  const all = Array.from({ length: 20 }, (_, id) => topic.subscribe({ id: `${id}` }, { request }))
  await Promise.all(all.map(({ ready }) => ready))
  t.equal(request.raw.socket.listenerCount('close') < 10, true)
  client.socket.destroy()
  for (const one of all) t.same(await one.next(), { done: true, value: undefined })
  t.same(connectionsOf(app), NOBODY)
  const late = topic.subscribe({ id: 'late' }, { request })
  t.same(await late.next(), { done: true, value: undefined })
})

t.test('an authorize that never settles is given up', async (t) => {
  const app = await holding(t, { joinTimeout: 50 })
  const topic = app.topic('news', { authorize: () => new Promise<boolean>(() => {}) })
  await listen(app)
  const { request } = await requestOf(t, app)
  const subscription = topic.subscribe({}, { request })
  t.equal(await codeOf(async () => await subscription.next()), 'FST_ERR_REALTIME_CALLBACK_TIMEOUT')
  t.match(app.realtime.stats(), { connections: NOBODY, arriving: 0 })
  await topic.subscribe({}).ready
})

// --- what is wrong -----------------------------------------------------------------------

t.test('wrong options and topics are errors at the call', async (t) => {
  const app = await live(t)
  const topic = app.topic('rooms/:id')
  const wrong: Array<[string, unknown, string]> = [
    ['an unknown one', { sinec: 'x' }, 'OPTION_INVALID'],
    ['a list', [], 'OPTION_INVALID'],
    ['a text', 'now', 'OPTION_INVALID'],
    ['after', { after: 5 }, 'OPTION_INVALID'],
    ['signal', { signal: {} }, 'OPTION_INVALID'],
    ['request', { request: {} }, 'OPTION_INVALID'],
    ['request null', { request: null }, 'OPTION_INVALID'],
    ['slow', { slow: 'wait' }, 'OPTION_INVALID'],
    ['maxBuffered', { maxBuffered: 10 }, 'OPTION_INVALID']
  ]
  for (const [what, options, code] of wrong) {
    t.throws(() => topic.subscribe({ id: '1' }, options as SubscribeOptions), { code: `FST_ERR_REALTIME_${code}` }, what)
  }
  t.throws(() => topic.subscribe({} as { id: string }), { code: 'FST_ERR_REALTIME_TOPIC_PARAMS' })
  t.throws(() => app.realtime.subscribe('halls/1'), { code: 'FST_ERR_REALTIME_TOPIC_UNKNOWN' })
  await app.close()
  t.same(await topic.subscribe({ id: '1' }).next(), { done: true, value: undefined }, 'an app that is closed has nothing to say')
})

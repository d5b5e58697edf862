/** Several nodes, one Redis: what one publishes all hear, and what one orders all obey. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import realtime, { type RealtimeOptions, type SourceEvent } from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { gate } from '../helpers/app.ts'
import { RedisCluster, RedisServer, until } from '../helpers/redis.ts'
import { declareSwept, heardAfter, MICROTASKS, WORDS } from '../helpers/sweep.ts'

const [server, cluster] = await Promise.all([RedisServer.start(t), RedisCluster.start(t)])
let prefixes = 0
const fresh = (): string => `nodes${prefixes++}:`

interface NodeOptions extends RealtimeOptions { logger?: FastifyServerOptions['logger'], redisOptions?: object }

/** A node of an app with rooms that anybody may join, and private ones. */
async function node (t: Test, prefix: string, { redisOptions, logger = false, ...options }: NodeOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  t.teardown(() => app.close())
  await app.register(realtime, {
    adapter: redis({ url: server.url, prefix, ...redisOptions } as never),
    identify: (request) => ({ id: String((request.query as { as?: string }).as ?? 'nobody') }),
    closeTimeout: 500,
    retry: 100,
    ...options
  })
  const room = app.topic('rooms/:id', { authorize: () => true })
  app.stream('/rooms/:id/events', { topics: room })
  app.channel('/rooms/:id', { topics: room, subscribe: room, messages: { typing: { relay: true } } })
  return app
}

async function nodes (t: Test, count: number, options?: NodeOptions): Promise<FastifyInstance[]> {
  const prefix = fresh()
  const apps = await Promise.all(Array.from({ length: count }, () => node(t, prefix, options)))
  await Promise.all(apps.map((app) => app.ready()))
  return apps
}

type Pair = [FastifyInstance, FastifyInstance]
const said = (client: { events: ReadonlyArray<{ event: string, data: unknown }> }): unknown[] =>
  client.events.filter(({ event }) => event === 'said').map(({ data }) => (data as { n: number }).n)

t.test('a publish on one node is heard on every node, in one order, on both wires', async (t) => {
  const apps = await nodes(t, 3)
  const clients = (await Promise.all(apps.map(async (app) => {
    const [stream, channel] = [await connectStream(app, '/rooms/1/events', { t }), await connectChannel(app, '/rooms/1', { t, format: 'envelope' })]
    await Promise.all([stream.next('realtime:open'), channel.next('realtime:subscribed')])
    return [stream, channel]
  }))).flat()
  await Promise.all(apps.flatMap((app, a) => Array.from({ length: 50 }, (_, n) => app.realtime.publish('rooms/1', 'said', { n: a * 1000 + n }))))
  await (apps[0] as FastifyInstance).realtime.publish('rooms/1', 'end', {})
  await Promise.all(clients.map(async (client) => await client.next('end')))
  const [first, ...others] = clients.map(said)
  t.equal(first?.length, 150)
  for (const other of others) t.same(other, first)
  for (const a of [0, 1, 2]) t.same(first?.filter((n) => Math.floor(n as number / 1000) === a), Array.from({ length: 50 }, (_, n) => a * 1000 + n), 'each publisher\'s own order holds')
})

t.test('a client that loses one node resumes on another, without a gap', async (t) => {
  const [a, b] = await nodes(t, 2) as Pair
  const client = await connectStream(a, '/rooms/2/events', { t })
  await a.realtime.publish('rooms/2', 'said', { n: 1 })
  await client.next('said')
  const cursor = client.lastEventId as string
  client.drop()
  for (const n of [2, 3, 4]) await a.realtime.publish('rooms/2', 'said', { n })
  const again = await connectStream(b, '/rooms/2/events', { t, lastEventId: cursor })
  await b.realtime.publish('rooms/2', 'end', {})
  await again.next('end')
  t.same(said(again), [2, 3, 4])
  t.notOk(again.events.some(({ event }) => event === 'realtime:reset'))
  t.equal(b.realtime.stats().recovered, 1)
})

t.test('a client that is cut off before its first event resumes on another node, without a gap', async (t) => {
  const prefix = fresh()
  const [a, b] = await Promise.all([node(t, prefix), node(t, prefix)])
  const client = await connectStream(a, '/rooms/first/events', { t })
  await client.next('realtime:open')
  client.close()
  await a.close()
  const { id } = await b.realtime.publish('rooms/first', 'said', { n: 1 })
  const back = await connectStream(b, '/rooms/first/events', { t, lastEventId: client.lastEventId as string })
  t.match(await back.next(), { event: 'said', data: { n: 1 }, id })
  t.notOk(back.events.some(({ event }) => event === 'realtime:reset'))
})

t.test('1,000 topics that were merely listened to leave one small key each, for two minutes', async (t) => {
  const prefix = fresh()
  const adapter = redis({ url: server.url, prefix })
  t.teardown(async () => await adapter.close())
  await adapter.start({ event () {}, ephemeral () {}, suspect () {}, state () {} })
  const topics = Array.from({ length: 1000 }, (_, i) => `rooms/some-room-${i}`)
  await Promise.all(topics.map(async (topic) => await adapter.subscribe(topic, true)))
  // Once more, as whoever joins and leaves over and over.
  for (const topic of topics) adapter.unsubscribe(topic)
  await Promise.all(topics.map(async (topic) => await adapter.subscribe(topic, true)))
  for (const topic of topics) adapter.unsubscribe(topic)
  const keys = await server.ask(async (redis) => await redis.keys(`${prefix}*`))
  t.equal(keys.length, 1000)
  const each = await server.ask(async (redis) => await Promise.all(keys.slice(0, 100).map(async (key) => ({
    bytes: await redis.memory('USAGE', key) as number,
    life: await redis.pttl(key)
  }))))
  t.ok(each.every(({ bytes }) => bytes <= 160), `${Math.max(...each.map(({ bytes }) => bytes))} bytes`)
  t.ok(each.every(({ life }) => life > 0 && life <= 120_000), 'and a life')
})

t.test('a relay reaches the other nodes, and not its sender', async (t) => {
  const [a, b] = await nodes(t, 2) as Pair
  const [ada, ben] = [await connectChannel(a, '/rooms/3', { t, format: 'envelope' }), await connectChannel(b, '/rooms/3', { t, format: 'envelope' })]
  await Promise.all([ada.next('realtime:subscribed'), ben.next('realtime:subscribed')])
  ada.send('typing', { who: 'ada' })
  t.same((await ben.next('typing')).data, { who: 'ada' })
  ben.send('typing', { who: 'ben' })
  t.same((await ada.next('typing')).data, { who: 'ben' }, 'whose own never came back')
})

t.test('count() is of all nodes', async (t) => {
  const [a, b] = await nodes(t, 2) as Pair
  t.equal(await a.realtime.count('rooms/4'), 0)
  const clients = [await connectStream(a, '/rooms/4/events', { t }), await connectStream(b, '/rooms/4/events', { t }), await connectStream(b, '/rooms/4/events', { t })]
  for (const client of clients) await client.next('realtime:open')
  t.same([await a.realtime.count('rooms/4'), await b.realtime.count('rooms/4')], [3, 3])
  t.same([a.realtime.countLocal('rooms/4'), b.realtime.countLocal('rooms/4')], [1, 2])
})

t.test('disconnect() ends an identity\'s connections on every node, and no other', async (t) => {
  const [a, b] = await nodes(t, 2) as Pair
  const evil = [await connectChannel(a, '/rooms/5?as=eve', { t, format: 'envelope' }), await connectChannel(b, '/rooms/5?as=eve', { t, format: 'envelope' })]
  const good = await connectChannel(b, '/rooms/5?as=ada', { t, format: 'envelope' })
  for (const client of [...evil, good]) await client.next('realtime:subscribed')
  await a.realtime.disconnect({ identity: 'eve' }, { code: 4001, text: 'banned' })
  for (const client of evil) t.same((await client.ended).code, 4001)
  await a.realtime.publish('rooms/5', 'said', { n: 1 })
  await good.next('said')
  for (const bad of [{}, { identity: '' }, { user: 'eve' }, undefined]) {
    await t.rejects(a.realtime.disconnect(bad as never), { code: 'FST_ERR_REALTIME_TARGET' }, 'nobody is everybody')
  }
  await t.rejects(a.realtime.disconnect({ identity: 'eve' }, { code: 1006 }), { code: 'FST_ERR_REALTIME_CLOSE_CODE' })
})

t.test('unsubscribe() takes a topic from whoever it names, and tells an envelope client', async (t) => {
  const [a, b] = await nodes(t, 2) as Pair
  const ada = await connectChannel(a, '/rooms/6?as=ada', { t, format: 'envelope' })
  const ben = await connectChannel(a, '/rooms/6?as=ben', { t, format: 'envelope' })
  await Promise.all([ada.next('realtime:subscribed'), ben.next('realtime:subscribed')])
  await b.realtime.revoke({ identity: 'ada' }, 'rooms/6')
  await ada.next('realtime:unsubscribed')
  await b.realtime.publish('rooms/6', 'said', { n: 1 })
  await ben.next('said')
  t.same(said(ada), [])
})

t.test('an order reaches a client whose hooks are still running when it is given', async (t) => {
  const prefix = fresh()
  const [a, b] = [await node(t, prefix), await node(t, prefix)]
  const [arrived, mayGoOn] = [gate(), gate()]
  b.stream('/slow/:id/events', {
    topics: 'rooms/:id',
    preHandler: async () => {
      arrived.open()
      await mayGoOn.passed
    }
  })
  await Promise.all([a.ready(), b.ready()])
  const connecting = connectStream(b, '/slow/7/events?as=eve', { t })
  await arrived.passed
  const witness = await connectStream(b, '/rooms/7/events?as=eve', { t })
  await a.realtime.disconnect({ identity: 'eve' })
  await witness.ended
  mayGoOn.open()
  const client = await connecting
  await client.ended
  const later = await connectStream(b, '/rooms/7/events?as=eve', { t })
  await later.next('realtime:open')
  await b.realtime.publish('rooms/7', 'said', { n: 1 })
  await later.next('said')
  t.pass('who comes after the order is for the app\'s hooks to judge')
})

t.test('orders that may be lost have every connection\'s topics authorized again', async (t) => {
  const prefix = fresh()
  let banned = false
  const app = await node(t, prefix)
  const secret = app.topic('secrets/:id', { authorize: () => !banned })
  app.stream('/secrets/:id/events', { topics: secret })
  await app.ready()
  const client = await connectStream(app, '/secrets/1/events', { t })
  await client.next('realtime:open')
  banned = true
  await server.ask(async (redis) => await redis.flushall())
  // The next order finds another log than the node knows.
  await app.realtime.disconnect({ identity: 'somebody-else' })
  await client.ended
})

/** A source that says what it is told to, one token at a time. */
function teller () {
  const waiting: Array<(token: string | undefined) => void> = []
  const ready: Array<string | undefined> = []
  let runs = 0
  return {
    get runs () { return runs },
    say (token?: string): void {
      const next = waiting.shift()
      if (next) next(token)
      else ready.push(token)
    },
    async * source (): AsyncGenerator<SourceEvent> {
      runs++
      for (;;) {
        const token = ready.length > 0 ? ready.shift() : await new Promise<string | undefined>((resolve) => waiting.push(resolve))
        if (token === undefined) return
        yield { event: 'token', data: token }
      }
    }
  }
}

const tokens = (client: { events: ReadonlyArray<{ event: string, data: unknown }> }): unknown[] =>
  client.events.filter(({ event }) => event === 'token').map(({ data }) => data)

async function answering (t: Test, count: number) {
  const prefix = fresh()
  const told = teller()
  const apps: FastifyInstance[] = []
  for (let i = 0; i < count; i++) {
    const app = await node(t, prefix)
    app.stream('/answers/:id', { source: () => told.source(), resumable: { key: ({ params }) => params.id } })
    await app.ready()
    apps.push(app)
  }
  return { apps, told }
}

t.test('a source runs once, and readers on any node get what was said and the rest', async (t) => {
  const { apps: [a, b], told } = await answering(t, 2) as { apps: Pair, told: ReturnType<typeof teller> }
  const first = await connectStream(a, '/answers/1', { t })
  told.say('one')
  await first.next('token')
  const second = await connectStream(b, '/answers/1', { t })
  told.say('two')
  told.say('three')
  told.say()
  await Promise.all([first.next('realtime:end'), second.next('realtime:end')])
  t.same([tokens(first), tokens(second)], [['one', 'two', 'three'], ['one', 'two', 'three']])
  const late = await connectStream(b, '/answers/1', { t })
  await late.next('realtime:end')
  t.same(tokens(late), ['one', 'two', 'three'])
  t.equal(told.runs, 1)
})

t.test('whenever the source speaks first, whoever asked for it hears every event once, on any node', async (t) => {
  const apps: FastifyInstance[] = []
  const prefix = fresh()
  for (let i = 0; i < 2; i++) {
    const app = await node(t, prefix)
    declareSwept(app)
    await app.ready()
    apps.push(app)
  }
  for (const clients of [1, 3]) {
    for (const microtasks of MICROTASKS) {
      t.same(await heardAfter(t, apps, microtasks, clients), Array(clients).fill(WORDS), `after ${microtasks} microtasks, ${clients} clients`)
    }
  }
})

t.test('readers who come to two nodes at the same moment share one run', async (t) => {
  const { apps, told } = await answering(t, 3)
  const clients = await Promise.all(apps.map(async (app) => await connectStream(app, '/answers/2', { t })))
  told.say('only')
  told.say()
  await Promise.all(clients.map(async (client) => await client.next('realtime:end')))
  for (const client of clients) t.same(tokens(client), ['only'])
  t.equal(told.runs, 1)
})

t.test('a source that fails before its first event leaves nothing: whoever waited for it on another node asks again', { timeout: 60_000 }, async (t) => {
  const prefix = fresh()
  const attempt = () => ({ started: gate(), speak: gate(), runs: 0 })
  const attempts = new Map<string, ReturnType<typeof attempt>>()
  const declare = async (): Promise<FastifyInstance> => {
    const app = await node(t, prefix)
    app.stream('/answers/:id', {
      resumable: { key: ({ params }) => params.id },
      async * source ({ params }): AsyncGenerator<SourceEvent> {
        const { started, speak, runs } = attempts.get(params.id) as ReturnType<typeof attempt>
        attempts.set(params.id, { started, speak, runs: runs + 1 })
        if (runs > 0) {
          yield { event: 'token', data: 'at last' }
          return
        }
        started.open()
        await speak.passed
        throw Object.assign(new Error('too many questions'), { statusCode: 429 })
      }
    })
    await app.ready()
    return app
  }
  const [a, b] = [await declare(), await declare()]
  // It must fail within its first second, and the other node's reader be there by then: on a busy machine not at once.
  for (let id = 1; ; id++) {
    const { started, speak } = attempt()
    attempts.set(String(id), { started, speak, runs: 0 })
    const refused = connectStream(a, `/answers/${id}`, { t }).then(() => undefined, (error: { statusCode: number }) => error.statusCode)
    await started.passed
    const reader = await connectStream(b, `/answers/${id}`, { t, timeout: 30_000 })
    await reader.next('realtime:open')
    speak.open()
    if (await refused === undefined) continue
    t.equal(await refused, 429)
    await reader.ended
    t.notOk(reader.events.some(({ event }) => event === 'realtime:aborted'))
    t.ok(Number(reader.retry) > 0)
    await reader.resume()
    await reader.next('realtime:end')
    t.same(tokens(reader), ['at last'])
    t.equal(attempts.get(String(id))?.runs, 2)
    return
  }
})

t.test('stop() works from any node', async (t) => {
  const { apps: [a, b], told } = await answering(t, 2) as { apps: Pair, told: ReturnType<typeof teller> }
  const reader = await connectStream(a, '/answers/3', { t })
  told.say('one')
  await reader.next('token')
  t.equal(await b.realtime.stop('3'), true)
  t.match(await reader.next('realtime:end'), { data: { reason: 'stopped' } })
  await until('the end', async () => !await b.realtime.stop('3'))
  t.equal(await b.realtime.stop('unknown'), false)
})

/** A node in a process of its own, that can be killed. */
async function lonelyNode (t: Test, prefix: string): Promise<{ child: ChildProcess, origin: string }> {
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(new URL('../helpers/answering.ts', import.meta.url)), server.url, prefix], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const [line] = await once(child.stdout as NodeJS.ReadableStream, 'data') as [Buffer]
  return { child, origin: line.toString().trim() }
}

t.test('when the node that runs a source is killed, readers on other nodes are told "aborted"', { timeout: 60_000 }, async (t) => {
  const prefix = fresh()
  const { child, origin } = await lonelyNode(t, prefix)
  const started = await fetch(`${origin}/answers/4`, { headers: { accept: 'text/event-stream' } })
  const body = started.body as ReadableStream<Uint8Array>
  const reading = body.getReader()
  for (let text = ''; !text.includes('token');) text += Buffer.from((await reading.read()).value ?? []).toString()
  const app = await node(t, prefix)
  app.stream('/answers/:id', { source: () => teller().source(), resumable: { key: ({ params }) => params.id } })
  await app.ready()
  const reader = await connectStream(app, '/answers/4', { t, timeout: 30_000 })
  await reader.next('token')
  child.kill('SIGKILL')
  t.match(await reader.next('realtime:aborted'), { data: { reason: 'node-lost' } })
  await reading.cancel().catch(() => {})
  const late = await connectStream(app, '/answers/4', { t })
  await late.next('realtime:aborted')
  t.same(tokens(late), tokens(reader), 'it is kept as it was')
})

t.test('the same on a cluster', async (t) => {
  const options = { redisOptions: { url: undefined, cluster: { nodes: cluster.nodes } } }
  const [a, b] = await nodes(t, 2, options) as Pair
  const clients = await Promise.all(Array.from({ length: 12 }, async (_, i) => await connectStream(i % 2 ? a : b, `/rooms/${i}/events`, { t })))
  for (const client of clients) await client.next('realtime:open')
  for (const [i] of clients.entries()) await (i % 2 ? b : a).realtime.publish(`rooms/${i}`, 'said', { n: i })
  for (const [i, client] of clients.entries()) t.same((await client.next('said')).data, { n: i })
  t.equal(await a.realtime.count('rooms/0'), 1)
  await a.realtime.disconnect({ topic: 'rooms/0' })
  await clients[0]?.ended
})

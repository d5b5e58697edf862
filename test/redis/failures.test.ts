/** Everything that Redis and the way to it can do to a node, one at a time. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import t, { type Test } from 'tap'
import { slotOf } from '../../lib/adapters/redis/keys.ts'
import { marksOf, type Marks } from '../../lib/core/adapter.ts'
import { connectChannel, connectStream, type StreamClient } from '../../lib/testing/index.ts'
import { codeOf, dial, portOf } from '../helpers/app.ts'
import { hasten } from '../helpers/hasten.ts'
import { freePort, RedisCluster, RedisServer, until } from '../helpers/redis.ts'
import { RETENTION, startApp, startNode, type Node } from './kit.ts'
import { FaultProxy } from './proxy.ts'

t.setTimeout(120_000)
const UNAVAILABLE = 'FST_ERR_REALTIME_UNAVAILABLE'
/** So long that it only passes when the test says so. */
const PATIENT_MS = 600_000
const SAVED = ['--appendonly', 'yes', '--appendfsync', 'always']

const server = await RedisServer.start(t)
let prefixes = 0
const fresh = (): string => `f${prefixes++}:`
const dataOf = (client: StreamClient): unknown[] => client.events.filter(({ event }) => !event.startsWith('realtime:')).map(({ data }) => data)
const adapterState = (app: { realtime: { stats: () => { adapter: object } } }): unknown => (app.realtime.stats().adapter as { state?: string }).state
const pendingBytes = (app: { realtime: { stats: () => { adapter: object } } }): number => (app.realtime.stats().adapter as { pendingBytes: number }).pendingBytes

t.test('Redis gone: publishing waits, streams stay, new clients come back later, one line in the log', async (t) => {
  const pass = hasten(t)
  const own = await RedisServer.start(t, SAVED)
  const { app, logs } = await startApp(t, { url: own.url, publishTimeout: PATIENT_MS, connectTimeout: 3000 })
  const client = await connectStream(app, '/log/1', { t })
  await app.realtime.publish('log/1', 'e', 1)
  t.equal((await client.next('e')).data, 1)
  await own.kill()
  await until('the outage', () => adapterState(app) === 'down')
  const error = app.realtime.publish('log/1', 'e', 'lost').then(() => undefined, (error: Error & { code: string, statusCode: number }) => error)
  await until('the event to wait', () => pendingBytes(app) > 0)
  pass(PATIENT_MS)
  t.match(await error, { code: UNAVAILABLE, statusCode: 503, message: /not known/ }, 'the outcome is not known, and it says so')

  const [eventSource, other] = [await dial(t, app), await dial(t, app)]
  await Promise.all([
    eventSource.ask('GET /log/2', { accept: 'text/event-stream' }).until('retry: '),
    other.ask('GET /log/2', { accept: '*/*' }).until('UNAVAILABLE')
  ])
  t.match(eventSource.text, /^HTTP\/1\.1 200 [^]*\r\n\r\n[^]*retry: \d+\n\n/, 'an EventSource is told to come back')
  t.notMatch(eventSource.text, 'realtime:open')
  t.match(other.text, /^HTTP\/1\.1 503 [^]*retry-after: \d+/i)
  const ready = await dial(t, app)
  await ready.ask('GET /log/1', { accept: 'text/event-stream' }).until('realtime:open')
  t.pass('a client that needs nothing of Redis is let in')

  const waits = app.realtime.publish('log/1', 'e', 2)
  await own.up()
  t.type((await waits).id, 'string', 'what was published last waits until Redis is back')
  t.equal((await client.next('e')).data, 2, 'over the connection that was open all the time')
  t.same(dataOf(client), [1, 2])
  await until('the state', () => adapterState(app) === 'up')
  const late = await connectStream(app, '/log/2', { t })
  await late.next('realtime:open')
  t.equal(logs.filter((line) => line.includes('the adapter is not available')).length, 1)
  t.equal(logs.filter((line) => line.includes('the adapter is back')).length, 1)
})

t.test('Redis gone: a channel that cannot begin ends, to be tried again; one that cannot join another topic is told so', async (t) => {
  const own = await RedisServer.start(t, SAVED)
  const { app } = await startApp(t, { url: own.url, connectTimeout: 3000 })
  const open = await connectChannel(app, '/channel/1', { t, format: 'envelope' })
  await open.next('realtime:subscribed')
  await own.kill()
  // Before the node has noticed, and behind that.
  for (const state of ['up', 'down']) {
    await until('the outage', () => state === 'up' || adapterState(app) === 'down')
    open.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'log/2', ref: 7 }))
    await Promise.all((['envelope', 'flat'] as const).map(async (format) => {
      const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/channel/3`, format === 'flat' ? [] : ['fastify-realtime.v1'])
      socket.once('open', () => { if (format === 'envelope') socket.send('{"op":"open"}') })
      const [code] = await once(socket, 'close') as [number]
      t.equal(code, 1013, format)
    }))
    t.match(await open.next('realtime:reply:7'), { data: { op: 'error', code: 'UNAVAILABLE' } })
  }
  await own.up()
  await until('Redis to be back', () => adapterState(app) === 'up')
  const late = await connectChannel(app, '/channel/3', { t, format: 'envelope' })
  await late.next('realtime:subscribed')
  await app.realtime.publish('log/3', 'e', 1)
  t.equal((await late.next('e')).data, 1)
})

t.test('a start without Redis fails, and says what is wrong', async (t) => {
  const port = await freePort()
  const failed = await startApp(t, { url: `redis://127.0.0.1:${port}`, connectTimeout: 300 }).then(() => undefined, (error: Error & { code: string }) => error)
  t.equal(failed?.code, UNAVAILABLE)
  t.match(failed?.message, `127.0.0.1:${port}`)
  const silent = await FaultProxy.start(t, server.port)
  silent.door = 'silent'
  t.equal(await codeOf(async () => await startApp(t, { url: silent.url, connectTimeout: 300 })), UNAVAILABLE, 'also where it accepts the connection and says nothing')
})

/** What is in Redis of these nodes. */
const keysOf = async (own: RedisServer, prefix: string): Promise<Record<string, unknown>> => await own.ask(async (redis) => {
  const keys = (await redis.keys(`${prefix}*`)).sort()
  return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await redis.call('dump', key)])))
})

/** How often Redis has answered with such an error. */
const refusals = async (own: RedisServer, error: string): Promise<number> => await own.ask(async (redis) =>
  Number(new RegExp(`^errorstat_${error}:count=(\\d+)`, 'm').exec(await redis.info('errorstats'))?.[1] ?? 0))

t.test('Redis full: nothing is half written, and all is well when there is room again', async (t) => {
  const pass = hasten(t)
  const own = await RedisServer.start(t)
  const prefix = fresh()
  const node = await startNode(t, { url: own.url, prefix, publishTimeout: PATIENT_MS })
  await node.adapter.subscribe('a', true)
  await node.publish('a', 'before')
  await until('the event', () => node.heard('a').length === 1)
  const before = await keysOf(own, prefix)
  await own.ask(async (redis) => await redis.config('SET', 'maxmemory', '1'))
  for (const topic of ['a', 'b']) {
    const refused = await refusals(own, 'OOM')
    const code = codeOf(async () => await node.publish(topic, 'x', { dedupe: 'k' }))
    await until('two refusals', async () => await refusals(own, 'OOM') > refused + 1)
    pass(PATIENT_MS)
    t.equal(await code, UNAVAILABLE)
  }
  t.same(await keysOf(own, prefix), before, 'Redis holds what it held')
  t.same(node.heard('a'), ['before'], 'nothing was announced')
  t.type(await node.adapter.subscribe('c', true), 'string', 'listening goes on')
  await own.ask(async (redis) => await redis.config('SET', 'maxmemory', '0'))
  await node.publish('a', 'after', { dedupe: 'k' })
  t.same(await node.history('a'), ['before', 'after'])
})

t.test('a server that turned into a replica, and back', async (t) => {
  const own = await RedisServer.start(t)
  const node = await startNode(t, { url: own.url, publishTimeout: PATIENT_MS })
  await node.publish('a', '1')
  await own.ask(async (redis) => await redis.replicaof('127.0.0.1', await freePort()))
  const waits = node.publish('a', '2')
  await until('a refusal', async () => await refusals(own, 'READONLY') > 0)
  await own.ask(async (redis) => await redis.replicaof('NO', 'ONE'))
  await waits
  t.same(await node.history('a'), ['1', '2'])
})

t.test('scripts that Redis has forgotten', async (t) => {
  const node = await startNode(t, { url: server.url, prefix: fresh() })
  for (const text of ['1', '2', '3']) {
    await server.ask(async (redis) => await redis.script('FLUSH'))
    await node.publish('a', text)
  }
  t.same(await node.history('a'), ['1', '2', '3'])
})

t.test('connections that Redis closes: no client notices', async (t) => {
  const own = await RedisServer.start(t)
  const nodes = await Promise.all([startApp(t, { url: own.url }), startApp(t, { url: own.url })])
  const clients = await Promise.all(nodes.map(async ({ app }) => await connectStream(app, '/log/1', { t })))
  const publishing: Array<Promise<unknown>> = []
  const all: number[] = []
  for (let round = 0; round < 4; round++) {
    await own.ask(async (redis) => await redis.call('client', 'kill', 'type', round % 2 === 0 ? 'pubsub' : 'normal'))
    for (let i = 0; i < 25; i++) publishing.push(nodes[0].app.realtime.publish('log/1', 'e', all.push(all.length) - 1))
    await publishing.at(-1)
  }
  await Promise.all(publishing)
  for (const client of clients) {
    while (dataOf(client).length < all.length) await client.next('e')
    t.same(dataOf(client), all)
    t.notOk(client.events.some(({ event }) => event === 'realtime:reset'))
  }
})

async function lateAnswer (t: Test): Promise<{ node: Node, proxy: FaultProxy, prefix: string }> {
  const prefix = fresh()
  const proxy = await FaultProxy.start(t, server.port)
  return { node: await startNode(t, { url: proxy.url, prefix, publishTimeout: PATIENT_MS }), proxy, prefix }
}

t.test('a batch that is sent again, since its answer was lost, is applied once', async (t) => {
  const { node, proxy, prefix } = await lateAnswer(t)
  await node.adapter.subscribe('a', true)
  // Redis knows the script from here on: it would ask for it, and be held as well.
  await node.publish('b', '0')
  proxy.hold('down')
  const published = Promise.all([node.publish('a', '1'), node.publish('a', '2')])
  await until('the batch in Redis', async () => await server.ask(async (redis) => await redis.xlen(`${prefix}{a}:log`)) === 2)
  proxy.cut()
  t.equal(new Set(await published).size, 2)
  t.same(await node.history('a'), ['1', '2'])
})

t.test('marks are asked for again where the connection is lost meanwhile', async (t) => {
  const { node, proxy } = await lateAnswer(t)
  const marks = marksOf(node.adapter) as Marks
  await marks.mark('lost', 'ada', Date.now(), 60_000, 10)
  proxy.hold('up')
  const asked = marks.marks('lost')
  await until('the question', () => proxy.holds('lost'))
  proxy.cut()
  t.same([...(await asked).keys()], ['ada'])
})

t.test('an attempt that was given up, and arrives late, does not overtake', async (t) => {
  const pass = hasten(t)
  const { node, proxy } = await lateAnswer(t)
  await node.publish('a', '1')
  proxy.hold('up')
  const code = codeOf(async () => await node.publish('a', 'late'))
  await until('the attempt', () => proxy.holds('"late"'))
  pass(PATIENT_MS)
  t.equal(await code, UNAVAILABLE)
  proxy.cut()
  await node.publish('a', '2')
  const before = await server.ask(async (redis) => await redis.info('commandstats'))
  proxy.release()
  const evals = (info: string): string | undefined => /cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1]
  await until('the late attempt', async () => evals(await server.ask(async (redis) => await redis.info('commandstats'))) !== evals(before))
  t.same(await node.history('a'), ['1', '2'])
})

/** A master with a replica; two nodes with a listener each; the second node is deaf when the last event is published. */
async function forked (t: Test) {
  const soon = ['--repl-diskless-sync-delay', '0']
  const [master, replica] = [await RedisServer.start(t, soon), await RedisServer.start(t, soon)]
  await replica.ask(async (redis) => await redis.replicaof('127.0.0.1', master.port))
  await until('the replica', async () => await replica.ask(async (redis) => (await redis.info('replication')).includes('master_link_status:up')))
  const proxies = [await FaultProxy.start(t, master.port), await FaultProxy.start(t, master.port)] as const
  const [one, two] = [await startApp(t, { url: proxies[0].url }), await startApp(t, { url: proxies[1].url })]
  const [heard, deaf] = [await connectStream(one.app, '/log/1', { t }), await connectStream(two.app, '/log/1', { t })]
  const { id } = await one.app.realtime.publish('log/1', 'e', 'kept')
  await Promise.all([heard.next('e'), deaf.next('e')])
  await until('the replica to have it', async () => await replica.ask(async (redis) => (await redis.get('realtime:{log/1}:head'))?.startsWith(id as string)))
  await replica.ask(async (redis) => await redis.replicaof('NO', 'ONE'))
  proxies[1].freeze()
  await one.app.realtime.publish('log/1', 'e', 'lost')
  t.equal((await heard.next('e')).data, 'lost')
  const failOver = (proxy: FaultProxy): void => {
    proxy.target = replica.port
    proxy.cut()
  }
  return { one, two, heard, deaf, proxies, failOver }
}

t.test('a failover that lost an acknowledged event: its publisher notices, where no event follows', async (t) => {
  const { two, heard, deaf, proxies, failOver } = await forked(t)
  for (const proxy of proxies) failOver(proxy)
  for (const client of [heard, deaf]) t.match((await client.next('realtime:reset')).data, { topic: 'log/1', reason: 'lost' })
  await two.app.realtime.publish('log/1', 'e', 'after')
  for (const client of [heard, deaf]) t.equal((await client.next('e')).data, 'after')
  t.equal(heard.events.filter(({ event }) => event === 'realtime:reset').length, 1, 'once')
})

t.test('a failover that lost an acknowledged event: whoever had it notices at the next event', async (t) => {
  const { two, heard, deaf, proxies, failOver } = await forked(t)
  failOver(proxies[1])
  await two.app.realtime.publish('log/1', 'e', 'after')
  t.equal((await deaf.next('e')).data, 'after')
  // Its publisher comes last: the others had gone on.
  failOver(proxies[0])
  t.match((await heard.next('realtime:reset')).data, { reason: 'lost' })
  t.match((await deaf.next('realtime:reset')).data, { reason: 'lost' }, 'and who had not had it is told too')
})

t.test('FLUSHALL: a reset, and on it goes', async (t) => {
  const own = await RedisServer.start(t)
  const { app } = await startApp(t, { url: own.url })
  const client = await connectStream(app, '/log/1', { t })
  for (const n of [1, 2]) {
    await app.realtime.publish('log/1', 'e', n)
    t.equal((await client.next('e')).data, n)
    await own.ask(async (redis) => await redis.flushall())
    await app.realtime.publish('log/1', 'e', 'first of another log')
    t.match((await client.next('realtime:reset')).data, { reason: 'lost' })
  }
})

t.test('the clock is set back: ids do not go below the head', async (t) => {
  const prefix = fresh()
  const node = await startNode(t, { url: server.url, prefix })
  await node.adapter.subscribe('a', true)
  const first = await node.publish('a', '1')
  const ahead = `${Date.now() + 3_600_000}-7`
  await server.ask(async (redis) => {
    await redis.xadd(`${prefix}{a}:log`, ahead, 'n', 'n', 'p', first, 'c', '3', 'e', 'j 1 -\ne"2"')
    await redis.set(`${prefix}{a}:head`, `${ahead}.n 6 0`)
  })
  const id = await node.publish('a', '3')
  t.match(id, `${ahead.slice(0, -1)}8.`)
  t.same(await node.history('a'), ['1', '2', '3'])
  const page = await node.adapter.read('a', first, { count: 10, bytes: 1000 })
  t.match(page, { linked: true, head: id, events: [{ prev: first }, { prev: `${ahead}.n` }] })
})

t.test('a topic quiet for longer than its history is not taken for a lost one', async (t) => {
  const node = await startNode(t, { url: server.url, prefix: fresh() })
  const id = await node.publish('a', '1', { retention: { ...RETENTION, maxAge: 50 } })
  await until('its history to go', async () => (await node.history('a')).length === 0)
  t.match(await node.adapter.read('a', id, { count: 10, bytes: 1000 }), { linked: true, head: id, events: [] })
})

t.test('a node receives only what it has listeners for', async (t) => {
  const own = await RedisServer.start(t)
  const [one, two] = [await startNode(t, { url: own.url }), await startNode(t, { url: own.url })]
  const channels = async (): Promise<unknown[]> => (await own.ask(async (redis) => await redis.pubsub('CHANNELS'))).sort()
  await one.adapter.subscribe('a', true)
  await two.adapter.subscribe('b', true)
  t.same(await channels(), ['realtime:{a}', 'realtime:{b}'])
  await two.publish('b', '1')
  await two.publish('a', '2')
  await until('both', () => one.events.length + two.events.length === 2)
  t.same([one.heard('a'), one.heard('b'), two.heard('a'), two.heard('b')], [['2'], [], [], ['1']])
  one.adapter.unsubscribe('a')
  await until('the channel to be left', async () => (await channels()).length === 1)
  one.adapter.unsubscribe('b')
  two.adapter.unsubscribe('b')
  t.type(await two.adapter.subscribe('b', true), 'string', 'left and joined again in one turn')
  await one.publish('b', '3')
  await until('the event', () => two.heard('b').length === 2)
})

t.test('WAIT: an event that no replica has is not acknowledged', async (t) => {
  const own = await RedisServer.start(t)
  const node = await startNode(t, { url: own.url, publishTimeout: 300, wait: { replicas: 1, timeout: 50 } })
  t.equal(await codeOf(async () => await node.publish('a', '1')), UNAVAILABLE)
  t.same(await node.history('a'), ['1'], 'it was tried several times, and applied once')
})

t.test('a slot that moves while its topic is published to: nothing is lost, and nobody is told anything', async (t) => {
  const cluster = await RedisCluster.start(t)
  const nodes = await Promise.all([0, 1].map(async () => await startApp(t, { cluster: { nodes: cluster.nodes }, publishTimeout: 10_000 })))
  const [one, two] = nodes as [typeof nodes[0], typeof nodes[0]]
  const client = await connectStream(two.app, '/log/1', { t, timeout: 15_000 })
  const slot = slotOf('realtime:{log/1}')
  const from = await cluster.ownerOf(slot)
  const to = cluster.masters.find((master) => master !== from) as RedisServer
  const all: number[] = []
  const publishing: Array<Promise<unknown>> = []
  const timer = setInterval(() => { publishing.push(one.app.realtime.publish('log/1', 'e', all.push(all.length) - 1)) }, 5)
  t.teardown(() => clearInterval(timer))
  await cluster.migrate(slot, from, to, 200)
  await cluster.migrate(slot, to, from, 200)
  clearInterval(timer)
  await Promise.all(publishing)
  while (dataOf(client).length < all.length) await client.next('e')
  t.same(dataOf(client), all)
  t.notOk(client.events.some(({ event }) => event === 'realtime:reset'))
})

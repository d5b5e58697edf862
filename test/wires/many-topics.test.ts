/** Hundreds of topics on one connection: as many as `maxTopics` says on a channel, as many as one cursor names on a stream. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Connection } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, calls, codeOf, live, refusalOf } from '../helpers/app.ts'
import realtime from '../../lib/index.ts'

/** Long enough that a thousand cursors are more than a message may be. */
const idOf = (n: number): string => `${'"'.repeat(60)}${n}`
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

function declare (app: FastifyInstance) {
  const many = app.topic('many/:id', { authorize: 'anyone' })
  const quick = app.topic('quick/:id', { history: false, authorize: 'anyone' })
  const wanted = ({ query }: { query: unknown }) => {
    const { many: durable = 0, quick: ephemeral = 0 } = query as { many?: number, quick?: number }
    return [...numbers(Number(durable)).map((n) => many.at({ id: idOf(n) })), ...numbers(Number(ephemeral)).map((n) => quick.at({ id: idOf(n) }))]
  }
  return { many, quick, wanted }
}

t.test('a channel carries a thousand topics, and resumes every one of them from an open of a thousand cursors', async (t) => {
  const app = await live(t, { maxTopics: 1000, limits: { messageBytes: 10_000 } })
  const { many, wanted } = declare(app)
  app.channel('/', { topics: wanted, messages: { say: { handler: () => {} } } })
  const client = await connectChannel(app, '/?many=1000', { t, format: 'envelope', timeout: 60_000 })
  for (const n of numbers(1000)) t.equal((await client.next('realtime:subscribed')).topic, many.name({ id: idOf(n) }))
  await client.drop()
  for (const n of numbers(1000)) await many.publish({ id: idOf(n) }, 'said', n)
  t.equal(Object.keys(client.cursors).length, 1000)
  t.ok(JSON.stringify(client.cursors).length > 100_000, 'the open is larger than another message may be')
  await client.open()
  const heard = new Set<unknown>()
  while (heard.size < 1000) heard.add((await client.next('said')).data)
  t.same([...heard].sort((a, b) => Number(a) - Number(b)), numbers(1000))
  for (const n of numbers(1000)) {
    const { data } = await client.next('realtime:subscribed')
    if ((data as { recovered?: boolean }).recovered !== true) t.fail(`topic ${n} was not recovered`)
  }
  client.send('say', { text: 'x'.repeat(10_000) })
  t.equal((await client.ended).code, 1009, 'and no other message may be')
})

t.test('a channel\'s client joins as many as maxTopics at run time, and no more', async (t) => {
  const app = await live(t, { maxTopics: 200, limits: { burst: 10_000 } })
  const { many } = declare(app)
  app.channel('/', { subscribe: many })
  const client = await connectChannel(app, '/', { t, format: 'envelope' })
  await client.next('realtime:open')
  for (const n of numbers(200)) {
    client.sendRaw(JSON.stringify({ op: 'subscribe', topic: many.name({ id: idOf(n) }) }))
    await client.next('realtime:subscribed')
  }
  client.sendRaw(JSON.stringify({ op: 'subscribe', topic: many.name({ id: idOf(200) }) }))
  t.match((await client.next('realtime:error')).data, { code: 'TOO_MANY_TOPICS' })
  await many.publish({ id: idOf(199) }, 'said', 'to the last')
  t.equal((await client.next('said')).data, 'to the last')
})

t.test('an open names at most maxTopics cursors, or 64', async (t) => {
  for (const [maxTopics, most] of [[3, 64], [100, 100]] as const) {
    const app = await live(t, { maxTopics })
    const { wanted } = declare(app)
    app.channel('/', { topics: wanted })
    const cursors = (count: number) => Object.fromEntries(numbers(count).map((n) => [`many/${n}`, '1-0.x']))
    await (await connectChannel(app, '/?many=1', { t, format: 'envelope', cursors: cursors(most) })).next('realtime:open')
    const client = await connectChannel(app, '/?many=1', { t, format: 'envelope', cursors: cursors(most + 1) })
    t.match((await client.next('realtime:error')).data, { code: 'INVALID_FRAME', message: `more than ${most} cursors` })
  }
})

t.test('a stream carries 128 topics with history, and resumes every one of them', async (t) => {
  const app = await live(t, { maxTopics: 1000 })
  const { many, quick, wanted } = declare(app)
  const connections = calls<Connection>()
  app.stream('/', { topics: wanted, onConnect: connections.note })
  const client = await connectStream(app, '/?many=128&quick=200', { t, timeout: 60_000 })
  await client.next('realtime:open')
  await many.publish({ id: idOf(0) }, 'said', 'first')
  await client.next('said')
  t.ok(String(client.lastEventId).length <= 4096)
  await client.drop()
  for (const n of numbers(128)) await many.publish({ id: idOf(n) }, 'said', n)
  await client.open()
  const heard = new Set<unknown>()
  while (heard.size < 128) heard.add((await client.next('said')).data)
  t.same([...heard].sort((a, b) => Number(a) - Number(b)), numbers(128))
  t.notOk(client.events.some(({ event }) => event === 'realtime:reset'))
  await quick.publish({ id: idOf(199) }, 'said', 'quick')
  t.equal((await client.next('said')).data, 'quick')

  const [, connection] = await connections.reach(2) as [Connection, Connection]
  const refused = { code: 'FST_ERR_REALTIME_TOO_MANY_TOPICS', statusCode: 400, message: /129 .*the 128 with history.*channel/ }
  await t.rejects(connection.subscribe(many.at({ id: 'one more' })), refused)
  await connection.subscribe(quick.at({ id: 'one more' }))
  connection.unsubscribe(many.at({ id: idOf(5) }))
  await connection.subscribe(many.at({ id: 'one more' }))
  t.match(await refusalOf(connectStream(app, '/?many=129', { t })), { statusCode: 400, body: { code: refused.code, message: refused.message } })
  t.match(await refusalOf(connectStream(app, '/?quick=1001', { t })), { statusCode: 400, body: { message: /1001 .*maxTopics \(1000\)/ } })
})

t.test('where the topics are declared, too many of them are found before the app is ready', async (t) => {
  const ready = async (kind: 'stream' | 'channel', durable: number, ephemeral: number): Promise<string> => {
    const app = bare(t)
    await app.register(realtime, { maxTopics: 300 })
    const { many } = declare(app)
    const topics = [...numbers(durable).map((n) => many.at({ id: idOf(n) })), ...numbers(ephemeral).map((n) => `quick/${n}`)]
    if (kind === 'stream') app.stream('/', { topics })
    else app.channel('/', { topics })
    return await codeOf(() => app.ready())
  }
  t.equal(await ready('stream', 128, 172), 'no error')
  t.equal(await ready('stream', 129, 0), 'FST_ERR_REALTIME_TOO_MANY_TOPICS')
  t.equal(await ready('stream', 0, 301), 'FST_ERR_REALTIME_TOO_MANY_TOPICS')
  t.equal(await ready('channel', 300, 0), 'no error')
  t.equal(await ready('channel', 300, 1), 'FST_ERR_REALTIME_TOO_MANY_TOPICS')
})

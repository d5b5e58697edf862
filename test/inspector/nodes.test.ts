/** The inspector on several nodes that share Redis: what each sees of the others, and what strangers can do. */
import t, { type Test } from 'tap'
import Fastify from 'fastify'
import realtime, { type RealtimeOptions } from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import inspector, { type InspectorOptions } from '../../lib/inspector/index.ts'
import { connectStream } from '../../lib/testing/index.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { openInspector } from '../helpers/inspector.ts'

const server = await RedisServer.start(t)

async function nodeOf (t: Test, options: InspectorOptions = {}, plugin: RealtimeOptions = {}) {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(realtime, {
    adapter: redis({ url: server.url, prefix: `${t.name.replace(/\W/g, '').slice(0, 30)}:` }),
    closeTimeout: 500,
    identify: (request) => request.headers.user ? { id: String(request.headers.user) } : null,
    ...plugin
  })
  await app.register(inspector, options)
  const room = app.topic('rooms/:room', { authorize: () => true })
  app.stream('/rooms/:room', { topics: room })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, room }
}

t.test('one node sees the clients of all, and acts on those of another', async (t) => {
  const [one, other] = [await nodeOf(t), await nodeOf(t)]
  const stream = await connectStream(other.app, '/rooms/1', { t, headers: { user: 'far' } })
  await connectStream(one.app, '/rooms/1', { t, headers: { user: 'near' } })
  const { ask } = await openInspector(t, one.app)
  const { nodes, silent } = await ask('overview')
  t.equal(nodes.length, 2)
  t.same(silent, [])
  t.match(nodes.map(({ connections }: { connections: object }) => connections), [{ sse: 1, process: 0 }, { sse: 1, process: 0 }])
  t.match((await ask('topics')).rows.map(({ name, listeners }: Record<string, unknown>) => [name, listeners]), [['rooms/1', 1], ['rooms/1', 1]])
  const { rows: [row] } = await ask('connections', { find: 'far' })
  t.match(row, { identity: 'far', url: '/rooms/1' })
  t.equal(await ask('act', { act: 'stall', node: row.node, connection: row.id }), true)
  await one.room.publish({ room: '1' }, 'n', 1)
  await until('it to wait', async () => (await ask('connections', { find: 'far' })).rows[0].buffered > 0)
  t.equal(await ask('act', { act: 'release', node: row.node, connection: row.id }), true)
  t.match(await stream.next('n'), { data: 1 })
  t.equal(await ask('act', { act: 'drop', node: row.node, connection: row.id }), true)
  await stream.ended
  await one.room.publish({ room: '1' }, 'n', 2)
  await stream.resume()
  t.match(await stream.next('n'), { data: 2 })
})

t.test('a node that does not answer is told to be silent, and the others are shown', async (t) => {
  const [one, other] = [await nodeOf(t, { answerTimeout: 300 }), await nodeOf(t)]
  const { ask } = await openInspector(t, one.app)
  let names: string[] = []
  await until('both to answer in time', async () => {
    names = (await ask('overview')).nodes.map(({ node }: { node: string }) => node)
    return names.length === 2
  })
  await other.app.close()
  const { nodes: left, silent } = await ask('overview')
  t.same([left.length, silent], [1, [names[1]]])
})

t.test('while Redis is away the node shows itself, and that the adapter is down', async (t) => {
  const away = await RedisServer.start(t)
  const { app } = await nodeOf(t, { answerTimeout: 200 }, { adapter: redis(away.url) })
  const { ask } = await openInspector(t, app)
  await ask('overview')
  await away.kill()
  await until('the adapter to be down', async () => (await ask('overview')).nodes[0].adapter.state === 'down')
})

t.test('an answer that would not fit into one event is cut, and says so', async (t) => {
  const small = { maxEventBytes: 2048 }
  const [one, other] = [await nodeOf(t, {}, small), await nodeOf(t, {}, small)]
  for (let i = 0; i < 12; i++) await connectStream(other.app, `/rooms/${'x'.repeat(90)}${i}`, { t })
  const { ask } = await openInspector(t, one.app)
  const { rows, cut, silent } = await ask('connections', { find: 'xxx' })
  t.ok(cut && rows.length > 0 && rows.length < 12, `${rows.length} rows`)
  t.same(silent, [])
  t.equal((await ask('connections', { find: 'x11' })).rows.length, 1, 'a search finds the others')
})

t.test('what a stranger writes to Redis makes no node up beyond the bound, and ends nothing', async (t) => {
  const [one, other] = [await nodeOf(t, { maxNodes: 3 }), await nodeOf(t)]
  const { ask } = await openInspector(t, one.app)
  const { nodes: [{ node: here }] } = await ask('overview')
  // The stranger hears the questions, as whoever may read Redis can, and answers them in many names, with anything.
  const questions = other.app.realtime.subscribe('realtime-inspector/asks')
  await questions.ready
  const answers = `realtime-inspector/answers/${here}`
  const HOSTILE = [null, 1, 'x', [], {}, { ask: 1 }, { ask: 'x'.repeat(1000), node: 'n' }]
  const stranger = (async () => {
    for await (const { data } of questions) {
      const { ask } = (data ?? {}) as { ask: string }
      for (const value of HOSTILE) await other.app.realtime.publish(answers, 'answer', value)
      for (let i = 0; i < 20; i++) await other.app.realtime.publish(answers, 'answer', { ask, node: `made-up-${i}`, said: i % 2 ? null : { rows: 'x' } })
    }
  })()
  for (const value of HOSTILE) await other.app.realtime.publish('realtime-inspector/asks', 'ask', value)
  t.ok((await ask('overview')).nodes.length <= 3)
  t.ok((await ask('connections')).rows.length >= 1, 'this node is shown whatever they say')
  await questions.return()
  await stranger
  await connectStream(other.app, '/rooms/1', { t, headers: { user: 'far' } })
  t.equal((await ask('connections', { find: 'far' })).rows.length, 1, 'and all goes on')
})

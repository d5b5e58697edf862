/** A topic that was taken or left is joined again by nobody, on whatever way into it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Connection } from '../../lib/index.ts'
import { connectStream } from '../../lib/testing/index.ts'
import { openEnvelope, type Channel } from '../conformance/clients.ts'
import { gate, listen, live, talkTo } from '../helpers/app.ts'

// --- topics that were taken ----------------------------------------------------------------

t.test('a topic that was taken is joined again by nobody: not by the client, not by the app, not where it is the route\'s own', async (t) => {
  const app = await live(t, { identify: (request) => ({ id: String((request.query as { as?: string }).as) }) })
  const [own, other] = [app.topic('own/:id', { authorize: () => true }), app.topic('other/:id', { authorize: 'anyone' })]
  const plain = app.topic('plain/:id')
  app.channel('/:id', {
    topics: own,
    subscribe: other,
    messages: { join: { handler: async (data, { connection }) => await connection.subscribe((data as { topic: string }).topic).then(() => 'in', ({ code }: { code: string }) => code) } }
  })
  await listen(app)
  const asked = async (client: Channel, topic: string): Promise<unknown> => {
    client.send({ op: 'subscribe', topic, ref: topic })
    const { op, code } = await client.next({ ref: topic })
    return code ?? op
  }
  const give = async (client: Channel, topic: string): Promise<unknown> => {
    client.send({ event: 'join', data: { topic }, ref: topic })
    return (await client.next({ op: 'reply', ref: topic })).data
  }
  const come = async (name: string): Promise<Channel> => {
    const client = await openEnvelope(t, app, `/1?as=${name}`)
    await client.next({ op: 'subscribed' })
    return client
  }
  const [eve, ann] = [await come('eve'), await come('ann')]
  t.equal(await asked(eve, 'other/1'), 'subscribed')
  for (const topic of ['own/1', 'other/1']) {
    await app.realtime.revoke({ identity: 'eve' }, topic)
    await eve.next({ op: 'unsubscribed', topic })
  }
  // Some that it was not in: an order is about a person, not about where the person is now.
  await app.realtime.revoke({ identity: 'eve' }, other.at({ id: '2' }))
  await app.realtime.revoke({ identity: 'eve' }, plain.at({ id: '1' }))
  for (const topic of ['own/1', 'other/1', 'other/2']) t.equal(await asked(eve, topic), 'FORBIDDEN', topic)
  for (const topic of ['own/1', 'other/1', 'other/2', 'plain/1']) t.equal(await give(eve, topic), 'FST_ERR_REALTIME_FORBIDDEN', topic)
  t.same(app.realtime.connections().find(({ identity }) => identity.id === 'eve')?.topics, [])
  for (const topic of ['other/1', 'other/2']) t.equal(await asked(ann, topic), 'subscribed')
  t.equal(await give(ann, 'plain/1'), 'in')
  t.equal(await asked(eve, 'other/3'), 'subscribed', 'others are not concerned')
  await eve.leave()
  const back = await come('eve')
  t.equal(await asked(back, 'other/1'), 'subscribed', 'who comes back is judged anew')
})

t.test('a topic that is left or taken while the client is being let into it is not joined, whoever joins it', async (t) => {
  const held: Array<() => void> = []
  const app = await live(t, { identify: () => ({ id: 'eve' }) })
  const slow = app.topic('slow/:id', { authorize: async () => { await new Promise<void>((resolve) => held.push(resolve)); return true } })
  app.topic('lobby')
  app.channel('/', {
    topics: 'lobby',
    subscribe: slow,
    messages: { join: { handler: async (data, { connection }) => await connection.subscribe((data as { topic: string }).topic).then(() => connection.topics, ({ code }: { code: string }) => code) } }
  })
  await listen(app)
  const client = await openEnvelope(t, app, '/')
  await client.next({ op: 'subscribed' })
  const [connection] = app.realtime.connections() as [Connection]
  const asked = async (): Promise<() => void> => {
    while (held.length === 0) await new Promise(setImmediate)
    return held.shift() as () => void
  }
  // [who joins, what happens meanwhile, the answer]
  const cases: Array<['client' | 'app', (topic: string) => unknown, unknown]> = [
    ['client', (topic) => connection.unsubscribe(topic), 'FORBIDDEN'],
    ['app', (topic) => connection.unsubscribe(topic), ['lobby']],
    ['client', async (topic) => await app.realtime.revoke({ identity: 'eve' }, topic), 'FORBIDDEN'],
    ['app', async (topic) => await app.realtime.revoke({ identity: 'eve' }, topic), 'FST_ERR_REALTIME_FORBIDDEN'],
    ['client', async (topic) => await app.realtime.revoke({ topic }, topic), 'FORBIDDEN'],
    ['app', async (topic) => await app.realtime.revoke({ topic, connection: connection.id }, topic), 'FST_ERR_REALTIME_FORBIDDEN'],
    ['client', async (topic) => await app.realtime.revoke({ topic: 'slow/nobody' }, topic), 'subscribed'],
    ['client', async (topic) => await app.realtime.revoke({ identity: 'ann' }, topic), 'subscribed']
  ]
  for (const [n, [who, meanwhile, answer]] of cases.entries()) {
    const topic = `slow/${n}`
    if (who === 'client') client.send({ op: 'subscribe', topic, ref: n })
    else client.send({ event: 'join', data: { topic }, ref: n })
    const letIn = await asked()
    await meanwhile(topic)
    letIn()
    const { op, code, data } = await client.next({ ref: n })
    t.same(data ?? code ?? op, answer, `${n}`)
    t.equal(app.realtime.countLocal(topic), answer === 'subscribed' ? 1 : 0)
    if (answer === 'subscribed') connection.unsubscribe(topic)
  }
  client.send({ op: 'subscribe', topic: 'slow/0', ref: 'again' })
  ;(await asked())()
  await client.next({ op: 'subscribed', ref: 'again' })
  client.send({ op: 'subscribe', topic: 'slow/ended' })
  const letIn = await asked()
  await app.realtime.disconnect({ topic: 'slow/ended' }, { code: 4001 })
  letIn()
  t.equal((await client.ended).code, 4001, 'who is about to listen to a topic is one of its listeners')
})

t.test('a topic of its own that the app leaves before the client has begun is not begun with', async (t) => {
  const opened = gate()
  const app = await live(t)
  app.topic('rooms/:id')
  app.stream('/', { topics: ['rooms/1', 'rooms/2'], onSend: async (_request: FastifyRequest, _reply: FastifyReply, payload: unknown) => { await opened.passed; return payload } })
  const connecting = connectStream(app, '/', { t })
  while (app.realtime.connections().length === 0) await new Promise(setImmediate)
  const [connection] = app.realtime.connections() as [Connection]
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
  connection.unsubscribe('rooms/1')
  await connection.subscribe('rooms/2')
  opened.open()
  await connecting
  while (connection.topics.length === 0) await new Promise(setImmediate)
  t.same(connection.topics, ['rooms/2'])
  await connection.subscribe('rooms/1')
  t.same(connection.topics, ['rooms/2', 'rooms/1'], 'left is not taken')
})

t.test('more was taken from one connection than is kept: it is to come back', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'eve' }) })
  app.topic('rooms/:id')
  app.channel('/', { topics: 'rooms/own' })
  const client = await talkTo(app, '/', { t })
  for (let n = 0; n < 1000; n++) await app.realtime.revoke({ identity: 'eve' }, `rooms/${n}`)
  t.equal(app.realtime.connections().length, 1)
  await app.realtime.revoke({ identity: 'eve' }, 'rooms/one-more')
  t.match((await client.next('realtime:bye')).data, { code: 1013, reconnect: true })
  t.equal((await client.ended).code, 1013)
})

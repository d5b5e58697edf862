/** What a handler is told of a message besides its data: the topic that the client means, and its key. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { listenFlat, openEnvelope, serve, type Channel, type Json } from '../../conformance/clients.ts'

async function start (t: Parameters<typeof serve>[0], heard: Json[] = []): Promise<FastifyInstance> {
  return await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    app.topic('halls/:id', { authorize: 'anyone' })
    const note = (_data: unknown, { topic, key }: { topic: string | undefined, key: string | undefined }): Json => {
      heard.push({ topic, key })
      return { topic: topic ?? null, key: key ?? null }
    }
    app.channel('/rooms/:id', {
      topics: 'rooms/:id',
      subscribe: [app.topic('open/:id', { authorize: () => true })],
      messages: { note: { handler: note }, fixed: { relay: { topic: 'rooms/:id', data: note } } },
      binary: (_bytes, context) => { note(undefined, context) }
    })
  })
}

async function ask (client: Channel, frame: Json): Promise<unknown> {
  client.send({ event: 'note', ref: 1, ...frame })
  const answer = await client.next()
  return answer.op === 'reply' ? answer.data : answer.code
}

t.test('a handler is told which of its topics the client means, and nothing of one that it has not joined', async (t) => {
  const heard: Json[] = []
  const client = await openEnvelope(t, await start(t, heard), '/rooms/1')
  await client.next({ op: 'subscribed' })
  t.same(await ask(client, {}), { topic: null, key: null })
  t.same(await ask(client, { topic: 'rooms/1' }), { topic: 'rooms/1', key: null })
  t.equal(await ask(client, { topic: 'open/7' }), 'UNKNOWN_TOPIC', 'not yet')
  client.send({ op: 'subscribe', topic: 'open/7' })
  await client.next({ op: 'subscribed' })
  t.same(await ask(client, { topic: 'open/7' }), { topic: 'open/7', key: null })
  t.same(await ask(client, { topic: 'open/%37' }), { topic: 'open/7', key: null }, 'by its full name')
  for (const topic of ['rooms/2', 'halls/1', 'none', '', 5, null, {}]) {
    t.equal(await ask(client, { topic }), 'UNKNOWN_TOPIC', JSON.stringify(topic))
  }
  client.send({ op: 'unsubscribe', topic: 'open/7' })
  await client.next({ op: 'unsubscribed' })
  t.equal(await ask(client, { topic: 'open/7' }), 'UNKNOWN_TOPIC', 'left')
  t.equal(heard.length, 4, 'the handler has run for no other')
})

t.test('the key of a message is given to its handler, to publish under once', async (t) => {
  const client = await openEnvelope(t, await start(t), '/rooms/1')
  await client.next({ op: 'subscribed' })
  for (const key of ['a', 'x'.repeat(128), 'ключ', '0']) t.same(await ask(client, { key }), { topic: null, key })
  for (const key of ['', 'x'.repeat(129), 5, null, {}, 'a\nb', '\ud800']) {
    t.equal(await ask(client, { key }), 'INVALID_FRAME', JSON.stringify(key))
  }
})

t.test('what is sent twice under one key happens once', async (t) => {
  const app = await serve(t, {}, (app) => {
    const room = app.topic('rooms/:id')
    app.channel('/rooms/:id', {
      topics: room,
      messages: { say: { handler: (data, { params, key }) => room.publish(params, 'said', data, key === undefined ? {} : { dedupe: key }) } }
    })
  })
  const client = await openEnvelope(t, app, '/rooms/1')
  client.send({ event: 'say', data: { n: 1 }, key: 'k', ref: 1 })
  const first = await client.next({ op: 'reply' })
  client.send({ event: 'say', data: { n: 1 }, key: 'k', ref: 1 })
  t.same(await client.next({ op: 'reply' }), first)
  t.equal((await app.realtime.history('rooms/1')).events.length, 1)
})

t.test('a relay is told where it goes, and no key; a flat client and bytes say neither', async (t) => {
  const heard: Json[] = []
  const app = await start(t, heard)
  const client = await openEnvelope(t, app, '/rooms/1')
  const flat = await listenFlat(t, app, '/rooms/1')
  await client.next({ op: 'subscribed' })
  client.send({ event: 'fixed', data: {}, key: 'k' })
  await flat.next({ type: 'fixed' })
  client.send(Buffer.of(1))
  flat.send({ type: 'note', topic: 'rooms/9', key: '' })
  client.send({ event: 'note', ref: 1 })
  await client.next({ op: 'reply' })
  flat.send({ type: 'nothing' })
  await flat.next({ type: 'error' })
  t.same(heard.filter(({ topic }) => topic !== undefined), [{ topic: 'rooms/1', key: undefined }])
  t.equal(heard.length, 4)
  t.ok(heard.every(({ key }) => key === undefined))
})

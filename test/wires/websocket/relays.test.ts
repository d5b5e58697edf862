/** Relays: what a client may say to the others goes where its declaration says, and nowhere else. */
import createError from '@fastify/error'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { codeOf, live } from '../../helpers/app.ts'
import { connectionsOf, listenFlat, Log, openChannel, openEnvelope, serve, turn, type Channel, type Json } from '../../conformance/clients.ts'

/** One that has said `open`, and has been told of its topics. */
async function join (t: Test, app: FastifyInstance, path: string, topics = 1): Promise<Channel> {
  const channel = await openEnvelope(t, app, path)
  for (let n = 0; n < topics; n++) await channel.next({ op: 'subscribed' })
  return channel
}

// --- what goes out --------------------------------------------------------------------

t.test('relay: true sends the data as the client wrote it, checked by its schema, to the others, and nothing is kept', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    app.channel('/rooms/:id', {
      topics: 'rooms/:id',
      messages: {
        wave: { relay: true },
        typing: { schema: { type: 'object', required: ['text'], properties: { text: { type: 'string', maxLength: 3 } }, additionalProperties: false }, relay: true }
      }
    })
  })
  const [sender, flat] = [await join(t, app, '/rooms/1'), await listenFlat(t, app, '/rooms/1')]
  const [other, elsewhere] = [await join(t, app, '/rooms/1'), await join(t, app, '/rooms/2')]
  for (const data of [{ deep: [1, { type: 'x' }] }, null, 'text', 0]) {
    sender.send({ event: 'wave', data })
    t.same(await other.next(), { topic: 'rooms/1', event: 'wave', data }, 'without an id')
  }
  t.same([await flat.next(), await flat.next()], [{ type: 'wave', deep: [1, { type: 'x' }] }, { type: 'wave', data: null }])
  flat.inbox.drain()
  sender.send({ event: 'wave', ref: 1 })
  t.same(await sender.next(), { op: 'reply', ref: 1, data: null })
  t.same(await other.next(), { topic: 'rooms/1', event: 'wave', data: null })
  sender.send({ event: 'typing', data: { text: 'abcd' }, ref: 2 })
  t.match(await sender.next(), { op: 'error', ref: 2, code: 'INVALID_DATA' })
  sender.send({ event: 'typing', data: { text: 'abc', more: 'gone' } })
  t.same((await other.next()).data, { text: 'abc' })
  flat.send({ type: 'typing', text: 'me' })
  t.same((await other.next()).data, { text: 'me' })
  t.same(await sender.next(), { topic: 'rooms/1', event: 'typing', data: { text: 'me' } })
  t.same((await app.realtime.history('rooms/1')).events, [])
  await app.realtime.publish('rooms/2', 'sentinel', {})
  t.equal((await elsewhere.next()).event, 'sentinel', 'another room hears nothing of it')
})

t.test('relay: a function says what is sent in its place, or that nothing is', async (t) => {
  const app = await serve(t, { identify: (request) => ({ id: String(request.headers['x-user']) }) }, (app) => {
    app.decorate('shop', 'the shop')
    app.topic('rooms/:id')
    app.channel('/rooms/:id', {
      topics: 'rooms/:id',
      messages: {
        stamp: { relay (this: FastifyInstance, data, { connection, params }) { return { ...data as object, by: connection.identity.id, in: params.id, at: (this as unknown as Json).shop } } },
        later: { relay: async (data) => { await turn(); return (data as { say?: string }).say } },
        fail: { relay: () => { throw createError('NOT_HERE', 'not here', 400)() } }
      }
    })
  })
  const other = await join(t, app, '/rooms/7')
  const sender = await openChannel(t, app, '/rooms/7', { headers: { 'x-user': 'ann' } })
  sender.send({ type: 'stamp', by: 'somebody else', n: 1 })
  t.same((await other.next()).data, { by: 'ann', n: 1, in: '7', at: 'the shop' })
  sender.send({ type: 'later' })
  sender.send({ type: 'later', say: 'this' })
  t.same((await other.next()).data, 'this', 'undefined is nothing, and the order is kept')
  sender.send({ type: 'fail' })
  t.match(await sender.next(), { type: 'error', code: 'NOT_HERE' })
  sender.send({ type: 'stamp', n: 2 })
  t.match((await other.next()).data, { n: 2 })
})

// --- where it goes ---------------------------------------------------------------------

/** What a client says, and how it is answered: `reply`, or the error's code. */
async function say (client: Channel, event: string, data: unknown, topic?: unknown): Promise<unknown> {
  client.send({ event, data, topic, ref: 'r' })
  const { op, code } = await client.next({ ref: 'r' })
  return code ?? op
}

t.test('a relay goes where its declaration says; no client chooses a topic that it merely hears', async (t) => {
  const app = await serve(t, {}, (app) => {
    const news = app.topic('news', { events: { item: { type: 'object', properties: { n: { type: 'number' } } } } })
    const room = app.topic('rooms/:id')
    app.channel('/rooms/:id', { topics: [news, room, 'rooms/other'], messages: { item: { relay: { topic: room } }, fixed: { relay: { topic: room.at({ id: '1' }) } }, named: { relay: { topic: 'rooms/:id' } } } })
  })
  const [sender, other] = [await join(t, app, '/rooms/1', 3), await join(t, app, '/rooms/1', 3)]
  for (const event of ['item', 'fixed', 'named']) {
    for (const topic of [undefined, 'rooms/1', 'rooms/%31']) {
      t.equal(await say(sender, event, { n: 1 }, topic), 'reply', `${event} to ${topic}`)
      t.same(await other.next(), { topic: 'rooms/1', event, data: { n: 1 } })
    }
    for (const topic of ['news', 'rooms/other', 'rooms/2', 'nowhere', '', 'rooms/1/', '/rooms/1', 'rooms/1?x', '__proto__', 'realtime:control', 5, null, {}, ['rooms/1'], true]) {
      t.equal(await say(sender, event, { n: 2 }, topic), 'UNKNOWN_TOPIC', `${event} to ${JSON.stringify(topic)}`)
    }
  }
  t.equal(await say(sender, 'item', { n: 3 }), 'reply')
  t.same((await other.next()).data, { n: 3 }, 'nothing else has come')
  const [third, fourth] = [await join(t, app, '/rooms/2', 3), await join(t, app, '/rooms/2', 3)]
  t.equal(await say(third, 'fixed', {}), 'UNKNOWN_TOPIC', 'one that is not in the topic says nothing in it')
  t.equal(await say(third, 'item', { n: 4 }), 'reply')
  t.match(await fourth.next(), { topic: 'rooms/2', data: { n: 4 } })
})

t.test('who joins topics by `subscribe` says into which of them it speaks', async (t) => {
  const app = await serve(t, {}, (app) => {
    const room = app.topic('rooms/:id', { authorize: (_request, { params, action }) => action === 'subscribe' || params.id !== 'quiet' })
    const hall = app.topic('halls/:house/:id', { authorize: () => true })
    const news = app.topic('news/:id', { authorize: () => true })
    app.channel('/all', {
      subscribe: [room, hall, news],
      messages: {
        wave: { relay: { topic: room } },
        west: { relay: { topic: 'halls/west/:id' } },
        one: { relay: { topic: 'rooms/1' } },
        let: { handler: async (_data, { connection }) => await connection.subscribe('news/1') }
      }
    })
    app.channel('/rooms/:id', { topics: room, subscribe: [room, news], messages: { wave: { relay: true } } })
  })
  const [sender, other] = [await openEnvelope(t, app, '/all'), await openEnvelope(t, app, '/all')]
  const subscribe = async (client: Channel, ...topics: string[]): Promise<void> => {
    for (const topic of topics) client.send({ op: 'subscribe', topic, ref: topic })
    for (const topic of topics) await client.next({ op: 'subscribed', ref: topic })
  }
  await subscribe(sender, 'rooms/1', 'rooms/quiet', 'halls/west/1', 'halls/east/1', 'news/1')
  await subscribe(other, 'rooms/1', 'rooms/2', 'rooms/quiet', 'halls/west/1', 'halls/east/1', 'news/1')
  t.equal(await say(sender, 'wave', 1, 'rooms/1'), 'reply')
  t.match(await other.next(), { topic: 'rooms/1', event: 'wave', data: 1 })
  t.equal(await say(sender, 'west', 2, 'halls/west/1'), 'reply')
  t.match(await other.next(), { topic: 'halls/west/1', event: 'west', data: 2 })
  t.equal(await say(sender, 'one', 3), 'reply')
  t.match(await other.next(), { topic: 'rooms/1', event: 'one', data: 3 })
  const refused: Array<[string, unknown, string]> = [
    ['wave', undefined, 'UNKNOWN_TOPIC'], ['wave', 'rooms/2', 'UNKNOWN_TOPIC'], ['wave', 'rooms/quiet', 'FORBIDDEN'], ['wave', 'news/1', 'UNKNOWN_TOPIC'],
    ['wave', 'halls/west/1', 'UNKNOWN_TOPIC'], ['west', 'halls/east/1', 'UNKNOWN_TOPIC'], ['west', undefined, 'UNKNOWN_TOPIC'], ['one', 'rooms/quiet', 'UNKNOWN_TOPIC']
  ]
  for (const [event, topic, code] of refused) t.equal(await say(sender, event, 4, topic), code, `${event} to ${topic}`)
  sender.send({ op: 'unsubscribe', topic: 'rooms/1' })
  await sender.next({ op: 'unsubscribed' })
  t.equal(await say(sender, 'wave', 5, 'rooms/1'), 'UNKNOWN_TOPIC', 'who has left it cannot speak in it')
  t.equal(await say(sender, 'one', 5), 'UNKNOWN_TOPIC')

  const [own, beside] = [await join(t, app, '/rooms/8'), await join(t, app, '/rooms/8')]
  for (const client of [own, beside]) await subscribe(client, 'rooms/9', 'news/1')
  t.equal(await say(own, 'wave', 6), 'reply')
  t.match(await beside.next(), { topic: 'rooms/8', data: 6 })
  t.equal(await say(own, 'wave', 7, 'rooms/9'), 'reply')
  t.match(await beside.next(), { topic: 'rooms/9', data: 7 })
  t.equal(await say(own, 'wave', 8, 'news/1'), 'UNKNOWN_TOPIC')
  await app.realtime.publish('rooms/quiet', 'sentinel', {})
  t.equal((await other.next()).event, 'sentinel', 'nothing of what was refused has come')
})

t.test('a topic that was taken while authorize was asked is not spoken in', async (t) => {
  const asked: Array<(answer: boolean) => void> = []
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id', { authorize: (_request, { action }) => action === 'subscribe' || new Promise<boolean>((resolve) => { asked.push(resolve) }) })
    app.channel('/rooms/:id', { topics: 'rooms/:id', messages: { wave: { relay: true } } })
  })
  const [sender, other] = [await join(t, app, '/rooms/1'), await join(t, app, '/rooms/1')]
  const answer = say(sender, 'wave', 1)
  while (asked.length === 0) await turn()
  await app.realtime.revoke({ connection: connectionsOf(app)[0]?.id as string }, 'rooms/1')
  asked[0]?.(true)
  t.equal(await answer, 'UNKNOWN_TOPIC')
  await app.realtime.publish('rooms/1', 'sentinel', {})
  t.equal((await other.next()).event, 'sentinel')
})

t.test('`authorize` judges each relay, a topic without it leaves that to the declaration, and "anyone" is for subscribing alone', async (t) => {
  const log = new Log()
  const asked: unknown[] = []
  const answers: Record<string, unknown> = { true: true, undefined, 0: 0, object: { allow: 1 }, word: 'true' }
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id', {
      authorize: ((_request: unknown, { topic, params, action }: { topic: string, params: { id: string }, action: string }) => {
        if (action === 'publish') asked.push(topic)
        return action === 'subscribe' || answers[params.id]
      }) as never
    })
    app.topic('free/:id')
    app.topic('open/:id', { authorize: 'anyone' })
    for (const kind of ['rooms', 'free', 'open']) app.channel(`/${kind}/:id`, { topics: `${kind}/:id`, messages: { wave: { relay: true } } })
  }, log)
  for (const [id, answer] of Object.entries(answers)) {
    const [sender, other] = [await join(t, app, `/rooms/${id}`), await join(t, app, `/rooms/${id}`)]
    t.equal(await say(sender, 'wave', id), answer === true ? 'reply' : 'FORBIDDEN', id)
    await app.realtime.publish(`rooms/${id}`, 'sentinel', 0)
    t.equal((await other.next()).event, answer === true ? 'wave' : 'sentinel')
  }
  t.same(asked.sort(), Object.keys(answers).map((id) => `rooms/${id}`).sort())
  t.equal(await say(await join(t, app, '/free/1'), 'wave', 1), 'reply')
  t.equal(await say(await join(t, app, '/open/1'), 'wave', 1), 'FORBIDDEN')
  const flat = await openChannel(t, app, '/open/1')
  flat.send({ type: 'wave' })
  t.match(await flat.next(), { type: 'error', code: 'FORBIDDEN' })
  const warnings = log.lines.filter(({ level, msg }) => level === 40 && String(msg).includes('"anyone"'))
  t.match(warnings, [{ topic: 'open/:id', channel: '/open/:id', message: 'wave', msg: /every message is refused/ }], 'said when the app became ready')
})

t.test('a plain-JSON client relays to the channel\'s own topic; its `topic` is data', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    app.channel('/rooms/:id', { topics: ['rooms/:id', 'rooms/other'], messages: { wave: { relay: { topic: 'rooms/:id' } } } })
  })
  const [flat, other] = [await listenFlat(t, app, '/rooms/1'), await join(t, app, '/rooms/1', 2)]
  flat.send({ type: 'wave', topic: 'rooms/other' })
  t.same(await other.next(), { topic: 'rooms/1', event: 'wave', data: { topic: 'rooms/other' } })
})

// --- what is sent --------------------------------------------------------------------------

t.test('what is relayed fits the event of its topic, in production too, and is written by its schema', async (t) => {
  const app = await serve(t, { validate: false, maxEventBytes: 1000 }, (app) => {
    app.topic('rooms/:id', {
      events: {
        wave: { type: 'object', properties: { n: { type: 'number' }, by: { type: 'string' } }, required: ['n'] },
        stamped: { type: 'object', properties: { n: { type: 'number' }, by: { type: 'string' } }, required: ['n', 'by'] }
      }
    })
    app.topic('loose/:id')
    app.channel('/rooms/:id', {
      topics: 'rooms/:id',
      messages: { wave: { relay: true }, stamped: { relay: { topic: 'rooms/:id', data: async (data) => { await turn(); return (data as Json).skip ? undefined : { by: 'me', ...data as object } } } } }
    })
    app.channel('/loose/:id', { topics: 'loose/:id', messages: { big: { relay: true } } })
  })
  const [sender, other] = [await join(t, app, '/rooms/1'), await join(t, app, '/rooms/1')]
  for (const data of [{}, { n: 'one' }, { n: null }, null, undefined, 'n', 5, [], { n: {} }, { n: '1' }, { n: true }, { n: 1, by: 7 }]) t.equal(await say(sender, 'wave', data), 'INVALID_DATA', JSON.stringify(data))
  t.equal(await say(sender, 'stamped', {}), 'INVALID_DATA')
  t.equal(await say(sender, 'stamped', { n: 'one' }), 'INVALID_DATA')
  t.equal(await say(sender, 'stamped', { skip: true }), 'reply', 'nothing is sent, and nothing checked')
  t.equal(await say(sender, 'wave', { n: 1, secret: 'not declared' }), 'reply')
  t.equal(await say(sender, 'stamped', { n: 2, secret: 'not declared' }), 'reply')
  t.same(await other.next(), { topic: 'rooms/1', event: 'wave', data: { n: 1 } })
  t.same(await other.next(), { topic: 'rooms/1', event: 'stamped', data: { n: 2, by: 'me' } })
  t.match(await say(await join(t, app, '/loose/1'), 'big', 'x'.repeat(1000)), /TOO_LARGE/)
})

// --- declarations ----------------------------------------------------------------------------

t.test('a relay that does not say where it goes is refused where it is declared, unless the channel has exactly one topic', async (t) => {
  const app = await live(t)
  const [room, news] = [app.topic('rooms/:id', { authorize: () => true }), app.topic('news')]
  const strict = app.topic('strict/:id', { events: { said: {} } })
  const data = (): object => ({})
  const wrong: object[] = [
    ...[true, data].flatMap((relay) => [
      { messages: { wave: { relay } } },
      { topics: [], messages: { wave: { relay } } },
      { topics: [room, news], messages: { wave: { relay } } },
      { topics: [room.at({ id: '1' }), room.at({ id: '2' })], messages: { wave: { relay } } },
      { topics: () => [room.at({ id: '1' })], messages: { wave: { relay } } },
      { topics: async () => 'news', messages: { wave: { relay } } },
      { subscribe: room, messages: { wave: { relay } } },
      { topics: strict, messages: { wave: { relay } } },
      { topics: 'strict/:id', messages: { wave: { relay } } },
      { topics: strict.at({ id: '1' }), messages: { wave: { relay } } }
    ]),
    ...[false, null, undefined, 1, 'rooms/:id', {}, [], { topic: undefined }, { topic: null }, { topic: 7 }, { topic: [room] }, { topic: () => room }, { data },
      { topic: room, data: 'x' }, { topic: room, data: null }, { topic: room, event: 'x' }, { topic: room, data, exept: true }, { topics: room }, room,
      { topic: strict }, { topic: 'strict/:id' }, { topic: strict.at({ id: '1' }) }
    ].map((relay) => ({ topics: room, messages: { wave: { relay } } })),
    { topics: room, messages: { wave: { relay: { topic: room }, handler: data } } }
  ]
  for (const options of wrong) {
    t.equal(await codeOf(() => app.channel('/wrong/:id', options as never)), 'FST_ERR_REALTIME_ROUTE_INVALID', JSON.stringify(options))
  }
  const error = await codeless(() => app.channel('/wrong/:id', { topics: [room, news], messages: { wave: { relay: true } } }))
  t.match(error, /message "wave".*exactly one topic.*relay: \{ topic, data \}/)
  for (const [index, options] of [{ topics: room }, { topics: [room] }, { topics: 'rooms/:id' }, { topics: room.at({ id: '1' }) }].entries()) {
    app.channel(`/right/${index}/:id`, { ...options, messages: { wave: { relay: true }, waves: { relay: data } } })
  }
  app.channel('/right/:id', { topics: strict, messages: { said: { relay: true } } })
  await app.ready()
})

async function codeless (run: () => unknown): Promise<string> {
  return await Promise.resolve().then(run).then(() => 'no error', ({ message }: Error) => message)
}

t.test('what a relay names is checked with the route\'s whole URL before the app is ready', async (t) => {
  const cases: Array<[string, string, (app: FastifyInstance) => unknown]> = [
    ['no declared topic', 'TOPIC_UNDECLARED', (app) => app.channel('/', { messages: { wave: { relay: { topic: 'nowhere/1' } } } })],
    ['a param that the route lacks', 'TOPIC_PARAMS_MISSING', (app) => app.channel('/', { messages: { wave: { relay: { topic: app.topic('rooms/:id') } } } })],
    ['a param that a string lacks', 'TOPIC_PARAMS_MISSING', (app) => { app.topic('rooms/:id'); app.channel('/x/:room', { messages: { wave: { relay: { topic: 'rooms/:id' } } } }) }],
    ['an event that is declared later and lacks it', 'ROUTE_INVALID', (app) => {
      app.channel('/x/:id', { topics: 'rooms/:id', messages: { wave: { relay: true } } })
      app.topic('rooms/:id', { events: { said: {} } })
    }],
    ['a prefix that brings the param', 'no error', async (app) => await app.register(async (child) => {
      child.channel('/', { messages: { wave: { relay: { topic: child.topic('rooms/:id') } } } })
    }, { prefix: '/rooms/:id' })],
    ['a param that the client chooses', 'no error', (app) => {
      const room = app.topic('rooms/:id', { authorize: () => true })
      app.channel('/', { subscribe: room, messages: { wave: { relay: { topic: room } } } })
    }]
  ]
  for (const [what, code, declare] of cases) {
    const app = await live(t)
    const found = await codeOf(async () => {
      await declare(app)
      await app.ready()
    })
    t.equal(found, code === 'no error' ? code : `FST_ERR_REALTIME_${code}`, what)
  }
})

/** The test kit as its users have it: on an app that listens, and on one that does not. */
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import realtime, { type CloseReason, type RealtimeOptions } from '../../lib/index.ts'
import { ChannelRefused, connectChannel, connectStream, StreamRefused, type ChannelClient, type StreamClient } from '../../lib/testing/index.ts'
import { calls, refusalOf } from '../helpers/app.ts'
import { cert, key } from '../helpers/certificate.ts'

type Client = StreamClient | ChannelClient

/** How the app is to be had. */
const places: Array<{ place: string, server?: object, host?: string }> = [
  { place: 'in memory' },
  { place: 'in memory, with TLS', server: { https: { key, cert } } },
  { place: 'in memory, HTTP/2 beside HTTP/1.1', server: { http2: true, https: { key, cert, allowHTTP1: true } } },
  { place: 'over a socket', host: '127.0.0.1' },
  { place: 'over a socket, on every address', host: '0.0.0.0' },
  { place: 'over a socket, with TLS', host: '127.0.0.1', server: { https: { key, cert } } }
]

async function shop (t: Test, { server = {}, host }: typeof places[0] = places[0] as typeof places[0], options: RealtimeOptions = {}) {
  const app = Fastify(server as object) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(realtime, { closeTimeout: 1000, retry: 1500, ...options })
  const gone = calls<CloseReason>()
  const onDisconnect = (_connection: unknown, reason: CloseReason) => gone.note(reason)
  const order = app.topic('orders/:id', { snapshot: ({ id }) => ({ data: { id }, event: 'state' }) })
  const news = app.topic('news')
  app.stream('/news', { topics: news, onDisconnect })
  app.stream('/orders/:id', { topics: order })
  app.stream('/ask', {
    method: 'POST',
    async * source (request) {
      yield { data: { heard: request.body, by: request.headers['x-user'] } }
      yield { event: 'text', data: 'not JSON', id: 'one' }
      yield { event: 'more', data: 5 }
    }
  })
  app.channel('/talk', {
    topics: news,
    onDisconnect,
    messages: {
      echo: { handler: (data) => ({ type: 'echo', ...data as object }) },
      fail: { handler: () => { throw Object.assign(new Error('not today'), { code: 'NOT_TODAY', statusCode: 409 }) } },
      leave: { handler: (_data, { connection }) => connection.close({ code: 4001, text: 'as you wish' }) },
      who: { handler: (_data, { request }) => ({ type: 'who', user: request.headers['x-user'] }) }
    },
    binary: (bytes, { connection }) => connection.send('bytes', { size: bytes.length })
  })
  app.get('/plain', async () => ({ plain: true }))
  app.get('/locked', async (_request, reply) => reply.code(401).header('www-authenticate', 'Bearer').send({ message: 'who are you?' }))
  app.get('/cut', async (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(500, { 'content-length': 100 }).write('half of', () => reply.raw.destroy())
    return reply
  })
  app.get('/gone', async (request, reply) => {
    reply.hijack()
    request.raw.socket.destroy()
    return reply
  })
  if (host) await app.listen({ port: 0, host })
  return { app, news, order, gone }
}

/** Each kind of client of the news, after it has joined. */
const kinds: Record<string, (t: Test | undefined, app: FastifyInstance, options?: { timeout?: number }) => Promise<Client>> = {
  async stream (t, app, options) {
    const client = await connectStream(app, '/news', { ...options, ...t && { t } })
    await client.next('realtime:open')
    return client
  },
  async 'channel, flat' (t, app, options) {
    const client = await connectChannel(app, '/talk', { ...options, ...t && { t } })
    client.send('echo')
    await client.next('echo')
    return client
  },
  async 'channel, envelope' (t, app, options) {
    const client = await connectChannel(app, '/talk', { ...options, format: 'envelope', ...t && { t } })
    await client.next('realtime:subscribed')
    return client
  }
}

for (const where of places) {
  for (const [kind, enter] of Object.entries(kinds)) {
    t.test(`${where.place}, ${kind}: events are taken by name or in order, dropped and resumed`, async (t) => {
      const { app, news, gone } = await shop(t, where)
      const client = await enter(t, app)
      for (let n = 1; n <= 3; n++) await news.publish({}, n === 2 ? 'other' : 'said', { n })
      t.same((await client.next('other')).data, { n: 2 })
      t.same((await client.next()).data, { n: 1 }, 'what another name passed over is still there')
      t.same((await client.next()).data, { n: 3 })
      const waiting = [client.next('said'), client.next('said'), client.next('other')]
      await Promise.all([news.publish({}, 'said', { n: 4 }), news.publish({}, 'said', { n: 5 }), news.publish({}, 'other', { n: 6 })])
      t.same((await Promise.all(waiting)).map(({ data }) => data), [{ n: 4 }, { n: 5 }, { n: 6 }], 'who asked first gets the first')

      const ended = client.ended
      await client.drop()
      await ended
      t.equal((await gone.reach(1))[0]?.name, 'connection-lost', 'to the server it is a lost connection')
      await news.publish({}, 'missed', { n: 7 })
      await client.resume()
      if (kind === 'channel, flat') {
        (client as ChannelClient).send('echo')
        await client.next('echo')
      } else t.same((await client.next('missed')).data, { n: 7 })
      await news.publish({}, 'said', { n: 8 })
      t.same((await client.next('said')).data, { n: 8 })
      t.same(client.events.filter(({ event }) => /^(said|other)$/.test(event)).map(({ data }) => (data as { n: number }).n), [1, 2, 3, 4, 5, 6, 8],
        '`events` has all, over both connections')
      await client.close()
      await client.close()
      await client.drop()
      await gone.reach(2)
      t.same(app.realtime.connections(), [])
    })
  }

  t.test(`${where.place}: a refusal has its status and body`, async (t) => {
    const { app } = await shop(t, where)
    const refused = async (url: string) => {
      const stream = await connectStream(app, url, { t }).then(() => t.fail(url), (error: unknown) => error)
      t.ok(stream instanceof StreamRefused)
      const channel = await connectChannel(app, url, { t }).then(() => t.fail(url), (error: unknown) => error)
      t.ok(channel instanceof ChannelRefused)
      return [stream, channel] as [StreamRefused, ChannelRefused]
    }
    for (const one of await refused('/locked')) {
      t.match(one, { statusCode: 401, body: { message: 'who are you?' } })
      t.match(one.message, /refused with 401: .*who are you/)
    }
    t.equal((await refused('/locked'))[0].headers['www-authenticate'], 'Bearer')
    for (const one of await refused('/nowhere')) t.match(one, { statusCode: 404, body: { error: 'Not Found' } })
    for (const one of await refused('/plain')) t.match(one, { statusCode: 200, body: { plain: true } })
    for (const one of ['/cut', '/gone']) {
      await t.rejects(connectStream(app, one, { t }), Error, `a stream: ${one}`)
      await t.rejects(connectChannel(app, one, { t }), Error, `a channel: ${one}`)
    }
    t.match(await connectChannel(app, '/cut', { t }).catch((error: unknown) => error), { statusCode: 500, body: 'half of' })
    t.same(app.realtime.connections(), [])
  })
}

t.test('a stream: its answer, ids, data of any kind, a body, and where to resume from', async (t) => {
  const { app, news } = await shop(t)
  const client = await connectStream(app, '/news', { t })
  t.equal(client.statusCode, 200)
  t.equal(client.headers['content-type'], 'text/event-stream')
  const opened = await client.next('realtime:open')
  t.equal(opened.id, client.lastEventId)
  t.ok(Number(client.retry) >= 1200 && Number(client.retry) <= 1800)
  const { id } = await news.publish({}, 'message', ['data'])
  t.same(await client.next(), { event: 'message', data: ['data'], id })
  t.equal(client.lastEventId, id)
  for (const data of ['text', 'two\nlines', '', 0, null, { a: 1 }]) {
    await news.publish({}, 'kind', data)
    t.same((await client.next('kind')).data, data)
  }
  const later = await connectStream(app, '/news', { t, lastEventId: String(id) })
  t.equal((await later.next()).data, 'text', 'after the id it was given')

  const ask = await connectStream(app, '/ask', { t, method: 'POST', body: { question: 'why?' }, headers: { 'x-user': 'ann' } })
  t.same((await ask.next('message')).data, { heard: { question: 'why?' }, by: 'ann' })
  t.match(await ask.next('text'), { data: 'not JSON', id: 'one' })
  t.match(await ask.next('more'), { data: 5, id: 'one' }, 'the last id stands')
  await ask.ended
  const snapshot = await connectStream(app, '/orders/7', { t })
  t.same((await snapshot.next('state')).data, { id: '7' })
  t.match(await refusalOf(connectStream(app, '/news', { t, headers: { accept: 'text/html' } })), { statusCode: 406 })
})

t.test('a channel: both formats, replies, errors, bytes, headers and cursors', async (t) => {
  const { app, news } = await shop(t)
  const flat = await connectChannel(app, '/talk', { t, headers: { 'x-user': 'ann' } })
  flat.send('who')
  t.same(await flat.next('who'), { event: 'who', data: { user: 'ann' } })
  flat.sendRaw('{"type":"echo","raw":true}')
  t.same((await flat.next('echo')).data, { raw: true })
  flat.sendRaw(Buffer.of(1, 2, 3))
  t.same((await flat.next('bytes')).data, { size: 3 })
  flat.send('nope')
  t.match((await flat.next('error')).data, { code: 'UNKNOWN_MESSAGE' })

  const talk = await connectChannel(app, '/talk', { t, format: 'envelope' })
  const { id: start } = await talk.next('realtime:subscribed')
  t.match(talk.events[0], { event: 'realtime:open', data: { op: 'open' } })
  const answers = await Promise.all([talk.request('echo', { n: 1 }), talk.request('echo', { n: 2 })])
  t.same(answers, [{ type: 'echo', n: 1 }, { type: 'echo', n: 2 }], 'each its own')
  await t.rejects(talk.request('fail'), { code: 'NOT_TODAY', message: 'not today' })
  await t.rejects(talk.request('nope'), { code: 'UNKNOWN_MESSAGE' })
  talk.send('nope')
  t.match((await talk.next('realtime:error')).data, { op: 'error', code: 'UNKNOWN_MESSAGE' })

  const { id } = await news.publish({}, 'picture', Buffer.of(9, 8))
  t.same(await flat.next('binary'), { event: 'binary', data: Buffer.of(9, 8) })
  t.same(await talk.next('picture'), { event: 'picture', data: Buffer.of(9, 8), topic: 'news', id, prev: start })
  t.same(talk.cursors, { news: id })
  await news.publish({}, 'said', 'after it')
  const back = await connectChannel(app, '/talk', { t, format: 'envelope', cursors: { news: String(id) } })
  t.match((await back.next('realtime:subscribed')).data, { recovered: true })
  t.same((await back.next()).data, 'after it')

  flat.send('leave')
  t.same(await flat.ended, { code: 4001, reason: 'as you wish' })
  t.same(await talk.close(), { code: 1000, reason: '' })
})

for (const [kind, enter] of Object.entries(kinds)) {
  t.test(`${kind}: what does not come is an error that says what did`, async (t) => {
    const { app, news } = await shop(t)
    const client = await enter(t, app)
    const hasty = await enter(t, app, { timeout: 50 })
    await news.publish({}, 'said', {})
    await client.next('said')
    while (hasty.events.every(({ event }) => event !== 'said')) await new Promise(setImmediate)
    // Under a clock of the test's own too: it is real time that passes.
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    const message = /^no "sold": not within 50 ms; received: .*said$/
    await t.rejects(hasty.next('sold'), { message })
    mock.timers.reset()
    await t.rejects(hasty.next('sold'), { message })
    await news.publish({}, 'sold', {})
    while (hasty.events.every(({ event }) => event !== 'sold')) await new Promise(setImmediate)
    t.ok(await hasty.next('sold'), 'it may still come later')
    await client.next('sold')
    await hasty.close()

    const waiting = client.next('more')
    const [connection] = app.realtime.connections()
    connection?.close({ code: 4002, text: 'enough' })
    const why = kind === 'stream' ? 'the stream has ended' : 'the channel was closed: 4002 enough'
    const over = new RegExp(`^no "more": ${why}; received: .*sold`)
    await t.rejects(waiting, { message: over }, 'who waits is told at once')
    await client.ended
    await t.rejects(client.next('more'), { message: over }, 'and who asks later')
    if (kind === 'channel, envelope') await t.rejects((client as ChannelClient).request('echo'), { message: /^no "realtime:reply:1": the channel was closed/ })
    await client.resume()
    const again = client.next('more')
    while (app.realtime.countLocal('news') === 0) await new Promise(setImmediate)
    await news.publish({}, 'more', {})
    t.ok(await again, 'after resume it waits again')
  })

  t.test(`${kind}: it ends with its test, of tap or of node:test, or with its block`, async (t) => {
    const { app, gone } = await shop(t)
    await t.test('a test that leaves it open', async (t) => { await enter(t, app) })
    await gone.reach(1)
    const ends: Array<() => Promise<unknown>> = []
    const context = { after: (end: () => Promise<unknown>) => ends.push(end) }
    await enter(context as unknown as Test, app)
    t.equal(ends.length, 1)
    await Promise.all(ends.map((end) => end()))
    await gone.reach(2)
    const client = await enter(undefined, app)
    await client[Symbol.asyncDispose]()
    await gone.reach(3)
    t.same(app.realtime.connections(), [])
  })
}

t.test('a client whose connecting failed ends with its test, too', async (t) => {
  const { app } = await shop(t)
  const ends: Array<() => Promise<unknown>> = []
  const context = { after: (end: () => Promise<unknown>) => ends.push(end) }
  await t.rejects(connectStream(app, '/locked', { t: context }))
  await t.rejects(connectChannel(app, '/locked', { t: context }))
  t.equal(ends.length, 2)
  await t.resolves(Promise.all(ends.map((end) => end())))
})

t.test('it waits for an app that is not ready yet, and says what keeps it', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close().catch(() => {}))
  app.register(realtime)
  app.register(async (child) => { child.stream('/news', { topics: child.topic('news') }) })
  t.ok(await (await connectStream(app, '/news', { t })).next('realtime:open'))
  const broken = Fastify()
  t.teardown(() => broken.close().catch(() => {}))
  broken.register(async () => { throw new Error('no database') })
  await t.rejects(connectStream(broken, '/news', { t }), { message: 'no database' })
  await t.rejects(connectChannel(broken, '/news', { t }), { message: 'no database' })
})

t.test('an app that closes ends its clients, and refuses new ones', async (t) => {
  const { app } = await shop(t)
  const clients = await Promise.all(Object.values(kinds).map((enter) => enter(t, app)))
  await app.close()
  const ends = await Promise.all(clients.map(({ ended }) => ended as Promise<unknown>))
  t.match(ends, [undefined, { code: 1012 }, { code: 1012 }])
  for (const client of clients) await t.rejects(client.resume())
})

t.test('what a server said before it cut a client off is heard, also where it came with the head', async (t) => {
  for (const listens of [false, true]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(realtime)
    app.stream('/broken', {
      source: async function * () {
        yield { event: 'first', data: 1 }
        throw new Error('and no more')
      }
    })
    if (listens) await app.listen({ port: 0, host: '127.0.0.1' })
    const client = await connectStream(app, '/broken', { t })
    t.equal((await client.next('first')).data, 1)
    t.same((await client.next('realtime:aborted')).data, { reason: 'failed' })
    await client.ended
  }
})

t.test('a channel client on the URL of a stream is refused at once, and told what it is', async (t) => {
  for (const place of places) {
    const { app } = await shop(t, place)
    t.match(await refusalOf(connectChannel(app, '/news', { t })), { statusCode: 200, body: /connectStream/ })
  }
})

t.test('the body of a refusal that never ends is waited for no longer than the timeout', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime)
  app.get('/endless', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(418, { 'content-type': 'text/plain' })
    reply.raw.write('begun')
  })
  t.match(await refusalOf(connectChannel(app, '/endless', { t, timeout: 50 })), { statusCode: 418, body: 'begun' })
})

t.test('request() needs the envelope, and says so', async (t) => {
  const { app } = await shop(t)
  const channel = await connectChannel(app, '/talk', { t })
  await t.rejects(channel.request('say', {}), { message: /needs format: 'envelope'/ })
})

t.test('the stack of what did not come leads to the call', async (t) => {
  const { app } = await shop(t)
  const client = await connectStream(app, '/news', { t, timeout: 20 })
  const timedOut = await client.next('never').catch((error: Error) => error) as Error
  t.match(timedOut.stack, /^Error: no "never": not within 20 ms/)
  t.match(timedOut.stack, /kit\.test\.ts/)
  const waiting = client.next('never').catch((error: Error) => error)
  await client.close()
  t.match((await waiting as Error).stack, /kit\.test\.ts/)
})

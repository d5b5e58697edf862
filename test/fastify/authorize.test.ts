/** What is asked before a stream or a channel: schemas and `authorize`, on both wires. */
import t from 'tap'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { calls, live, refusalOf, talkTo } from '../helpers/app.ts'

t.test('querystring, params, headers and body are validated before a stream or an upgrade', async (t) => {
  const app = await live(t)
  app.topic('items/:id')
  const schema = {
    params: { type: 'object', properties: { id: { type: 'integer' } } },
    querystring: { type: 'object', properties: { since: { type: 'integer', default: 5 } } },
    headers: { type: 'object', properties: { 'x-kind': { enum: ['a', 'b'] } } }
  }
  const seen: unknown[] = []
  const onConnect = (_connection: unknown, request: { query: unknown }) => { seen.push(request.query) }
  app.stream('/items/:id', { topics: 'items/:id', schema, onConnect } as never)
  app.channel('/talk/:id', { topics: 'items/:id', schema, onConnect } as never)
  app.stream('/answers', { method: 'POST', source: (request) => [{ data: request.body }], schema: { body: { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] } } })

  const wrong: Array<[string, Record<string, string>, RegExp]> = [
    ['/x', {}, /params\/id must be integer/],
    ['/1?since=yesterday', {}, /querystring\/since must be integer/],
    ['/1', { 'x-kind': 'c' }, /headers\/x-kind must be equal to one of/]
  ]
  for (const [url, headers, message] of wrong) {
    t.match(await refusalOf(connectStream(app, `/items${url}`, { t, headers })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION', message } })
    t.match(await refusalOf(connectChannel(app, `/talk${url}`, { t, headers })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION', message } })
  }
  await connectStream(app, '/items/1', { t })
  const talk = await talkTo(app, '/talk/1?since=3', { t })
  t.same(seen.map((query) => ({ ...query as object })), [{ since: 5 }, { since: 3 }], 'coerced and with defaults, as anywhere')
  await app.realtime.publish('items/1', 'sold', {})
  t.ok(await talk.next('sold'))

  t.match(await refusalOf(connectStream(app, '/answers', { t, method: 'POST', body: { promt: 'hi' } })), { statusCode: 400, body: { code: 'FST_ERR_VALIDATION' } })
  t.match(await refusalOf(connectStream(app, '/answers', { t, method: 'POST', headers: { 'content-type': 'text/csv' }, body: 'x' })), { statusCode: 415 })
  const answer = await connectStream(app, '/answers', { t, method: 'POST', body: { prompt: 'hi' } })
  t.same((await answer.next()).data, { prompt: 'hi' })
})

t.test('`authorize` refuses with 403 on both wires: false, a throw, and with another status where the error says so', async (t) => {
  const app = await live(t)
  const asked = calls<object>()
  app.topic('rooms/:id', {
    authorize: async (request, context) => {
      asked.note({ ...context, user: request.headers.user })
      await new Promise(setImmediate)
      switch (context.params.id) {
        case 'false': return false
        case 'throws': throw new Error('a secret reason')
        case 'pay': throw Object.assign(new Error('pay first'), { statusCode: 402 })
        default: return true
      }
    }
  })
  app.topic('strict', { authorize: () => false })
  app.stream('/stream/:id', { topics: 'rooms/:id' })
  app.channel('/channel/:id', { topics: 'rooms/:id' })
  app.stream('/both/:id', { topics: ['rooms/:id', 'strict'] })

  for (const connect of [(id: string) => connectStream(app, `/stream/${id}`, { t, headers: { user: 'ann' } }), (id: string) => connectChannel(app, `/channel/${id}`, { t, headers: { user: 'ann' } })]) {
    for (const id of ['false', 'throws']) {
      const { statusCode, body } = await refusalOf(connect(id))
      t.same([statusCode, body.code, body.error], [403, 'FST_ERR_REALTIME_FORBIDDEN', 'Forbidden'], id)
      t.notMatch(JSON.stringify(body), /secret/)
    }
    t.match(await refusalOf(connect('pay')), { statusCode: 402, body: { message: 'pay first' } })
    await connect('open')
  }
  t.match(await refusalOf(connectStream(app, '/both/open', { t })), { statusCode: 403 }, 'every topic must agree')
  t.match(asked.all[0], { topic: 'rooms/false', params: { id: 'false' }, action: 'subscribe', user: 'ann' })
  t.equal((await app.inject({ method: 'HEAD', url: '/stream/false' })).statusCode, 403, 'HEAD says what GET would')
})

t.test('`authorize` is asked again for what is joined at run time, by the client or by the app', async (t) => {
  const app = await live(t)
  const room = app.topic('rooms/:id', { authorize: async (_request, { params }) => params.id !== 'secret' })
  app.topic('lobby')
  const answers = calls<string>()
  const onConnect = async (connection: { subscribe: (topic: string) => Promise<void> }) => {
    answers.note(await connection.subscribe('rooms/secret').then(() => 'joined', (error: { code: string }) => error.code))
    await connection.subscribe('rooms/open')
  }
  app.channel('/channel', {
    topics: 'lobby',
    subscribe: room,
    messages: {
      join: { handler: async (data, { connection }) => await connection.subscribe(room.at({ id: (data as { id: string }).id })).then(() => 'in') }
    },
    onConnect
  })
  app.stream('/stream', { topics: 'lobby', onConnect })

  const channel = await talkTo(app, '/channel', { t })
  channel.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/secret', ref: 'a' }))
  t.match((await channel.next('realtime:reply:a')).data, { op: 'error', code: 'FORBIDDEN', ref: 'a' })
  await t.rejects(channel.request('join', { id: 'secret' }), { code: 'FORBIDDEN' } as never)
  t.equal(await channel.request('join', { id: 'other' }), 'in')
  const stream = await connectStream(app, '/stream', { t })
  t.same(await answers.reach(2), ['FST_ERR_REALTIME_FORBIDDEN', 'FST_ERR_REALTIME_FORBIDDEN'])

  await room.publish({ id: 'secret' }, 'said', 'secret')
  await room.publish({ id: 'open' }, 'said', 'open')
  t.equal((await channel.next()).data, 'open')
  t.equal((await stream.next()).data, 'open')
})

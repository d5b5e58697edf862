/** The client over HTTP against a real server: it hears, asks and comes back as over a WebSocket. */
import t, { type Test } from 'tap'
import { connect, http, type ClientEvent, type ConnectOptions } from '../../lib/client/index.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { gate, live, portOf } from '../helpers/app.ts'
import { HttpProxy } from '../helpers/http-proxy.ts'
import { until } from '../helpers/redis.ts'

async function start (t: Test, options: RealtimeOptions = {}) {
  const app = await live(t, { identify: (request) => ({ id: String(request.headers.user ?? 'ada') }), retry: 20, ...options })
  const room = app.topic('rooms/:room', { authorize: (_request, { params }) => params.room !== 'secret', presence: { grace: 0 } })
  const board = app.topic('boards/:board', { authorize: () => true, keyed: true })
  const slow = gate()
  const sent: unknown[] = []
  const bytes: number[] = []
  app.channel('/realtime', {
    http: true,
    subscribe: [room, board],
    presence: true,
    binary: (data: Uint8Array) => { bytes.push(...data) },
    messages: {
      say: { handler: async (data) => ({ said: (data as { text: string }).text.length }) },
      fail: { handler: () => { throw Object.assign(new Error('no'), { code: 'OUTBID', statusCode: 409 }) } },
      note: { handler: (data) => { sent.push(data) } },
      slow: { handler: async () => { await slow.passed; return 'at last' } },
      cursor: { relay: { topic: room } }
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const proxy = await HttpProxy.start(t, portOf(app))
  const open = (own: ConnectOptions = {}) => {
    const client = connect(`${proxy.url}/realtime`, { wire: http, firstDelay: 20, ...own })
    t.teardown(() => client.close())
    return client
  }
  const streams = () => app.realtime.connections()
  return { app, room, board, proxy, slow, sent, bytes, open, streams }
}

const as = (user: string): typeof fetch => async (input, init) => await fetch(input, { ...init, headers: { ...init?.headers, user } })
const numbers = (events: ClientEvent[]) => events.map(({ event, data }) => event === 'n' ? data : [event, data])
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)

t.test('events come in order, each once, also behind streams that were cut or ended by the server', async (t) => {
  const { app, room, proxy, open, streams } = await start(t)
  const client = open()
  const heard: ClientEvent[] = []
  const leave = client.topic('rooms/:room', { room: '1' }).on('*', (event) => heard.push(event as ClientEvent))
  await until('the client', () => streams()[0]?.topics.includes('rooms/1'))
  let n = 0
  const say = async (count: number) => { for (let i = 0; i < count; i++) await room.publish({ room: '1' }, 'n', ++n) }
  for (let cuts = 0; cuts < 6; cuts++) {
    await say(5)
    if (cuts % 2 === 0) await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
    // Who has heard nothing yet stands nowhere.
    else await until('one of them', () => heard.length > n - 5).then(() => proxy.cut())
    await say(5)
    await until('all of them', () => heard.length >= n)
  }
  t.same(numbers(heard), upTo(n))
  leave()
  await until('idle', () => client.state.get().is === 'idle')
  await until('nobody', () => streams().length === 0)
})

t.test('a message is answered, or refused with the same code as over a WebSocket', async (t) => {
  const { open, bytes, proxy } = await start(t)
  const client = open()
  t.same(await client.send('say', { text: 'hello' }), { said: 5 })
  await t.rejects(client.send('fail', {}), { name: 'RealtimeError', code: 'OUTBID', message: 'no' })
  await t.rejects(client.send('none', {}), { name: 'RealtimeError', code: 'UNKNOWN_MESSAGE' })
  await t.rejects(client.send('say', { text: 'x'.repeat(100_000) }), { code: 'MESSAGE_TOO_LARGE' })
  const topic = client.topic('rooms/:room', { room: '1' })
  await t.rejects(topic.show({ away: true }), { name: 'RealtimeError', code: 'NOT_OVER_HTTP' })
  topic.on('n', () => {})
  await until('open', () => client.state.get().is === 'open')
  const sent = Uint8Array.from([1, 2, 250])
  client.sendBytes(sent)
  sent.fill(9)
  await until('the bytes', () => bytes.length === 3)
  t.same(bytes, [1, 2, 250], 'as they were when they were handed over')
  t.equal(proxy.posts.at(-1)?.headers['content-type'], 'application/octet-stream')
})

t.test('members, the state of a keyed topic, bytes, and relays that leave their sender out', async (t) => {
  const { room, board, open, streams } = await start(t)
  const one = open({ fetch: as('ada') })
  const two = open({ fetch: as('bob') })
  const mine: unknown[] = []
  const theirs: ClientEvent[] = []
  const topic = one.topic('rooms/:room', { room: '1' })
  topic.on('cursor', ({ data }) => mine.push(data))
  topic.members.subscribe(() => {})
  two.topic('rooms/:room', { room: '1' }).on('*', (event) => theirs.push(event as ClientEvent))
  await until('both', () => topic.members.get().map(({ id }) => id).sort().join() === 'ada,bob')
  for (let x = 0; x < 5; x++) topic.relay('cursor', { x })
  await until('all, in order', () => theirs.length === 5)
  t.same(theirs.map(({ data }) => data), [0, 1, 2, 3, 4].map((x) => ({ x })))
  await room.publish({ room: '1' }, 'picture', Buffer.from([0, 1, 255]))
  await until('the picture', () => theirs.length === 6)
  t.same(theirs[5]?.data, Uint8Array.from([0, 1, 255]))
  t.same(mine, [])

  await board.publish({ board: 'a' }, 'set', { v: 1 }, { key: 'k1' })
  const { state } = one.topic('boards/:board', { board: 'a' })
  state.subscribe(() => {})
  await until('k1', () => state.get().get('k1'))
  await board.publish({ board: 'a' }, 'set', { v: 2 }, { key: 'k2' })
  await board.remove({ board: 'a' }, 'k1')
  await until('k2 alone', () => [...state.get().keys()].join() === 'k2')
  await until('two streams', () => streams().length === 2)
})

t.test('topics come and go while events are published: another stream each time, and nothing is lost or repeated', async (t) => {
  const { room, proxy, open, streams } = await start(t)
  const client = open()
  const told = new Map<string, ClientEvent[]>()
  const hear = (name: string) => {
    const events: ClientEvent[] = []
    told.set(name, events)
    return client.topic('rooms/:room', { room: name }).on('*', (event) => events.push(event as ClientEvent))
  }
  hear('a')
  hear('b')
  await until('both', () => streams()[0]?.topics.includes('rooms/b'))
  t.equal(proxy.opens.length, 1)
  let n = 0
  const over = new AbortController()
  const publishing = (async () => {
    while (!over.signal.aborted) {
      n++
      for (const name of ['a', 'b']) await room.publish({ room: name }, 'n', n)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let turn = 0; turn < 10; turn++) {
    const others = [hear(`c${turn}`), hear(`d${turn}`), hear(`e${turn}`)]
    await until('the other three', () => streams().some(({ topics }) => topics.includes(`rooms/e${turn}`)))
    for (const leave of others) leave()
    await until('gone', () => streams().every(({ topics }) => !topics.includes(`rooms/e${turn}`)))
  }
  over.abort()
  await publishing
  await until('all', () => told.get('a')?.length === n && told.get('b')?.length === n)
  for (const name of ['a', 'b']) t.same(numbers(told.get(name) ?? []), upTo(n))
  t.equal(proxy.opens.length, 21, 'three that come or go in one macrotask are one stream')
  await until('one', () => streams().length === 1)
})

t.test('a message that is under way while streams change is answered all the same, and what comes behind it in order', async (t) => {
  const { open, streams, slow, sent } = await start(t)
  const client = open()
  const leave = client.topic('rooms/:room', { room: '1' }).on('n', () => {})
  await until('the client', () => streams().length === 1)
  const first = streams()[0]?.id
  const answer = client.send('slow', {})
  const notes = [1, 2, 3].map(async (n) => await client.send('note', n))
  client.topic('rooms/:room', { room: '2' }).on('n', () => {})
  await until('another stream', () => streams().some(({ id, topics }) => id !== first && topics.includes('rooms/2')))
  leave()
  slow.open()
  t.equal(await answer, 'at last')
  await Promise.all(notes)
  t.same(sent, [1, 2, 3])
})

t.test('a topic that is refused is told so, and the others are heard on', async (t) => {
  const { room, open, streams } = await start(t)
  const client = open()
  const heard: unknown[] = []
  const codes: unknown[] = []
  client.topic('rooms/:room', { room: '1' }).on('n', ({ data }) => heard.push(data))
  client.topic('nowhere').on('error', ({ data }) => codes.push(data.code))
  await until('the refusal', () => codes.length === 1)
  client.topic('rooms/:room', { room: 'secret' }).on('error', ({ data }) => codes.push(data.code))
  await until('the other one', () => codes.length === 2)
  t.same(codes, ['UNKNOWN_TOPIC', 'FORBIDDEN'])
  await room.publish({ room: '1' }, 'n', 1)
  await until('it', () => heard.length === 1)
  t.equal(client.state.get().is, 'open')
  await until('one', () => streams().length === 1)
  t.same(codes, ['UNKNOWN_TOPIC', 'FORBIDDEN'], 'nobody is told twice')
})

t.test('a topic of the channel\'s own that is heard later has its state all the same', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { authorize: () => true })
  const board = app.topic('board', { authorize: () => true, keyed: true })
  app.channel('/own/:room', { http: true, topics: [room, board] })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await board.publish({}, 'set', { v: 1 }, { key: 'k1' })
  const client = connect(`${url}/own/1`, { wire: http })
  t.teardown(() => client.close())
  const heard: unknown[] = []
  client.topic('rooms/:room', { room: '1' }).on('said', ({ data }) => heard.push(data))
  await until('the client', () => client.state.get().is === 'open')
  await room.publish({ room: '1' }, 'said', 1)
  await until('it', () => heard.length === 1)
  const { state } = client.topic('board')
  state.subscribe(() => {})
  await until('k1', () => state.get().has('k1'))
  await board.publish({}, 'set', { v: 2 }, { key: 'k2' })
  await until('k2', () => state.get().size === 2)
  t.same([...state.get()], [['k1', { event: 'set', data: { v: 1 } }], ['k2', { event: 'set', data: { v: 2 } }]])
})

t.test('a token is renewed by another stream, and nothing is lost by that', async (t) => {
  const app = await live(t, { retry: 20, tokens: { secret: 'a secret of at least thirty-two bytes' } })
  const room = app.topic('rooms/:room', { authorize: 'token' })
  app.channel('/realtime', { http: true, subscribe: room, messages: { who: { handler: (_data, { connection }) => connection.identity.id } } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const proxy = await HttpProxy.start(t, portOf(app))
  const asked: string[] = []
  const client = connect(`${proxy.url}/realtime`, {
    wire: http,
    token: ({ reason }) => {
      asked.push(reason)
      return app.realtime.sign({ sub: 'ada', subscribe: room, expiresIn: asked.length === 1 ? 2000 : 3_600_000 })
    }
  })
  t.teardown(() => client.close())
  const heard: ClientEvent[] = []
  client.topic('rooms/:room', { room: '1' }).on('*', (event) => heard.push(event as ClientEvent))
  await until('the client', () => app.realtime.connections()[0]?.topics.length)
  let n = 0
  while (proxy.opens.length < 2) {
    await room.publish({ room: '1' }, 'n', ++n)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await room.publish({ room: '1' }, 'n', ++n)
  await until('all', () => heard.length >= n)
  t.same(numbers(heard), upTo(n))
  t.same(asked, ['open', 'expiring'])
  const [first, second] = proxy.opens.map(({ headers }) => headers.authorization)
  t.match(first, /^Bearer /)
  t.not(first, second)
  t.notMatch(proxy.opens[0]?.body, /token/, 'it is in no body')
  t.equal(await client.send('who', {}), 'ada')
  t.equal(proxy.posts[0]?.headers.authorization, second)
})

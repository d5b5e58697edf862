/** The client against a real server: what is heard, what is answered, and what a lost connection changes. */
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, http, type ConnectOptions } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'

const Socket = WebSocket as unknown as SocketClass

async function start (t: Test, options: RealtimeOptions = {}) {
  const app = await live(t, { identify: (request) => ({ id: String(request.headers.user ?? 'ada') }), retry: 20, ...options })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  const board = app.topic('boards/:board', { authorize: () => true, keyed: true })
  app.channel('/realtime', {
    http: true,
    subscribe: [room, board],
    presence: true,
    messages: {
      say: { handler: async (data) => ({ said: (data as { text: string }).text.length }) },
      fail: { handler: () => { throw Object.assign(new Error('no'), { code: 'OUTBID', statusCode: 409 }) } },
      bytes: { handler: () => undefined },
      cursor: { relay: { topic: room } }
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const open = (own: ConnectOptions = {}) => {
    const client = connect(`${url}/realtime`, { WebSocket: Socket, ...own })
    t.teardown(() => client.close())
    return client
  }
  return { app, room, board, url, open }
}

t.test('events come in order, each once, also behind connections that were cut', async (t) => {
  const { app, room, open } = await start(t)
  const client = open()
  const heard: number[] = []
  const states: string[] = []
  client.state.subscribe(() => states.push(client.state.get().is))
  const leave = client.topic('rooms/:room', { room: '1' }).on('said', ({ data }) => heard.push((data as { n: number }).n))
  await until('the client', () => app.realtime.connections()[0]?.topics.length)
  let n = 0
  const say = async (count: number) => { for (let i = 0; i < count; i++) await room.publish({ room: '1' }, 'said', { n: n++ }) }
  await say(5)
  for (let cuts = 0; cuts < 5; cuts++) {
    await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
    await say(5)
  }
  await until('all of them', () => heard.length >= n)
  t.same(heard, Array.from({ length: n }, (_, i) => i))
  t.ok(states.includes('waiting'))
  leave()
  await until('idle', () => client.state.get().is === 'idle')
  await until('nobody', () => app.realtime.stats().connections.websocket === 0)
})

t.test('a message is answered, or refused with the handler\'s code', async (t) => {
  const { open } = await start(t)
  const client = open()
  t.same(await client.send('say', { text: 'hello' }), { said: 5 })
  await t.rejects(client.send('fail', {}), { name: 'RealtimeError', code: 'OUTBID' })
  await t.rejects(client.send('none', {}), { code: 'UNKNOWN_MESSAGE' })
  await until('idle', () => client.state.get().is === 'idle')
})

t.test('members, the state of a keyed topic, and relayed events', async (t) => {
  const { app, board, open } = await start(t)
  const one = open()
  const two = open()
  const room = one.topic('rooms/:room', { room: '1' })
  const other = two.topic('rooms/:room', { room: '1' })
  const cursors: unknown[] = []
  room.members.subscribe(() => {})
  other.on('cursor', ({ data }) => cursors.push(data))
  await until('ada', () => room.members.get().map(({ id }) => id).join() === 'ada')
  t.equal(room.members.get(), room.members.get(), 'the same list until it changes')
  await until('both', () => app.realtime.stats().connections.websocket === 2 && app.realtime.connections().every(({ topics }) => topics.length > 0))
  room.relay('cursor', { x: 1 })
  await until('the cursor', () => cursors.length === 1)
  t.same(cursors, [{ x: 1 }])

  await board.publish({ board: 'a' }, 'set', { v: 1 }, { key: 'k1' })
  const { state } = one.topic('boards/:board', { board: 'a' })
  state.subscribe(() => {})
  await until('k1', () => state.get().get('k1'))
  await board.publish({ board: 'a' }, 'set', { v: 2 }, { key: 'k2' })
  await until('k2', () => state.get().size === 2)
  await board.remove({ board: 'a' }, 'k1')
  await until('k1 gone', () => !state.get().has('k1'))
  t.same([...state.get()], [['k2', { event: 'set', data: { v: 2 } }]])
})

t.test('iteration ends with break, and throws where nobody lets it in', async (t) => {
  const { app, room, open } = await start(t)
  const client = open()
  const heard: unknown[] = []
  const reading = (async () => {
    for await (const { event, data } of client.topic('rooms/:room', { room: '2' })) {
      heard.push([event, data])
      if (heard.length === 2) break
    }
  })()
  await until('the client', () => app.realtime.connections()[0]?.topics.length)
  await room.publish({ room: '2' }, 'said', 'a')
  await room.publish({ room: '2' }, 'said', 'b')
  await reading
  t.same(heard, [['said', 'a'], ['said', 'b']])
  await until('idle', () => client.state.get().is === 'idle')
  await t.rejects(async () => { for await (const event of client.topic('nowhere/:id', { id: '1' })) t.fail(String(event)) }, { code: 'UNKNOWN_TOPIC' })
})

t.test('who listens behind a refusal, or to a client that is closed, is told so as well', async (t) => {
  const { open } = await start(t)
  const client = open()
  const codes: unknown[] = []
  const topic = client.topic('nowhere/:id', { id: '1' })
  topic.on('error', ({ data }) => codes.push(data.code))
  await until('the refusal', () => codes.length === 1)
  topic.on('error', ({ data }) => codes.push(data.code))
  await until('the other one', () => codes.length === 2)
  client.close()
  const room = client.topic('rooms/:room', { room: '1' })
  await t.rejects(async () => { for await (const event of room) t.fail(String(event)) }, { code: 'CLOSED' })
  t.same(codes.slice(0, 2), ['UNKNOWN_TOPIC', 'UNKNOWN_TOPIC'])
})

t.test('a client that was refused and is then closed tells its topics one end', async (t) => {
  const { open } = await start(t, { identify: (request) => { if (request.headers.user !== 'ada') throw Object.assign(new Error('no'), { statusCode: 401 }); return { id: 'ada' } } })
  const client = open({ wire: http })
  const codes: unknown[] = []
  client.topic('rooms/:room', { room: '1' }).on('error', ({ data }) => codes.push(data.code))
  await until('it is refused', () => client.state.get().is === 'refused')
  t.equal(codes.length, 1)
  client.close()
  t.equal(client.state.get().is, 'closed')
  t.equal(codes.length, 1)
  await t.rejects(client.send('say', { text: '' }), { code: 'CLOSED' })
})

t.test('a topic that is left and heard again in the next moment is no refusal', async (t) => {
  const { app, room, open } = await start(t)
  const client = open()
  const topic = client.topic('rooms/:room', { room: '1' })
  const stay = client.topic('rooms/:room', { room: '2' }).on('said', () => {})
  const heard: unknown[] = []
  const leave = topic.on('said', () => {})
  await until('both', () => app.realtime.connections()[0]?.topics.length === 2)
  leave()
  await new Promise((resolve) => setTimeout(resolve))
  topic.on('*', ({ event, data }) => heard.push([event, data]))
  // Answered behind both requests.
  await client.send('say', { text: '' })
  await room.publish({ room: '1' }, 'said', 1)
  await until('it', () => heard.length > 0)
  t.same(heard, [['said', 1]])
  stay()
})

t.test('a client that is closed by who hears its state stays closed', async (t) => {
  for (const when of ['connecting', 'open', 'waiting']) {
    const { app, open } = await start(t)
    const client = open({ firstDelay: 1 })
    const states: string[] = []
    client.state.subscribe(() => {
      const { is } = client.state.get()
      states.push(is)
      if (is === when) client.close()
      if (is === 'open') app.realtime.disconnect({ identity: 'ada' }, { reconnect: true }).catch(() => {})
    })
    client.topic('rooms/:room', { room: '1' }).on('said', () => {})
    await until('closed', () => client.state.get().is === 'closed')
    await until('nobody', () => app.realtime.stats().connections.websocket === 0)
    t.equal(states.at(-1), 'closed', when)
  }
})

t.test('what JSON cannot hold, and a place without WebSockets, are refused, and nothing else is', async (t) => {
  const { url, open } = await start(t)
  const client = open({ offline: 3 })
  await t.rejects(client.send('say', { text: 1n }), TypeError)
  t.same(await client.send('say', { text: 'hello' }), { said: 5 })
  class Never { constructor () { throw new Error('none here') } }
  const other = connect(`${url}/realtime`, { WebSocket: Never as unknown as SocketClass })
  t.teardown(() => other.close())
  await t.rejects(other.send('say', { text: '' }), { name: 'RealtimeError' })
  t.equal(other.state.get().is, 'refused')
  t.throws(() => connect(url, { retries: 3 } as unknown as ConnectOptions), { message: /unknown option "retries"/ })
})

t.test('a topic of the channel\'s own that is heard later has its state and its members all the same', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { authorize: () => true })
  const board = app.topic('board', { authorize: () => true, keyed: true })
  app.channel('/own/:room', { topics: [room, board] })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await board.publish({}, 'set', { v: 1 }, { key: 'k1' })
  const client = connect(`${url}/own/1`, { WebSocket: Socket })
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
})

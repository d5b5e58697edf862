/** Events for one connection alone: the server's connection.send(event, data), and rt.on(event, fn) of the client. */
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, http, type Client, type ConnectionEvent, type ConnectOptions } from '../../lib/client/index.ts'
import { sharedBy } from '../../lib/client/tabs.ts'
import type { Untyped } from '../../lib/client/types.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live } from '../helpers/app.ts'
import { FakeBrowser } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'

async function start (t: Test) {
  const app = await live(t, { identify: () => ({ id: 'ada' }), retry: 20 })
  const room = app.topic('rooms/:room', { authorize: () => true })
  let connections = 0
  app.channel('/realtime', {
    http: true,
    subscribe: room,
    onConnect: (connection) => connection.send('welcome', { number: ++connections }),
    messages: {
      roll: { handler: (data, { connection }) => { connection.send('rolled', data) } },
      bytes: { handler: (_data, { connection }) => { connection.send('bytes', Buffer.from([1, 2, 3])) } }
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const open = (own: ConnectOptions = {}) => {
    const client: Client<Untyped> = connect(`${url}/realtime`, { WebSocket: WebSocket as unknown as SocketClass, firstDelay: 20, ...own })
    t.teardown(() => client.close())
    return client
  }
  return { app, room, open }
}

function hear (client: Client<Untyped>, event: string) {
  const heard: ConnectionEvent[] = []
  return { heard, leave: client.on(event, (event) => heard.push(event)) }
}

t.test('a listener hears its own event, "*" hears all of them, and another connection none', async (t) => {
  const { open } = await start(t)
  const [client, other] = [open(), open()]
  const [rolled, all, others] = [hear(client, 'rolled'), hear(client, '*'), hear(other, 'rolled')]
  await until('both are open', () => [client, other].every(({ state }) => state.get().is === 'open'))
  await client.send('roll', 6)
  await client.send('bytes', null)
  await other.send('roll', 1)
  t.same(rolled.heard, [{ event: 'rolled', data: 6 }])
  t.same(all.heard.map(({ event }) => event), ['welcome', 'rolled', 'bytes'])
  t.same(all.heard.at(-1)?.data, new Uint8Array([1, 2, 3]))
  t.same(others.heard, [{ event: 'rolled', data: 1 }])
})

t.test('nothing but a listener is needed to open the connection and to keep it', async (t) => {
  const { app, open } = await start(t)
  const client = open()
  t.equal(client.state.get().is, 'idle')
  const [welcome, rolled] = [hear(client, 'welcome'), hear(client, 'rolled')]
  await until('the first word', () => welcome.heard.length === 1)
  welcome.leave()
  welcome.leave()
  await client.send('roll', 1)
  t.equal(client.state.get().is, 'open', 'the other listener keeps it')
  t.equal(rolled.heard.length, 1)
  rolled.leave()
  await until('nobody is connected', () => app.realtime.stats().connections.websocket === 0)
  t.equal(client.state.get().is, 'idle')
})

t.test('behind a lost connection the next one says its own, and nothing is told again', async (t) => {
  const { app, open } = await start(t)
  const client = open()
  const { heard } = hear(client, '*')
  await until('the first', () => heard.length === 1)
  await client.send('roll', 1)
  await app.realtime.disconnect({ identity: 'ada' }, { reconnect: true })
  await until('the second', () => heard.length === 3)
  t.same(heard.map(({ data }) => data), [{ number: 1 }, 1, { number: 2 }])
})

t.test('what a topic says is no event of the connection, and the other way round', async (t) => {
  const { app, room, open } = await start(t)
  const client = open()
  const { heard } = hear(client, '*')
  const said: unknown[] = []
  client.topic('rooms/:room', { room: '1' }).on('*', ({ event }) => said.push(event))
  await until('the topic is heard', () => app.realtime.connections()[0]?.topics.length)
  await room.publish({ room: '1' }, 'said', 1)
  await client.send('roll', 1)
  // The answer may come before it: they go different ways.
  await until('the topic has said it', () => said.length > 0)
  t.same(said, ['said'])
  t.same(heard.map(({ event }) => event), ['welcome', 'rolled'])
})

t.test('a listener that leaves while an event is told, or throws, keeps it from nobody else', async (t) => {
  const { open } = await start(t)
  const client = open()
  const heard: string[] = []
  const thrown = new Promise<unknown>((resolve) => process.once('uncaughtException', resolve))
  const leave = client.on('rolled', () => {
    heard.push('one')
    leave()
    throw new Error('the page')
  })
  client.on('rolled', () => heard.push('two'))
  await client.send('roll', 1)
  t.match(await thrown, { message: 'the page' })
  await client.send('roll', 2)
  t.same(heard, ['one', 'two', 'two'])
})

t.test('over HTTP each stream is a connection: an event of it is heard as well', async (t) => {
  const { app, open } = await start(t)
  const client = open({ wire: http })
  const { heard } = hear(client, 'welcome')
  await until('the stream', () => heard.length === 1)
  client.topic('rooms/:room', { room: '1' }).on('said', () => {})
  await until('the stream with the topic', () => heard.length === 2)
  t.same(heard.map(({ data }) => data), [{ number: 1 }, { number: 2 }])
  await until('the first is gone', () => app.realtime.stats().connections.sse === 1)
  const [connection] = app.realtime.connections()
  const bytes = hear(client, 'bytes')
  connection?.send('bytes', Buffer.from([1, 2, 3]))
  await until('the bytes', () => bytes.heard.length === 1)
  t.same(bytes.heard, [{ event: 'bytes', data: new Uint8Array([1, 2, 3]) }])
})

t.test('tabs that share a connection hear what comes for it while they are there', async (t) => {
  const { open } = await start(t)
  const browser = new FakeBrowser()
  const tab = () => {
    const page = browser.page()
    return open({ WebSocket: page.WebSocket, tabs: sharedBy({ key: 'ada', patience: 10_000 }, () => page.browser) })
  }
  const one = tab()
  const first = hear(one, '*')
  await until('the first tab', () => first.heard.length === 1)
  const two = tab()
  const second = hear(two, '*')
  await until('the second tab', () => two.state.get().is === 'open')
  await two.send('roll', 6)
  await until('both heard it', () => first.heard.length === 2 && second.heard.length === 1)
  t.same(second.heard, [{ event: 'rolled', data: 6 }], 'what was said before it came is not told again')
})

t.test('a client that is closed tells nobody, and one that is closed before opens nothing', async (t) => {
  const { app, open } = await start(t)
  const client = open()
  client.close()
  const { heard } = hear(client, '*')
  const other = open()
  const { heard: others } = hear(other, '*')
  await until('the other', () => others.length === 1)
  t.same(heard, [])
  t.equal(app.realtime.stats().connections.websocket, 1)
})

/** `wire: auto`: a WebSocket, HTTP where none can be had, and from one to the other without a lost event. */
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { auto, connect, type ConnectOptions } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live, portOf } from '../helpers/app.ts'
import { HttpProxy, type Upgrades } from '../helpers/http-proxy.ts'
import { until } from '../helpers/redis.ts'

const Socket = WebSocket as unknown as SocketClass
const KEY = 'fastify-realtime:'

async function start (t: Test, { http = true, lets = true } = {}) {
  const app = await live(t, { retry: 20 })
  const room = app.topic('rooms/:room', { authorize: () => true })
  app.channel('/realtime', {
    http,
    subscribe: room,
    onRequest: async () => { if (!lets) throw Object.assign(new Error('no'), { statusCode: 401, code: 'WHO_ARE_YOU' }) },
    messages: { say: { handler: (data) => data } }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const proxy = await HttpProxy.start(t, portOf(app))
  const open = (own: ConnectOptions = {}) => {
    const client = connect(`${proxy.url}/realtime`, { wire: auto, WebSocket: Socket, firstDelay: 10, longestDelay: 100, ...own })
    t.teardown(() => client.close())
    return client
  }
  const kinds = () => app.realtime.connections().map(({ kind }) => kind).join()
  return { app, room, proxy, open, kinds }
}

/** sessionStorage, for as long as the test runs. */
function storage (t: Test, own: Partial<Storage> | undefined = undefined): Map<string, string> {
  const kept = new Map<string, string>()
  const value = own ?? {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, text: string) => { kept.set(key, text) },
    removeItem: (key: string) => { kept.delete(key) }
  }
  const before = Object.getOwnPropertyDescriptor(globalThis, 'sessionStorage')
  Object.defineProperty(globalThis, 'sessionStorage', { configurable: true, get: () => value })
  t.teardown(() => {
    if (before) Object.defineProperty(globalThis, 'sessionStorage', before)
    else Reflect.deleteProperty(globalThis, 'sessionStorage')
  })
  return kept
}

t.test('where a WebSocket can be had, that is what it takes', async (t) => {
  const { proxy, open, kinds } = await start(t)
  const client = open()
  t.equal(await client.send('say', 'hello'), 'hello')
  t.equal(proxy.requests.length, 0)
  client.topic('rooms/:room', { room: '1' }).on('n', () => {})
  await until('it', () => kinds() === 'websocket')
})

const blocks: Record<string, Upgrades> = {
  'answers 400': 400,
  'answers 403': 403,
  'answers 502': 502,
  'strips the header': 'strip',
  'cuts it before the first frame': 'cut',
  'says nothing': 'silent'
}
for (const [what, upgrades] of Object.entries(blocks)) {
  t.test(`a proxy that ${what}: HTTP, and that is remembered`, async (t) => {
    const kept = storage(t)
    const { room, proxy, open, kinds } = await start(t)
    proxy.upgrades = upgrades
    const client = open({ handshakeTimeout: upgrades === 'silent' ? 1000 : 10_000 })
    const states: string[] = []
    client.state.subscribe(() => states.push(client.state.get().is))
    const heard: unknown[] = []
    client.topic('rooms/:room', { room: '1' }).on('n', ({ data }) => heard.push(data))
    await until('a stream', () => kinds() === 'sse' && client.state.get().is === 'open')
    t.same(states, ['connecting', 'open'], 'in one and the same attempt')
    await room.publish({ room: '1' }, 'n', 1)
    await until('it', () => heard.length === 1)
    t.equal(await client.send('say', 'hello'), 'hello')
    t.equal(proxy.asked, 1)
    t.same([...kept], [[`${KEY}${proxy.url}/realtime`, 'http']])
    client.close()
    t.equal(await open().send('say', 'another'), 'another')
    t.equal(proxy.asked, 1, 'another client does not try again')
  })
}

t.test('what a tab has remembered counts from the beginning, for that URL alone', async (t) => {
  const kept = storage(t)
  const { proxy, open } = await start(t)
  kept.set(`${KEY}${proxy.url}/realtime`, 'http')
  kept.set(`${KEY}${proxy.url}/other`, 'http')
  t.equal(await open().send('say', 1), 1)
  t.equal(proxy.asked, 0)
  const other = await start(t)
  t.equal(await other.open().send('say', 1), 1)
  t.equal(other.proxy.asked, 1)
  t.equal(other.proxy.requests.length, 0)
})

t.test('storage that throws is no reason to fail: it is remembered all the same, as long as the page is there', async (t) => {
  const throws = (): never => { throw new Error('SecurityError') }
  storage(t, { getItem: throws, setItem: throws, removeItem: throws })
  const { proxy, open } = await start(t)
  proxy.upgrades = 502
  t.equal(await open().send('say', 1), 1)
  t.equal(await open().send('say', 2), 2)
  t.equal(proxy.asked, 1)
})

t.test('where there is no WebSocket, HTTP does', async (t) => {
  const { proxy, open } = await start(t)
  class Never { constructor () { throw new Error('none here') } }
  t.equal(await open({ WebSocket: Never as unknown as SocketClass }).send('say', 1), 1)
  t.equal(proxy.asked, 0)
})

t.test('a server that lets nobody in is no proxy: it ends there, and nothing is remembered', async (t) => {
  const kept = storage(t)
  const { proxy, open } = await start(t, { lets: false })
  const client = open()
  await t.rejects(client.send('say', 1))
  t.same(client.state.get(), { is: 'refused', code: 'WHO_ARE_YOU' })
  t.equal(proxy.asked, 1)
  t.equal(proxy.opens.length, 1)
  t.equal(kept.size, 0)
})

t.test('a server that closes with a word of its own is taken at it, and HTTP is not tried', async (t) => {
  const app = await live(t, { retry: 20 })
  const room = app.topic('rooms/:room', { authorize: () => true })
  app.channel('/realtime', { http: true, subscribe: room, onConnect: () => { throw Object.assign(new Error('no'), { statusCode: 403 }) } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const proxy = await HttpProxy.start(t, portOf(app))
  const client = connect(`${proxy.url}/realtime`, { wire: auto, WebSocket: Socket })
  t.teardown(() => client.close())
  client.topic('rooms/:room', { room: '1' }).on('n', () => {})
  await until('refused', () => client.state.get().is === 'refused')
  t.equal(proxy.asked, 1)
  t.equal(proxy.requests.length, 0)
})

t.test('a channel without `http: true` is dialled as before: it comes back, and is there when upgrades are let through', async (t) => {
  const kept = storage(t)
  const { proxy, open, kinds } = await start(t, { http: false })
  proxy.upgrades = 502
  const client = open()
  client.topic('rooms/:room', { room: '1' }).on('n', () => {})
  await until('three attempts', () => proxy.asked >= 3)
  t.not(client.state.get().is, 'refused')
  proxy.upgrades = 'pass'
  await until('it', () => kinds() === 'websocket')
  t.equal(kept.size, 0)
})

t.test('what is remembered of a server that has no HTTP any more is forgotten', async (t) => {
  const kept = storage(t)
  const { proxy, open } = await start(t, { http: false })
  kept.set(`${KEY}${proxy.url}/realtime`, 'http')
  const client = open({ offline: 1 })
  t.equal(await client.send('say', 1), 1)
  t.equal(proxy.opens.length, 1)
  t.equal(kept.size, 0)
})

t.test('upgrades are blocked in the middle: HTTP takes over from the cursors, on two topics, and gives back in a new session', async (t) => {
  const kept = storage(t)
  const { app, room, proxy, open, kinds } = await start(t)
  const client = open()
  const told = new Map<string, unknown[]>([['1', []], ['2', []]])
  for (const [name, events] of told) client.topic('rooms/:room', { room: name }).on('*', ({ event, data }) => events.push(event === 'n' ? data : event))
  await until('the client', () => app.realtime.connections()[0]?.topics.length === 2)
  let n = 0
  const publish = async (count: number) => {
    for (const last = n + count; n < last;) {
      n++
      for (const room1 of told.keys()) await room.publish({ room: room1 }, 'n', n)
    }
  }
  const all = async () => {
    await until('all', () => [...told.values()].every((events) => events.length >= n))
    for (const events of told.values()) t.same(events, Array.from({ length: n }, (_, i) => i + 1))
  }
  await publish(5)
  await all()
  await until('websocket', () => kinds() === 'websocket')

  proxy.upgrades = 502
  proxy.cut()
  await publish(5)
  await all()
  await until('sse', () => kinds() === 'sse')
  t.same(JSON.parse(proxy.opens[0]?.body ?? '{}').topics, ['rooms/1', 'rooms/2'])
  t.equal(kept.size, 0, 'a WebSocket that has worked is tried first, once more')

  proxy.upgrades = 'pass'
  proxy.cut()
  await publish(5)
  await all()
  await until('websocket', () => kinds() === 'websocket')

  // It has worked again: HTTP may stand in once, and is remembered the second time in a row.
  proxy.upgrades = 502
  for (const size of [0, 1]) {
    proxy.cut()
    await publish(3)
    await all()
    await until('sse', () => kinds() === 'sse')
    t.equal(kept.size, size)
  }
  const { asked } = proxy
  proxy.upgrades = 'pass'
  proxy.cut()
  await publish(3)
  await all()
  t.equal(proxy.asked, asked, 'in this session it stays so')

  kept.clear()
  proxy.cut()
  await publish(3)
  await all()
  await until('websocket', () => kinds() === 'websocket')
  client.close()
})

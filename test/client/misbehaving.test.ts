/** Servers that misbehave on purpose: whatever they send, each event is told once and in order, or a loss is told. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { connect, type ClientEvent, type ConnectOptions } from '../../lib/client/index.ts'
import { HeardTopic } from '../../lib/client/topic.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { BareContext } from '../helpers/bare-context.ts'
import { until } from '../helpers/redis.ts'

type Frame = Record<string, unknown>

/** What a connection is told, in turn, and what the client has said on it. */
interface Line { socket: WebSocket, heard: Frame[], cursor: string | undefined }

async function scripted (t: Test, play: (line: Line, turn: number) => void, options: ConnectOptions = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const lines: Line[] = []
  server.on('connection', (socket) => {
    const line: Line = { socket, heard: [], cursor: undefined }
    const turn = lines.push(line) - 1
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame
      line.heard.push(frame)
      if (frame.op === 'open') say(line, { op: 'open', connection: 'c', heartbeat: 60 })
      if (frame.op === 'subscribe') {
        line.cursor = frame.id as string | undefined
        say(line, { op: 'subscribed', topic: 'news', id: line.cursor ?? '0', ...line.cursor !== undefined && { recovered: true } })
        play(line, turn)
      }
    })
  })
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    WebSocket: WebSocket as unknown as SocketClass, firstDelay: 10, ...options
  })
  t.teardown(() => client.close())
  const told: ClientEvent[] = []
  const numbers = () => told.filter(({ event }) => event === 'n').map(({ data }) => data)
  client.topic('news').on('*', (event) => told.push(event as ClientEvent))
  return { client, lines, told, numbers }
}

const say = ({ socket }: Line, frame: Frame) => socket.send(JSON.stringify(frame))
const event = (line: Line, n: number, prev = n - 1) => say(line, { topic: 'news', event: 'n', id: String(n), prev: String(prev), data: n })
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)
/** A server that goes on where the client is. */
const honest = (line: Line, last: number) => { for (let n = Number(line.cursor ?? 0) + 1; n <= last; n++) event(line, n) }

const faults: Record<string, (line: Line) => void> = {
  'a gap': (line) => { event(line, 1); event(line, 2); event(line, 4); event(line, 5) },
  'an event twice': (line) => { event(line, 1); event(line, 1); event(line, 2); event(line, 2) },
  'an event of before, once more': (line) => { event(line, 1); event(line, 2); event(line, 1); event(line, 3, 1) },
  'two in the wrong order': (line) => { event(line, 1); event(line, 3); event(line, 2) },
  'half a frame': ({ socket, ...line }) => { event({ socket, ...line }, 1); socket.send('{"topic":"news","event":"n","id"') },
  'a frame that is no frame': ({ socket, ...line }) => { event({ socket, ...line }, 1); socket.send('null') },
  'bytes that are no frame': ({ socket, ...line }) => { event({ socket, ...line }, 1); socket.send(Buffer.from([0, 0, 0, 200, 1])) },
  'an end without a word': ({ socket, ...line }) => { event({ socket, ...line }, 1); socket.terminate() },
  'a close in mid-air, and a bye': (line) => { event(line, 1); say(line, { op: 'bye', code: 1012, reason: 'restart', reconnect: true, retry: 5 }); line.socket.close(1012) }
}
for (const [what, fault] of Object.entries(faults)) {
  t.test(what, async (t) => {
    const { told, numbers, lines } = await scripted(t, (line, turn) => turn === 0 ? fault(line) : honest(line, 6))
    if (what === 'an event twice') {
      await until('2', () => numbers().length === 2)
      lines[0]?.socket.terminate()
    }
    await until('all of them', () => numbers().length === 6)
    t.same(numbers(), upTo(6))
    t.same(told.filter(({ event }) => event === 'reset'), [])
  })
}

t.test('what a server cannot give is told as lost, and nothing goes round in circles', async (t) => {
  const { told, numbers, lines } = await scripted(t, (line) => {
    if (line.cursor === undefined) { event(line, 1); event(line, 3) } else for (let n = 3; n <= 5; n++) event(line, n)
  })
  await until('5', () => numbers().includes(5))
  t.same(told.map(({ event, data }) => event === 'n' ? data : event), [1, 'reset', 3, 4, 5])
  t.ok(lines.length <= 4, `${lines.length} connections`)
})

t.test('a connection that says nothing any more is asked, and given up', async (t) => {
  const { numbers, lines } = await scripted(t, (line, turn) => { if (turn === 0) event(line, 1); else honest(line, 3) })
  await until('3', () => numbers().length === 3)
  t.same(numbers(), [1, 2, 3])
  t.ok(lines[0]?.heard.some(({ op }) => op === 'ping'))
})

t.test('who is not let in does not come back', async (t) => {
  const { client, lines, told } = await scripted(t, (line) => {
    say(line, { op: 'error', code: 'FORBIDDEN', message: 'no' })
    say(line, { op: 'bye', code: 4403, reason: 'forbidden', reconnect: false })
    line.socket.close(4403)
  })
  await until('refused', () => client.state.get().is === 'refused')
  t.same(client.state.get(), { is: 'refused', code: 'FORBIDDEN' })
  t.equal(lines.length, 1)
  t.match(told, [{ event: 'error', data: { code: 'FORBIDDEN' } }])
  await t.rejects(client.send('say', {}), { code: 'FORBIDDEN' })
})

t.test('a token that is refused is asked for once more, and then nothing is tried', async (t) => {
  const asked: string[] = []
  const { client, lines } = await scripted(t, (line) => line.socket.close(4401), {
    token: ({ reason }) => { asked.push(reason); return `token-${asked.length}` }
  })
  await until('refused', () => client.state.get().is === 'refused')
  t.same(asked, ['open', 'refused'])
  t.same(lines.map(({ heard }) => heard[0]?.token), ['token-1', 'token-2'])
})

t.test('a token is renewed in place, when half of its time is over, and no more than once at a time', async (t) => {
  const asked: string[] = []
  const { lines, numbers } = await scripted(t, (line) => {
    say(line, { op: 'subscribed', topic: 'news', expires: 40 })
    line.socket.on('message', (data) => {
      const { op, ref } = JSON.parse(String(data)) as Frame
      if (op !== 'refresh') return
      say(line, { op: 'refreshed', ref, expires: 3_600_000 })
      event(line, 1)
    })
  }, { token: ({ reason }) => { asked.push(reason); return `token-${asked.length}` } })
  await until('the event behind it', () => numbers().length === 1)
  t.same(asked, ['open', 'expiring'])
  t.match(lines[0]?.heard.find(({ op }) => op === 'refresh'), { token: 'token-2' })
  t.equal(lines.length, 1)
})

t.test('messages that are kept while there is no connection are sent behind it, with the key of before', async (t) => {
  const keys: Array<[unknown, unknown]> = []
  const { client, lines } = await scripted(t, (line, turn) => {
    line.socket.on('message', (data) => {
      const { event, key, ref } = JSON.parse(String(data)) as Frame
      if (event === undefined) return
      keys.push([event, key])
      if (turn === 0) line.socket.terminate()
      else say(line, { op: 'reply', ref, data: event })
    })
  }, { offline: 2 })
  await until('open', () => lines[0]?.heard.some(({ op }) => op === 'subscribe'))
  const waiting = new Promise<void>((resolve) => client.state.subscribe(() => { if (client.state.get().is === 'waiting') resolve() }))
  const first = client.send('one', {})
  await waiting
  const second = client.send('two', {})
  await t.rejects(client.send('three', {}), { code: 'QUEUE_FULL' })
  t.same(await Promise.all([first, second]), ['one', 'two'])
  t.same(keys.map(([event]) => event), ['one', 'one', 'two'])
  t.equal(keys[0]?.[1], keys[1]?.[1])
  t.not(keys[1]?.[1], keys[2]?.[1])
})

t.test('without that, who sends is told that it was not sent, or that nobody knows', async (t) => {
  const { client, lines } = await scripted(t, (line) => {
    line.socket.on('message', (data) => { if ('event' in (JSON.parse(String(data)) as Frame)) line.socket.terminate() })
  }, { firstDelay: 60_000 })
  await until('open', () => lines[0]?.heard.some(({ op }) => op === 'subscribe'))
  await t.rejects(client.send('one', {}), { code: 'DISCONNECTED' })
  await t.rejects(client.send('two', {}), { code: 'OFFLINE' })
})

t.test('an event of a subscription that was left is not told in the next one, nor gone on from', async (t) => {
  const topic = new HeardTopic('news', { join () {}, leave () {}, broken () {} })
  const told: unknown[] = []
  topic.on('*', ({ data }) => told.push(data))
  topic.frame({ topic: 'news', event: 'n', id: '2', prev: '1', data: 2 })
  t.equal(topic.position.id, undefined)
  topic.frame({ op: 'subscribed', topic: 'news', id: '4' })
  topic.frame({ topic: 'news', event: 'n', id: '5', prev: '4', data: 5 })
  t.same(told, [5])
})

t.test('a late event of an earlier subscription is not taken for the answer to the next one', async (t) => {
  let subscribes = 0
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  server.on('connection', (socket) => {
    const line: Line = { socket, heard: [], cursor: undefined }
    socket.on('message', (data) => {
      const { op, topic, ref } = JSON.parse(String(data)) as Frame
      if (op === 'open') say(line, { op: 'open', connection: 'c', heartbeat: 25_000 })
      if (op !== 'subscribe') return
      if (topic === 'kept') return say(line, { op: 'subscribed', topic, ref })
      subscribes++
      if (subscribes === 2) {
        // It was on its way when the topic was left; and what was said too fast was not read, so that its answer names nothing.
        event(line, 2)
        return say(line, { op: 'error', code: 'RATE_LIMITED', message: 'later' })
      }
      say(line, { op: 'subscribed', topic, ref, id: String(subscribes === 1 ? 0 : 2) })
      event(line, subscribes === 1 ? 1 : 3)
    })
  })
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    WebSocket: WebSocket as unknown as SocketClass, firstDelay: 10
  })
  t.teardown(() => client.close())
  client.topic('kept').on('*', () => {})
  const told: unknown[] = []
  const hear = () => client.topic('news').on('*', ({ event, data }) => told.push(event === 'n' ? data : event))
  const leave = hear()
  await until('the first', () => told.length === 1)
  leave()
  await new Promise((resolve) => setTimeout(resolve))
  hear()
  await until('it is asked for once more', () => subscribes === 3)
  await until('the one behind it', () => told.length === 2)
  t.same(told, [1, 3])
})

t.test('what was to be asked for later is not, once the client is closed: nothing of it is left', async (t) => {
  const machine = new BareContext((ms) => ms > 0)
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => server.close())
  let refused = 0
  server.on('connection', (socket) => {
    socket.on('message', (data) => {
      const { op } = JSON.parse(String(data)) as Frame
      if (op === 'open') socket.send(JSON.stringify({ op: 'open', connection: 'c', heartbeat: 25_000 }))
      if (op === 'subscribe') socket.send(JSON.stringify({ op: 'error', code: 'RATE_LIMITED', message: 'later' }), () => refused++)
    })
  })
  const client = machine.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  client.topic('news').on('*', () => {})
  await until('it is to be asked for later', () => refused === 1 && machine.shortest() !== undefined)
  client.close()
  await until('nobody', () => server.clients.size === 0)
  t.equal(machine.shortest(), undefined)
})

/** The client's token: asked for once at a time, and given up where it does not come. */
import t from 'tap'
import { setImmediate as turn } from 'node:timers/promises'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { connect } from '../../lib/client/index.ts'
import { Token } from '../../lib/client/token.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live } from '../helpers/app.ts'
import { BareContext } from '../helpers/bare-context.ts'
import { until } from '../helpers/redis.ts'

/** A number that no other timer has. */
const TOKEN_MS = 12_345
const Socket = WebSocket as unknown as SocketClass

t.test('a token that never comes is given up, and asked for again', async (t) => {
  const app = await live(t, { retry: 20, tokens: { secret: 'a secret of at least thirty-two bytes' } })
  const room = app.topic('rooms/:room', { authorize: 'token' })
  app.channel('/realtime', { subscribe: room })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  let asked = 0
  const client = connect(`${url}/realtime`, {
    WebSocket: Socket,
    firstDelay: 10,
    tokenTimeout: 500,
    token: async () => ++asked < 3 ? await new Promise<string>(() => {}) : await app.realtime.sign({ sub: 'ada', subscribe: room })
  })
  t.teardown(() => client.close())
  const states: string[] = []
  client.state.subscribe(() => states.push(client.state.get().is))
  client.topic('rooms/:room', { room: '1' }).on('n', () => {})
  await until('open', () => client.state.get().is === 'open')
  t.same(states, ['connecting', 'waiting', 'connecting', 'waiting', 'connecting', 'open'])
})

t.test('a client that is closed while a token is on its way waits for it no more', async (t) => {
  const machine = new BareContext((ms) => ms === TOKEN_MS)
  let asked = 0
  const client = machine.connect('http://127.0.0.1:9', { tokenTimeout: TOKEN_MS, token: async () => { asked++; return await new Promise<string>(() => {}) } })
  client.on('*', () => {})
  await until('the token is asked for', () => asked === 1)
  t.equal(machine.waiting(TOKEN_MS), 1)
  client.close()
  await until('nothing waits', () => machine.waiting(TOKEN_MS) === 0)
  t.equal(client.state.get().is, 'closed')
})

t.test('nor does one that nobody needs any more; it asks anew when somebody does', async (t) => {
  const machine = new BareContext((ms) => ms === TOKEN_MS)
  let asked = 0
  const client = machine.connect('http://127.0.0.1:9', { tokenTimeout: TOKEN_MS, token: async () => { asked++; return await new Promise<string>(() => {}) } })
  t.teardown(() => client.close())
  const leave = client.on('*', () => {})
  await until('the token is asked for', () => asked === 1)
  leave()
  await until('nothing waits', () => client.state.get().is === 'idle' && machine.waiting(TOKEN_MS) === 0)
  client.on('*', () => {})
  await until('another one is asked for', () => asked === 2)
})

t.test('who asks at one time is given one answer; what comes too late is given to nobody', async (t) => {
  const given: Array<(token: string) => void> = []
  const token = new Token(async () => await new Promise<string>((resolve) => given.push(resolve)), 300)
  const both = [token.ask('open'), token.ask('expiring')]
  await turn()
  t.equal(given.length, 1)
  given[0]?.('one')
  t.same(await Promise.all(both), ['one', 'one'])
  await t.rejects(token.ask('open'), { name: 'RealtimeError', code: 'TIMEOUT' })
  const next = token.ask('open')
  await turn()
  given[1]?.('late')
  given[2]?.('in time')
  t.equal(await next, 'in time')
})

t.test('topics that lapse together ask for one token and one refresh, and are all heard again', async (t) => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const names = ['a', 'b', 'c', 'd']
  const heard: Array<Record<string, unknown>> = []
  server.on('connection', (socket) => {
    const say = (frame: object) => socket.send(JSON.stringify(frame))
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Record<string, unknown>
      heard.push(frame)
      if (frame.op === 'open') say({ op: 'open', connection: 'c', heartbeat: 25_000 })
      if (frame.op === 'subscribe') say({ op: 'subscribed', topic: frame.topic, ref: frame.ref })
      if (frame.op === 'refresh') say({ op: 'refreshed', ref: frame.ref })
      const subscribed = heard.filter(({ op }) => op === 'subscribe').length
      if (frame.op === 'subscribe' && subscribed === names.length) for (const topic of names) say({ op: 'unsubscribed', topic, reason: 'expired' })
    })
  })
  const reasons: string[] = []
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    WebSocket: Socket,
    // Slower than the frames that say what has lapsed.
    token: async ({ reason }) => { reasons.push(reason); await new Promise((resolve) => setTimeout(resolve, 20)); return reason }
  })
  t.teardown(() => client.close())
  const codes: unknown[] = []
  for (const name of names) client.topic(name).on('error', ({ data }) => codes.push(data.code))
  await until('all again', () => heard.filter(({ op }) => op === 'subscribe').length === 2 * names.length)
  t.same(reasons, ['open', 'expiring'])
  t.equal(heard.filter(({ op }) => op === 'refresh').length, 1)
  t.same(codes, [])
})

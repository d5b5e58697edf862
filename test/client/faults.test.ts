/** What was said too fast, and URLs of a class that ends them with a slash. */
import t from 'tap'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { connect } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/socket-class.ts'
import { BareContext } from '../helpers/bare-context.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'

const Socket = WebSocket as unknown as SocketClass

t.test('a subscription that was not taken because too much was said is asked for again', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { authorize: () => true })
  app.channel('/realtime', { subscribe: room, limits: { messagesPerSecond: 20, burst: 10 } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect(`${url}/realtime`, { WebSocket: Socket, firstDelay: 50 })
  t.teardown(() => client.close())
  for (let i = 0; i < 15; i++) client.topic('rooms/:room', { room: String(i) }).on('*', () => {})
  await until('all of them', () => app.realtime.connections()[0]?.topics.length === 15, 5000)
})

t.test('an `open` that was not taken for that reason is no end: the client comes back', async (t) => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  let dials = 0
  server.on('connection', (socket) => {
    dials++
    // As the plugin does: the frame is answered so, and 10 s later, without an `open`, comes the end.
    socket.once('message', () => {
      socket.send('{"op":"error","code":"RATE_LIMITED","message":"too many messages of this identity: slow down"}')
      socket.close(4408)
    })
  })
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { WebSocket: Socket, firstDelay: 20 })
  t.teardown(() => client.close())
  client.topic('news').on('*', () => {})
  await until('another dial', () => dials > 1, 5000)
})

t.test('in React Native a URL keeps its path: its URL class ends each one with a slash', async (t) => {
  const app = await live(t)
  app.channel('/realtime', { subscribe: app.topic('news', { authorize: () => true }) })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const context = new BareContext()
  context.run('globalThis.URL = class { constructor (url) { this.href = url.endsWith("/") ? url : url + "/" } toString () { return this.href } }')
  const client = context.connect(`${url}/realtime`)
  t.teardown(() => client.close())
  client.topic('news').on('*', () => {})
  await until('an answer', () => ['open', 'refused', 'waiting'].includes(client.state.get().is), 5000)
  t.equal(client.state.get().is, 'open')
})

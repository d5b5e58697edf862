/** Plain `websocket: true` routes of @fastify/websocket beside channels, by one option. */
import { once } from 'node:events'
import fastifyWebSocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import realtime, { type RealtimeOptions } from '../lib/index.ts'
import { connectChannel } from '../lib/testing/index.ts'
import { bare, listen, portOf } from './helpers/app.ts'

/** A route of each kind. */
function declare (app: FastifyInstance): void {
  app.topic('news')
  app.channel('/news', { topics: 'news' })
  app.get('/echo', { websocket: true }, (socket) => {
    socket.on('message', (data) => socket.send(`echo ${String(data)}`))
  })
}

async function echoed (app: FastifyInstance, said: string): Promise<string> {
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/echo`)
  await once(socket, 'open')
  socket.send(said)
  const [data] = await once(socket, 'message') as [Buffer]
  socket.close()
  return String(data)
}

async function bothWork (t: Test, app: FastifyInstance): Promise<void> {
  await listen(app)
  t.equal(await echoed(app, 'hello'), 'echo hello')
  const client = await connectChannel(app, '/news', { t })
  await app.realtime.publish('news', 'item', { n: 1 })
  t.same((await client.next('item')).data, { n: 1 })
}

t.test('an object registers @fastify/websocket with these options', async (t) => {
  const app = bare(t)
  await app.register(realtime, { websocket: { options: { maxPayload: 10 } } })
  declare(app)
  await bothWork(t, app)
  const injected = await app.injectWS('/echo')
  injected.send('hi')
  const [data] = await once(injected, 'message') as [Buffer]
  t.equal(String(data), 'echo hi')
  injected.terminate()
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(app)}/echo`)
  await once(socket, 'open')
  socket.send('longer than that')
  const [code] = await once(socket, 'close') as [number]
  t.equal(code, 1009, 'maxPayload holds')
})

t.test('an app that has it already keeps its own', async (t) => {
  const app = bare(t)
  await app.register(fastifyWebSocket, { options: { maxPayload: 1000 } })
  await app.register(realtime, { websocket: { options: { maxPayload: 1 } } })
  declare(app)
  await bothWork(t, app)
})

t.test('without the option the app may register it before or after', async (t) => {
  for (const first of [realtime, fastifyWebSocket]) {
    const app = bare(t)
    await app.register(first)
    await app.register(first === realtime ? fastifyWebSocket : realtime)
    declare(app)
    await bothWork(t, app)
  }
})

t.test('any other value is refused', async (t) => {
  for (const websocket of ['yes', 1, [], () => {}]) {
    const app = Fastify()
    await t.rejects(Promise.resolve(app.register(realtime, { websocket } as unknown as RealtimeOptions)), { code: 'FST_ERR_REALTIME_OPTION_INVALID' }, String(websocket))
  }
})

/** A rolling deploy of nodes on one Redis, with tokens that expire during it: what a page hears of two topics. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { connect as dial, createServer, type AddressInfo, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connect } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { bare, listen } from '../helpers/app.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import realtime from '../../lib/index.ts'
import { SECRET } from '../helpers/tokens.ts'

t.setTimeout(120_000)
const server = await RedisServer.start(t)
/** Renewed when half of it is over, and not more often than once a second. */
const TOKEN_MS = 2500
const NAMES = ['a', 'b'] as const

async function startNode (t: Test) {
  const app = bare(t)
  await app.register(realtime, {
    adapter: redis({ url: server.url, prefix: 'deploy:' }), tokens: { secret: SECRET }, retry: 50, closeTimeout: 500
  })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  app.channel('/realtime', { subscribe: room })
  const url = await listen(app)
  const sign = () => app.realtime.sign({ sub: 'ada', subscribe: 'rooms/:id', expiresIn: TOKEN_MS })
  return { app, room, sign, port: Number(new URL(url).port) }
}

/** A balancer: whoever comes is handed to the node that is the newest. */
async function balancer (t: Test, port: number) {
  const sockets = new Set<Socket>()
  const balancing = { port, url: '' }
  const front = createServer((client) => {
    const upstream = dial(balancing.port, '127.0.0.1')
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => { sockets.delete(socket); other.destroy() })
    }
    client.pipe(upstream).pipe(client)
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    front.close()
  })
  balancing.url = `http://127.0.0.1:${(front.address() as AddressInfo).port}/realtime`
  return balancing
}

t.test('both topics come whole and in order, over two changes of nodes and several tokens', async (t) => {
  let node = await startNode(t)
  const front = await balancer(t, node.port)
  const reasons: string[] = []
  let renewed = 0
  class Watched extends WebSocket {
    constructor (url: string, protocols: string[]) {
      super(url, protocols)
      this.on('message', (data) => { if (String(data).includes('"op":"refreshed"')) renewed++ })
    }
  }
  const client = connect(front.url, {
    WebSocket: Watched as unknown as SocketClass, firstDelay: 20, token: ({ reason }) => { reasons.push(reason); return node.sign() }
  })
  t.teardown(() => client.close())
  const heard: Record<string, unknown[]> = { a: [], b: [] }
  const faults: unknown[] = []
  for (const id of NAMES) {
    client.topic('rooms/:id', { id }).on('*', ({ event, data }) => {
      if (event === 'n') heard[id]?.push(data)
      else faults.push([event, data])
    })
  }
  await until('both topics', () => node.app.realtime.connections()[0]?.topics.length === 2)

  const published: Record<string, number[]> = { a: [], b: [] }
  const publishing = { goesOn: true }
  const publisher = (async () => {
    for (let n = 0; publishing.goesOn; n++) {
      for (const id of NAMES) await node.room.publish({ id }, 'n', n).then(() => published[id]?.push(n))
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()

  for (let deploys = 1; deploys <= 2; deploys++) {
    await until('a newer token to hold', () => renewed >= deploys)
    const old = node
    node = await startNode(t)
    front.port = node.port
    // The old one is not to end while it publishes.
    const count = published.a?.length ?? 0
    await until('what the new node publishes', () => (published.a?.length ?? 0) > count + 1)
    await old.app.close()
    await until('the client on the new node', () => node.app.realtime.connections()[0]?.topics.length === 2)
  }
  await until('a newer token on the last one', () => renewed >= 3)
  await until('enough events', () => (published.a?.length ?? 0) > 100)
  publishing.goesOn = false
  await publisher
  await until('all of them', () => NAMES.every((id) => (heard[id]?.length ?? 0) >= (published[id]?.length ?? 0)))
  for (const id of NAMES) t.same(heard[id], published[id])
  t.same(faults, [], 'no reset, and no refusal')
  t.equal(reasons.filter((reason) => reason === 'open').length, 3, 'one connection a node')
  t.notOk(reasons.includes('refused'))
})

/** Clients that were cut together do not return together: they are spread evenly over the whole window. */
import t, { type Test } from 'tap'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { delayOf } from '../../lib/client/backoff.ts'
import { connect } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'
import { Random } from '../random/random.ts'

const CLIENTS = 100
const BUCKETS = 5

/** Kolmogorov and Smirnov's distance from an even spread over [0, 1]. */
function distance (values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.max(...sorted.map((value, i) => Math.max((i + 1) / sorted.length - value, value - i / sorted.length)))
}

/** Of so many even ones, one set in 100,000 is farther off than 0.25, and one in a thousand million leaves a fifth empty. */
function spread (t: Test, values: number[], what: string): void {
  t.equal(values.length, CLIENTS, what)
  const d = distance(values)
  t.ok(d < 0.25, `${what}: ${d}`)
  t.equal(new Set(values.map((value) => Math.min(BUCKETS - 1, Math.floor(value * BUCKETS)))).size, BUCKETS, what)
}

t.test('the measure tells a herd from an even spread', async (t) => {
  t.ok(distance(Array.from({ length: CLIENTS }, (_, i) => i / CLIENTS)) < 0.02)
  t.ok(distance(Array(CLIENTS).fill(0.5)) >= 0.5)
  t.ok(distance(Array.from({ length: CLIENTS }, (_, i) => (i / CLIENTS) ** 3)) > 0.25, 'more of them early')
})

t.test('delays are even up to their bound, which doubles up to the longest', async (t) => {
  seeded(t)
  const delays = { firstDelay: 1000, longestDelay: 30_000 }
  for (let attempt = 0; attempt < 8; attempt++) {
    const bound = Math.min(30_000, 1000 * 2 ** attempt)
    spread(t, Array.from({ length: CLIENTS }, () => delayOf(attempt, delays) / bound), `attempt ${attempt}`)
  }
})

/** So many are connected; the server ends, in one way or another; how long each means to wait, ms. */
async function waits (t: Test, end: (app: Awaited<ReturnType<typeof live>>, sockets: Set<Socket>) => unknown): Promise<number[]> {
  const app = await live(t, { retry: 2000 })
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const topic = app.topic('news', { authorize: () => true })
  app.channel('/realtime', { subscribe: topic })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const found: number[] = []
  for (let i = 0; i < CLIENTS; i++) {
    const client = connect(`${url}/realtime`, {
      // Who is not connected in time waits a minute, as one that was cut: none is to be, before all are there.
      WebSocket: WebSocket as unknown as SocketClass, firstDelay: 60_000, longestDelay: 60_000, handshakeTimeout: 600_000
    })
    t.teardown(() => client.close())
    client.topic('news').on('*', () => {})
    client.state.subscribe(() => {
      const state = client.state.get()
      if (state.is === 'waiting') found.push(state.retryAt - Date.now())
    })
  }
  await until('all of them', () => app.realtime.connections().filter(({ topics }) => topics.length > 0).length === CLIENTS)
  await end(app, sockets)
  await until('all to wait', () => found.length === CLIENTS)
  return found
}

/** Both the server's and the clients' chance, from one seed. */
function seeded (t: Test): void {
  const [random, own] = [new Random(7), Math.random]
  Math.random = () => random.next()
  t.teardown(() => { Math.random = own })
}

t.test('a server that was cut off: by the clients\' own delays', async (t) => {
  seeded(t)
  const found = await waits(t, (_app, sockets) => { for (const socket of sockets) socket.destroy() })
  spread(t, found.map((ms) => ms / 60_000), 'of the first bound')
})

t.test('a server that restarts: by what it tells each of them', async (t) => {
  seeded(t)
  const found = await waits(t, (app) => app.close())
  spread(t, found.map((ms) => (ms - 1000) / 2000), 'half of `retry`, and up to all of it besides')
})

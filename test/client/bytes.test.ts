/**
 * Connections that are cut, or carry nothing any more, behind any byte and in either direction; tokens that expire; a
 * server that restarts at the same port, whose log stays (Redis). Clients over WebSocket, HTTP, `auto`, a wire that is
 * another one at each attempt, and a native stream hear the same topic all the while. What they are told is held against
 * the numbers that were published, which is all that this knows.
 */
import t, { type Test } from 'tap'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { redis } from '../../lib/adapters/redis/index.ts'
import { auto, connect, http, listen, websocket, type WireKind } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live } from '../helpers/app.ts'
import { ByteProxy, type Fault } from '../helpers/byte-proxy.ts'
import { freePort, RedisServer, until } from '../helpers/redis.ts'
import { Random, seedOf } from '../random/random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 4)
const JOBS = Number(process.env.JOBS ?? 4)
const STEPS = 100
const PATIENCE_MS = 20_000
const SECRET = 'a secret of at least thirty-two bytes'
const OPTIONS = { retry: 20, heartbeat: 200, closeTimeout: 150, expiryGrace: 1000, tokens: { secret: SECRET } }

interface Heard { name: string, proxy: ByteProxy, numbers: number[], others: unknown[], begun: () => boolean, leave: () => void }

/** A node, or who publishes: on the same log. */
async function node (t: Test, url: string, prefix: string, port?: number) {
  const app = await live(t, { ...OPTIONS, adapter: redis({ url, prefix }) })
  const room = app.topic('room', { authorize: 'token', history: { limit: 5000 } })
  app.channel('/channel', { http: true, subscribe: room })
  app.stream('/stream', { topics: room })
  if (port === undefined) await app.ready()
  else await app.listen({ port, host: '127.0.0.1' })
  return { app, room }
}

function channel (name: string, wire: WireKind, proxy: ByteProxy, token: () => string): Heard {
  const numbers: number[] = []
  const others: unknown[] = []
  const client = connect(`${proxy.url}/channel`, {
    WebSocket: WebSocket as unknown as SocketClass, wire, token, firstDelay: 10, longestDelay: 60, handshakeTimeout: 1500
  })
  client.topic('room').on('*', ({ event, data }) => {
    if (event === 'n') numbers.push((data as { n: number }).n)
    else others.push([event, data])
  })
  return { name, proxy, numbers, others, begun: () => numbers.length > 0, leave: () => client.close() }
}

function stream (proxy: ByteProxy, token: () => string): Heard {
  const numbers: number[] = []
  const others: unknown[] = []
  const leave = listen(`${proxy.url}/stream`, {
    firstDelay: 10,
    longestDelay: 60,
    headers: () => ({ authorization: `Bearer ${token()}` }),
    on: {
      n: ({ data }) => numbers.push((data as { n: number }).n),
      'realtime:reset': (event) => others.push(event)
    },
    state: (state) => { if (state.is === 'over') others.push(state) }
  })
  return { name: 'sse', proxy, numbers, others, begun: () => numbers.length > 0, leave }
}

/** Handshakes and heads as often as what comes later. A client of a native stream does not find out that it carries nothing. */
function faultOf (random: Random): Fault | undefined {
  if (random.chance(0.15)) return undefined
  return {
    way: random.chance(0.3) ? 'up' : 'down',
    after: random.chance(0.5) ? random.int(1, 700) : random.int(700, 6000),
    then: random.chance(0.85) ? 'cut' : 'stall'
  }
}

async function schedule (t: Test, random: Random, url: string, prefix: string) {
  const port = await freePort()
  const source = await node(t, url, prefix)
  let server = await node(t, url, prefix, port)
  const token = (): string => source.app.realtime.sign({ sub: 'ada', subscribe: source.room, expiresIn: random.pick([2000, 3000, 60_000]) })
  const wires: Record<string, WireKind> = {
    websocket, http, auto, another: (place, host) => random.pick([websocket, http, auto])(place, host)
  }
  const all: Heard[] = []
  for (const [name, wire] of Object.entries(wires)) all.push(channel(name, wire, await ByteProxy.start(t, port), token))
  all.push(stream(await ByteProxy.start(t, port), token))
  t.teardown(() => { for (const { leave } of all) leave() })

  let published = 0
  const publish = async () => await source.room.publish({}, 'n', { n: ++published, pad: 'x'.repeat(random.int(0, 600)) })
  // A client that has heard nothing yet hears what comes from then on: its first event is where its sequence begins.
  for (const start = performance.now(); !all.every(({ begun }) => begun());) {
    if (performance.now() - start > PATIENCE_MS) throw new Error('not all clients have heard an event')
    await publish()
    await pause(5)
  }
  for (const { proxy } of all) {
    proxy.plan = () => faultOf(random)
    proxy.cut()
  }
  for (let step = 0; step < STEPS; step++) {
    for (let i = random.int(0, 5); i > 0; i--) await publish()
    if (random.chance(0.1)) for (const { proxy } of all) proxy.endStalls()
    if (random.chance(0.03)) {
      // Fastify waits for the rest of a request's body, however long that takes.
      for (const { proxy } of all) proxy.endStalls()
      await server.app.close()
      if (random.chance(0.5)) await publish()
      server = await node(t, url, prefix, port)
    }
    await pause(random.int(0, 15))
  }
  for (const { proxy } of all) {
    proxy.plan = () => undefined
    proxy.cut()
  }
  const faults: string[] = []
  const waited = performance.now() + PATIENCE_MS
  for (const { name, numbers, others } of all) {
    await until(`all by ${name}`, () => numbers.at(-1) === published, Math.max(1, waited - performance.now())).catch((error: unknown) => faults.push(String(error)))
    const wrong = numbers.findIndex((n, i) => n !== (numbers[0] as number) + i)
    if (wrong >= 0) faults.push(`${name}: ${String(numbers[wrong])} behind ${String(numbers[wrong - 1])}`)
    if (others.length > 0) faults.push(`${name}: ${JSON.stringify(others)}`)
  }
  for (const { leave, proxy } of all) {
    leave()
    await proxy.close()
  }
  const sum = (key: keyof ByteProxy['counts']) => all.reduce((sum, { proxy }) => sum + proxy.counts[key], 0)
  return { faults, links: sum('links'), cut: sum('cut'), stalled: sum('stalled'), published: published * all.length }
}

t.test('whatever is cut, and wherever, each client is told each event once and in order', { timeout: 60_000 + SCHEDULES * 20_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const server = await RedisServer.start(t)
  const sums = { links: 0, cut: 0, stalled: 0, published: 0 }
  let next = 0
  const work = async (): Promise<void> => {
    while (next < SCHEDULES) {
      const n = next++
      const one = (seed + n) >>> 0
      const { faults, ...counts } = await whole((own) => schedule(own, new Random(one), `redis://127.0.0.1:${server.port}`, `s${n}:`))
      t.same(faults, [], `SEED=${one} SCHEDULES=1`)
      for (const what of Object.keys(sums) as Array<keyof typeof sums>) sums[what] += counts[what]
    }
  }
  await Promise.all(Array.from({ length: JOBS }, work))
  t.comment(JSON.stringify(sums))
  for (const [what, sum] of Object.entries(sums)) t.ok(sum > SCHEDULES, `${what}: enough of it`)
})

/** What a schedule has opened is closed with it, not with the test. */
async function whole<T> (run: (own: Test) => Promise<T>): Promise<T> {
  const ends: Array<() => unknown> = []
  try {
    return await run({ teardown: (end: () => unknown) => ends.unshift(end) } as unknown as Test)
  } finally {
    for (const end of ends) await end()
  }
}

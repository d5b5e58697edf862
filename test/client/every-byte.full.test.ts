/**
 * A client comes back, and is cut behind the nth byte that goes one way, for every n of a short conversation: in the
 * handshake, in the head of a response, in each frame. `STRIDE=1` tries each of them. And links that carry nothing any more.
 */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { auto, connect, http, listen, websocket, type WireKind } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live, portOf } from '../helpers/app.ts'
import { ByteProxy, type Fault } from '../helpers/byte-proxy.ts'
import { until } from '../helpers/redis.ts'

const STRIDE = Number(process.env.STRIDE ?? 29)
/** More than either side says. */
const LONGEST = { down: 1100, up: 700 }
const LAST = 5
const UP_TO_LAST = Array.from({ length: LAST }, (_, i) => i + 1)

type Hear = (url: string, room: string, told: (n: unknown) => void) => () => void

const channel = (wire: WireKind): Hear => (url, room, told) => {
  const client = connect(`${url}/channels/${room}`, {
    WebSocket: WebSocket as unknown as SocketClass, wire, firstDelay: 2, longestDelay: 2, handshakeTimeout: 500
  })
  client.topic('rooms/:room', { room }).on('*', ({ event, data }) => told(event === 'n' ? data : event))
  return () => client.close()
}

const wires: Record<string, Hear> = {
  websocket: channel(websocket),
  http: channel(http),
  auto: channel(auto),
  sse: (url, room, told) => listen(`${url}/streams/${room}`, {
    firstDelay: 2,
    longestDelay: 2,
    on: { n: ({ data }) => told(data), 'realtime:reset': () => told('reset') },
    state: ({ is }) => { if (is === 'over') told(is) }
  })
}

async function soon (holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

/** The first link is whole, the second has the fault, and brings what was missed meanwhile. Resolves with what was told. */
async function heard (app: FastifyInstance, publish: (room: string, n: number) => Promise<unknown>, hear: Hear, room: string, fault: Fault) {
  const ends: Array<() => unknown> = []
  const proxy = await ByteProxy.start({ teardown: (end) => ends.push(end) }, portOf(app))
  const told: unknown[] = []
  const leave = hear(proxy.url, room, (n) => told.push(n))
  await soon(() => app.realtime.connections().some(({ topics }) => topics.includes(`rooms/${room}`)))
  await publish(room, 1)
  await soon(() => told.length > 0)
  let next = 0
  proxy.plan = () => next++ === 0 ? fault : undefined
  proxy.cut()
  for (let n = 2; n <= LAST; n++) await publish(room, n)
  await until(`all of ${room}`, () => told.length >= LAST).catch(() => {})
  const all = [...told]
  leave()
  for (const end of ends) await end()
  return { told: all, reached: proxy.counts.cut + proxy.counts.stalled > 0 }
}

async function house (t: Parameters<typeof live>[0]) {
  const app = await live(t, { heartbeat: 100, retry: 2 })
  const room = app.topic('rooms/:room', { authorize: 'anyone' })
  app.channel('/channels/:room', { http: true, topics: room })
  app.stream('/streams/:room', { topics: room })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, publish: async (name: string, n: number) => await room.publish({ room: name }, 'n', n) }
}

t.test('cut behind any byte, either way, each client is told each event once and in order', { timeout: 900_000 }, async (t) => {
  const { app, publish } = await house(t)
  await Promise.all(Object.entries(wires).map(async ([wire, hear]) => {
    let cuts = 0
    const wrong: unknown[] = []
    for (const way of ['down', 'up'] as const) {
      for (let after = 1; after < LONGEST[way]; after += STRIDE) {
        const { told, reached } = await heard(app, publish, hear, `${wire}-${way}-${after}`, { way, after, then: 'cut' })
        if (reached) cuts++
        if (String(told) !== String(UP_TO_LAST)) wrong.push([way, after, told])
      }
    }
    t.same(wrong, [], wire)
    t.ok(cuts > 300 / STRIDE, `${wire}: ${cuts} cuts`)
  }))
})

t.test('a link that carries nothing any more is found out, whatever it had carried', { timeout: 60_000 }, async (t) => {
  const { app, publish } = await house(t)
  const cases = ['websocket', 'http', 'auto'].flatMap((wire) => [[wire, 20], [wire, 250], [wire, 480]] as const)
  await Promise.all(cases.map(async ([wire, after]) => {
    const { told, reached } = await heard(app, publish, wires[wire] as Hear, `${wire}-${after}`, { way: 'down', after, then: 'stall' })
    t.ok(reached)
    t.same(told, UP_TO_LAST, `${wire}, silent behind ${after} bytes`)
  }))
})

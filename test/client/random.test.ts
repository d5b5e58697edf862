/**
 * Random schedules through proxies that do what networks do: connections that are cut, upgrades that are
 * blocked and let through again; a server that sends clients away; a token that expires; and topics that come and go all
 * the while. The client takes another wire at each attempt. What it was told is judged by a model that shares nothing
 * with it: the numbers that were published.
 */
import t, { type Test } from 'tap'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { auto, connect, http, websocket, type ClientEvent, type WireKind } from '../../lib/client/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'
import { Random, seedOf } from '../random/random.ts'
import { HttpProxy, type Upgrades } from '../helpers/http-proxy.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 4)
const ROOMS = ['1', '2']
const WIRES: readonly WireKind[] = [websocket, http, auto]
const BLOCKS: readonly Upgrades[] = ['pass', 'pass', 502, 'strip', 'cut']

async function schedule (t: Test, random: Random): Promise<void> {
  const app = await live(t, { retry: 20, tokens: { secret: 'a secret of at least thirty-two bytes' } })
  const room = app.topic('rooms/:room', { authorize: 'token', history: { limit: 5000 } })
  app.channel('/realtime', { http: true, subscribe: room })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const gateway = await HttpProxy.start(t, (app.server.address() as { port: number }).port)
  const taken = new Map<WireKind, number>()
  const client = connect(`http://127.0.0.1:${new URL(gateway.url).port}/realtime`, {
    WebSocket: WebSocket as unknown as SocketClass,
    wire: (place, host) => {
      const wire = random.pick(WIRES)
      taken.set(wire, (taken.get(wire) ?? 0) + 1)
      return wire(place, host)
    },
    firstDelay: 10,
    longestDelay: 60,
    token: () => app.realtime.sign({ sub: 'ada', subscribe: room, expiresIn: random.pick([1000, 2000, 60_000]) })
  })
  const published = new Map(ROOMS.map((name) => [name, 0]))
  const told = new Map(ROOMS.map((name) => [name, [] as ClientEvent[]]))
  for (const name of ROOMS) client.topic('rooms/:room', { room: name }).on('*', (event) => told.get(name)?.push(event as ClientEvent))
  const publish = async () => {
    const name = random.pick(ROOMS)
    const n = (published.get(name) ?? 0) + 1
    published.set(name, n)
    await room.publish({ room: name }, 'n', { n, pad: 'x'.repeat(random.int(0, 2000)) })
  }
  // Whoever has heard of no place yet hears from then on: what came before is not missed.
  await until('open', () => app.realtime.connections().some(({ topics }) => topics.length === ROOMS.length))
  while (ROOMS.some((name) => told.get(name)?.length === 0)) {
    await publish()
    await pause(1)
  }
  let leave: (() => void) | undefined
  for (let step = 0; step < 120; step++) {
    gateway.upgrades = random.pick(BLOCKS)
    if (random.chance(0.2)) {
      leave?.()
      leave = client.topic('rooms/:room', { room: `other${step}` }).on('*', () => {})
    }
    for (let i = random.int(0, 8); i > 0; i--) await publish()
    const roll = random.next()
    if (roll < 0.25) gateway.cut()
    else if (roll < 0.35) await app.realtime.disconnect({ identity: 'ada' }, { reconnect: true })
    else await pause(random.int(0, 20))
  }
  for (const name of ROOMS) {
    const heard = told.get(name) ?? []
    await until(`all of ${name}`, () => heard.filter(({ event }) => event === 'n').length >= (published.get(name) ?? 0))
    t.same(heard.map(({ event, data }) => event === 'n' ? (data as { n: number }).n : [event, data]), Array.from({ length: published.get(name) ?? 0 }, (_, i) => i + 1))
  }
  t.comment([...taken].map(([{ name }, count]) => `${name} ${count}`).join(', '))
  client.close()
  gateway.close()
  await app.close()
}

t.test('whatever happens to the connection, each client is told each event once and in order', { timeout: 60_000 + SCHEDULES * 30_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let n = 0; n < SCHEDULES; n++) {
    const one = (seed + n) >>> 0
    await t.test(`SEED=${one} SCHEDULES=1`, async (t) => await schedule(t, new Random(one)))
  }
})

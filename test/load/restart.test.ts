/** A deploy: the server tells its clients when to come back, and its successor gets them all with one read per topic. */
import t, { type Test } from 'tap'
import realtime from '../../lib/index.ts'
import { bare, codeOf } from '../helpers/app.ts'
import { Store, Storm, StormServer, subscriptionsOf, type Farewell } from '../helpers/storm.ts'

const FEW = 20
const MANY = 3000
/** ms */
const RETRY = 100
/** Clients come back over so many ms each, if they are many. */
const SPREAD_PER_CLIENT = 1
const BUCKETS = 10

t.setTimeout(120_000)

async function start (t: Test, store: Store): Promise<StormServer> {
  const server = await new StormServer(store).start({ retry: RETRY })
  t.teardown(() => server.app.close())
  return server
}

function gather (t: Test, processes: number): Storm {
  const storm = new Storm(processes)
  t.teardown(() => storm.end())
  return storm
}

/** The server closes; what each client was told. */
async function close (storm: Storm, { app }: StormServer): Promise<Farewell[]> {
  await storm.stay()
  const [farewells] = await Promise.all([storm.farewells(), app.close()])
  return farewells
}

/** Clients were told to come back at times between the two, spread evenly. */
function spreads (t: Test, farewells: Farewell[], from: number, to: number): void {
  const times = farewells.map(({ retry }) => retry ?? NaN)
  t.ok(times.every((ms) => ms >= from && ms <= to), `${times.length} come back after ${from} to ${to} ms`)
  const buckets = Array.from({ length: BUCKETS }, () => 0)
  for (const ms of times) {
    const bucket = Math.min(BUCKETS - 1, Math.floor((ms - from) / (to - from) * BUCKETS));
    (buckets[bucket] as number)++
  }
  if (times.length < BUCKETS * BUCKETS) t.ok(buckets.filter((count) => count > 0).length > 1, 'not all at once')
  else t.ok(Math.max(...buckets) < 2 * times.length / BUCKETS, `no tenth of the time gets two tenths of them (${buckets.join(' ')})`)
}

for (const clients of [FEW, MANY]) {
  t.test(`${clients} clients of a server that closes`, async (t) => {
    const store = new Store()
    const server = await start(t, store)
    const storm = gather(t, 2)
    await storm.open(server.port, clients)
    // Some leave before the others: they know less.
    const leaving = Math.floor(clients / 8)
    let here = clients
    for (let step = 0; step < 3; step++) {
      await server.publish(2)
      await storm.expect(store.published)
      await storm.leave(leaving)
      here -= leaving
    }
    await server.publish(2)
    await storm.expect(store.published)

    const farewells = await close(storm, server)
    t.equal(farewells.length, here)
    const window = Math.max(RETRY, here * SPREAD_PER_CLIENT)
    spreads(t, farewells, RETRY / 2, RETRY / 2 + window)
    const channels = farewells.filter(({ kind }) => kind === 'websocket')
    if (clients === MANY) spreads(t, channels, RETRY / 2, RETRY / 2 + window)
    const byes = channels.map(({ bye }) => bye)
    t.ok(byes.every((bye) => bye?.code === 1012 && bye.reconnect), 'every channel is told why, and that it may come back')
    t.same(store.reads, [], 'nothing was read so far')

    const successor = await start(t, store)
    await storm.back(successor.port)
    await storm.openings(2)
    await successor.publish(2)
    await storm.expect(store.published)
    // That each came back exactly where it was, every client has checked: see storm.mjs.
    const { subscriptions, recovered, resets, repairs } = successor.app.realtime.stats()
    t.same({ subscriptions, recovered, resets, repairs }, { subscriptions: subscriptionsOf(clients), recovered: subscriptionsOf(clients), resets: 0, repairs: 0 })
    t.same([...store.reads].sort(), ['feeds/a', 'feeds/b', 'feeds/c'], 'one read per topic, although those who know most come first')
  })
}

t.test('a closing that Fastify would not wait for is refused', async (t) => {
  const app = bare(t)
  t.equal(await codeOf(() => app.register(realtime, { closeTimeout: 10_000 })), 'FST_ERR_REALTIME_OPTION_INVALID')
  const patient = bare(t, { pluginTimeout: 20_000 })
  t.equal(await codeOf(() => patient.register(realtime, { closeTimeout: 10_000 })), 'no error')
  const hasty = bare(t, { pluginTimeout: 2000 })
  t.equal(await codeOf(() => hasty.register(realtime)), 'no error', 'by default it waits for half as long')
})

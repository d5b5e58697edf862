/** Everybody is cut at once and comes back at once: to the event where they were, at a bounded cost. */
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Store, Storm, StormServer, subscriptionsOf } from '../helpers/storm.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const PROCESSES = 4
/** Ten thousand where the system lets a process have that many sockets, twice over: the old ones may still be there. */
const CLIENTS = Math.min(10_000, Math.floor(maxOpenFiles() / 2))
/** While clients come and go, something is published now and then, and the memory held is measured. */
const PUBLISH_EVERY = Math.floor(CLIENTS / 3)
const MEASURE_EVERY = Math.floor(CLIENTS / 2)

t.setTimeout(240_000)

function maxOpenFiles (): number {
  const { userLimits } = process.report.getReport() as unknown as { userLimits?: { open_files: { soft: number | 'unlimited' } } }
  const soft = userLimits?.open_files.soft
  return typeof soft === 'number' ? soft : 20_000
}

/** What is held, after everything that can go has gone. */
function heldBytes (): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

t.test(`${CLIENTS} clients are cut at once, twice, and come back at once while publishes go on`, async (t) => {
  const store = new Store()
  const server = await new StormServer(store).start()
  const storm = new Storm(PROCESSES)
  t.teardown(async () => {
    await storm.end()
    await server.app.close()
  })
  await storm.open(server.port, CLIENTS)
  await server.publish(5)
  await storm.expect(store.published)
  await turn()

  const before = heldBytes()
  const held: number[] = []
  let traffic = 0
  server.onTraffic = () => {
    if (++traffic % PUBLISH_EVERY === 0) server.publish().catch((error: unknown) => t.fail(String(error)))
    if (traffic % MEASURE_EVERY === 0) held.push(heldBytes())
  }
  await storm.cut()
  await storm.openings(2)
  for (const socket of server.sockets) socket.destroy()
  await storm.openings(3)
  server.onTraffic = () => {}
  await server.publish()
  await storm.expect(store.published)

  // That each came back exactly where it was, every client has checked: see storm.mjs.
  const { connections, subscriptions, recovered, resets, repairs, slowClosed } = server.app.realtime.stats()
  t.equal(connections.sse + connections.websocket, CLIENTS)
  t.same({ subscriptions, recovered, resets, repairs, slowClosed }, {
    subscriptions: subscriptionsOf(CLIENTS), recovered: subscriptionsOf(CLIENTS) * 2, resets: 0, repairs: 0, slowClosed: 0
  })
  t.ok(store.published >= 10, `${store.published} events in each topic`)
  t.same(store.reads, [], 'nothing is read from the adapter: the rings have it')
  await turn()
  const after = heldBytes()
  t.ok(Math.max(...held) < before * 2, `at most ${Math.max(...held)} bytes are held meanwhile, where ${before} were before`)
  t.ok(after < before * 1.25, `${after} bytes are held at the end`)
})

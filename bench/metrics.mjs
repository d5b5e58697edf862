// What metrics cost for each publish and each delivery.
//
// Method: one process with 0, 1, 10 and 200 SSE clients in a process of their own. Batches of publishes with metrics
// and without them alternate on the same connections, in changing order; `process.cpuUsage()` around each batch, the
// median of the ratios of neighbours, and of their differences. The clients do not read during a batch: waking them
// would be charged to whoever is a little slower. Between batches they read, and check, every event.
//
//   npm run build && node bench/metrics.mjs [rounds]
import { fork } from 'node:child_process'
import { once } from 'node:events'
import Fastify from 'fastify'
import client from 'prom-client'
import realtime from 'fastify-realtime'
import metrics from 'fastify-realtime/metrics'
import { Metering } from '../dist/core/metering.js'

const rounds = Number(process.argv[2] ?? 100)
/** Publishes of a batch, by clients. */
const BATCHES = { 0: 2000, 1: 500, 10: 100, 200: 10 }

const app = Fastify()
await app.register(realtime)
// What the plugin adds is taken away and added again.
let place, meter, remove
const { add } = Metering.prototype
Metering.prototype.add = function (made) {
  [place, meter, remove] = [this, made, add.call(this, made)]
  return () => remove()
}
await app.register(metrics, { client, register: new client.Registry() })
const topic = app.topic('on')
app.stream('/on', { topics: topic })
await app.listen({ port: 0, host: '127.0.0.1' })

const swarm = fork(new URL('../test/helpers/swarm.mjs', import.meta.url), { execArgv: [] })
const ask = async (message) => {
  swarm.send(message)
  const [answer] = await once(swarm, 'message')
  if (answer.fault) throw new Error(`void: ${answer.fault}`)
}
const turn = () => new Promise((resolve) => setImmediate(resolve))
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1]
let n = 0

async function batch (clients) {
  await turn()
  const before = process.cpuUsage()
  for (let i = 0; i < BATCHES[clients]; i++) {
    await topic.publish(undefined, 'tick', { n: n++, fill: 'x'.repeat(30) })
    if (clients > 0) await turn()
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / BATCHES[clients]
}

async function measured (clients, watched) {
  remove()
  if (watched) remove = add.call(place, meter)
  if (clients === 0) return await batch(clients)
  await ask({ do: 'stall', count: clients })
  const cost = await batch(clients)
  await ask({ do: 'resume' })
  await ask({ do: 'expect', count: n })
  return cost
}

console.log(`node ${process.version}, ${rounds} rounds, CPU per publish (median)`)
for (const clients of Object.keys(BATCHES).map(Number)) {
  n = 0
  if (clients > 0) await ask({ do: 'open', port: app.server.address().port, sse: clients, websocket: 0, path: { sse: '/on' } })
  const [without, ratios, differences] = [[], [], []]
  for (let round = -10; round < rounds; round++) {
    const costs = {}
    for (const watched of round % 2 ? [true, false] : [false, true]) costs[watched] = await measured(clients, watched)
    if (round < 0) continue
    without.push(costs.false)
    ratios.push(costs.true / costs.false)
    differences.push(costs.true - costs.false)
  }
  if (clients > 0) await ask({ do: 'leave' })
  console.log(`${String(clients).padStart(3)} clients: ${median(without).toFixed(1)} µs, with metrics × ${median(ratios).toFixed(3)} (+${median(differences).toFixed(2)} µs)`)
}
await app.close()
swarm.disconnect()

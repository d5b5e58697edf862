// What an event costs a consumer within the process.
//
// Method: ten consumers iterate over one topic with `for await`; the publisher awaits each publish. The way changes from
// batch to batch in one run: `topic.subscribe()` whose data is read, a publish that nobody hears, and ten iterators of
// Node's `events.on` over one EventEmitter, which is handed the object as it is. `process.cpuUsage()` around each batch,
// until every consumer has had it; medians of all batches, for one event and consumer. Each consumer checks the order of
// what it gets.
//
//   npm run build && node bench/in-process.mjs [batches]
import { EventEmitter, on } from 'node:events'
import { cpus } from 'node:os'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'

const batches = Number(process.argv[2] ?? 60)
const CONSUMERS = 10
const EVENTS = 2000

const app = Fastify()
await app.register(realtime)
const heard = app.topic('heard')
const unheard = app.topic('unheard')
const emitter = new EventEmitter()
const abort = new AbortController()
let due = 0
let all = () => {}

async function consume (events, dataOf) {
  let next = 0
  for await (const item of events) {
    if (dataOf(item).n !== next++) throw new Error(`void: ${JSON.stringify(dataOf(item))} in place of ${next - 1}`)
    if (--due === 0) all()
  }
}

const subscriptions = Array.from({ length: CONSUMERS }, () => heard.subscribe({}))
await Promise.all(subscriptions.map(({ ready }) => ready))
for (const subscription of subscriptions) consume(subscription, ({ data }) => data).catch(fail)
for (let i = 0; i < CONSUMERS; i++) consume(on(emitter, 'tick', { signal: abort.signal }), ([data]) => data).catch(() => {})

function fail (error) {
  console.error(error)
  process.exit(1)
}

const fill = 'x'.repeat(30)
const counts = {}
const ways = {
  subscribe: async (n) => await heard.publish({}, 'tick', { n, fill }),
  'publish, unheard': async (n) => await unheard.publish({}, 'tick', { n, fill }),
  'events.on': async (n) => { emitter.emit('tick', { n, fill }) }
}
const costs = Object.fromEntries(Object.keys(ways).map((way) => [way, []]))
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1]

for (let batch = 0; batch < batches; batch++) {
  for (const way of Object.keys(ways).sort(() => Math.random() - 0.5)) {
    const listens = way !== 'publish, unheard'
    due = listens ? CONSUMERS * EVENTS : 0
    const over = new Promise((resolve) => { all = resolve })
    counts[way] ??= 0
    const before = process.cpuUsage()
    for (let n = 0; n < EVENTS; n++) await ways[way](counts[way]++)
    if (listens) await over
    const { user, system } = process.cpuUsage(before)
    costs[way].push((user + system) / EVENTS / CONSUMERS)
  }
}

console.log(`node ${process.version}, ${cpus()[0].model} × ${cpus().length}, ${CONSUMERS} consumers, ${EVENTS} events a batch, ${batches} batches`)
for (const [way, list] of Object.entries(costs)) console.log(`${way.padEnd(18)} ${median(list).toFixed(2)} µs an event and consumer`)
abort.abort()
await app.close()

// What a keyed topic costs: a publish, and a join of 10,000 keys.
//
// Method: in memory, nobody listens but where said. Batches of publishes alternate at random between a topic that is not
// keyed, the same with a `key`, and keyed ones of 100 and of 10,000 keys; `process.cpuUsage()` around each batch, medians
// of all. Then clients join a topic of 10,000 keys over loopback, in a process whose event loop is watched by a timer of
// 1 ms: the most CPU time between two of its ticks is the longest block, client and server together, since both are here.
//
//   npm run build && node bench/keyed.mjs [batches]
import { get } from 'node:http'
import { cpus } from 'node:os'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'

const batches = Number(process.argv[2] ?? 60)
const EVENTS = 2000
const KEYS = 10_000

const app = Fastify()
await app.register(realtime)
const plain = app.topic('plain')
const few = app.topic('few', { keyed: true })
const many = app.topic('many', { keyed: true })
app.stream('/many', { topics: many })
await app.listen({ port: 0, host: '127.0.0.1' })

const fill = 'x'.repeat(70)
const ways = {
  'not keyed': async (n) => await plain.publish({}, 'price', { n, fill }),
  'not keyed, with a key': async (n) => await plain.publish({}, 'price', { n, fill }, { key: `key ${n % 100}` }),
  'keyed, 100 keys': async (n) => await few.publish({}, 'price', { n, fill }, { key: `key ${n % 100}` }),
  'keyed, 10,000 keys': async (n) => await many.publish({}, 'price', { n, fill }, { key: `key ${(n * 7919) % KEYS}` })
}
for (let n = 0; n < KEYS; n++) await many.publish({}, 'price', { n, fill }, { key: `key ${n}` })
const costs = Object.fromEntries(Object.keys(ways).map((way) => [way, []]))
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1]
let published = 0
for (let batch = 0; batch < batches; batch++) {
  for (const way of Object.keys(ways).sort(() => Math.random() - 0.5)) {
    const before = process.cpuUsage()
    for (let n = 0; n < EVENTS; n++) await ways[way](published++)
    const { user, system } = process.cpuUsage(before)
    costs[way].push((user + system) / EVENTS)
  }
}
console.log(`${cpus()[0].model}, node ${process.version}`)
for (const [way, list] of Object.entries(costs)) console.log(`publish, ${way}: ${median(list).toFixed(2)} µs`)

/** Resolves with the bytes of the whole state, once its last part is there. */
function join () {
  return new Promise((resolve, reject) => {
    const asked = get({ port: app.server.address().port, path: '/many', agent: false, headers: { accept: 'text/event-stream' } }, (response) => {
      let bytes = 0
      let tail = ''
      response.on('data', (chunk) => {
        bytes += chunk.byteLength
        const text = tail + chunk.toString('latin1')
        tail = text.slice(-20)
        if (!text.includes('"more":false')) return
        response.destroy()
        resolve(bytes)
      })
      response.on('error', () => {})
    })
    asked.on('error', reject)
  })
}

/** ms of this process: what others take of a busy machine is no block of ours. */
function cpuTime () {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

async function watched (work) {
  let last = cpuTime()
  let longest = 0
  const timer = setInterval(() => {
    const now = cpuTime()
    longest = Math.max(longest, now - last)
    last = now
  }, 1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  longest = 0
  const since = performance.now()
  const result = await work()
  const took = performance.now() - since
  await new Promise((resolve) => setTimeout(resolve, 5))
  clearInterval(timer)
  return { result, took, longest }
}

const joins = { 'the first join': async () => await join(), another: async () => await join(), '50 at once': async () => (await Promise.all(Array.from({ length: 50 }, join)))[0] }
for (const [what, work] of Object.entries(joins)) {
  // Once more than the state is kept for is published: the first makes all of its bytes.
  const runs = []
  for (let i = 0; i < 9; i++) {
    if (what !== 'another') for (let n = 0; n < 2000; n++) await ways['keyed, 10,000 keys'](published++)
    runs.push(await watched(work))
  }
  console.log(`${what}: ${median(runs.map(({ took }) => took)).toFixed(0)} ms, longest block ${median(runs.map(({ longest }) => longest)).toFixed(1)} ms, ${(runs[0].result / 1e6).toFixed(2)} MB each`)
}
await app.close()

// What one delivery costs, in process.
//
// Method: 1,000 SSE and 1,000 WebSocket clients in a process of their own; the server publishes one event at a time,
// and the way it is written changes from publish to publish on the same connections: through fastify-realtime, or as
// ready bytes with `socket.write` (Node's floor), or for WebSocket with ws's `send(Buffer)` on sockets of its own.
// `process.cpuUsage()` around each publish and its writes; medians over all rounds of each way, and the ratio of the
// medians. The clients read everything; what they count is checked at the end.
//
//   npm run build && node bench/write-path.mjs [rounds]
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import Fastify from 'fastify'
import { WebSocketServer } from 'ws'
import realtime from 'fastify-realtime'

const rounds = Number(process.argv[2] ?? 200)
const CLIENTS = 1000

const app = Fastify()
await app.register(realtime)
const topics = { on: app.topic('on'), off: app.topic('off', { history: false }), a: app.topic('a'), b: app.topic('b') }
app.stream('/on', { topics: topics.on })
app.stream('/off', { topics: topics.off })
app.stream('/multi', { topics: [topics.a, topics.b] })
app.channel('/ws', { topics: topics.on })
const sockets = []
app.server.on('connection', (socket) => sockets.push(socket))
await app.listen({ port: 0, host: '127.0.0.1' })
const naive = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
await once(naive, 'listening')

const swarm = fork(new URL('../test/helpers/swarm.mjs', import.meta.url), { execArgv: [] })
const ask = async (message) => {
  swarm.send(message)
  const [answer] = await once(swarm, 'message')
  if (answer.fault) throw new Error(`void: ${answer.fault}`)
}
const turn = () => new Promise((resolve) => setImmediate(resolve))
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1]

async function compare (name, options, ways) {
  sockets.length = 0
  await ask({ do: 'open', ...options })
  const own = [...sockets]
  const costs = Object.fromEntries(Object.keys(ways).map((way) => [way, []]))
  let n = 0
  for (let round = 0; round < rounds; round++) {
    for (const way of Object.keys(ways).sort(() => Math.random() - 0.5)) {
      await turn()
      const before = process.cpuUsage()
      const count = await ways[way](n, own)
      // A fan-out may take several turns.
      for (let turns = 0; turns < 12; turns++) await turn()
      const { user, system } = process.cpuUsage(before)
      costs[way].push((user + system) / CLIENTS / count)
      n += count
      await ask({ do: 'expect', count: n })
    }
  }
  await ask({ do: 'leave' })
  const medians = Object.fromEntries(Object.entries(costs).map(([way, list]) => [way, median(list)]))
  const [first, ...others] = Object.keys(medians)
  console.log(`${name.padEnd(34)} ${Object.entries(medians).map(([way, us]) => `${way} ${us.toFixed(2)} µs`).join('   ')}   ${others.map((way) => `× ${way}: ${(medians[first] / medians[way]).toFixed(2)}`).join('  ')}`)
}

const chunk = (text) => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
const frame = (text) => {
  const length = Buffer.byteLength(text)
  return Buffer.concat([Buffer.from(length < 126 ? [0x81, length] : [0x81, 126, length >> 8, length & 255]), Buffer.from(text)])
}
const naiveSend = (fill) => (n) => {
  const text = Buffer.from(`{"type":"tick","n":${n},"fill":"${fill}"}`)
  for (const client of naive.clients) client.send(text, { binary: false })
  return 1
}

// run.mjs has said so already.
if (!process.argv.includes('--quiet')) console.log(`node ${process.version}, ${cpus()[0].model} × ${cpus().length}, ${CLIENTS} clients, ${rounds} rounds, CPU per delivery (median)`)
for (const [size, fill] of [['64 B', 'x'.repeat(30)], ['1 KB', 'x'.repeat(990)]]) {
  const ready = (make) => (n, own) => {
    const bytes = make(n)
    for (const socket of own) socket.write(bytes)
    return 1
  }
  const sse = ready((n) => chunk(`id: 1763724000000-0.abcdefgh00\nevent: tick\ndata: {"n":${n},"fill":"${fill}"}\n\n`))
  const publish = (topic, count = 1) => async (n) => {
    const all = []
    for (let i = 0; i < count; i++) all.push(topic.publish({}, 'tick', { n: n + i, fill }))
    await Promise.all(all)
    return count
  }
  const { port } = app.server.address()
  const only = (kind, path) => ({ port, sse: kind === 'sse' ? CLIENTS : 0, websocket: kind === 'websocket' ? CLIENTS : 0, path: { sse: path, websocket: path } })
  await compare(`SSE ${size}, history off`, only('sse', '/off'), { ours: publish(topics.off), floor: sse })
  await compare(`SSE ${size}, history on`, only('sse', '/on'), { ours: publish(topics.on), floor: sse })
  await compare(`SSE ${size}, two topics`, only('sse', '/multi'), { ours: publish(topics.a), floor: sse })
  await compare(`SSE ${size}, bursts of 8`, only('sse', '/on'), { ours: publish(topics.on, 8), floor: sse })
  await compare(`WebSocket ${size}`, only('websocket', '/ws'), { ours: publish(topics.on), floor: ready((n) => frame(`{"type":"tick","n":${n},"fill":"${fill}"}`)) })
  await compare(`ws naive ${size}`, { ...only('websocket', '/'), port: naive.address().port }, { naive: naiveSend(fill) })
}
swarm.disconnect()
naive.close()
await app.close()

// What it costs to reach another node through Redis, and how long it takes: fastify-realtime (with history, resume and
// order), and socket.io with its redis-adapter (plain pub/sub) and its redis-streams-adapter.
//
// Method: a redis-server of its own; for each contestant two nodes, each a process, with one WebSocket client on each
// (the clients share this process). Node A publishes 256 B events at a steady rate; the client of node B measures the
// time since the publish call (CLOCK_MONOTONIC is one for all processes of a machine) and checks the sequence: a run
// with a lost, repeated or disordered event is void. CPU is user + system of both nodes and of redis-server, per
// publish. Contestants take turns, in another order each round; medians over the rounds, and ratios within them.
// `bursts` publishes 16 in a turn, which shows what batches.
//
//   npm run build && npm install --prefix bench && node bench/redis-nodes.mjs [rounds] [publishes a round]
//   npm run bench -- --only Redis
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'

const rounds = Number(process.argv[2] ?? 7)
const publishes = Math.ceil(Number(process.argv[3] ?? 2000) / 16) * 16
const KINDS = ['fastify-realtime', 'socket.io redis-adapter', 'socket.io redis-streams-adapter']
const WORKS = { 'one at a time': { rate: 2000, burst: 1 }, bursts: { rate: 4000, burst: 16 } }

const port = await freePort()
const server = spawn(process.env.REDIS_SERVER_BIN ?? 'redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', ''], { stdio: 'ignore' })
const url = `redis://127.0.0.1:${port}`
const redis = new Redis(url, { retryStrategy: () => 20 })
redis.on('error', () => {})
await redis.ping()

async function freePort () {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  return port
}

async function redisCpu () {
  const info = await redis.info('cpu')
  const seconds = (name) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)[1])
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1e6
}

class Contestant {
  next = 0
  heard = 0
  latencies = []
  void = 0

  constructor (kind) {
    this.kind = kind
  }

  async open () {
    const prefix = `bench-${KINDS.indexOf(this.kind)}:`
    this.nodes = await Promise.all([0, 1].map(async () => {
      const child = fork(new URL('lib/cluster-node.mjs', import.meta.url), [this.kind, url, prefix], { stdio: 'inherit' })
      const [{ port }] = await once(child, 'message')
      return { child, port }
    }))
    for (const [i, { port }] of this.nodes.entries()) await this.connect(port, i === 1)
  }

  async connect (port, far) {
    const hear = (data) => { if (far) this.hear(data) }
    if (this.kind === 'fastify-realtime') {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/rooms/1`)
      socket.on('message', (text) => hear(JSON.parse(text.toString())))
      await once(socket, 'open')
    } else {
      const socket = io(`http://127.0.0.1:${port}`, { transports: ['websocket'] })
      socket.on('said', hear)
      await new Promise((resolve) => socket.on('connect', resolve))
    }
    await sleep(200)
  }

  hear ({ n, at }) {
    if (n !== this.heard) this.void++
    this.heard = n + 1
    this.latencies.push(Number(process.hrtime.bigint() - BigInt(at)) / 1e3)
  }

  async ask (index, message) {
    const { child } = this.nodes[index]
    child.send(message)
    const [answer] = await once(child, 'message')
    return answer.cpu
  }

  async measure (work) {
    this.latencies = []
    const before = [await this.ask(0, { op: 'cpu' }), await this.ask(1, { op: 'cpu' }), await redisCpu()]
    const after = [await this.ask(0, { op: 'run', first: this.next, count: publishes, ...work })]
    this.next += publishes
    for (let i = 0; this.heard < this.next && i < 200; i++) await sleep(10)
    after.push(await this.ask(1, { op: 'cpu' }), await redisCpu())
    const [a, b, r] = after.map((cpu, i) => (cpu - before[i]) / publishes)
    if (this.heard !== this.next) this.void++
    this.heard = this.next
    this.latencies.sort((x, y) => x - y)
    const at = (q) => this.latencies[Math.floor(this.latencies.length * q)] ?? NaN
    return { a, b, r, cpu: a + b + r, p50: at(0.5), p99: at(0.99) }
  }
}

const median = (numbers) => numbers.toSorted?.((a, b) => a - b)[numbers.length >> 1] ?? [...numbers].sort((a, b) => a - b)[numbers.length >> 1]

const contestants = KINDS.map((kind) => new Contestant(kind))
for (const contestant of contestants) await contestant.open()
console.log(`${cpus().length} × ${cpus()[0].model}, Node ${process.version}, ${rounds} rounds of ${publishes} publishes, 256 B`)

for (const [name, work] of Object.entries(WORKS)) {
  const results = new Map(KINDS.map((kind) => [kind, []]))
  for (const contestant of contestants) await contestant.measure(work) // warm
  for (let round = 0; round < rounds; round++) {
    const order = [...contestants].sort(() => Math.random() - 0.5)
    for (const contestant of order) results.get(contestant.kind).push(await contestant.measure(work))
  }
  console.log(`\n${name} (${work.rate}/s)`)
  const own = results.get(KINDS[0])
  for (const [kind, figures] of results) {
    const m = (key) => median(figures.map((one) => one[key]))
    const ratio = (key) => median(own.map((one, i) => one[key] / figures[i][key]))
    console.log(`${kind.padEnd(32)} CPU ${m('cpu').toFixed(1)} µs (publisher ${m('a').toFixed(1)}, listener ${m('b').toFixed(1)}, Redis ${m('r').toFixed(1)})  p50 ${m('p50').toFixed(0)} µs  p99 ${m('p99').toFixed(0)} µs` +
      (kind === KINDS[0] ? '' : `   ours is ${ratio('cpu').toFixed(2)} × its CPU, ${ratio('p50').toFixed(2)} × its p50, ${ratio('p99').toFixed(2)} × its p99`))
  }
}
for (const { kind, void: faults } of contestants) if (faults > 0) console.log(`VOID: ${kind} lost, repeated or disordered events (${faults})`)

for (const { nodes } of contestants) for (const { child } of nodes) child.kill()
redis.disconnect()
server.kill()
process.exit(contestants.some((one) => one.void > 0) ? 1 : 0)

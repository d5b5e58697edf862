import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import realtime, { memory, type Adapter, type Topic } from '../../lib/index.ts'
import { portOf } from '../helpers/app.ts'
import { Storm, type StormGroup } from '../helpers/storm.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const TOPICS = ['feeds/a', 'feeds/b', 'feeds/c']
const FILL = 'x'.repeat(400)
const PROCESSES = 4
/** Ten thousand where the system lets a process have that many sockets, twice over: the old ones may still be there. */
const CLIENTS = Math.min(10_000, Math.floor(maxOpenFiles() / 2))
/** Publishes go on while so many come and go. */
const PACE = 500

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

/** A memory adapter that writes down what is asked of it. */
function watched () {
  const adapter = memory()
  const reads: string[] = []
  const released: string[] = []
  const { read, unsubscribe } = adapter
  adapter.read = async (topic, after, limits) => {
    reads.push(`${topic} ${after}`)
    return await read.call(adapter, topic, after, limits)
  }
  adapter.unsubscribe = (topic) => {
    released.push(topic)
    unsubscribe.call(adapter, topic)
  }
  return { adapter, reads, released }
}

class Server {
  readonly app: FastifyInstance
  readonly sockets = new Set<Socket>()
  /** Of every topic. */
  published = 0
  onTraffic = (): void => {}
  #topic!: Topic<{ id: string }>

  constructor () {
    this.app = Fastify()
    this.app.server.on('connection', (socket: Socket) => {
      this.sockets.add(socket)
      socket.once('close', () => this.sockets.delete(socket))
    })
  }

  async start (adapter: Adapter): Promise<void> {
    const { app } = this
    await app.register(realtime, { adapter })
    const feeds = app.topic('feeds/:id')
    this.#topic = feeds
    const callbacks = { onConnect: () => this.onTraffic(), onDisconnect: () => this.onTraffic() }
    app.stream('/feeds/:id', { topics: feeds, ...callbacks })
    app.stream('/feeds', { topics: TOPICS, ...callbacks })
    app.channel('/ws', { topics: TOPICS, ...callbacks })
    await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  }

  /** One event to each topic. */
  async publish (rounds = 1): Promise<void> {
    for (let i = 0; i < rounds; i++) {
      const n = this.published++
      await Promise.all(TOPICS.map(async (topic) => await this.#topic.publish({ id: topic.slice(6) }, 'tick', { topic, n, fill: FILL })))
    }
  }
}

/** A third each: streams of one topic, streams of three, and channels of three. */
function groupsOf (clients: number): StormGroup[] {
  const third = Math.floor(clients / 3)
  return [
    ...TOPICS.map((topic): StormGroup => ({ kind: 'sse', path: `/${topic}`, topics: [topic], count: Math.floor(third / 3) })),
    { kind: 'sse', path: '/feeds', topics: TOPICS, count: third },
    { kind: 'websocket', path: '/ws', topics: TOPICS, count: clients - third - Math.floor(third / 3) * 3 }
  ]
}

async function setUp (t: Test, adapter: Adapter): Promise<{ server: Server, storm: Storm }> {
  const server = new Server()
  const storm = new Storm(PROCESSES)
  t.teardown(async () => {
    await storm.end()
    await server.app.close()
  })
  await server.start(adapter)
  return { server, storm }
}

t.test(`${CLIENTS} clients are cut at once, twice, and come back at once while publishes go on`, async (t) => {
  const { adapter, reads } = watched()
  const { server, storm } = await setUp(t, adapter)
  const { app } = server
  console.time('open')
  await storm.open({ port: portOf(app), groups: groupsOf(CLIENTS) })
  console.timeEnd('open')
  await server.publish(5)
  await storm.expect(server.published)

  await turn()
  const before = heldBytes()
  let peak = 0
  let rawPeak = 0
  let traffic = 0
  let most = 0
  let hold = 0
  server.onTraffic = () => {
    if (++traffic % PACE === 0) server.publish().catch((error: unknown) => t.fail(String(error)))
    if (traffic % 100 === 0) { const { heapUsed, external } = process.memoryUsage(); rawPeak = Math.max(rawPeak, heapUsed + external); most = Math.max(most, process.memoryUsage().arrayBuffers) }
    if (traffic % 2000 === 1000) { const s = performance.now(); peak = Math.max(peak, heldBytes()); hold += performance.now() - s }
  }
  const cpu = process.cpuUsage()
  console.time('cut by clients')
  await storm.cut()
  await storm.openings(2)
  console.timeEnd('cut by clients')
  console.time('cut by server')
  for (const socket of server.sockets) socket.destroy()
  await storm.openings(3)
  console.timeEnd('cut by server')
  server.onTraffic = () => {}
  await server.publish(2)
  await storm.expect(server.published)
  const { user, system } = process.cpuUsage(cpu)
  console.log('cpu', user / 1e6, system / 1e6)
  console.log({ before, peak: (peak - before) / CLIENTS, raw: (rawPeak - before) / CLIENTS, most, hold, after: (heldBytes() - before) / CLIENTS, published: server.published, reads, beforePer: before / CLIENTS })
  console.log(app.realtime.stats())
})

/** Clients by the thousand, in several processes (storm.mjs) and on several loopback addresses; and a server for them. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Socket } from 'node:net'
import realtime, { memory, type Adapter, type RealtimeOptions, type Topic } from '../../lib/index.ts'
import { portOf } from './app.ts'

const TOPICS = ['feeds/a', 'feeds/b', 'feeds/c']
const FILL = 'x'.repeat(400)

interface StormGroup { kind: 'sse' | 'websocket', path: string, topics: string[], count: number }

/** What the server told a client at the end. */
export interface Farewell { kind: 'sse' | 'websocket', retry: number | undefined, bye: { code: number, reconnect: boolean } | undefined }

/** A third each: streams of one topic, streams of three, and channels of three. */
function groupsOf (clients: number): StormGroup[] {
  const third = Math.floor(clients / 3)
  const each = Math.floor(third / TOPICS.length)
  return [
    ...TOPICS.map((topic): StormGroup => ({ kind: 'sse', path: `/${topic}`, topics: [topic], count: each })),
    { kind: 'sse', path: '/feeds', topics: TOPICS, count: third },
    { kind: 'websocket', path: '/ws', topics: TOPICS, count: clients - third - each * TOPICS.length }
  ]
}

/** How many subscriptions so many clients have. */
export function subscriptionsOf (clients: number): number {
  return groupsOf(clients).reduce((sum, { topics, count }) => sum + topics.length * count, 0)
}

/** Memory that outlives its servers, as a store beside them would, and writes down what is read of it. */
export class Store {
  readonly reads: string[] = []
  readonly adapter: Adapter
  /** Events published, in each topic. */
  published = 0

  constructor () {
    const { reads } = this
    const adapter = memory()
    const { read } = adapter
    adapter.read = async (topic, after, limits) => {
      reads.push(topic)
      return await read.call(adapter, topic, after, limits)
    }
    adapter.close = async () => {}
    this.adapter = adapter
  }
}

export class StormServer {
  readonly app: FastifyInstance
  readonly sockets = new Set<Socket>()
  /** A client has come or gone. */
  onTraffic = (): void => {}
  readonly #store: Store
  #topic!: Topic<{ id: string }>

  constructor (store: Store) {
    this.#store = store
    this.app = Fastify()
    this.app.server.on('connection', (socket: Socket) => {
      this.sockets.add(socket)
      socket.once('close', () => this.sockets.delete(socket))
    })
  }

  get port (): number { return portOf(this.app) }

  async start (options: RealtimeOptions = {}): Promise<this> {
    const { app } = this
    await app.register(realtime, { ...options, adapter: this.#store.adapter })
    this.#topic = app.topic('feeds/:id')
    const callbacks = { onConnect: () => this.onTraffic(), onDisconnect: () => this.onTraffic() }
    app.stream('/feeds/:id', { topics: this.#topic, ...callbacks })
    app.stream('/feeds', { topics: TOPICS, ...callbacks })
    app.channel('/ws', { topics: TOPICS, ...callbacks })
    await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
    return this
  }

  /** So many events to each topic. */
  async publish (rounds = 1): Promise<void> {
    for (let i = 0; i < rounds; i++) {
      const n = this.#store.published++
      await Promise.all(TOPICS.map(async (topic) => await this.#topic.publish({ id: topic.slice(6) }, 'tick', { topic, n, fill: FILL })))
    }
  }
}

type Report = Record<string, unknown>

export class Storm {
  readonly #children: ChildProcess[]

  constructor (processes: number) {
    this.#children = Array.from({ length: processes }, () => fork(new URL('./storm.mjs', import.meta.url), { execArgv: [], env: {} }))
  }

  /** Resolves when so many clients are live. Nothing has been published before. */
  async open (port: number, clients: number): Promise<void> {
    const processes = this.#children.length
    await this.#askEach('opened', (index) => ({
      do: 'open',
      port,
      first: 0,
      // Ports are per address. Linux has all of 127/8; elsewhere one address has to do.
      address: process.platform === 'linux' ? `127.0.0.${index + 2}` : undefined,
      groups: groupsOf(clients).map((group) => ({ ...group, count: share(group.count, index, processes) }))
    }))
  }

  /** Every client is cut, and comes back at once. */
  async cut (): Promise<void> {
    await this.#askEach('cut', () => ({ do: 'cut' }))
  }

  /** Resolves when every client has been opened so many times. */
  async openings (count: number): Promise<void> {
    await this.#askEach('openings', () => ({ do: 'openings', count }))
  }

  /** Resolves when every client that is here has had so many events of each of its topics, in order and each once. */
  async expect (count: number): Promise<void> {
    await this.#askEach('expected', () => ({ do: 'expect', count }))
  }

  /** So many more leave, and stay away until `back`. */
  async leave (count: number): Promise<void> {
    await this.#askEach('left', (index) => ({ do: 'leave', count: share(count, index, this.#children.length) }))
  }

  /** All who are away come back to this port, those who left last first. */
  async back (port: number): Promise<void> {
    await this.#askEach('back', () => ({ do: 'back', port }))
  }

  /** Whom the server ends from now on stays away. */
  async stay (): Promise<void> {
    await this.#askEach('staying', () => ({ do: 'stay' }))
  }

  /** Resolves when it has ended all of them. */
  async farewells (): Promise<Farewell[]> {
    const reports = await this.#askEach('farewells', () => ({ do: 'farewells' }))
    return reports.flatMap(({ farewells }) => farewells as Farewell[])
  }

  async end (): Promise<void> {
    await Promise.all(this.#children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      if (child.connected) child.disconnect()
      await once(child, 'exit')
    }))
  }

  async #askEach (answer: string, message: (index: number) => object): Promise<Report[]> {
    return await Promise.all(this.#children.map(async (child, index) => {
      child.send(message(index))
      const report = await nextReport(child)
      if (report[answer] === undefined) throw new Error(String(report.fault ?? `unexpected: ${JSON.stringify(report)}`))
      return report
    }))
  }
}

async function nextReport (child: ChildProcess): Promise<Report> {
  const ended = new AbortController()
  const exit = once(child, 'exit', { signal: ended.signal }).then(([code]) => ({ fault: `a process of clients ended (${String(code)})` }), () => ({}))
  try {
    return await Promise.race([once(child, 'message', { signal: ended.signal }).then(([report]) => report as Report), exit])
  } finally {
    ended.abort()
  }
}

/** The nth of so many parts of a whole. */
function share (whole: number, index: number, parts: number): number {
  return Math.floor(whole * (index + 1) / parts) - Math.floor(whole * index / parts)
}

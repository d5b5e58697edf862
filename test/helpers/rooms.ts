/** Nodes with rooms that tell who is there: in this process, or in one of their own that can be stopped and killed. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance } from 'fastify'
import realtime from '../../lib/index.ts'
import { redis, type RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import { connectChannel, type ChannelClient } from '../../lib/testing/index.ts'
import { Roster } from './roster.ts'
import { until, type Teardown } from './redis.ts'

export interface RoomOptions { redis: RedisAdapterOptions, grace?: number }

/** Listens, and says of each join and leave that it was the first to say: `+id`, `-id reason`. */
export async function openRooms (options: RoomOptions, told: (line: string) => void): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
  await app.register(realtime, {
    adapter: redis(options.redis),
    identify: (request) => ({ id: String(request.headers.user) }),
    retry: 50,
    closeTimeout: 500
  })
  const room = app.topic('rooms/:room', {
    authorize: () => true,
    presence: {
      ...options.grace !== undefined && { grace: options.grace },
      onJoin: ({ id }) => told(`+${id}`),
      onLeave: ({ id }, { reason }) => told(`-${id} ${reason}`)
    }
  })
  app.channel('/rooms/:room', { topics: room, presence: true })
  app.channel('/watch/:room', { topics: room, presence: 'watch' })
  app.get<{ Params: { room: string } }>('/list/:room', async ({ params }) => await room.presence(params, { limit: 1000 }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** A connection that comes back from where it was when it is cut, as clients do. */
class Seat {
  readonly client: ChannelClient
  readonly #staying: Promise<void>
  #over = false

  constructor (client: ChannelClient) {
    this.client = client
    this.#staying = this.#stay()
  }

  async #stay (): Promise<void> {
    while (!this.#over) {
      await this.client.ended
      await sleep(20)
      if (!this.#over) await this.client.resume().catch(() => {})
    }
  }

  async leave (): Promise<void> {
    this.#over = true
    await this.client.drop()
    await this.#staying
    // It may have been on its way back.
    await this.client.drop()
  }
}

export class RoomNode {
  readonly told: string[]
  readonly #watched: Array<{ room: string, roster: Roster }> = []
  readonly #seats = new Set<Seat>()
  readonly #port: number
  readonly #child: ChildProcess | undefined

  private constructor (port: number, told: string[], child?: ChildProcess) {
    this.#port = port
    this.told = told
    this.#child = child
  }

  static async start (t: Teardown, options: RoomOptions): Promise<RoomNode> {
    const told: string[] = []
    const app = await openRooms(options, (line) => told.push(line))
    const node = new RoomNode((app.server.address() as AddressInfo).port, told)
    t.teardown(async () => {
      await node.#emptySeats()
      await app.close()
    })
    return node
  }

  /** In a process of its own. */
  static async spawn (t: Teardown, options: RoomOptions): Promise<RoomNode> {
    const file = fileURLToPath(new URL('./room-node.ts', import.meta.url))
    const child = spawn(process.execPath, [...process.execArgv, file, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(async () => await end(child))
    const told: string[] = []
    const lines = createInterface({ input: child.stdout })
    const [port] = await Promise.race([
      once(lines, 'line') as Promise<[string]>,
      once(child, 'exit').then(() => { throw new Error('the node ended as soon as it was started') })
    ])
    lines.on('line', (line) => told.push(line))
    const node = new RoomNode(Number(port), told, child)
    t.teardown(async () => await node.#emptySeats())
    return node
  }

  async #emptySeats (): Promise<void> {
    await Promise.all([...this.#seats].map(async (seat) => await seat.leave()))
    this.#seats.clear()
  }

  signal (name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  /** Nobody on it tries to come back. */
  async kill (): Promise<void> {
    if (this.#child) await end(this.#child)
    this.#watched.length = 0
    await this.#emptySeats()
  }

  async join (user: string, path = '/rooms/1'): Promise<Seat> {
    const [address, port] = ['127.0.0.1', this.#port]
    // What a client needs to know of an app that listens elsewhere.
    const app = { ready: async () => {}, server: { address: () => ({ address, port }) } } as unknown as FastifyInstance
    const seat = new Seat(await connectChannel(app, path, { format: 'envelope', headers: { user }, timeout: 60_000 }))
    this.#seats.add(seat)
    return seat
  }

  async watch (room = '1'): Promise<Roster> {
    const { client } = await this.join('watcher', `/watch/${room}`)
    const roster = new Roster(client, `rooms/${room}`)
    this.#watched.push({ room, roster })
    return roster
  }

  /** Of its watchers: of all rooms, or of this one. */
  rosters (wanted?: string): Roster[] {
    return this.#watched.filter(({ room }) => wanted === undefined || room === wanted).map(({ roster }) => roster)
  }

  /** As `topic.presence()` says it on this node. */
  async list (room = '1'): Promise<string[]> {
    const text = await new Promise<string>((resolve, reject) => {
      get({ host: '127.0.0.1', port: this.#port, path: `/list/${room}`, agent: false, timeout: 5000 }, (response) => {
        let body = ''
        response.setEncoding('utf8').on('data', (some: string) => { body += some })
        response.once('end', () => resolve(body)).once('error', reject)
      }).once('error', reject)
    })
    const { members } = JSON.parse(text) as { members?: Array<{ id: string }> }
    if (!members) throw new Error(text)
    return members.map(({ id }) => id)
  }
}

async function end (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** Each node's list, and that of each of its watchers, comes to be this one. */
export async function agree (nodes: readonly RoomNode[], wanted: readonly string[], room = '1'): Promise<void> {
  const right = [...wanted].sort().join(' ')
  let seen: string[] = []
  try {
    await until(right, async () => {
      const lists = await Promise.all(nodes.map(async (node) => (await node.list(room).catch((error) => [String(error)])).join(' ')))
      const rosters = nodes.flatMap((node) => node.rosters(room).map(({ ids }) => ids.join(' ')))
      seen = [...lists, ...rosters]
      return seen.every((one) => one === right)
    }, 60_000)
  } catch (error) {
    throw new Error(`${(error as Error).message}; there is ${seen.join(' | ')}`, { cause: error })
  }
}

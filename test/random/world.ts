/** An app with topics of every kind, reached through links that break. */
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify'
import type { AddressInfo } from 'node:net'
import type { Adapter, Connection, RealtimeOptions } from '../../lib/index.ts'
import { Disturbed, type Disturbance } from './disturbed.ts'
import { memoryLinks, tcpLinks, type Links } from './links.ts'
import { TopicModel } from './model.ts'
import { turns, type Random } from './random.ts'
import type { Hub } from '../../lib/core/hub.ts'

/** The library that is tried: the one in lib/, or a copy that was broken on purpose. */
export interface Library {
  default: FastifyPluginAsync<RealtimeOptions>
  memory: () => Adapter
}

export interface WorldOptions {
  tcp: boolean
  disturbance?: Disturbance | undefined
  /** Bytes that a socket's buffers hold. */
  bufferBytes: number
}

export const KINDS = {
  tiny: { limit: 3 },
  small: { limit: 12 },
  big: { limit: 5000 },
  snap: { limit: 12, snapshot: true },
  state: { limit: 6, snapshot: true, named: true },
  loose: { limit: undefined }
} as const

export type Kind = keyof typeof KINDS

export class World {
  readonly app: FastifyInstance
  readonly options: WorldOptions
  readonly adapter: Disturbed | undefined
  readonly connections = new Map<string, Connection>()
  readonly #ids = new Map<string, Set<string>>()
  readonly #models = new Map<string, { model: TopicModel, random: Random }>()
  #hub: Hub | undefined
  links!: Links

  private constructor (library: Library, options: WorldOptions) {
    this.options = options
    this.app = Fastify({ http: { highWaterMark: options.bufferBytes }, forceCloseConnections: true })
    this.adapter = options.disturbance && new Disturbed(library.memory(), options.disturbance)
    this.app.register(library.default, {
      adapter: this.#noting(this.adapter ?? library.memory()),
      maxEventBytes: 4096,
      retry: 0,
      closeTimeout: 500,
      limits: { messagesPerSecond: 100_000, burst: 100_000 }
    })
    this.app.after(() => this.#declare())
  }

  static async open (library: Library, options: WorldOptions): Promise<World> {
    const world = new World(library, options)
    await world.app.ready()
    if (options.tcp) {
      await world.app.listen({ port: 0, host: '127.0.0.1' })
      world.links = await tcpLinks((world.app.server.address() as AddressInfo).port)
    } else world.links = memoryLinks(world.app, options.bufferBytes)
    return world
  }

  /** The sink that an adapter is given is the hub. */
  #noting (adapter: Adapter): Adapter {
    const start = adapter.start.bind(adapter)
    adapter.start = async (sink) => {
      this.#hub = sink as Hub
      await start(sink)
    }
    return adapter
  }

  #declare (): void {
    const { app } = this
    const topics = Object.entries(KINDS).map(([kind, options]) => {
      const { limit, snapshot, named } = { snapshot: false, named: false, ...options }
      return app.topic(`${kind}/:id`, {
        authorize: 'anyone',
        history: limit === undefined ? false : { limit, maxAge: 3_600_000, maxBytes: 64 << 20 },
        ...(snapshot && { snapshot: ({ id }: { id: string }) => this.#snapshot(`${kind}/${id}`, named) })
      })
    })
    const named = ({ query }: { query: unknown }): string[] => (query as { topics: string }).topics.split(',')
    const onConnect = (connection: Connection, { query }: { query: unknown }): void => {
      const { client } = query as { client: string }
      this.connections.set(client, connection)
      this.idsOf(client).add(connection.id)
    }
    for (const slow of ['close', 'latest', 'reset', 'replay'] as const) {
      const live = { slow, maxBuffered: 6000, topics: named, onConnect }
      app.stream(`/stream/${slow}`, live)
      app.channel(`/channel/${slow}`, { ...live, subscribe: topics, messages: { sync: { handler: () => ({ type: 'synced' }) } } })
    }
  }

  /** The state is written first, then published; reading it takes a while. */
  async #snapshot (name: string, named: boolean): Promise<unknown> {
    const { model, random } = this.#models.get(name) as { model: TopicModel, random: Random }
    await turns(random.int(0, 3))
    if (!named) return { n: model.count }
    const n = model.count
    const at = model.acknowledged === n && random.chance(0.7) ? model.events[n - 1]?.id : undefined
    const data = { topic: name, n, exact: at !== undefined }
    await turns(random.int(0, 2))
    return { event: 'state', data, ...(at !== undefined && { at }) }
  }

  topic (kind: Kind, id: string, random: Random): TopicModel {
    const { limit, snapshot } = { snapshot: false, ...KINDS[kind] }
    const model = new TopicModel(`${kind}/${id}`, limit, snapshot)
    this.#models.set(model.name, { model, random })
    return model
  }

  forget (model: TopicModel): void {
    this.#models.delete(model.name)
  }

  /** The ids that a client's connections have had. */
  idsOf (client: string): Set<string> {
    let ids = this.#ids.get(client)
    if (!ids) this.#ids.set(client, ids = new Set())
    return ids
  }

  /** The node lets go of what it keeps of a topic: what clients ask for is read again. */
  release (topic: TopicModel): void {
    const active = this.#hub?.active.get(topic.name)
    if (active?.holds === 0) active.log?.forget()
  }

  /** The node lets go of topics that nobody listens to. */
  sweep (): void {
    this.#hub?.active.sweep(0)
  }

  /** The least that a client which joins now, new, may start from. */
  floor (topic: TopicModel): number {
    return this.adapter ? topic.heard : topic.count
  }

  async close (): Promise<void> {
    await this.links.close()
    await this.app.close()
  }
}

/** Nodes in this process, and what they hear. */
import type { FastifyInstance } from 'fastify'
import Fastify from 'fastify'
import realtime, { type Adapter, type EphemeralEvent, type LogEvent, type RealtimeOptions, type Retention } from '../../lib/index.ts'
import { redis as ours, type RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import type { Teardown } from '../helpers/redis.ts'

export const RETENTION = Object.freeze<Retention>({ limit: 1000, maxAge: 600_000, maxBytes: 1 << 20 })

/** An adapter without a hub: what it reports is written down. */
export class Node {
  readonly adapter: Adapter
  readonly events: Array<{ topic: string, event: LogEvent }> = []
  readonly ephemerals: string[] = []
  readonly suspects: string[] = []
  readonly states: string[] = []

  constructor (adapter: Adapter) {
    this.adapter = adapter
  }

  async start (): Promise<void> {
    await this.adapter.start({
      event: (topic: string, event: LogEvent) => { this.events.push({ topic, event }) },
      ephemeral: (_topic: string, event: EphemeralEvent) => { this.ephemerals.push(String(Buffer.from(event.data))) },
      suspect: (topics: Iterable<string> | 'all') => { this.suspects.push(...(topics === 'all' ? ['all'] : topics)) },
      state: (state: string) => { this.states.push(state) }
    })
  }

  async publish (topic: string, text: string, options: { dedupe?: string, retention?: Retention } = {}): Promise<string> {
    const { dedupe, retention = RETENTION } = options
    return (await this.adapter.publish(topic, 'e', Buffer.from(JSON.stringify(text)), { retention, format: 'json', ...(dedupe !== undefined && { dedupe }) })).id
  }

  /** What the log holds. */
  async history (topic: string): Promise<string[]> {
    const { events } = await this.adapter.read(topic, null, { count: 1000, bytes: 1 << 20 })
    return events.map(({ data }) => JSON.parse(String(Buffer.from(data))) as string)
  }

  heard (topic: string): string[] {
    return this.events.filter((one) => one.topic === topic).map(({ event }) => JSON.parse(String(Buffer.from(event.data))) as string)
  }
}

export type MakeRedis = (options: RedisAdapterOptions) => Adapter

export async function startNode (t: Teardown, options: RedisAdapterOptions, redis: MakeRedis = ours): Promise<Node> {
  const node = new Node(redis(options))
  t.teardown(async () => await node.adapter.close())
  await node.start()
  return node
}

export interface NodeApp { app: FastifyInstance, logs: string[] }

/** An app with the topic `log/:id` and its stream and channel. */
export async function startApp (t: Teardown, options: RedisAdapterOptions, more: RealtimeOptions = {}): Promise<NodeApp> {
  const logs: string[] = []
  const write = (line: string): void => { logs.push((JSON.parse(line) as { msg: string }).msg) }
  const app = Fastify({ logger: { level: 'info', stream: { write } }, forceCloseConnections: true }) as unknown as FastifyInstance
  t.teardown(async () => await app.close())
  await app.register(realtime, { adapter: ours(options), closeTimeout: 500, retry: 100, ...more })
  const log = app.topic('log/:id', { history: { limit: 1000, maxAge: 600_000 }, authorize: 'anyone' })
  app.stream('/log/:id', { topics: 'log/:id' })
  app.channel('/channel/:id', { topics: 'log/:id', subscribe: log })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, logs }
}

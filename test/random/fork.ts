/** Logs that were lost or forked, and what a client hears of it: `reset`, or events as if nothing had happened. */
import Fastify, { type FastifyInstance } from 'fastify'
import type { Adapter, AppendOptions, EphemeralEvent, EventId, LogEvent, Page, ReadLimits, Sink } from '../../lib/core/adapter.ts'
import { connectChannel, type ChannelClient } from '../../lib/testing/index.ts'
import type { Library } from './world.ts'

/** What the client was told, in its words: events by their data, and `reset`. */
export type Heard = string[]

const NAME = 'log/1'
const BEFORE = 1_700_000_000_000

async function open ({ default: realtime }: Library, adapter: Adapter): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(realtime, { adapter, closeTimeout: 500 })
  const topic = app.topic('log/:id')
  app.channel('/log/:id', { topics: topic })
  return app
}

async function join (app: FastifyInstance, cursors: Record<string, string> = {}): Promise<ChannelClient> {
  const client = await connectChannel(app, '/log/1', { format: 'envelope', cursors })
  await client.next('realtime:subscribed')
  return client
}

/** Publishes a last word, and tells what came up to it. */
async function hear (app: FastifyInstance, client: ChannelClient): Promise<Heard> {
  await app.realtime.publish(NAME, 'last', 'the last word')
  await client.next('last')
  return client.events.flatMap(({ event, data }) => event === 'realtime:reset' ? ['reset'] : event.startsWith('realtime:') ? [] : [String(data)])
}

/** A client at the genesis of a log misses an event; then the process and its log are gone, and another begins. */
export async function restart (library: Library): Promise<Heard> {
  const first = await open(library, library.memory())
  const client = await join(first)
  await client.drop()
  await first.realtime.publish(NAME, 'said', 'missed')
  await first.close()
  const second = await open(library, library.memory())
  const back = await join(second, client.cursors)
  try {
    return await hear(second, back)
  } finally {
    await back.close()
    await second.close()
  }
}

/**
 * Two masters that were one: a client has an event that only the old one had, and the new one has made another with
 * the same time and number. `live`: the client stays; otherwise it comes back.
 */
export async function failover (library: Library, live: boolean): Promise<Heard> {
  const adapter = new Masters(library)
  const app = await open(library, adapter)
  const client = await join(app)
  await adapter.at(BEFORE, () => app.realtime.publish(NAME, 'said', 'common'))
  await client.next('said')
  await adapter.at(BEFORE + 1, () => app.realtime.publish(NAME, 'said', 'of the old master'))
  await client.next('said')
  if (!live) await client.drop()
  adapter.fail()
  await adapter.at(BEFORE + 1, async () => {
    await app.realtime.publish(NAME, 'said', 'of the new master, in its place')
    await app.realtime.publish(NAME, 'said', 'of the new master')
  })
  adapter.back()
  if (!live) {
    await client.resume()
    await client.next('realtime:subscribed')
  }
  try {
    return await hear(app, client)
  } finally {
    await client.close()
    await app.close()
  }
}

/** A master and its replica, which has the first event only. */
class Masters implements Adapter {
  readonly name = 'masters'
  readonly #old: Adapter
  readonly #new: Adapter
  #failed = false
  /** The node hears the new master. */
  #linked = false
  /** What the replica has: after it, its own log begins. */
  #common: LogEvent | undefined
  #genesis: EventId = ''
  #sink: Sink | undefined

  constructor ({ memory }: Library) {
    this.#old = memory()
    this.#new = memory()
  }

  /** The clock stands. */
  async at (ms: number, run: () => Promise<unknown>): Promise<void> {
    const { now } = Date
    Date.now = () => ms
    try {
      await run()
    } finally {
      Date.now = now
    }
  }

  fail (): void {
    this.#failed = true
  }

  /** The link to the new master is there: something may have been missed. */
  back (): void {
    this.#linked = true
    this.#sink?.suspect('all')
  }

  async start (sink: Sink): Promise<void> {
    this.#sink = sink
    const quiet = { ephemeral () {}, suspect () {}, state () {} }
    await this.#old.start({ ...quiet, event: (topic, event) => this.#fromOld(sink, topic, event) })
    await this.#new.start({ ...quiet, event: (topic, event) => { if (this.#linked) sink.event(topic, this.#behind(event)) } })
    this.#genesis = await this.#new.subscribe(NAME, true)
  }

  #fromOld (sink: Sink, topic: string, event: LogEvent): void {
    if (topic === NAME) this.#common ??= event
    sink.event(topic, event)
  }

  #now (topic: string): Adapter {
    return this.#failed && topic === NAME ? this.#new : this.#old
  }

  async publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }> {
    return await this.#now(topic).publish(topic, name, data, options)
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    await this.#old.ephemeral(topic, event)
  }

  async subscribe (topic: string, durable: boolean): Promise<EventId> {
    return await this.#old.subscribe(topic, durable)
  }

  unsubscribe (topic: string): void {
    this.#old.unsubscribe(topic)
  }

  async read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page> {
    const adapter = this.#now(topic)
    if (adapter === this.#old || !this.#common) return await adapter.read(topic, after, limits)
    // The replica's own log, behind what it has of the other.
    const page = await adapter.read(topic, after === this.#common.id ? this.#genesis : after, limits)
    return { ...page, events: page.events.map((event) => this.#behind(event)) }
  }

  #behind (event: LogEvent): LogEvent {
    return this.#common && event.prev === this.#genesis ? { ...event, prev: this.#common.id } : event
  }

  async heads (topics: string[]): Promise<Array<EventId | null>> {
    return await this.#old.heads(topics)
  }

  async close (): Promise<void> {
    await this.#old.close()
    await this.#new.close()
  }
}

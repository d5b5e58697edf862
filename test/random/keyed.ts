/**
 * One schedule of a keyed topic: keys that come, change and go, clients of every wire that are cut and come back, and a
 * store that now and then loses everything. At each quiet point the map that a client has made of what it was sent is
 * the model's.
 */
import { strict as assert } from 'node:assert'
import type { FastifyInstance } from 'fastify'
import { memory } from '../../lib/index.ts'
import type { AnyItem, Topic, TopicSubscription } from '../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient, type Received, type StreamClient } from '../../lib/testing/index.ts'
import { Disturbed, NASTY } from './disturbed.ts'
import { turns, type Random } from './random.ts'

type Values = Record<string, { k: string, v: number }>
export type KeyedTopic = Topic<Record<string, string>, { set: { k: string, v: number } }>

/** What a client knows of the topic. */
class MapView {
  #map = new Map<string, { k: string, v: number }>()
  /** It was told of a loss, and has not been given the state since. */
  #stale = true

  get values (): Values | undefined {
    return this.#stale ? undefined : Object.fromEntries([...this.#map].sort())
  }

  take (event: string, data: unknown, key: string | undefined): void {
    if (event === 'realtime:snapshot') this.#part((data as { data?: Part }).data ?? data as Part)
    else if (event === 'realtime:reset') this.#stale = true
    else if (event === 'realtime:removed') this.#map.delete((data as { key: string }).key)
    else if (event === 'set') this.#set(data as { k: string, v: number }, key)
  }

  #part ({ part, more, items }: Part): void {
    if (part === 0) this.#map = new Map()
    for (const { key, data } of items) this.#map.set(key, data)
    if (!more) this.#stale = false
  }

  #set (data: { k: string, v: number }, key: string | undefined): void {
    if (key !== undefined) assert.equal(key, data.k, 'the key that is told is the one that was published')
    this.#map.set(data.k, data)
  }
}

interface Part { part: number, more: boolean, items: Array<{ key: string, event: string, data: { k: string, v: number } }> }

interface Listener {
  readonly view: MapView
  readonly what: string
  cut (): Promise<void>
  close (): Promise<void>
}

class TestClient implements Listener {
  readonly view = new MapView()
  readonly what: string
  readonly #client: StreamClient | ChannelClient
  #read = 0

  constructor (what: string, client: StreamClient | ChannelClient) {
    this.what = what
    this.#client = client
  }

  look (): void {
    const events: readonly Received[] = this.#client.events
    for (; this.#read < events.length; this.#read++) {
      const { event, data, key } = events[this.#read] as Received
      this.view.take(event, data, key)
    }
  }

  async cut (): Promise<void> {
    await this.#client.resume()
  }

  async close (): Promise<void> {
    await this.#client.close()
  }
}

class Consumer implements Listener {
  readonly what = 'process'
  readonly view = new MapView()
  readonly #topic: KeyedTopic
  #subscription: TopicSubscription<AnyItem>
  #after: string | undefined
  #over: Promise<void>

  constructor (topic: KeyedTopic) {
    this.#topic = topic
    this.#subscription = this.#subscribe()
    this.#over = this.#consume()
  }

  #subscribe (): TopicSubscription<AnyItem> {
    return this.#topic.subscribe<AnyItem>({}, { after: this.#after })
  }

  async #consume (): Promise<void> {
    const own = this.#subscription
    for await (const { id, event, data, key } of own) {
      if (own !== this.#subscription) return
      this.view.take(event, data, key)
      this.#after = id ?? this.#after
      if (event === 'realtime:snapshot' && (data as Part).more) this.#after = undefined
    }
  }

  async cut (): Promise<void> {
    await this.close()
    this.#subscription = this.#subscribe()
    this.#over = this.#consume()
  }

  async close (): Promise<void> {
    await this.#subscription.return()
    await this.#over
  }
}

/** One node. */
export interface KeyedNode {
  readonly app: FastifyInstance
  readonly topic: KeyedTopic
}

export interface KeyedWorld {
  readonly nodes: readonly KeyedNode[]
  /** The store loses the topic. */
  lose (random: Random): Promise<void>
}

const MAX_BYTES = 300_000

export function declareKeyed (app: FastifyInstance): KeyedNode {
  const topic = app.topic('keyed', { keyed: true, history: { limit: 20 } }) as unknown as KeyedTopic
  app.topic('other')
  app.stream('/one', { topics: 'keyed' })
  app.stream('/two', { topics: ['keyed', 'other'] })
  app.channel('/ws', { topics: ['keyed', 'other'] })
  return { app, topic }
}

export const keyedAdapter = (): Disturbed => new Disturbed(memory({ maxBytes: MAX_BYTES }), NASTY)

/** One node on a small memory, which another topic can take for itself. */
export function memoryWorld (app: FastifyInstance): KeyedWorld {
  const node = declareKeyed(app)
  const flood = app.topic('flood', { keyed: true })
  const lose = async (): Promise<void> => {
    const data = 'x'.repeat(50_000)
    for (let n = 0; n < 5; n++) await flood.publish({}, 'x', data, { key: String(n) })
    for (let n = 0; n < 5; n++) await flood.remove({}, String(n))
  }
  return { nodes: [node], lose }
}

const QUIET_MS = 20_000

export class KeyedSchedule {
  readonly #world: KeyedWorld
  readonly #random: Random
  readonly #keys: number
  #model = new Map<string, { k: string, v: number }>()
  #listeners: Listener[] = []
  #value = 0
  checks = 0

  constructor (world: KeyedWorld, random: Random) {
    this.#world = world
    this.#random = random
    this.#keys = random.pick([3, 30, 300])
  }

  async run (steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) {
      await this.#step()
      if (this.#random.chance(0.05)) await this.#quiet()
    }
    await this.#quiet()
    for (const listener of this.#listeners) await listener.close()
    for (const key of this.#model.keys()) await this.#node.topic.remove({}, key)
  }

  async #step (): Promise<void> {
    const random = this.#random
    const roll = random.next()
    if (roll < 0.55) await this.#put()
    else if (roll < 0.75) await this.#remove()
    else if (roll < 0.85) await this.#join()
    else if (roll < 0.96) await this.#cut()
    else if (roll < 0.965) await this.#lose()
    else await turns(random.int(1, 8))
  }

  async #put (): Promise<void> {
    for (let n = this.#random.pick([1, 1, 1, 30]); n > 0; n--) {
      const k = `k${this.#random.int(1, this.#keys)}`
      const data = { k, v: ++this.#value }
      this.#model.set(k, data)
      await this.#node.topic.publish({}, 'set', data, { key: k })
    }
  }

  async #remove (): Promise<void> {
    const k = `k${this.#random.int(1, this.#keys)}`
    const { id } = await this.#node.topic.remove({}, k)
    assert.equal(id !== undefined, this.#model.delete(k), 'a removal is told where the key held something')
  }

  async #join (): Promise<void> {
    if (this.#listeners.length >= 6) return
    const { app, topic } = this.#node
    const what = this.#random.pick(['/one', '/two', '/ws', 'process'])
    if (what === 'process') {
      this.#listeners.push(new Consumer(topic))
      return
    }
    const client = what === '/ws'
      ? await connectChannel(app, what, { format: 'envelope' })
      : await connectStream(app, what)
    this.#listeners.push(new TestClient(what, client))
  }

  async #cut (): Promise<void> {
    if (this.#listeners.length > 0) await this.#random.pick(this.#listeners).cut()
  }

  async #lose (): Promise<void> {
    await this.#world.lose(this.#random)
    this.#model.clear()
  }

  get #node (): KeyedNode { return this.#random.pick(this.#world.nodes) }

  /** Everybody has everything. */
  async #quiet (): Promise<void> {
    await this.#put()
    const wanted = Object.fromEntries([...this.#model].sort())
    const deadline = performance.now() + QUIET_MS
    for (const { what, view } of this.#listeners) await this.#until(what, view, wanted, deadline)
    const { items } = await this.#node.topic.state({}, { limit: 10_000 })
    assert.deepEqual(Object.fromEntries(items.map(({ key, data }) => [key, data])), wanted, 'the state that the app reads')
    this.checks++
  }

  async #until (what: string, view: MapView, wanted: Values, deadline: number): Promise<void> {
    for (;;) {
      for (const listener of this.#listeners) if (listener instanceof TestClient) listener.look()
      const { values } = view
      try {
        assert.deepEqual(values, wanted)
        return
      } catch (error) {
        if (performance.now() > deadline) throw Object.assign(error as Error, { message: `${what}: ${(error as Error).message}` })
      }
      await turns(2)
    }
  }
}

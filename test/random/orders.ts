/**
 * Orders at random, while clients are on their way in, join and leave. Every await of the app's is a gate that holds who
 * comes there, until the schedule lets it go. What each client hears is compared with `rights.ts`.
 */
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import realtime, { memory, type Connection } from '../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../lib/testing/index.ts'
import { turns, type Random } from './random.ts'
import { Rights, type Target } from './rights.ts'

const IDENTITIES = ['ada', 'ben', 'eve']
const ROOMS = ['rooms/0', 'rooms/1', 'rooms/2', 'open/0', 'plain/0']
const JOINABLE = ['rooms/0', 'rooms/1', 'rooms/2', 'open/0']
const STEPS = ['before', 'preHandler', 'topics', 'authorize', 'identify', 'onConnect', 'history', 'onSend']
const CLIENTS = 5
const PATIENCE_TURNS = 5000

interface Actor {
  readonly rights: Rights
  readonly topics: readonly string[]
  readonly holds: ReadonlySet<string>
  readonly wire: 'stream' | 'envelope'
  arrive: () => void
  connection?: Connection
  client?: ChannelClient | StreamClient
  /** The ref of what it has asked for. */
  asked?: string
}

interface Gate { readonly actor: Actor, readonly open: () => void }

export class OrderSchedule {
  readonly #random: Random
  readonly #app: FastifyInstance
  readonly #actors = new Map<string, Actor>()
  readonly #story: string[] = []
  #gates: Gate[] = []
  /** What whom must not hear: numbers of events. */
  readonly #denied: Array<{ actor: Actor, n: number }> = []
  #published = 0
  #asked = 0

  private constructor (random: Random, app: FastifyInstance) {
    this.#random = random
    this.#app = app
  }

  /** Undefined where everything is as it should be; else what is not, and the story. */
  static async run (random: Random): Promise<string | undefined> {
    const app = Fastify() as unknown as FastifyInstance
    const schedule = new OrderSchedule(random, app)
    await schedule.#declare()
    await app.ready()
    const steps = random.int(10, 40)
    for (let n = 0; n < steps; n++) await schedule.#step()
    const fault = await schedule.#end()
    for (const { open } of schedule.#gates) open()
    await app.close()
    return fault && `${fault}\n${schedule.#story.join('\n')}`
  }

  // --- the app -----------------------------------------------------------------

  async #declare (): Promise<void> {
    const app = this.#app
    const adapter = memory()
    const subscribe = adapter.subscribe.bind(adapter)
    adapter.subscribe = async (topic, durable) => {
      if (topic.startsWith('own/')) await this.#hold(this.#actors.get(topic.slice('own/'.length)), 'history')
      return await subscribe(topic, durable)
    }
    app.addHook('onRequest', async (request) => {
      this.#actorOf(request)?.arrive()
      await this.#hold(this.#actorOf(request), 'before')
    })
    await app.register(realtime, {
      adapter,
      closeTimeout: 200,
      // Gates are held for as long as a busy machine takes.
      joinTimeout: 120_000,
      identify: async (request) => {
        await this.#hold(this.#actorOf(request), 'identify')
        return { id: this.#actorOf(request)?.rights.identity ?? 'nobody' }
      }
    })
    const authorize = async (request: FastifyRequest): Promise<boolean> => {
      await this.#hold(this.#actorOf(request), 'authorize')
      return true
    }
    const rooms = app.topic('rooms/:id', { authorize })
    const open = app.topic('open/:id', { authorize: 'anyone' })
    app.topic('plain/:id')
    app.topic('own/:id')
    const route = {
      preHandler: async (request: FastifyRequest) => await this.#hold(this.#actorOf(request), 'preHandler'),
      onSend: async (request: FastifyRequest, _reply: FastifyReply, payload: unknown) => {
        await this.#hold(this.#actorOf(request), 'onSend')
        return payload
      },
      topics: async (request: FastifyRequest) => {
        await this.#hold(this.#actorOf(request), 'topics')
        return [...this.#actorOf(request)?.topics ?? []]
      },
      onConnect: async (connection: Connection, request: FastifyRequest) => {
        const actor = this.#actorOf(request) as Actor
        actor.connection = connection
        actor.rights.connection = connection.id
        await this.#hold(actor, 'onConnect')
      }
    }
    app.stream('/stream', route)
    app.channel('/envelope', { ...route, subscribe: [rooms, open] })
  }

  #actorOf (request: FastifyRequest): Actor | undefined {
    return this.#actors.get(String((request.query as { name?: string }).name))
  }

  async #hold (actor: Actor | undefined, step: string): Promise<void> {
    if (!actor?.holds.has(step)) return
    await new Promise<void>((resolve) => { this.#gates.push({ actor, open: resolve }) })
  }

  // --- steps ---------------------------------------------------------------------

  async #step (): Promise<void> {
    const random = this.#random
    const kind = random.int(0, 9)
    if (kind <= 1) await this.#comeIn()
    else if (kind <= 3) this.#letGo()
    else if (kind <= 5) await this.#order()
    else if (kind === 6) this.#join()
    else if (kind === 7) this.#leave()
    else if (kind === 8) await this.#ask()
    else await this.#publish(random.pick(ROOMS), 'said')
    // Sometimes the next step comes in the same turn, so many microtasks later.
    if (random.chance(0.5)) await turns(random.int(1, 6))
    else for (let n = random.int(0, 6); n > 0; n--) await undefined
  }

  async #comeIn (): Promise<void> {
    if (this.#actors.size >= CLIENTS) return
    const random = this.#random
    const name = `c${this.#actors.size}`
    const topics = [...random.shuffled(ROOMS).slice(0, random.int(1, 3)), `own/${name}`]
    const wire = random.pick(['stream', 'envelope'] as const)
    const holds = new Set(STEPS.filter(() => random.chance(0.35)))
    let arrive!: () => void
    const arrived = new Promise<void>((resolve) => { arrive = resolve })
    const actor: Actor = { rights: new Rights(name, random.pick(IDENTITIES), topics), topics, holds, wire, arrive }
    this.#actors.set(name, actor)
    this.#story.push(`${name} (${actor.rights.identity}, ${wire}) comes for ${topics.join(', ')}; held at ${[...holds].join(', ')}`)
    const connecting = wire === 'stream'
      ? connectStream(this.#app, `/stream?name=${name}`)
      : connectChannel(this.#app, `/envelope?name=${name}`, { format: 'envelope' })
    connecting.then((client) => { actor.client = client }, () => {})
    await arrived
  }

  #letGo (): void {
    if (this.#gates.length === 0) return
    const gate = this.#random.pick(this.#gates)
    this.#gates = this.#gates.filter((one) => one !== gate)
    this.#story.push(`${gate.actor.rights.name} is let go`)
    gate.open()
  }

  async #order (): Promise<void> {
    const random = this.#random
    const target = this.#target()
    const { realtime } = this.#app
    if (random.chance(0.3)) {
      this.#story.push(`disconnect ${JSON.stringify(target)}`)
      for (const { rights } of this.#actors.values()) rights.disconnect(target)
      await realtime.disconnect(target)
    } else {
      const topic = random.pick(ROOMS)
      this.#story.push(`take ${topic} from ${JSON.stringify(target)}`)
      for (const { rights } of this.#actors.values()) rights.take(target, topic)
      await realtime.revoke(target, topic)
    }
  }

  #target (): Target {
    const random = this.#random
    const known = [...this.#actors.values()].flatMap(({ rights }) => rights.connection ?? [])
    switch (random.int(0, 3)) {
      case 0: return { identity: random.pick(IDENTITIES), topic: random.pick(ROOMS) }
      case 1: return { topic: random.pick(ROOMS) }
      case 2: return known.length > 0 ? { connection: random.pick(known) } : { identity: random.pick(IDENTITIES) }
      default: return { identity: random.pick(IDENTITIES) }
    }
  }

  /** The app joins somebody to a topic. */
  #join (): void {
    const [actor, topic] = [this.#somebody(), this.#random.pick(ROOMS)]
    if (!actor?.connection) return
    this.#story.push(`the app joins ${actor.rights.name} to ${topic}`)
    actor.rights.subscribe(topic)
    actor.connection.subscribe(topic).catch(() => {})
  }

  #leave (): void {
    const [actor, topic] = [this.#somebody(), this.#random.pick(ROOMS)]
    if (!actor?.connection) return
    this.#story.push(`the app has ${actor.rights.name} leave ${topic}`)
    actor.rights.unsubscribe(topic)
    actor.connection.unsubscribe(topic)
  }

  /** A client joins or leaves, unless it waits for an answer still. Nothing else happens until it was heard. */
  async #ask (): Promise<void> {
    const actor = this.#somebody()
    if (!actor || actor.wire !== 'envelope' || !isOpen(actor) || (actor.asked !== undefined && !isAnswered(actor))) return
    const [topic, op] = [this.#random.pick(JOINABLE), this.#random.pick(['subscribe', 'unsubscribe'])]
    this.#story.push(`${actor.rights.name} says ${op} ${topic}`)
    if (op === 'subscribe') actor.rights.subscribe(topic)
    else actor.rights.unsubscribe(topic)
    const held = this.#gates.filter((gate) => gate.actor === actor).length
    actor.asked = `ask ${this.#asked++}`
    ;(actor.client as ChannelClient).sendRaw(JSON.stringify({ op, topic, ref: actor.asked }))
    const isHeard = (): boolean => isAnswered(actor) || actor.connection?.closed === true || this.#gates.filter((gate) => gate.actor === actor).length > held
    for (let n = 0; n < PATIENCE_TURNS && !isHeard(); n++) await turns(1)
  }

  #somebody (): Actor | undefined {
    const all = [...this.#actors.values()]
    return all.length > 0 ? this.#random.pick(all) : undefined
  }

  async #publish (topic: string, event: string): Promise<number> {
    const n = ++this.#published
    for (const actor of this.#actors.values()) if (!actor.rights.may(topic)) this.#denied.push({ actor, n })
    await this.#app.realtime.publish(topic, event, n)
    return n
  }

  // --- the end -------------------------------------------------------------------

  async #end (): Promise<string | undefined> {
    await this.#quiet()
    const last = new Map<string, number>()
    for (const topic of ROOMS) last.set(topic, await this.#publish(topic, 'last'))
    const missing = (): string | undefined => {
      for (const actor of this.#actors.values()) {
        for (const topic of actor.rights.hears) if (!topic.startsWith('own/') && !heard(actor).has(last.get(topic) as number)) return `${actor.rights.name} does not hear ${topic}`
      }
      return undefined
    }
    for (let n = 0; n < PATIENCE_TURNS && missing(); n++) await turns(1)
    await turns(10)
    return missing() ?? this.#leak(last) ?? this.#crowd()
  }

  /** Everybody is let go, until nobody is held and nothing moves. */
  async #quiet (): Promise<void> {
    for (let still = 0; still < 20; still++) {
      if (this.#gates.length > 0) still = 0
      for (const { open } of this.#gates.splice(0)) open()
      await turns(2)
    }
  }

  #leak (last: ReadonlyMap<string, number>): string | undefined {
    for (const { actor, n } of this.#denied) if (heard(actor).has(n)) return `${actor.rights.name} heard ${n}, which it may not`
    for (const actor of this.#actors.values()) {
      for (const topic of ROOMS) if (!actor.rights.hears.has(topic) && heard(actor).has(last.get(topic) as number)) return `${actor.rights.name} still hears ${topic}`
    }
    return undefined
  }

  #crowd (): string | undefined {
    const here = new Set(this.#app.realtime.connections().map(({ id }) => id))
    for (const { rights } of this.#actors.values()) {
      if (rights.dead && rights.connection && here.has(rights.connection)) return `${rights.name} is still there`
    }
    const alive = [...this.#actors.values()].filter(({ rights }) => !rights.dead).length
    return here.size === alive ? undefined : `${here.size} are there, not ${alive}`
  }
}

function heard ({ client }: Actor): Set<number> {
  return new Set(client?.events.filter(({ event }) => event === 'said' || event === 'last').map(({ data }) => Number(data)))
}

function isOpen ({ client, connection }: Actor): boolean {
  return connection !== undefined && client?.events.some(({ event }) => event === 'realtime:open') === true
}

function isAnswered ({ client, asked }: Actor): boolean {
  return client?.events.some(({ data }) => (data as { ref?: unknown } | null)?.ref === asked) === true
}

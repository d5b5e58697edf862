/** One schedule: who publishes, joins, leaves, is cut off, stops reading and comes back, when. All of it follows from its seed. */
import type { Client, ClientOptions, Slow } from './client.ts'
import { REPEATS, NASTY } from './disturbed.ts'
import { Fault, type Said, type TopicModel } from './model.ts'
import { Random, turns } from './random.ts'
import { ProcessClient } from './process-client.ts'
import { SseClient } from './sse-client.ts'
import { EnvelopeClient, FlatClient } from './websocket-clients.ts'
import { KINDS, World, type Kind, type Library, type WorldOptions } from './world.ts'

/** How long a schedule may stand still before it counts as stuck. Not a speed that is asked for. */
const STUCK_MS = 20_000
const TRACE_LINES = 120
const LAST_WORDS = 10
const SILENT_TURNS = 10

/** A schedule meets one of these, by its seed. */
export const WORLDS: readonly WorldOptions[] = [
  { tcp: false, bufferBytes: 2048 },
  { tcp: false, bufferBytes: 2048, disturbance: NASTY },
  { tcp: true, bufferBytes: 16_384, disturbance: NASTY },
  { tcp: false, bufferBytes: 512 },
  { tcp: false, bufferBytes: 512, disturbance: NASTY },
  { tcp: true, bufferBytes: 1024 },
  { tcp: false, bufferBytes: 16_384, disturbance: REPEATS }
]

const KIND_NAMES = Object.keys(KINDS) as Kind[]
const EVENT_NAMES = ['message', 'price', 'note', 'bytes']

export class Schedule {
  readonly #world: World
  readonly #random: Random
  readonly #id: string
  readonly #topics: TopicModel[] = []
  readonly #clients: Client[] = []
  readonly #trace: string[] = []
  readonly #dedupes = new Map<string, Said>()
  readonly #publishing = new Set<Promise<void>>()
  #fault: Error | undefined
  #changed: (() => void) | undefined

  constructor (world: World, seed: number) {
    this.#world = world
    this.#random = new Random(seed)
    this.#id = seed.toString(36)
  }

  async run (): Promise<void> {
    try {
      this.#begin()
      const steps = this.#random.int(6, 22)
      for (let i = 0; i < steps && !this.#failed; i++) await this.#step()
      await this.#settle()
    } catch (error) {
      throw new Fault(`${(error as Error).message}\n${this.#trace.slice(-TRACE_LINES).join('\n')}`)
    } finally {
      for (const client of this.#clients) {
        client.close()
        this.#world.connections.delete(client.name)
      }
      for (const topic of this.#topics) this.#world.forget(topic)
    }
  }

  get #failed (): Error | undefined {
    return this.#fault ?? this.#clients.find(({ fault }) => fault)?.fault
  }

  #begin (): void {
    const random = this.#random
    for (const kind of random.shuffled(KIND_NAMES).slice(0, random.int(1, 4))) {
      this.#topics.push(this.#world.topic(kind, this.#id, random))
    }
    // Some topics have a past already.
    for (const topic of this.#topics) if (random.chance(0.3)) this.#burst(topic, random.int(1, 8))
    const kinds = random.shuffled([SseClient, SseClient, EnvelopeClient, FlatClient, ProcessClient]).slice(0, random.int(1, 4))
    for (const [index, Kind] of kinds.entries()) this.#add(new Kind(this.#clientOptions(`${this.#id}.${index}`, Kind === FlatClient)))
  }

  #add (client: Client): void {
    this.#clients.push(client)
    client.connect()
  }

  #clientOptions (name: string, flat: boolean): ClientOptions {
    const random = this.#random
    // A flat client hears of a snapshot only where it has a name, and cannot tell what was left out.
    const usable = this.#topics.filter((topic) => !flat || !topic.name.startsWith('snap/'))
    const slow: Slow = random.pick(flat ? ['close', 'reset', 'replay'] : ['close', 'close', 'latest', 'reset', 'replay'])
    const topics = random.shuffled(usable.length > 0 ? usable : [this.#stateTopic()])
    return {
      name,
      slow,
      random,
      world: this.#world,
      topics: topics.slice(0, random.int(1, topics.length)),
      cuts: random.int(0, 6),
      trace: (text) => this.#trace.push(text),
      changed: () => this.#wake()
    }
  }

  #stateTopic (): TopicModel {
    const known = this.#topics.find(({ name }) => name.startsWith('state/'))
    if (known) return known
    const topic = this.#world.topic('state', this.#id, this.#random)
    this.#topics.push(topic)
    return topic
  }

  /** Another schedule has failed: nobody waits for this one. */
  stop (): void {
    this.#fault ??= new Fault('stopped')
    this.#wake()
  }

  #wake (): void {
    const changed = this.#changed
    this.#changed = undefined
    changed?.()
  }

  async #step (): Promise<void> {
    const random = this.#random
    const client = random.pick(this.#clients)
    const topic = random.pick(this.#topics)
    const dice = random.next()
    if (dice < 0.5) this.#burst(topic, random.chance(0.1) ? random.int(8, 30) : random.int(1, 5))
    else if (dice < 0.6) client.drop()
    else if (dice < 0.67) client.pause()
    else if (dice < 0.77) client.resume()
    else if (dice < 0.83) this.#join(client, topic)
    else if (dice < 0.87) client.leave(topic)
    else if (dice < 0.9) await this.#reach('the clients', () => this.#clients.every((one) => one.level), 30)
    else if (dice < 0.95) this.#world.release(topic)
    else if (dice < 0.96) this.#world.sweep()
    await turns(random.pick([0, 0, 1, 1, 2, 4, 8]))
  }

  #join (client: Client, topic: TopicModel): void {
    if (client.kind !== 'flat') client.join(topic)
  }

  #burst (topic: TopicModel, count: number): void {
    for (let i = 0; i < count; i++) this.#publish(topic)
  }

  #publish (topic: TopicModel, anew = false): void {
    const random = this.#random
    const name = random.pick(EVENT_NAMES)
    const key = random.chance(0.5) ? random.pick(['a', 'b']) : undefined
    const dedupe = topic.limit !== undefined && !anew && random.chance(0.15) ? `${topic.name} ${random.int(0, 3)}` : undefined
    const first = dedupe === undefined ? undefined : this.#dedupes.get(dedupe)
    const except = !anew && random.chance(0.2) ? this.#world.connections.get(random.pick(this.#clients)?.name ?? '')?.id : undefined
    const said = first ?? topic.say(name, key, textOf(random, topic), except)
    if (dedupe !== undefined) this.#dedupes.set(dedupe, said)
    if (!first) this.#trace.push(`publish ${topic.name} ${said.n} (${name})${except ? ` but to ${except}` : ''}`)
    const data = name === 'bytes' && !first ? Buffer.from(said.text) : JSON.parse(said.text) as object
    const published = this.#world.app.realtime.publish(topic.name, name, data, { ...(key && { key }), ...(dedupe && { dedupe }), ...(except && { except }) })
      .then(({ id }) => topic.acknowledge(said, id))
      .catch((error: Error) => { this.#fault ??= error })
      .finally(() => this.#publishing.delete(published))
    this.#publishing.add(published)
  }

  /** Nobody is disturbed any more: everybody must get to the end. And then hear the last word. */
  async #settle (): Promise<void> {
    for (const client of this.#clients) client.calm()
    await Promise.all(this.#publishing)
    await this.#reach('level', () => this.#clients.every((client) => client.level))
    const exact = (): boolean => this.#clients.every((client) => client.exact)
    // A snapshot that holds the last word already is followed by no event: then another is said.
    for (let words = 0; words < LAST_WORDS && (words === 0 || !exact()); words++) {
      for (const topic of this.#topics) this.#publish(topic, true)
      await Promise.all(this.#publishing)
      await this.#reach('the last events', () => this.#clients.every((client) => client.level))
      await this.#reach('the last word', exact, SILENT_TURNS)
    }
    await this.#reach('the very last events', exact)
    for (const client of this.#clients) client.checkSkipped()
  }

  /** Waits for as long as something comes (or for some turns). */
  async #reach (what: string, there: () => boolean, patience?: number): Promise<void> {
    let waited = 0
    while (!there()) {
      if (this.#failed) throw this.#failed
      if (patience === undefined) await this.#somethingNew(what)
      else if (waited++ < patience) await turns(1)
      else return
    }
    if (this.#failed) throw this.#failed
  }

  async #somethingNew (what: string): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve, reject) => {
      this.#changed = resolve
      timer = setTimeout(() => {
        const where = this.#clients.flatMap((client) => [...client.views.values()].map((view) =>
          `${client.name} (${client.kind}) ${view.topic.name} ${view.lo}..${view.hi} of ${view.topic.count}${view.awaits ? ', awaits a snapshot' : ''}`))
        reject(new Fault(`stuck before ${what}: ${where.join('; ')}`))
      }, STUCK_MS)
    }).finally(() => clearTimeout(timer))
  }
}

function textOf (random: Random, topic: TopicModel): string {
  const filler = random.chance(0.08) ? 'x'.repeat(random.int(500, 3000)) : random.pick(['', 'ß', '💧\u2028', '"\\\n\r', 'id: 1\n\nid: 2'])
  return JSON.stringify({ topic: topic.name, n: topic.count, filler })
}

export interface RunOptions {
  library: Library
  seed: number
  schedules: number
  /** How many run at the same time. */
  concurrency?: number
  worlds?: readonly WorldOptions[]
}

export interface Outcome {
  schedules: number
  tcp: number
  /** The first fault, with the seed that shows it. */
  fault: { seed: number, error: Error } | undefined
}

/** Runs schedules until one fails. */
export async function runSchedules ({ library, seed, schedules, concurrency = 8, worlds = WORLDS }: RunOptions): Promise<Outcome> {
  const open = new Map<number, Promise<World>>()
  const outcome: Outcome = { schedules: 0, tcp: 0, fault: undefined }
  const running = new Set<Schedule>()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < schedules && !outcome.fault) {
      const own = (seed + next++) >>> 0
      const index = own % worlds.length
      const options = worlds[index] as WorldOptions
      if (!open.has(index)) open.set(index, World.open(library, options))
      const world = await (open.get(index) as Promise<World>)
      const schedule = new Schedule(world, own)
      running.add(schedule)
      try {
        await schedule.run()
        outcome.schedules++
        if (options.tcp) outcome.tcp++
      } catch (error) {
        outcome.fault ??= { seed: own, error: error as Error }
        for (const other of running) other.stop()
      } finally {
        running.delete(schedule)
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, schedules) }, worker))
  } finally {
    await Promise.all([...open.values()].map(async (world) => await (await world).close()))
  }
  return outcome
}

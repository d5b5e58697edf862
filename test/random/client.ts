/** What clients of all kinds share: they come back whenever they are cut off, and hold what they get to the model. */
import type { Duplex } from 'node:stream'
import { Fault, LooseView, View, type State, type TopicModel } from './model.ts'
import type { Cut } from './links.ts'
import { turns, type Random } from './random.ts'
import type { World } from './world.ts'

export type Slow = 'close' | 'latest' | 'reset' | 'replay'

export interface ClientOptions {
  readonly name: string
  readonly world: World
  readonly random: Random
  readonly topics: TopicModel[]
  readonly slow: Slow
  readonly trace: (text: string) => void
  /** Something was received, or went wrong. */
  readonly changed: () => void
  /** How often it may be cut off. */
  readonly cuts: number
}

export type Json = Record<string, unknown>

export abstract class Client {
  abstract readonly kind: 'sse' | 'flat' | 'envelope' | 'process'
  readonly name: string
  readonly views = new Map<string, View>()
  fault: Error | undefined
  protected readonly world: World
  protected readonly random: Random
  protected readonly slow: Slow
  protected readonly topics = new Map<string, TopicModel>()
  protected readonly loose = new Map<string, LooseView>()
  /** Where the topics stood when this connection was asked for. */
  protected readonly stood = new Map<string, number>()
  readonly #options: ClientOptions
  #cutsLeft: number
  #stopped = false
  #paused = false
  protected link: Duplex | undefined

  constructor (options: ClientOptions) {
    this.#options = options
    this.name = options.name
    this.world = options.world
    this.random = options.random
    this.slow = options.slow
    this.#cutsLeft = options.cuts
    for (const topic of options.topics) this.topics.set(topic.name, topic)
  }

  trace (text: string): void {
    this.#options.trace(`${this.name}: ${text}`)
  }

  connect (): void {
    if (this.#stopped) return
    this.stood.clear()
    for (const topic of this.topics.values()) this.stood.set(topic.name, this.world.floor(topic))
    const cut = this.#nextCut()
    this.trace(`connects${cut ? `, to be cut after ${JSON.stringify(cut)}` : ''}`)
    const link = this.makeLink(cut)
    this.link = link
    this.open(link)
    if (this.#paused) this.hold()
  }

  protected makeLink (cut: Cut | undefined): Duplex {
    return this.world.links.open(cut)
  }

  /** Reasons of a reset that need no history to be gone. */
  protected get excuses (): string[] {
    return this.slow === 'reset' ? ['slow'] : []
  }

  #nextCut (): Cut | undefined {
    if (this.#cutsLeft <= 0 || this.random.chance(0.2)) return undefined
    this.#cutsLeft--
    const hard = this.random.chance(0.3)
    // In the head, around the opening, or later.
    if (this.random.chance(0.12)) return { up: this.random.int(0, 500), hard }
    return { down: this.random.int(0, this.random.pick([150, 700, 700, 2500, 20_000])), hard }
  }

  /** Starts the protocol on a new connection. */
  protected abstract open (link: Duplex): void
  protected abstract hold (): void
  protected abstract goOn (): void

  /** The connection is over: comes back a little later. */
  protected over (): void {
    this.link = undefined
    this.trace('is cut off')
    if (this.#stopped) return
    turns(this.random.int(0, 6)).then(() => this.connect(), () => {})
  }

  /** Cut off in this moment. */
  drop (): void {
    if (!this.link || this.#cutsLeft-- <= 0) return
    this.trace('is dropped')
    this.link.destroy()
  }

  pause (): void {
    if (this.#paused) return
    this.trace('stops reading')
    this.#paused = true
    this.hold()
  }

  resume (): void {
    if (!this.#paused) return
    this.trace('reads again')
    this.#paused = false
    this.goOn()
  }

  calm (): void {
    this.#cutsLeft = 0
    this.resume()
  }

  close (): void {
    this.#stopped = true
    this.link?.destroy()
  }

  /** Everything is here that can be. */
  get level (): boolean {
    return this.owed.every(({ name }) => this.views.get(name)?.level)
  }

  get exact (): boolean {
    return this.owed.every(({ name }) => this.views.get(name)?.exact)
  }

  /** An event left out for a newer one of its key was followed by that. */
  checkSkipped (): void {
    for (const { name } of this.owed) this.views.get(name)?.checkSkipped()
  }

  /** The topics of which every event must come. */
  protected get owed (): TopicModel[] {
    return [...this.topics.values()].filter(({ limit }) => limit !== undefined)
  }

  abstract join (topic: TopicModel): void
  abstract leave (topic: TopicModel): void

  /** Runs what handles something received; a fault ends the schedule. */
  protected guard (run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(error as Error)
    }
    this.#options.changed()
  }

  protected fail (error: Error): void {
    this.fault ??= error instanceof Fault ? error : new Fault(error.stack ?? String(error))
    this.trace(`FAULT ${error.message}`)
    this.#options.changed()
  }

  protected topic (name: unknown): TopicModel {
    const topic = this.topics.get(String(name))
    if (!topic) throw new Fault(`a topic that nobody joined: ${String(name)}`)
    return topic
  }

  protected view (topic: TopicModel): View {
    let view = this.views.get(topic.name)
    if (!view) this.views.set(topic.name, view = new View(topic, this.world.idsOf(this.name)))
    return view
  }

  /** The id of its connection. */
  protected get id (): string | undefined {
    return this.world.connections.get(this.name)?.id
  }

  protected event (name: string, text: string, id?: string): void {
    const { topic: topicName, n } = JSON.parse(text) as { topic: string, n: number }
    const topic = this.topic(topicName)
    const said = topic.recognize(n, name, text, id)
    this.trace(`${topic.name} event ${said.n}`)
    if (said.except !== undefined && said.except === this.id) throw new Fault(`${topic.name}: event ${said.n} came back to its sender`)
    if (topic.limit !== undefined) return this.view(topic).event(said.n)
    let loose = this.loose.get(topic.name)
    if (!loose) this.loose.set(topic.name, loose = new LooseView(topic))
    loose.event(said.n)
  }

  protected reset (topic: TopicModel, reason: unknown): void {
    this.trace(`reset of ${topic.name}: ${String(reason)}`)
    if (topic.limit !== undefined) this.view(topic).reset(reason, this.excuses)
    else if (!this.excuses.includes(String(reason)) && !(this.slow === 'replay' && reason === 'slow')) throw new Fault(`${topic.name}: reset for ${String(reason)}, and it has no history`)
  }

  protected stateOf (data: unknown): State {
    const { n, exact } = data as { n: unknown, exact: unknown }
    if (typeof n !== 'number') throw new Fault(`a snapshot without its number: ${JSON.stringify(data)}`)
    return { n, exact: exact === true }
  }
}

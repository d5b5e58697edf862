/** The adapter for several nodes on one Redis. This file composes its parts. */
import type {
  Adapter, AppendOptions, EphemeralEvent, EventId, KeyedStates, Marks, Ownership, Page, ReadLimits, Sink, StatePage
} from '../../core/adapter.ts'
import { AdapterUnsupported, OptionInvalid, Unavailable } from '../../errors.ts'
import { Appender } from './appender.ts'
import { Beat, TICK_MS } from './beat.ts'
import { encodeBody, encodeEphemeral } from './codec.ts'
import type { Commands, CommandsHost } from './commands.ts'
import { Decoder } from './decode.ts'
import { Failover } from './failover.ts'
import { HeadComparison } from './head-comparison.ts'
import { Health } from './health.ts'
import { ListenedTopics } from './listened-topics.ts'
import { RedisMembers } from './members/redis-members.ts'
import { isGenesis, LogReader } from './log-reader.ts'
import { RedisMarks } from './marks.ts'
import type { Messages } from './messages.ts'
import { RedisNode } from './node.ts'
import { OpeningHeads } from './opening-heads.ts'
import type { RedisSettings } from './options.ts'
import { RedisOwnership } from './ownership.ts'
import { PublishQueue } from './publish-queue.ts'
import type { SubscriptionsHost } from './subscriptions.ts'
import { orUnavailable } from './unavailable.ts'
import { checkVersion } from './version.ts'

/** Opens the connections; made by `redis()`. */
export interface Connections {
  commands: (host: CommandsHost) => Commands
  messages: (commands: Commands, host: SubscriptionsHost) => Messages
}

/** An adapter can be started only once, while it is fresh. */
type State =
  | { readonly is: 'fresh' | 'closed' }
  | { readonly is: 'started', readonly sink: Sink }

const CLOSE_MS = 1000

export class RedisAdapter implements Adapter, Ownership, KeyedStates, Marks {
  readonly name = 'redis'
  readonly #settings: RedisSettings
  readonly #commands: Commands
  readonly #messages: Messages
  readonly #node: RedisNode
  readonly #decoder = new Decoder()
  readonly #health: Health
  readonly #failover: Failover
  readonly #queue: PublishQueue
  readonly #reader: LogReader
  readonly #topics: ListenedTopics
  readonly #comparison: HeadComparison
  readonly #beat: Beat
  readonly #ownership: RedisOwnership
  readonly members: RedisMembers
  readonly #marks: RedisMarks
  #state: State = { is: 'fresh' }
  #ticks: NodeJS.Timeout | undefined
  #suspected = 0

  constructor (settings: RedisSettings, connections: Connections) {
    this.#settings = settings
    const changed = (): void => this.#changed()
    this.#commands = connections.commands({
      changed,
      replaced: async (identity) => await this.#replaced(identity)
    })
    this.#messages = connections.messages(this.#commands, {
      changed,
      message: (channel, message) => this.#topics.heard(channel, message),
      live: (channels, anew) => this.#live(channels, anew),
      moved: () => {}
    })
    this.#node = new RedisNode(this.#commands, settings.prefix)
    this.#failover = new Failover(this.#node)
    this.#ownership = new RedisOwnership(this.#node)
    this.#marks = new RedisMarks(this.#node)
    this.#reader = new LogReader(this.#node, this.#decoder)
    this.#health = this.#makeHealth()
    this.#queue = this.#makeQueue()
    this.#comparison = this.#makeComparison()
    this.#topics = this.#makeTopics()
    this.members = new RedisMembers(this.#node, settings.beat, {
      pause: async (attempt) => await this.#health.pause(attempt, this.#settings.publishTimeout),
      acknowledged: (topic, id) => this.#failover.acknowledged(topic, id),
      listened: () => this.#topics.names
    })
    this.#beat = new Beat(this.#node, this.#topics, this.#comparison)
  }

  #makeHealth (): Health {
    return new Health({
      commands: this.#commands,
      messages: this.#messages,
      state: (state, why) => this.#sink?.state(state, why)
    })
  }

  #makeQueue (): PublishQueue {
    const appender = new Appender(this.#node, this.#settings.wait)
    return new PublishQueue({
      append: (topic, batch) => appender.append(topic, batch),
      pause: async (attempt) => await this.#health.pause(attempt, this.#settings.publishTimeout),
      acknowledged: (topic, id) => this.#failover.acknowledged(topic, id)
    }, this.#settings)
  }

  #makeComparison (): HeadComparison {
    return new HeadComparison({
      up: () => this.#commands.up && this.#state.is !== 'closed',
      heads: async (topics) => await this.#reader.heads(topics),
      suspect: (topics) => this.#suspect(topics)
    })
  }

  #makeTopics (): ListenedTopics {
    const opening = new OpeningHeads(this.#node)
    return new ListenedTopics({
      keys: this.#node.keys,
      decoder: this.#decoder,
      messages: this.#messages,
      connectTimeout: this.#settings.connectTimeout,
      head: async (topic) => await opening.read(topic),
      event: (topic, event) => this.#sink?.event(topic, event),
      ephemeral: (topic, event) => this.#sink?.ephemeral(topic, event),
      suspect: (topic) => this.#suspect([topic]),
      missed: (topic) => this.#comparison.add(topic),
      left: (topic) => this.#comparison.delete(topic)
    })
  }

  get #sink (): Sink | undefined {
    return this.#state.is === 'started' ? this.#state.sink : undefined
  }

  /** Figures for `realtime.stats()`. */
  stats (): Record<string, unknown> {
    return {
      state: this.#health.up ? 'up' : 'down',
      commands: this.#commands.up,
      messages: this.#messages.up,
      topics: this.#topics.size,
      pendingBytes: this.#queue.bytes,
      outages: this.#health.outages,
      suspected: this.#suspected,
      invalid: this.#decoder.invalid
    }
  }

  // --- starting, and closing -----------------------------------------------------------

  async start (sink: Sink): Promise<void> {
    if (this.#state.is !== 'fresh') {
      const why = 'was started before: make a new one, e.g. redis(url), for each app and each attempt'
      throw new OptionInvalid('adapter', why)
    }
    this.#state = { is: 'started', sink }
    this.#decoder.ask(sink)
    await this.#connect()
    this.#ticks = setInterval(() => this.#tick(), TICK_MS).unref()
  }

  async #connect (): Promise<void> {
    this.#commands.connect()
    this.#messages.connect()
    try {
      await this.#health.upWithin(this.#settings.connectTimeout)
      checkVersion(await this.#commands.version())
    } catch (error) {
      await this.close()
      throw error instanceof AdapterUnsupported ? error : this.#unreachable(error as Error)
    }
  }

  #unreachable (cause: Error): Error {
    const { connectTimeout } = this.#settings
    const why = `Redis did not answer within connectTimeout (${connectTimeout} ms): ${cause.message}`
    // No client is connected yet. This text is for the person who starts the app.
    return Object.assign(new Unavailable(why), { message: `not available now: ${why}` })
  }

  async close (): Promise<void> {
    if (this.#state.is === 'closed') return
    await this.members.close()
    await this.#queue.close(this.#commands.up ? CLOSE_MS : 0)
    this.#state = { is: 'closed' }
    clearInterval(this.#ticks)
    this.#health.close()
    this.#topics.close()
    this.#messages.close()
    this.#commands.close()
  }

  // --- out -------------------------------------------------------------------------------

  async publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }> {
    const { format, key, except, trace } = options
    const plain = key === undefined && except === undefined && trace === undefined
    const more = {
      ...(key === undefined ? {} : { key }), ...(except === undefined ? {} : { except }), ...(trace && { trace })
    }
    const body = encodeBody(plain ? { name, data, format } : { name, data, format, ...more })
    return { id: await this.#queue.publish(topic, body, data.byteLength, options) }
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    const { channel } = this.#node.keys.of(topic)
    await orUnavailable(async () => await this.#commands.publish(channel, encodeEphemeral(event)))
  }

  // --- in --------------------------------------------------------------------------------

  async subscribe (topic: string, durable: boolean): Promise<EventId> {
    return await this.#topics.subscribe(topic, durable)
  }

  unsubscribe (topic: string): void {
    this.#topics.unsubscribe(topic)
  }

  async read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page> {
    return await orUnavailable(async () => {
      if (!this.#commands.up) await this.#health.upWithin(this.#settings.connectTimeout)
      return await this.#reader.read(topic, after, limits)
    })
  }

  async state (topic: string, from: string | null, count: number): Promise<StatePage> {
    return await orUnavailable(async () => {
      if (!this.#commands.up) await this.#health.upWithin(this.#settings.connectTimeout)
      return await this.#reader.state(topic, from, count)
    })
  }

  async heads (topics: string[]): Promise<Array<EventId | null>> {
    const heads = await orUnavailable(async () => await this.#reader.heads(topics))
    return heads.map((head) => head === null || isGenesis(head) ? null : head)
  }

  async nodes (topic: string): Promise<number> {
    return await this.#commands.listeners(this.#node.keys.of(topic).channel)
  }

  // --- ownership -------------------------------------------------------------------------

  async claim (topic: string, owner: string, ms: number): Promise<string> {
    return await this.#ownership.claim(topic, owner, ms)
  }

  async owner (topic: string): Promise<string | undefined> {
    return await this.#ownership.owner(topic)
  }

  async release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void> {
    await this.#ownership.release(topic, owner, next)
  }

  // --- marks -----------------------------------------------------------------------------

  async mark (space: string, key: string, at: number, ms: number, most: number): Promise<boolean> {
    return await this.#marks.mark(space, key, at, ms, most)
  }

  /** Asks again if the connection is lost meanwhile, within `connectTimeout`: the start of the app needs the answer. */
  async marks (space: string): Promise<ReadonlyMap<string, number>> {
    const deadline = performance.now() + this.#settings.connectTimeout
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#marks.marks(space)
      } catch (error) {
        const left = deadline - performance.now()
        if (left <= 0 || this.#commands.up || this.#state.is === 'closed') throw error
        await this.#health.pause(attempt, left)
      }
    }
  }

  // --- reports of its parts ---------------------------------------------------------------

  #changed (): void {
    if (this.#state.is === 'closed') return
    if (!this.#messages.up) this.#topics.deafen()
    this.#health.changed()
    this.#comparison.work()
  }

  async #replaced (identity: string): Promise<void> {
    await this.#failover.replaced(identity)
    this.members.suspect('all')
  }

  #live (channels: readonly string[], anew: boolean): void {
    this.#topics.live(channels, anew)
    this.#comparison.work()
  }

  #suspect (topics: string[]): void {
    this.#suspected += topics.length
    this.members.suspect(topics)
    this.#sink?.suspect(topics)
  }

  #tick (): void {
    this.#commands.tick()
    this.#messages.tick()
    const now = performance.now()
    this.#failover.expire(now)
    if (this.#health.up) this.#beat.tick(now).catch(() => {})
  }
}

/** Several nodes on one Redis: the log, its announcements, and what keeps both true when something breaks. */
import { randomBytes } from 'node:crypto'
import type { Adapter, AppendOptions, EphemeralEvent, Id, Ownership, Page, ReadLimits, Sink } from '../../core/adapter.ts'
import { OrderOfUse } from '../../core/order-of-use.ts'
import { onNextTurn } from '../../core/turn.ts'
import { AdapterUnsupported, OptionInvalid, Unavailable } from '../../errors.ts'
import { retryDelay } from './link.ts'
import type { Commands, CommandsHost } from './commands.ts'
import { Decoder, headOf, idsOf } from './decode.ts'
import { encodeBody, encodeEphemeral } from './codec.ts'
import { batchArguments, PublishQueue, type Batch, type Ticket } from './publish-queue.ts'
import { Keys } from './keys.ts'
import type { RedisSettings } from './options.ts'
import { pageOf, type ReadStep } from './pages.ts'
import { appendScript, CLAIM, HEADS, OWNER, READ, RELEASE, VERIFY, type Script } from './scripts.ts'
import type { Messages } from './shards.ts'
import type { SubscriptionsHost } from './subscriptions.ts'
import { checkVersion } from './version.ts'

/** Opens the connections; made by `redis()`. */
export interface Connections {
  commands: (host: CommandsHost) => Commands
  messages: (commands: Commands, host: SubscriptionsHost) => Messages
}

interface Subscribed {
  readonly topic: string
  readonly durable: boolean
  /** Heard last; or where the log stood. */
  last: Id
  heardAt: number
  /** When the head's life was renewed (performance.now). */
  renewedAt: number
  waiters: Array<(error?: Error) => void>
  live: boolean
}

interface Asked { readonly topic: string, readonly resolve: (head: Id) => void, readonly reject: (error: Error) => void }

const DAY_MS = 86_400_000
/**
 * A topic that was only listened to is forgotten so long after its last listener: whoever is cut off before its first
 * event has so long to come back. No shorter than four beats, at which it is renewed as long as somebody listens.
 */
const GENESIS_MS = 120_000
/** How long a node remembers what was acknowledged to it. */
const ACKNOWLEDGED_MS = 60_000
/** Of so many topics; past it, of those published to last. */
const MAX_ACKNOWLEDGED = 100_000
const TICK_MS = 2000
/** Every quiet topic is looked at so often, for what no message told of. */
const BEAT_MS = 30_000
const VERIFY_AT_ONCE = 100
/** Heads asked for in one turn. */
const CHECK = 500
/** Heads that one script reads. */
const HEADS_AT_ONCE = 100
/** An outage is told of when it lasts. */
const GRACE_MS = 500
const CLOSE_MS = 1000
/** An owner whose lease has no end is none: it is given this one. */
const STRAY_MS = 6000

export class RedisAdapter implements Adapter, Ownership {
  readonly name = 'redis'
  readonly #settings: RedisSettings
  readonly #keys: Keys
  readonly #commands: Commands
  readonly #messages: Messages
  readonly #queue: PublishQueue
  readonly #decoder = new Decoder()
  readonly #node = randomBytes(6).toString('base64url')
  readonly #announce: 'PUBLISH' | 'SPUBLISH'
  /** By channel. */
  readonly #subscribed = new Map<string, Subscribed>()
  readonly #acknowledged = new OrderOfUse<string, { id: Id, at: number }>()
  readonly #scripts = new WeakMap<AppendOptions['retention'], Script>()
  #nonces = 0
  #sink: Sink | undefined
  #tick: NodeJS.Timeout | undefined
  #grace: NodeJS.Timeout | undefined
  #down = false
  #closed = false
  /** Listened to again, and to be compared with the heads. */
  #unchecked = new Set<string>()
  /** Heads to be read at the end of the turn. */
  readonly #asked: Asked[] = []
  #checking = false
  #beat: Iterator<Subscribed> | undefined
  #whenUp: Array<() => void> = []
  #outages = 0
  #suspected = 0

  constructor (settings: RedisSettings, connections: Connections) {
    this.#settings = settings
    this.#keys = new Keys(settings.prefix)
    const changed = (): void => this.#changed()
    this.#commands = connections.commands({ changed, replaced: async (identity) => await this.#verify(identity) })
    this.#messages = connections.messages(this.#commands, {
      changed,
      message: (channel, message) => this.#heard(channel, message),
      live: (channels, anew) => this.#live(channels, anew),
      moved: () => {}
    })
    this.#announce = this.#commands.cluster ? 'SPUBLISH' : 'PUBLISH'
    this.#queue = new PublishQueue({
      append: (topic, batch) => this.#append(topic, batch),
      pause: async (attempt) => await this.#pause(attempt),
      acknowledged: (topic, id) => this.#remember(topic, id)
    }, settings)
  }

  /** What is going on, for `realtime.stats()`. */
  stats (): Record<string, unknown> {
    return {
      state: this.#up ? 'up' : 'down',
      commands: this.#commands.up,
      messages: this.#messages.up,
      topics: this.#subscribed.size,
      pendingBytes: this.#queue.pending,
      outages: this.#outages,
      suspected: this.#suspected,
      invalid: this.#decoder.invalid
    }
  }

  async start (sink: Sink): Promise<void> {
    if (this.#sink || this.#closed) throw new OptionInvalid('adapter', 'was started before: make a new one, e.g. redis(url), for each app and each try')
    this.#sink = sink
    this.#decoder.ask(sink)
    this.#commands.connect()
    this.#messages.connect()
    try {
      await this.#upWithin(this.#settings.connectTimeout)
      checkVersion(await this.#commands.version())
    } catch (error) {
      await this.close()
      throw error instanceof AdapterUnsupported ? error : this.#unreachable(error as Error)
    }
    this.#tick = setInterval(() => this.#everyTick(), TICK_MS).unref()
  }

  #unreachable (cause: Error): Error {
    const why = `Redis did not answer within connectTimeout (${this.#settings.connectTimeout} ms): ${cause.message}`
    // No client is there yet: whoever starts the app is to read it.
    return Object.assign(new Unavailable(why), { message: `not available now: ${why}` })
  }

  // --- out -------------------------------------------------------------------

  async publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: Id }> {
    const { format, key, except } = options
    const more = { ...(key === undefined ? {} : { key }), ...(except === undefined ? {} : { except }) }
    const body = encodeBody(key === undefined && except === undefined ? { name, data, format } : { name, data, format, ...more })
    return { id: await this.#queue.publish(topic, body, data.byteLength, options) }
  }

  async #append (topic: string, { number, tickets, after, oldest }: Batch): Promise<string> {
    if (!this.#commands.up) throw this.#commands.why
    const { options } = tickets[0] as Ticket
    const own = this.#keys.of(topic)
    const { keys, args } = batchArguments(tickets, own.dedupe)
    const ids = await this.#commands.run(this.#script(options), [own.log, own.head, own.mark(this.#node), own.owner, ...keys], [
      String(number), after === 0 ? '' : String(after), String(oldest), this.#node + number.toString(36), own.channel, options.owner ?? '',
      this.#nonce(), this.#commands.server, ...args
    ])
    if (this.#settings.wait) await this.#replicated(this.#settings.wait)
    return idsOf(ids, tickets.length)
  }

  /** A topic's policy is one object, as a rule: its script is found by it. */
  #script ({ retention, lifetime }: AppendOptions): Script {
    const known = lifetime === undefined ? this.#scripts.get(retention) : undefined
    if (known) return known
    const { limit, maxAge, maxBytes } = retention
    const life = ms(lifetime ?? maxAge)
    const made = appendScript({ limit: whole(limit), maxAge: ms(maxAge), maxBytes: whole(maxBytes), life, headLife: Math.max(DAY_MS, life), announce: this.#announce })
    if (lifetime === undefined) this.#scripts.set(retention, made)
    return made
  }

  async #replicated (wait: NonNullable<RedisSettings['wait']>): Promise<void> {
    const replicas = await this.#commands.wait(wait.replicas, wait.timeout)
    if (replicas < wait.replicas) throw new Unavailable(`${replicas} of ${wait.replicas} replicas have the event`)
  }

  /** Until Redis is there, or for a moment. */
  async #pause (attempt: number): Promise<void> {
    if (!this.#commands.up) await this.#upWithin(this.#settings.publishTimeout).catch(() => {})
    else await sleep(retryDelay(attempt))
  }

  #remember (topic: string, id: Id): void {
    this.#acknowledged.set(topic, { id, at: performance.now() })
    if (this.#acknowledged.size > MAX_ACKNOWLEDGED) this.#acknowledged.shift()
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    try {
      await this.#commands.publish(this.#keys.of(topic).channel, encodeEphemeral(event))
    } catch (error) {
      throw unavailable(error)
    }
  }

  // --- in --------------------------------------------------------------------

  async subscribe (topic: string, durable: boolean): Promise<Id> {
    const channel = this.#keys.of(topic).channel
    const known = this.#subscribed.get(channel)
    const subscribed = known ?? { topic, durable, last: '', heardAt: 0, renewedAt: 0, waiters: [], live: false }
    if (!known) {
      this.#subscribed.set(channel, subscribed)
      this.#messages.add(channel)
    }
    try {
      if (!subscribed.live) await this.#becomesLive(subscribed)
      if (!durable) return ''
      // Behind the acknowledgement: what is published from here on is heard.
      const head = await this.#head(topic)
      if (subscribed.last === '') subscribed.last = head
      subscribed.renewedAt = performance.now()
      return head
    } catch (error) {
      if (this.#subscribed.get(channel) === subscribed && !known) this.unsubscribe(topic)
      throw unavailable(error)
    }
  }

  /** Of a topic, with those of others that are asked for in this turn. */
  #head (topic: string): Promise<Id> {
    return new Promise((resolve, reject) => {
      if (this.#asked.push({ topic, resolve, reject }) > 1) return
      onNextTurn(() => {
        const asked = this.#asked.splice(0)
        const batch = this.#commands.cluster ? 1 : HEADS_AT_ONCE
        for (let i = 0; i < asked.length; i += batch) this.#readHeads(asked.slice(i, i + batch))
      })
    })
  }

  #readHeads (asked: readonly Asked[]): void {
    const keys = asked.flatMap(({ topic }) => {
      const { log, head } = this.#keys.of(topic)
      return [log, head]
    })
    this.#commands.run(HEADS, keys, [this.#nonce(), String(GENESIS_MS)]).then(
      (heads) => { for (const [i, { resolve }] of asked.entries()) resolve(String((heads as Buffer[])[i])) },
      (error: Error) => { for (const { reject } of asked) reject(error) }
    )
  }

  async #becomesLive (subscribed: Subscribed): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        subscribed.waiters.push((error) => error ? reject(error) : resolve())
        timer = setTimeout(() => reject(this.#messages.why), this.#settings.connectTimeout)
      })
    } finally {
      clearTimeout(timer)
    }
  }

  unsubscribe (topic: string): void {
    const channel = this.#keys.of(topic).channel
    const subscribed = this.#subscribed.get(channel)
    if (!subscribed) return
    this.#subscribed.delete(channel)
    this.#unchecked.delete(channel)
    this.#messages.remove(channel)
    for (const wake of subscribed.waiters) wake(new Unavailable('the topic was left'))
  }

  #heard (channel: string, message: Buffer): void {
    const subscribed = this.#subscribed.get(channel)
    const sink = this.#sink
    if (!subscribed || !sink) return
    const heard = this.#decoder.message(subscribed.topic, message)
    if (heard.type === 'invalid') return
    if (heard.type === 'suspect') return this.#suspect([subscribed.topic])
    if (heard.type === 'ephemeral') return sink.ephemeral(subscribed.topic, heard.event)
    subscribed.heardAt = performance.now()
    for (const event of heard.events) {
      subscribed.last = event.id
      sink.event(subscribed.topic, event)
    }
  }

  #live (channels: string[], anew: boolean): void {
    for (const channel of channels) {
      const subscribed = this.#subscribed.get(channel)
      if (!subscribed) continue
      subscribed.live = true
      if (anew && subscribed.durable) this.#unchecked.add(channel)
      for (const wake of subscribed.waiters) wake()
      subscribed.waiters = []
    }
    this.#check()
  }

  async read (topic: string, after: Id | null, limits: ReadLimits): Promise<Page> {
    try {
      if (!this.#commands.up) await this.#upWithin(this.#settings.connectTimeout)
      return await this.#read(topic, after, limits)
    } catch (error) {
      throw unavailable(error)
    }
  }

  async #read (topic: string, after: Id | null, { count, bytes }: ReadLimits): Promise<Page> {
    const { log, head } = this.#keys.of(topic)
    const step: ReadStep = async (how, from) => await this.#commands.run(READ, [log, head], [
      how, from, String(count), String(bytes), this.#nonce(), String(GENESIS_MS)
    ])
    return await pageOf(step, after, (id, prev, body) => this.#decoder.event(topic, id, prev, body))
  }

  async heads (topics: string[]): Promise<Array<Id | null>> {
    const heads = await this.#heads(topics)
    return heads.map((head) => head?.startsWith('0-0.') ? null : head)
  }

  async #heads (topics: readonly string[]): Promise<Array<Id | null>> {
    try {
      const values = await this.#commands.get(topics.map((topic) => this.#keys.of(topic).head))
      return values.map(headOf)
    } catch (error) {
      throw unavailable(error)
    }
  }

  async nodes (topic: string): Promise<number> {
    return await this.#commands.listeners(this.#keys.of(topic).channel)
  }

  // --- ownership -------------------------------------------------------------

  async claim (topic: string, owner: string, leaseMs: number): Promise<string> {
    try {
      return String(await this.#commands.run(CLAIM, [this.#keys.of(topic).owner], [owner, String(ms(leaseMs))]))
    } catch (error) {
      throw unavailable(error)
    }
  }

  async owner (topic: string): Promise<string | undefined> {
    try {
      const owner = await this.#commands.run(OWNER, [this.#keys.of(topic).owner], [String(STRAY_MS)])
      return owner === null ? undefined : String(owner)
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** What cannot be given back ends by itself. */
  async release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void> {
    await this.#commands.run(RELEASE, [this.#keys.of(topic).owner], [owner, next?.owner ?? '', String(ms(next?.ms ?? 1))]).catch(() => {})
  }

  // --- staying true ------------------------------------------------------------

  get #up (): boolean {
    return this.#commands.up && this.#messages.up
  }

  #changed (): void {
    if (this.#closed) return
    if (!this.#messages.up) for (const subscribed of this.#subscribed.values()) subscribed.live = false
    if (this.#commands.up) for (const wake of this.#whenUp.splice(0)) wake()
    if (this.#up) this.#healed()
    else this.#grace ??= setTimeout(() => this.#fell(), GRACE_MS).unref()
    this.#check()
  }

  #healed (): void {
    clearTimeout(this.#grace)
    this.#grace = undefined
    if (!this.#down) return
    this.#down = false
    this.#sink?.state('up')
  }

  #fell (): void {
    this.#down = true
    this.#outages++
    this.#sink?.state('down', this.#commands.up ? this.#messages.why : this.#commands.why)
  }

  async #upWithin (timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    while (!this.#commands.up) {
      const left = deadline - performance.now()
      if (left <= 0 || this.#closed) throw this.#commands.why
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#whenUp.push(resolve)
        timer = setTimeout(resolve, left)
      })
      clearTimeout(timer)
    }
  }

  /** Topics that were not heard for a while are compared with their heads; those that differ are suspect. */
  #check (): void {
    if (this.#checking || this.#unchecked.size === 0 || !this.#commands.up || this.#closed) return
    this.#checking = true
    this.#checkSome().catch(() => sleep(200)).finally(() => {
      this.#checking = false
      this.#check()
    })
  }

  async #checkSome (): Promise<void> {
    const channels = [...this.#unchecked].slice(0, CHECK)
    const some = channels.flatMap((channel) => this.#subscribed.get(channel) ?? [])
    await this.#compare(some)
    for (const channel of channels) this.#unchecked.delete(channel)
  }

  async #compare (some: readonly Subscribed[]): Promise<void> {
    const before = some.map(({ last }) => last)
    const heads = await this.#heads(some.map(({ topic }) => topic))
    const suspect: string[] = []
    for (const [i, subscribed] of some.entries()) {
      const head = heads[i]
      // What was heard meanwhile shows by its link whether something is missing.
      if (head === subscribed.last || subscribed.last !== before[i]) continue
      // What the hub is about to read need not be suspected again.
      subscribed.last = head ?? subscribed.last
      suspect.push(subscribed.topic)
    }
    this.#suspect(suspect)
  }

  #suspect (topics: string[]): void {
    if (topics.length === 0) return
    this.#suspected += topics.length
    this.#sink?.suspect(topics)
  }

  #everyTick (): void {
    this.#commands.tick()
    this.#messages.tick()
    const now = performance.now()
    while (now - (this.#acknowledged.oldest?.at ?? now) >= ACKNOWLEDGED_MS) this.#acknowledged.shift()
    this.#beatSome(now).catch(() => {})
  }

  /** Some of the topics at each tick, so that all of them have had their turn within a beat. */
  async #beatSome (now: number): Promise<void> {
    if (!this.#up) return
    const share = Math.ceil(this.#subscribed.size * TICK_MS / BEAT_MS)
    const due: Subscribed[] = []
    this.#beat ??= this.#subscribed.values()
    for (let i = 0; i < share; i++) {
      const next = this.#beat.next()
      if (next.done) {
        this.#beat = undefined
        break
      }
      if (next.value.durable && next.value.live && next.value.last !== '' && now - next.value.heardAt > TICK_MS) due.push(next.value)
    }
    for (let i = 0; i < due.length; i += CHECK) {
      const some = due.slice(i, i + CHECK)
      await this.#compare(some)
      await Promise.all(some.map((one) => this.#renew(one, now)))
    }
  }

  /** The head of a topic that is listened to does not go, however quiet it is. */
  async #renew (subscribed: Subscribed, now: number): Promise<void> {
    const life = subscribed.last.startsWith('0-0.') ? GENESIS_MS : DAY_MS
    if (now - subscribed.renewedAt < life / 3) return
    subscribed.renewedAt = now
    await this.#commands.expire(this.#keys.of(subscribed.topic).head, life)
  }

  /** Another server, or a restarted one: are the events still there that were acknowledged to this node? */
  async #verify (identity: string): Promise<void> {
    const oldest = performance.now() - ACKNOWLEDGED_MS
    const due = [...this.#acknowledged.entries()].filter(([, { at }]) => at >= oldest)
    for (let i = 0; i < due.length; i += VERIFY_AT_ONCE) {
      await Promise.all(due.slice(i, i + VERIFY_AT_ONCE).map(async ([topic, { id }]) => {
        const { log, head, fork, channel } = this.#keys.of(topic)
        await this.#commands.run(VERIFY, [log, head, fork], [id, identity, this.#nonce(), String(DAY_MS), this.#announce, channel, this.#commands.server])
      }))
    }
  }

  #nonce (): string {
    return `${this.#node}-${(this.#nonces++).toString(36)}`
  }

  async close (): Promise<void> {
    if (this.#closed) return
    await this.#queue.close(this.#commands.up ? CLOSE_MS : 0)
    this.#closed = true
    clearInterval(this.#tick)
    clearTimeout(this.#grace)
    this.#sink = undefined
    for (const wake of this.#whenUp.splice(0)) wake()
    for (const { waiters } of this.#subscribed.values()) for (const wake of waiters) wake(new Unavailable('the adapter is closed'))
    this.#subscribed.clear()
    this.#messages.close()
    this.#commands.close()
  }
}

const whole = (value: number): number => Math.min(Math.ceil(value), Number.MAX_SAFE_INTEGER)
/** What Redis takes for a time to live. */
const ms = (value: number): number => Math.min(Math.ceil(value), 2 ** 42)

const sleep = async (time: number): Promise<void> => await new Promise((resolve) => { setTimeout(resolve, time).unref() })

function unavailable (error: unknown): Error {
  if (error instanceof Unavailable) return error
  return new Unavailable(error instanceof Error ? error.message : String(error))
}

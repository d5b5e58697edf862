/**
 * A node of the version before entries could have fields (commit e6ffd6d): what it writes into Redis and how it reads it is
 * that version's own, frozen in fixtures/before/. The rest of it is the least that an adapter does.
 */
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import type { Adapter, AppendOptions, EphemeralEvent, EventId, LogEvent, Page, ReadLimits, Sink } from '../../lib/core/adapter.ts'
import { Keys } from '../../lib/adapters/redis/keys.ts'
import { decodeEvent, decodeMessage, encodeBody, encodeEphemeral } from './fixtures/before/entry.ts'
import { appendScript, HEADS, READ, type Script } from './fixtures/before/scripts.ts'

const DAY_MS = 86_400_000
const GENESIS_MS = '300000'

export class NodeBefore implements Adapter {
  readonly name = 'redis'
  readonly #redis: Redis
  readonly #messages: Redis
  readonly #keys: Keys
  readonly #node = randomBytes(6).toString('base64url')
  readonly #topics = new Map<string, string>()
  #number = 0
  #queue: Promise<unknown> = Promise.resolve()

  constructor (url: string, prefix: string) {
    this.#redis = new Redis(url)
    this.#messages = new Redis(url)
    this.#keys = new Keys(prefix)
  }

  async start (sink: Sink): Promise<void> {
    this.#messages.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      const topic = this.#topics.get(String(channel))
      const heard = decodeMessage(message)
      if (topic === undefined) return
      if (heard.type === 'suspect') return sink.suspect([topic])
      if (heard.type === 'events') for (const event of heard.events) sink.event(topic, event)
      else sink.ephemeral(topic, { ...heard.event, ...(heard.exclude !== undefined && { except: { connection: heard.exclude } }) })
    })
    await Promise.all([this.#redis.ping(), this.#messages.ping()])
  }

  async #run ({ lua }: Script, keys: string[], args: Array<string | Buffer>): Promise<unknown> {
    return await this.#redis.callBuffer('eval', [lua, String(keys.length), ...keys, ...args])
  }

  /** One at a time: a batch of one event, behind none. */
  async publish (topic: string, name: string, data: Uint8Array, { retention, format, key, dedupe }: AppendOptions): Promise<{ id: EventId }> {
    const { log, head, mark, owner, dedupe: dedupeKey, channel } = this.#keys.of(topic)
    const { limit, maxAge, maxBytes } = retention
    const script = appendScript({ limit, maxAge, maxBytes, life: maxAge, headLife: DAY_MS, announce: 'PUBLISH' })
    const body = encodeBody(key === undefined ? { name, data, format } : { name, data, format, key })
    const appended = this.#queue.then(async () => {
      const number = ++this.#number
      return await this.#run(script, [log, head, mark(this.#node), owner, ...(dedupe === undefined ? [] : [dedupeKey(dedupe)])], [
        String(number), '', String(number), this.#node + number.toString(36), channel, '', `${this.#node}-${number}`, '-',
        dedupe === undefined ? '0' : '1', String(data.byteLength), body
      ])
    })
    this.#queue = appended.catch(() => {})
    return { id: String(await appended) }
  }

  async ephemeral (topic: string, event: EphemeralEvent): Promise<void> {
    const { except, ...rest } = event
    await this.#redis.publish(this.#keys.of(topic).channel, encodeEphemeral(rest, except?.connection))
  }

  async subscribe (topic: string, durable: boolean): Promise<EventId> {
    const { channel, log, head } = this.#keys.of(topic)
    this.#topics.set(channel, topic)
    await this.#messages.subscribe(channel)
    if (!durable) return ''
    const [id] = await this.#run(HEADS, [log, head], [`${this.#node}-s${++this.#number}`, GENESIS_MS]) as [Buffer]
    return String(id)
  }

  unsubscribe (topic: string): void {
    this.#messages.unsubscribe(this.#keys.of(topic).channel).catch(() => {})
  }

  async read (topic: string, after: EventId | null, { count, bytes }: ReadLimits): Promise<Page> {
    const { log, head } = this.#keys.of(topic)
    const [last, linked, more, ...rest] = await this.#run(READ, [log, head], [
      after === null ? 'oldest' : 'after', after ?? '', String(count), String(bytes), `${this.#node}-r${++this.#number}`, GENESIS_MS
    ]) as [Buffer, number, number, ...Buffer[]]
    const events: LogEvent[] = []
    for (let i = 0; i + 2 < rest.length; i += 3) events.push(decodeEvent(String(rest[i]), String(rest[i + 1]), rest[i + 2] as Buffer))
    return { head: String(last), events, linked: Number(linked) === 1, more: Number(more) === 1 }
  }

  async heads (topics: string[]): Promise<Array<EventId | null>> {
    const values = await Promise.all(topics.map(async (topic) => await this.#redis.get(this.#keys.of(topic).head)))
    return values.map((value) => value === null || value.startsWith('0-0.') ? null : value.slice(0, value.indexOf(' ')))
  }

  async close (): Promise<void> {
    this.#redis.disconnect()
    this.#messages.disconnect()
  }
}

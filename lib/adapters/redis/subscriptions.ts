/**
 * The channels of one connection. What is wanted and what Redis has acknowledged are brought together by one loop, so
 * that nothing overtakes: a channel that is left and wanted again at once is subscribed in the end.
 */
import { onNextTurn } from '../../core/turn.ts'
import type { Redis } from 'ioredis'
import { streamOf } from './ioredis-internals.ts'
import { Link } from './link.ts'

/** Channels of one command. */
const BATCH = 500

export interface SubscriptionsHost {
  readonly message: (channel: string, message: Buffer) => void
  /** These are live. `anew`: they were before, and what was published in between was not heard. */
  readonly live: (channels: string[], anew: boolean) => void
  readonly changed: (up: boolean, why: Error | undefined) => void
  /** The server does not have the slot of some channel any more. */
  readonly moved: () => void
}

export class Subscriptions {
  readonly #link: Link
  readonly #sharded: boolean
  readonly #host: SubscriptionsHost
  readonly #wanted = new Set<string>()
  /** Acknowledged on this connection. */
  readonly #live = new Set<string>()
  /** Live at some time since it was wanted. */
  readonly #known = new Set<string>()
  readonly #dirty = new Set<string>()
  #working = false

  constructor (redis: Redis, sharded: boolean, host: SubscriptionsHost) {
    this.#sharded = sharded
    this.#host = host
    this.#link = new Link(redis, { prepare: async () => {}, changed: (up, why) => this.#changed(up, why) })
    redis.on(sharded ? 'smessageBuffer' : 'messageBuffer', (channel: Buffer, message: Buffer) => {
      host.message(channel.toString(), message)
    })
    redis.on('moved', () => {
      // Which one it was is not said: all are asked for again, which costs nothing where it is live.
      this.#again()
      host.moved()
    })
  }

  get up (): boolean { return this.#link.up }
  get why (): Error { return this.#link.why }
  get size (): number { return this.#wanted.size }
  /** Everything wanted is live. */
  get settled (): boolean { return this.#link.up && this.#live.size === this.#wanted.size && this.#dirty.size === 0 }

  connect (): void { this.#link.connect() }

  /** A sign of life; and another try for what was refused because its slot was on its way. */
  ping (): void {
    this.#link.ping()
    if (!this.#link.up || this.#working || this.#live.size === this.#wanted.size) return
    for (const channel of this.#wanted) if (!this.#live.has(channel)) this.#dirty.add(channel)
    this.#start()
  }

  close (): void { this.#link.close() }

  has (channel: string): boolean {
    return this.#wanted.has(channel)
  }

  channels (): Iterable<string> {
    return this.#wanted
  }

  /** `known`: it was heard elsewhere until now. */
  add (channel: string, known = false): void {
    this.#wanted.add(channel)
    if (known) this.#known.add(channel)
    this.#touch(channel)
  }

  remove (channel: string): void {
    this.#wanted.delete(channel)
    this.#known.delete(channel)
    this.#touch(channel)
  }

  #touch (channel: string): void {
    this.#dirty.add(channel)
    this.#start()
  }

  #again (): void {
    this.#live.clear()
    this.#dirty.clear()
    for (const channel of this.#wanted) this.#dirty.add(channel)
    this.#start()
  }

  #changed (up: boolean, why: Error | undefined): void {
    if (up) this.#again()
    else this.#live.clear()
    this.#host.changed(up, why)
  }

  /** In the next turn, so that what is asked for together goes together. */
  #start (): void {
    if (this.#working || !this.#link.up) return
    this.#working = true
    onNextTurn(() => {
      this.#work().catch((error: unknown) => this.#link.renew(error)).finally(() => {
        this.#working = false
        if (this.#dirty.size > 0) this.#start()
      })
    })
  }

  async #work (): Promise<void> {
    while (this.#dirty.size > 0 && this.#link.up) {
      const join: string[] = []
      const leave: string[] = []
      const kept: string[] = []
      for (const channel of this.#dirty) {
        this.#dirty.delete(channel)
        const wanted = this.#wanted.has(channel)
        if (wanted && !this.#live.has(channel)) join.push(channel)
        else if (!wanted) leave.push(channel)
        else kept.push(channel)
        if (join.length >= BATCH || leave.length >= BATCH) break
      }
      // Left and wanted again before it was let go of: whoever wants it now waits to hear that it is live.
      this.#report(kept)
      await Promise.all([this.#leave(leave), this.#join(join)])
    }
  }

  async #join (channels: string[]): Promise<void> {
    if (channels.length === 0) return
    const { redis } = this.#link
    const stream = streamOf(redis)
    const joined = this.#sharded ? await this.#joinShards(channels) : (await redis.subscribe(...channels), channels)
    if (streamOf(redis) !== stream || !this.#link.up) return
    this.#report(joined.filter((channel) => this.#wanted.has(channel)))
  }

  #report (channels: string[]): void {
    const fresh: string[] = []
    const anew: string[] = []
    for (const channel of channels) {
      this.#live.add(channel)
      if (this.#known.has(channel)) anew.push(channel)
      else fresh.push(channel)
      this.#known.add(channel)
    }
    if (fresh.length > 0) this.#host.live(fresh, false)
    if (anew.length > 0) this.#host.live(anew, true)
  }

  /** A command may name channels of one slot only: those of a tag each. One that has moved away is left out. */
  async #joinShards (channels: string[]): Promise<string[]> {
    const joined = await Promise.all(channels.map(async (channel) => {
      try {
        await this.#link.redis.ssubscribe(channel)
        return channel
      } catch (error) {
        if (!/^(MOVED|CLUSTERDOWN|ASK|TRYAGAIN)/.test((error as Error).message)) throw error
        this.#host.moved()
        return undefined
      }
    }))
    return joined.filter((channel) => channel !== undefined)
  }

  async #leave (channels: string[]): Promise<void> {
    if (channels.length === 0) return
    for (const channel of channels) this.#live.delete(channel)
    if (!this.#sharded) await this.#link.redis.unsubscribe(...channels)
    else await Promise.all(channels.map((channel) => this.#link.redis.sunsubscribe(channel).catch(() => {})))
  }
}

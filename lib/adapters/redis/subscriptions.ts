/**
 * The channels of one connection. One loop compares the wanted channels with those that Redis has acknowledged, so that
 * commands keep their order: a channel that is left and at once wanted again ends up subscribed.
 */
import { onNextTurn } from '../../core/turn.ts'
import type { Redis } from 'ioredis'
import { streamOf } from './ioredis-internals.ts'
import { Link } from './link.ts'

/** At most so many channels in one command. */
const BATCH = 500

export interface SubscriptionsHost {
  readonly message: (channel: string, message: Buffer) => void
  /** These channels are live. `anew`: they were live before, and what was published in between was not heard. */
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
  /** Channels that Redis acknowledged on this connection. */
  readonly #live = new Set<string>()
  /** Channels that have been live since they were wanted. */
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
      // The event does not name the channel, so all are subscribed again. For a live channel this changes nothing.
      this.#again()
      host.moved()
    })
  }

  get up (): boolean { return this.#link.up }
  get why (): Error { return this.#link.why }
  get size (): number { return this.#wanted.size }
  /** True if all wanted channels are live. */
  get settled (): boolean { return this.#link.up && this.#live.size === this.#wanted.size && this.#dirty.size === 0 }

  connect (): void { this.#link.connect() }

  /** Checks the connection, and tries channels again that were refused because their slot was being moved. */
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

  /** `known`: the channel was live on another master until now. */
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

  /** Starts in the next turn, so that the calls of one turn share a command. */
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
      // These channels were left and wanted again before the command to leave was sent. Their callers wait to hear that
      // they are live.
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

  /**
   * A command can name only channels of one slot, so each channel has its own. A channel whose slot has moved is left
   * out.
   */
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

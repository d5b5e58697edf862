/** The channels of a cluster. Each is subscribed on a connection to the master that has its slot. */
import type { Cluster, Redis } from 'ioredis'
import { slotOf } from './keys.ts'
import type { Messages } from './messages.ts'
import { Subscriptions, type SubscriptionsHost } from './subscriptions.ts'

/** If a slot seems to have moved, slots are looked up again at most so often. */
const LOOK_MS = 100

export class ShardedMessages implements Messages {
  readonly #cluster: Cluster
  readonly #open: (node: Redis) => Redis
  readonly #host: SubscriptionsHost
  readonly #shards = new Map<string, Subscriptions>()
  /** The master of each channel. Undefined while no master has its slot. */
  readonly #places = new Map<string, string | undefined>()
  readonly #slots = new Map<string, number>()
  #looking: NodeJS.Timeout | undefined
  #closed = false

  constructor (cluster: Cluster, open: (node: Redis) => Redis, host: SubscriptionsHost) {
    this.#cluster = cluster
    this.#open = open
    this.#host = host
    for (const event of ['ready', '+node', '-node', 'refresh']) cluster.on(event, () => this.#lookSoon())
  }

  get up (): boolean {
    const shards = [...this.#shards.values()]
    return this.#cluster.status === 'ready' && shards.every((shard) => shard.up || shard.size === 0)
  }

  get why (): Error {
    const down = [...this.#shards.values()].find((shard) => !shard.up && shard.size > 0)
    return down?.why ?? new Error('the cluster is not ready')
  }

  /** Does nothing: the commands open the cluster's own connections. */
  connect (): void {}

  add (channel: string): void {
    this.#slots.set(channel, slotOf(channel))
    this.#places.set(channel, undefined)
    this.#place(channel, false)
  }

  remove (channel: string): void {
    const place = this.#places.get(channel)
    this.#places.delete(channel)
    this.#slots.delete(channel)
    if (place !== undefined) this.#shards.get(place)?.remove(channel)
  }

  tick (): void {
    this.#look()
    for (const shard of this.#shards.values()) shard.ping()
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#looking)
    for (const shard of this.#shards.values()) shard.close()
    this.#shards.clear()
  }

  #lookSoon (): void {
    if (this.#closed) return
    this.#looking ??= setTimeout(() => {
      this.#looking = undefined
      this.#look()
    }, LOOK_MS).unref()
  }

  #look (): void {
    if (this.#closed) return
    for (const channel of this.#places.keys()) this.#place(channel, true)
    const masters = new Set(this.#cluster.nodes('master').map(keyOf))
    for (const [key, shard] of this.#shards) {
      if (masters.has(key) || shard.size > 0) continue
      shard.close()
      this.#shards.delete(key)
    }
  }

  /** Moves a channel to the master of its slot. `anew`: it may have missed events if it was on another master. */
  #place (channel: string, anew: boolean): void {
    const before = this.#places.get(channel)
    const place = this.#cluster.slots[this.#slots.get(channel) as number]?.[0]
    if (place === undefined || place === before) return
    const shard = this.#shard(place)
    if (!shard) return
    if (before !== undefined) this.#shards.get(before)?.remove(channel)
    this.#places.set(channel, place)
    shard.add(channel, anew && before !== undefined)
  }

  #shard (key: string): Subscriptions | undefined {
    const known = this.#shards.get(key)
    if (known) return known
    const node = this.#cluster.nodes('master').find((one) => keyOf(one) === key)
    if (!node) return undefined
    const shard = new Subscriptions(this.#open(node), true, {
      ...this.#host,
      moved: () => {
        this.#cluster.refreshSlotsCache(() => this.#lookSoon())
      }
    })
    this.#shards.set(key, shard)
    shard.connect()
    return shard
  }
}

function keyOf (node: Redis): string {
  return `${node.options.host}:${node.options.port}`
}

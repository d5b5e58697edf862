/** How messages reach this node: over one connection, or one to each master of a cluster (sharded-messages.ts). */
import type { Redis } from 'ioredis'
import { Subscriptions, type SubscriptionsHost } from './subscriptions.ts'

export interface Messages {
  /** True if every connection that is needed is up. */
  readonly up: boolean
  readonly why: Error
  connect (): void
  add (channel: string): void
  remove (channel: string): void
  /** Checks the connections, and on a cluster which master has which slot. */
  tick (): void
  close (): void
}

export class SingleMessages implements Messages {
  readonly #subscriptions: Subscriptions

  constructor (redis: Redis, host: SubscriptionsHost) {
    this.#subscriptions = new Subscriptions(redis, false, host)
  }

  get up (): boolean { return this.#subscriptions.up }
  get why (): Error { return this.#subscriptions.why }
  connect (): void { this.#subscriptions.connect() }
  add (channel: string): void { this.#subscriptions.add(channel) }
  remove (channel: string): void { this.#subscriptions.remove(channel) }
  tick (): void { this.#subscriptions.ping() }
  close (): void { this.#subscriptions.close() }
}

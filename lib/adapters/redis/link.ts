/**
 * One connection to one Redis server, and whether it can be relied on.
 *
 * Retries are ours: what ioredis would resend, queue or subscribe again by itself is off (see SETTINGS). A server that
 * is silent, also in the handshake, is found by the watch and the pings, and the connection is made anew.
 */
import type { Redis, RedisOptions } from 'ioredis'
import { cleanerOf, type Clean } from './driver-error.ts'
import { guardSockets, streamOf } from './ioredis-internals.ts'

/** A connection that is silent for so long while something is asked of it is cut. */
export const SILENCE_MS = 4000
const HANDSHAKE_MS = 4000
const CONNECT_MS = 3000
const RETRY_FIRST_MS = 30
const RETRY_MAX_MS = 400

/** When to try again: soon, since everything waits for it; apart, since other nodes do so too. */
export function retryDelay (times: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(times, 10)) + Math.floor(Math.random() * 60)
}

/** On top of what the app chose. */
export const SETTINGS = {
  lazyConnect: true,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  enableReadyCheck: true,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_MS,
  socketTimeout: SILENCE_MS,
  // A sentinel that accepts the connection and says nothing would hold it for ever.
  sentinelCommandTimeout: CONNECT_MS,
  keepAlive: 10_000,
  noDelay: true,
  protocol: 2,
  replyMapping: 'legacy',
  // Of an app's own client: it would be put before keys, and not before channels.
  keyPrefix: '',
  stringNumbers: false,
  enableAutoPipelining: false,
  retryStrategy: retryDelay,
  sentinelRetryStrategy: retryDelay,
  // A master that became a replica: the connection is to be made to its successor.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY')
} as const satisfies RedisOptions

export interface LinkHost {
  /** Makes the connection fit for use; a throw has it made anew. */
  readonly prepare: () => Promise<void>
  readonly changed: (up: boolean, why: Error | undefined) => void
}

export class Link {
  readonly redis: Redis
  /** For whatever its client reports. */
  readonly clean: Clean
  up = false
  #why: Error | undefined
  #watch: NodeJS.Timeout | undefined
  #closed = false
  readonly #host: LinkHost

  constructor (redis: Redis, host: LinkHost) {
    this.redis = guardSockets(redis)
    this.#host = host
    this.clean = cleanerOf(redis)
    redis.on('error', (error: unknown) => { this.#why = this.clean(error) })
    redis.on('connect', () => this.#watchHandshake())
    redis.on('ready', () => { this.#ready().catch(() => {}) })
    redis.on('close', () => this.#lost())
    // ioredis gives up for good when it is told to disconnect while it is about to connect. There is no giving up here.
    redis.on('end', () => this.#connectAgain())
  }

  /** Why it is not up, as far as is known. */
  get why (): Error {
    return this.#why ?? new Error('there is no connection to Redis')
  }

  connect (): void {
    // What goes wrong comes by way of 'error', and is tried again.
    this.redis.connect().catch(() => {})
  }

  /** Asks for a sign of life: without one the socket's timeout cuts it. */
  ping (): void {
    if (this.redis.status === 'ready') this.redis.ping().catch(() => {})
  }

  /** Makes the connection anew. */
  renew (why: unknown): void {
    if (this.#closed) return
    this.#why = this.clean(why)
    // On its way already, otherwise.
    if (this.redis.status === 'ready' || this.redis.status === 'connect') this.redis.disconnect(true)
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#watch)
    this.redis.disconnect()
  }

  #connectAgain (): void {
    if (this.#closed) return
    setTimeout(() => { if (!this.#closed && this.redis.status === 'end') this.connect() }, retryDelay(0)).unref()
  }

  #watchHandshake (): void {
    clearTimeout(this.#watch)
    this.#watch = setTimeout(() => {
      this.renew(new Error('Redis accepted the connection, but does not answer'))
    }, HANDSHAKE_MS).unref()
  }

  async #ready (): Promise<void> {
    clearTimeout(this.#watch)
    const stream = streamOf(this.redis)
    try {
      await this.#host.prepare()
    } catch (error) {
      this.renew(error)
      return
    }
    // It may have been lost, and made anew, meanwhile.
    if (this.#closed || this.redis.status !== 'ready' || streamOf(this.redis) !== stream) return
    this.up = true
    this.#host.changed(true, undefined)
  }

  #lost (): void {
    clearTimeout(this.#watch)
    const wasUp = this.up
    this.up = false
    if (!this.#closed && wasUp) this.#host.changed(false, this.why)
  }
}

/**
 * One connection to one Redis server, and whether it can be relied on.
 *
 * This adapter does all retries itself, so SETTINGS turns off what ioredis would resend, queue or subscribe again. If a
 * server is silent, also in the handshake, timeouts and pings notice that, and the connection is made anew.
 */
import type { Redis, RedisOptions } from 'ioredis'
import { cleanerOf, type Clean } from './driver-error.ts'
import { guardSockets, streamOf } from './ioredis-internals.ts'

/** A connection is cut if it is silent for so long while an answer is due. */
export const SILENCE_MS = 4000
const HANDSHAKE_MS = 4000
const CONNECT_MS = 3000
const RETRY_FIRST_MS = 30
const RETRY_MAX_MS = 400

/**
 * The delay before the next attempt, ms. It is short, because everything waits for it, and random, because other nodes
 * try too.
 */
export function retryDelay (times: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(times, 10)) + Math.floor(Math.random() * 60)
}

/** These settings override those of the app. */
export const SETTINGS = {
  lazyConnect: true,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  enableReadyCheck: true,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_MS,
  socketTimeout: SILENCE_MS,
  // Without this, a sentinel that accepts the connection but says nothing would hold it for ever.
  sentinelCommandTimeout: CONNECT_MS,
  keepAlive: 10_000,
  noDelay: true,
  protocol: 2,
  replyMapping: 'legacy',
  // Overrides the prefix of an app's own client: ioredis would put it before keys, but not before channels.
  keyPrefix: '',
  stringNumbers: false,
  enableAutoPipelining: false,
  retryStrategy: retryDelay,
  sentinelRetryStrategy: retryDelay,
  // The server is a replica now. The new connection goes to the new master.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY')
} as const satisfies RedisOptions

export interface LinkHost {
  /** Prepares a new connection. If this rejects, the connection is made anew. */
  readonly prepare: () => Promise<void>
  readonly changed: (up: boolean, why: Error | undefined) => void
}

export class Link {
  readonly redis: Redis
  /** Cleans the errors of this client. */
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
    // ioredis stops for good if it is told to disconnect while it is about to connect. This connection never gives up.
    redis.on('end', () => this.#connectAgain())
  }

  /** Why the connection is not up, as far as is known. */
  get why (): Error {
    return this.#why ?? new Error('there is no connection to Redis')
  }

  connect (): void {
    // Errors arrive as 'error' events, and the connection is tried again.
    this.redis.connect().catch(() => {})
  }

  /** Checks the connection. Without an answer the socket's timeout cuts it. */
  ping (): void {
    if (this.redis.status === 'ready') this.redis.ping().catch(() => {})
  }

  /** Makes the connection anew. */
  renew (why: unknown): void {
    if (this.#closed) return
    this.#why = this.clean(why)
    // In any other status it is already being made anew.
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
    // The connection may have been lost and made anew during `prepare`.
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

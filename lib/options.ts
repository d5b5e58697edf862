/** Every default and check of the plugin's options, once. */
import type { FastifyRequest } from 'fastify'
import type { Adapter, Retention } from './core/adapter.ts'
import { readHost, readOrigin } from './core/origin.ts'
import type { TopicPolicy } from './core/topics/topic.ts'
import { identityId } from './core/identity.ts'
import { OptionInvalid } from './errors.ts'
import { isRecord, onlyKnown, record } from './known.ts'
import type { ChannelLimits } from './types/channel.ts'
import type { SlowPolicy } from './types/connection.ts'
import type { RealtimeIdentity } from './types/identity.ts'
import type { RealtimeOptions } from './types/options.ts'
import type { HistoryOptions } from './types/topic.ts'

export interface Limits {
  readonly messageBytes: number
  readonly messagesPerSecond: number
  readonly burst: number
  readonly topicsPerMinute: number
  readonly faults: number
  readonly queue: number
}

export interface LiveSettings {
  readonly heartbeat: number
  readonly maxBuffered: number
  readonly slow: SlowPolicy
}

export interface Settings extends LiveSettings {
  readonly adapter: Adapter | undefined
  readonly identify: NonNullable<RealtimeOptions['identify']>
  readonly expiry: boolean
  readonly expiryGrace: number
  /** As given: read by the feature, which is loaded where it is used. */
  readonly tokens: unknown
  readonly maxRevocations: number
  readonly revocationAge: number
  readonly history: Retention | undefined
  readonly ringBytes: number
  readonly retry: number
  readonly open: 'event' | 'id' | false
  readonly maxEventBytes: number
  readonly maxTopics: number
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxConnectionsPerIdentity: number
  readonly messagesPerSecondPerIdentity: number
  readonly closeTimeout: number
  readonly leaveTimeout: number
  readonly joinTimeout: number
  readonly validate: boolean
  readonly origins: readonly string[] | '*'
  readonly hosts: readonly string[] | '*'
  readonly limits: Limits
  readonly websocket: boolean | Record<string, unknown>
}

const MiB = 1 << 20
const SECOND_MS = 1000
const DAY_MS = 86_400_000
const DEFAULT_HISTORY: Retention = Object.freeze({ limit: 256, maxAge: 120_000, maxBytes: MiB })
const DEFAULT_LIMITS: Limits = Object.freeze({
  messageBytes: 65_536, messagesPerSecond: 50, burst: 100, topicsPerMinute: 240, faults: 50, queue: 64
})
const KNOWN = new Set<string>([
  'adapter', 'identify', 'expiry', 'expiryGrace', 'tokens', 'maxRevocations', 'revocationAge', 'history', 'ringBytes',
  'heartbeat', 'retry', 'open', 'maxBuffered', 'maxEventBytes', 'maxTopics', 'maxConnections',
  'maxConnectionsPerAddress', 'maxConnectionsPerIdentity', 'slow', 'closeTimeout', 'leaveTimeout', 'joinTimeout',
  'messagesPerSecondPerIdentity', 'validate', 'origins', 'hosts', 'limits', 'websocket',
  // What Fastify's register takes for itself.
  'prefix', 'logLevel', 'logSerializers'
] satisfies Array<keyof RealtimeOptions | 'prefix' | 'logLevel' | 'logSerializers'>)
export const SLOW_POLICIES: readonly SlowPolicy[] = ['close', 'latest', 'reset', 'replay']
/** What a frame adds to its data: base64 of bytes grows them by a third. */
const FRAMING = 1.5

/** `hookTimeout`: Fastify's `pluginTimeout`, ms; 0 for none. */
export function readOptions (options: RealtimeOptions, hookTimeout = 10_000): Settings {
  onlyKnown('', options, KNOWN)
  const expiry = flag('expiry', options.expiry ?? true)
  const maxEventBytes = integer('maxEventBytes', options.maxEventBytes ?? 65_536, 1, 512 * MiB)
  const live = readLive(options, {
    heartbeat: 25_000, maxBuffered: Math.max(MiB, Math.ceil(maxEventBytes * FRAMING)), slow: 'close'
  })
  if (live.maxBuffered < maxEventBytes * FRAMING) {
    throw new OptionInvalid('maxBuffered',
      `must be at least 1.5 × maxEventBytes (${Math.ceil(maxEventBytes * FRAMING)}), ` +
      'or a large event could never be sent')
  }
  return Object.freeze({
    ...live,
    adapter: readAdapter(options.adapter),
    identify: callable('identify', options.identify) ?? (expiry ? identifyUser : identifyUserForEver),
    expiry,
    expiryGrace: integer('expiryGrace', options.expiryGrace ?? 10_000, 0, 300_000),
    tokens: options.tokens,
    maxRevocations: integer('maxRevocations', options.maxRevocations ?? 10_000, 1, 1_000_000),
    revocationAge: integer('revocationAge', options.revocationAge ?? DAY_MS, 1000, 366 * DAY_MS),
    history: readHistory('history', options.history, DEFAULT_HISTORY),
    ringBytes: integer('ringBytes', options.ringBytes ?? 64 * MiB, 0),
    retry: readRetry(options.retry ?? 2000),
    open: readOpen(options.open ?? 'event'),
    maxEventBytes,
    maxTopics: integer('maxTopics', options.maxTopics ?? 64, 1, 1000),
    maxConnections: integer('maxConnections', options.maxConnections ?? 50_000, 1),
    maxConnectionsPerAddress: integer('maxConnectionsPerAddress', options.maxConnectionsPerAddress ?? 1000, 1),
    maxConnectionsPerIdentity: integer('maxConnectionsPerIdentity', options.maxConnectionsPerIdentity ?? 100, 1),
    messagesPerSecondPerIdentity:
      integer('messagesPerSecondPerIdentity', options.messagesPerSecondPerIdentity ?? 500, 1),
    joinTimeout: integer('joinTimeout', options.joinTimeout ?? 5000, 1, 300_000),
    leaveTimeout: integer('leaveTimeout', options.leaveTimeout ?? 5000, 1, 300_000),
    closeTimeout: readCloseTimeout(options.closeTimeout, hookTimeout === 0 ? Infinity : hookTimeout),
    validate: flag('validate', options.validate ?? process.env.NODE_ENV !== 'production'),
    origins: readOrigins(options.origins ?? []),
    hosts: readHosts(options.hosts ?? '*'),
    limits: readLimits(options.limits, DEFAULT_LIMITS),
    websocket: readWebSocket(options.websocket ?? true)
  })
}

function readWebSocket (value: unknown): boolean | Record<string, unknown> {
  if (typeof value === 'boolean') return value
  if (!isRecord(value)) {
    throw new OptionInvalid('websocket', 'must be true, false, or the options of @fastify/websocket')
  }
  return { ...value }
}

/** `app.close()` rejects when a hook takes as long as `hookTimeout`. */
function readCloseTimeout (value: unknown, hookTimeout: number): number {
  const ms = integer('closeTimeout', value ?? Math.min(5000, Math.floor(hookTimeout / 2)), 0, 300_000)
  if (ms < hookTimeout) return ms
  throw new OptionInvalid('closeTimeout',
    `must be less than Fastify's pluginTimeout (${hookTimeout}), ` +
    'or app.close() would fail. Raise pluginTimeout too')
}

/** The options that a route may override. */
export function readLive (options: Partial<LiveSettings>, defaults: LiveSettings): LiveSettings {
  return {
    heartbeat: integer('heartbeat', options.heartbeat ?? defaults.heartbeat, 20, 300_000),
    maxBuffered: integer('maxBuffered', options.maxBuffered ?? defaults.maxBuffered, 1024),
    slow: oneOf('slow', options.slow ?? defaults.slow, SLOW_POLICIES)
  }
}

export const readCoalesce = (value: unknown): number => integer('coalesce', value, 0, 1000)
export const readRetry = (value: unknown): number => integer('retry', value, 0, 3_600_000)
export const readOpen = (value: unknown): 'event' | 'id' | false => oneOf('open', value, ['event', 'id', false])

export function readHistory (
  name: string, value: HistoryOptions | false | undefined, defaults: Retention | undefined
): Retention | undefined {
  if (value === false) return undefined
  if (value === undefined) return defaults
  record(name, value)
  onlyKnown(name, value, new Set(['limit', 'maxAge', 'maxBytes']))
  return Object.freeze({
    limit: integer(`${name}.limit`, value.limit ?? DEFAULT_HISTORY.limit, 1),
    maxAge: integer(`${name}.maxAge`, value.maxAge ?? DEFAULT_HISTORY.maxAge, 1),
    maxBytes: integer(`${name}.maxBytes`, value.maxBytes ?? DEFAULT_HISTORY.maxBytes, 1)
  })
}

export interface ResumableSettings {
  readonly maxAge: number
  readonly maxBytes: number
  readonly key: ((request: FastifyRequest) => unknown) | undefined
  readonly space: string | undefined
  readonly start: 'POST' | undefined
}

export function readResumable (value: unknown): ResumableSettings {
  if (value === true) return readResumable({})
  record('resumable', value)
  onlyKnown('resumable', value, new Set(['maxAge', 'maxBytes', 'key', 'space', 'start']))
  const { maxAge, maxBytes, key, space, start } = value as Partial<ResumableSettings>
  if (space !== undefined && (typeof space !== 'string' || space === '')) {
    throw new OptionInvalid('resumable.space', 'must be a non-empty string')
  }
  if (start !== undefined) oneOf('resumable.start', start, ['POST'])
  if (start !== undefined && key === undefined) {
    throw new OptionInvalid('resumable.start', 'needs a "key" that says whose run a POST starts')
  }
  return Object.freeze({
    maxAge: integer('resumable.maxAge', maxAge ?? 600_000, 1, 86_400_000),
    maxBytes: integer('resumable.maxBytes', maxBytes ?? MiB, 1),
    key: callable('resumable.key', key),
    space,
    start
  })
}

export function readLimits (value: ChannelLimits | undefined, defaults: Limits): Limits {
  if (value === undefined) return defaults
  record('limits', value)
  onlyKnown('limits', value, new Set(Object.keys(DEFAULT_LIMITS)))
  return Object.freeze({
    messageBytes: integer('limits.messageBytes', value.messageBytes ?? defaults.messageBytes, 1, 512 * MiB),
    messagesPerSecond: integer('limits.messagesPerSecond', value.messagesPerSecond ?? defaults.messagesPerSecond, 1),
    burst: integer('limits.burst', value.burst ?? defaults.burst, 1),
    topicsPerMinute: integer('limits.topicsPerMinute', value.topicsPerMinute ?? defaults.topicsPerMinute, 1),
    faults: integer('limits.faults', value.faults ?? defaults.faults, 1),
    queue: integer('limits.queue', value.queue ?? defaults.queue, 1)
  })
}

export function readOrigins (value: unknown): readonly string[] | '*' {
  if (value === '*') return value
  if (!Array.isArray(value) || !value.every((origin) => typeof origin === 'string')) {
    throw new OptionInvalid('origins', 'must be "*" or an array of origins like "https://app.example"')
  }
  return Object.freeze(value.map((origin) => {
    const read = readOrigin(origin)
    if (origin === 'null') {
      throw new OptionInvalid('origins',
        'contains "null", which any site can send from a sandboxed frame. To allow everybody, use "*"')
    }
    if (read === undefined || read.text !== origin.toLowerCase() || /^wss?:$/.test(read.scheme)) {
      throw new OptionInvalid('origins',
        `contains "${origin}", which is not an origin of a page, like "https://app.example"`)
    }
    return read.text
  }))
}

export function readHosts (value: unknown): readonly string[] | '*' {
  if (value === '*') return value
  if (!Array.isArray(value) || value.length === 0) {
    throw new OptionInvalid('hosts', 'must be "*" or an array of hosts like "app.example" or "localhost:3000"')
  }
  return Object.freeze(value.map((host: unknown) => {
    const read = typeof host === 'string' ? readHost(host) : undefined
    if (read === undefined) {
      throw new OptionInvalid('hosts',
        `contains "${String(host)}", which is not a host like "app.example" or "localhost:3000"`)
    }
    return read
  }))
}

function readAdapter (adapter: Adapter | undefined): Adapter | undefined {
  if (adapter === undefined) return undefined
  const methods = ['start', 'publish', 'ephemeral', 'subscribe', 'unsubscribe', 'read', 'heads', 'close'] as const
  if (typeof adapter !== 'object' || adapter === null ||
    methods.some((method) => typeof adapter[method] !== 'function')) {
    throw new OptionInvalid('adapter', 'must be an adapter, e.g. memory()')
  }
  return adapter
}

function identifyUser (request: FastifyRequest): RealtimeIdentity | undefined {
  const identity = identifyUserForEver(request)
  if (!identity) return undefined
  const { iat, exp } = identity as { iat?: unknown, exp?: unknown }
  // Without both, "exp" may be anything: the user may come from a database.
  if (typeof iat === 'number' && typeof exp === 'number' && iat < exp) identity.expiresAt = exp * SECOND_MS
  return identity
}

/** What `request.user` says of its own expiry under the names of ours is not ours: it may be of any kind. */
function identifyUserForEver (request: FastifyRequest): RealtimeIdentity | undefined {
  const user = (request as { user?: unknown }).user
  if (typeof user !== 'object' || user === null) return undefined
  const { id, sub, iat } = user as { id?: unknown, sub?: unknown, iat?: unknown }
  const known = identityId(id) ?? identityId(sub)
  if (known === undefined) return undefined
  const { expiresAt, issuedAt, ...own } = user as Partial<RealtimeIdentity>
  return { ...own, id: known, ...(typeof iat === 'number' && iat > 0 && { issuedAt: iat * SECOND_MS }) }
}

/** `tokens`: does the plugin take them? */
export function readAuthorize (value: unknown, tokens: boolean): TopicPolicy['authorize'] {
  if (value === undefined || value === 'anyone' || typeof value === 'function') return value as TopicPolicy['authorize']
  if (value === 'token' && tokens) return value
  throw new OptionInvalid('authorize', value === 'token'
    ? 'is "token", but the plugin has no "tokens". Set that option'
    : 'must be "anyone", "token", or a function that returns true for clients that may')
}

export function integer (name: string, value: unknown, min: number, max = Infinity): number {
  const whole = typeof value === 'number' && (Number.isInteger(value) || value === Infinity)
  if (!whole || value < min || value > max) {
    throw new OptionInvalid(name,
      `must be a whole number from ${min}${max === Infinity ? '' : ` to ${max}`}, not ${String(value)}`)
  }
  return value
}

export function flag (name: string, value: unknown): boolean {
  return oneOf(name, value, [true, false])
}

export function oneOf<T> (name: string, value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) {
    throw new OptionInvalid(name, `must be one of ${allowed.map(String).join(', ')}, not ${String(value)}`)
  }
  return value as T
}

export function callable<T> (name: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') throw new OptionInvalid(name, 'must be a function')
  return value
}

/** The plugin's options. */
import type { FastifyRequest } from 'fastify'
import type { Adapter } from './adapter.ts'
import type { ChannelLimits } from './channel.ts'
import type { SlowPolicy } from './connection.ts'
import type { IdentityInput } from './identity.ts'
import type { HistoryOptions } from './topic.ts'
import type { TokensOptions } from './tokens.ts'

/**
 * Options of the plugin. An unknown option, or a value out of its range, fails the registration with
 * FST_ERR_REALTIME_OPTION_INVALID.
 *
 * *Refused for now* means: the client gets 503 with `retry-after`. An EventSource would not come back after a 503, so
 * it gets a 200 that says when to retry, and ends.
 */
export interface RealtimeOptions {
  /** Stores the history and connects nodes. Default: `memory()`, for one process. */
  adapter?: Adapter
  /**
   * Returns who a client is: an object with an `id` (a non-empty string of at most 4096 characters, a finite number or
   * a bigint), or null or undefined for an anonymous client. Default: `request.user`, if that has such an `id` or
   * `sub`. The client gets FST_ERR_REALTIME_IDENTITY_INVALID (500) for any other value, FST_ERR_REALTIME_EXPIRY_INVALID
   * (500) if `expiresAt` is not in ms since the epoch, and FST_ERR_REALTIME_EXPIRED (401) if it is past.
   */
  identify?: (request: FastifyRequest) => IdentityInput | null | undefined | Promise<IdentityInput | null | undefined>
  /**
   * Whether the default `identify` lets an identity expire with the `exp` of `request.user`, if `iat` and `exp` there
   * are numbers. Its connections then end with 4401. Default true.
   */
  expiry?: boolean
  /**
   * How long a topic or a connection goes on after the client's right to it has expired, ms, 0 to 300000. Default
   * 10000. In this time the client can send a newer token.
   */
  expiryGrace?: number
  /**
   * Accepts tokens that say who a client is and which topics it may hear: JWTs by HS256, or whatever `verify` checks. A
   * client sends one as `Authorization: Bearer` (RFC 6750 §2.1), or in the frames `open`, `subscribe` and `refresh`.
   * Default: no tokens are accepted.
   */
  tokens?: TokensOptions
  /**
   * How many identities may be revoked at a time, 1 to 1000000. Default 10000. Above it
   * `realtime.disconnect(…, { revoke: true })` rejects with FST_ERR_REALTIME_REVOCATIONS_FULL.
   */
  maxRevocations?: number
  /**
   * How long a revocation refuses what was issued before it, ms, 1000 to 31622400000. Set it to the lifetime of your
   * longest login. Default 86400000, or `tokens.maxLifetime` if that is longer.
   */
  revocationAge?: number
  /**
   * History of topics that set none of their own. Default `{ limit: 256, maxAge: 120000, maxBytes: 1048576 }`.
   * `false`: no history.
   */
  history?: HistoryOptions | false
  /**
   * Bytes of recent events that this node keeps ready, for all topics. Default 67108864. Above it events are dropped
   * here, and read from the adapter when a client needs them.
   */
  ringBytes?: number
  /**
   * Time between heartbeats of a quiet connection, ms, 20 to 300000. Default 25000. A stream gets a comment, a channel
   * a ping (RFC 6455 §5.5.2). A channel that has not answered by the next one is cut.
   */
  heartbeat?: number
  /**
   * Reconnection time that streams tell their clients (WHATWG HTML §9.2), ms, 0 to 3600000, jittered by a fifth.
   * Default 2000.
   */
  retry?: number
  /**
   * How a stream sends its opening cursor: `'event'` as an event `realtime:open` (default), `'id'` as a block that has
   * only an id, `false` not at all.
   */
  open?: 'event' | 'id' | false
  /**
   * Bytes that may wait for a client that does not read, at least 1.5 × `maxEventBytes`. Default 1048576. Above it
   * `slow` decides.
   */
  maxBuffered?: number
  /**
   * Bytes of one event's data, 1 to 536870912. Default 65536. Above it `publish` rejects with
   * FST_ERR_REALTIME_EVENT_TOO_LARGE.
   */
  maxEventBytes?: number
  /**
   * Topics of one connection, 1 to 1000. Default 64. A stream carries at most 128 topics with history, because its
   * cursor of 4 kB names all of them. Above it the client gets FST_ERR_REALTIME_TOO_MANY_TOPICS (400), or an `error`
   * frame.
   */
  maxTopics?: number
  /**
   * Connections of this node, at least 1. Default 50000. A connection counts from before `authorize` until its socket
   * is gone. Above it a client is refused for now.
   */
  maxConnections?: number
  /**
   * Connections of one address (`request.ip`), at least 1. Default 1000. An IPv6 address counts as its /64. Above it a
   * client is refused for now. Private and loopback peers are proxies and are not counted: set Fastify's `trustProxy`
   * to count their clients. An HTTP/2 session of such a peer may have this many streams.
   */
  maxConnectionsPerAddress?: number
  /**
   * Connections of one identity (`identity.id`) on this node, at least 1. Default 100. Above it a client is refused for
   * now. Identities with `anonymous: true` are not counted.
   */
  maxConnectionsPerIdentity?: number
  /**
   * Messages per second of one identity, on average, over all of its channels on this node, at least 1; twice as many
   * at once. Default 500. Above it a message is dropped and answered by an error `RATE_LIMITED`. Identities with
   * `anonymous: true` are not counted. The `limits` of each channel apply too.
   */
  messagesPerSecondPerIdentity?: number
  /** What happens to a client above `maxBuffered`, see {@link SlowPolicy}. Default `'close'`. */
  slow?: SlowPolicy
  /**
   * How long `app.close()` waits for clients to leave before it cuts them, ms, 0 to 300000, and less than Fastify's
   * `pluginTimeout`. Default 5000, or half of `pluginTimeout` if that is less.
   */
  closeTimeout?: number
  /**
   * How long a closed client may take to leave before it is cut, ms, 1 to 300000. Default 5000. It is counted until it
   * is gone.
   */
  leaveTimeout?: number
  /**
   * How long a client waits for the history of its topics, and for each promise of `topics`, `authorize`, `identify`,
   * `snapshot`, `onConnect` and `resumable.key`, ms, 1 to 300000. Default 5000. Then it is refused for now.
   */
  joinTimeout?: number
  /**
   * Whether published data is validated against its schema, after the schema has serialized it. Default: true unless
   * NODE_ENV is `production`.
   */
  validate?: boolean
  /**
   * Origins (RFC 6454 §6.2) whose pages may open a channel, besides http and https pages of the request's own host:
   * `['https://app.example']`. `'*'`: all. Default `[]`.
   */
  origins?: string[] | '*'
  /**
   * The names of this server as clients write them: `['app.example', 'localhost:3000']`, with the port unless it is 80
   * or 443. Streams, and upgrades of pages, are refused (403) under any other name, which protects against DNS
   * rebinding. Default `'*'`: any name.
   */
  hosts?: string[] | '*'
  /** Limits of every channel that sets none of its own. */
  limits?: ChannelLimits
  /**
   * Who answers WebSocket upgrades. `true` (default): this plugin answers those that no other listener takes. If nobody
   * takes one within `joinTimeout`, the app answers it like any request. `false`: @fastify/websocket dispatches them,
   * and the app must register it.
   *
   * An object: options of @fastify/websocket. The plugin registers it with them, unless the app has it already. Then
   * plain `websocket: true` routes and `app.injectWS` work beside channels. Install @fastify/websocket yourself, and do
   * not register it again.
   * @throws FST_ERR_REALTIME_PEER_MISSING if it is not installed
   */
  websocket?: boolean | Record<string, unknown>
}

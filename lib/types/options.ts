/** The plugin's options. */
import type { FastifyRequest } from 'fastify'
import type { Adapter } from './adapter.ts'
import type { ChannelLimits } from './channel.ts'
import type { SlowPolicy } from './connection.ts'
import type { IdentityInput } from './identity.ts'
import type { HistoryOptions } from './topic.ts'
import type { TokensOptions } from './tokens.ts'

export interface RealtimeOptions {
  /** What joins nodes and keeps history. Default: `memory()`, one process. */
  adapter?: Adapter
  /**
   * Who a client is, from its request: an object with an `id` (a non-empty string of at most 4096 characters, a finite
   * number, a bigint), or null or undefined for an anonymous client. Anything else is
   * FST_ERR_REALTIME_IDENTITY_INVALID (500). An `expiresAt` that is not ms since the epoch is
   * FST_ERR_REALTIME_EXPIRY_INVALID (500), one that is past FST_ERR_REALTIME_EXPIRED (401). Default: `request.user`, if
   * it has such an `id` or `sub`.
   */
  identify?: (request: FastifyRequest) => IdentityInput | null | undefined | Promise<IdentityInput | null | undefined>
  /**
   * Does the default `identify` take `exp` of `request.user`, where that has `iat` and `exp` as numbers, for the end of
   * the identity? Its connections then end with 4401 when it has passed. Default true.
   */
  expiry?: boolean
  /**
   * How long a topic or a connection goes on after the right to it has expired, ms. Default 10000; 0 to 300000. The
   * client can send a newer token meanwhile.
   */
  expiryGrace?: number
  /**
   * Tokens that say who a client is, and what it may hear: JWTs by HS256, or what `verify` checks. A client brings one
   * as `Authorization: Bearer`, or in the frames `open`, `subscribe` and `refresh`. Default: none are taken.
   */
  tokens?: TokensOptions
  /**
   * Identities that may be revoked at a time (`realtime.disconnect(…, { revoke: true })`). Default 10000. Above it
   * FST_ERR_REALTIME_REVOCATIONS_FULL.
   */
  maxRevocations?: number
  /**
   * How long a revocation refuses what was issued before it, ms. Set it to the lifetime of your longest login. Default
   * 86400000, and no less than `tokens.maxLifetime`.
   */
  revocationAge?: number
  /** History of topics that do not say. `false`: none. */
  history?: HistoryOptions | false
  /** Bytes of recent events (and their encodings) kept on this node for all topics. Default 67108864. */
  ringBytes?: number
  /** ms between heartbeats of a quiet connection. Default 25000; 20 to 300000. */
  heartbeat?: number
  /** SSE reconnection time, ms, jittered by a fifth. Default 2000. */
  retry?: number
  /** How a stream's opening cursor is sent: an event `realtime:open` (default), an id-only block, or not. */
  open?: 'event' | 'id' | false
  /** Bytes a client that does not read may cost. Default 1048576. At least `maxEventBytes` × 1.5. */
  maxBuffered?: number
  /** Bytes of one published event's data. Default 65536. */
  maxEventBytes?: number
  /**
   * Topics of one connection, 1 to 1000. Default 64. A stream carries at most 128 with history, since its one cursor of
   * 4 kB has to name them; a channel's client in the envelope format names as many cursors as it has topics.
   */
  maxTopics?: number
  /**
   * Connections on this node, those on their way in and those on their way out among them. Default 50000. Above it:
   * refused for now.
   */
  maxConnections?: number
  /**
   * Connections of one address (`request.ip`; an IPv6 address stands for its /64), of at least 1. Default 1000: an
   * office behind one address. Above it: refused for now. Private and loopback peers are not counted, since without
   * `trustProxy` they are a proxy; of theirs, an HTTP/2 session may have so many streams.
   */
  maxConnectionsPerAddress?: number
  /**
   * Connections of one identity (`identity.id`) on this node. Default 100. Above it: refused for now. Those with
   * `anonymous: true` are not counted.
   */
  maxConnectionsPerIdentity?: number
  /**
   * Messages that one identity may send in a second, on average, over all of its channels on this node; twice as many
   * in one burst. Default 500. Above it an `error` frame answers, `RATE_LIMITED`. Those with `anonymous: true` are not
   * counted; each connection has `limits` of its own besides.
   */
  messagesPerSecondPerIdentity?: number
  /** See {@link SlowPolicy}. Default `close`. */
  slow?: SlowPolicy
  /**
   * How long `app.close()` waits for clients to take their leave, ms. Less than Fastify's `pluginTimeout`. Default
   * 5000.
   */
  closeTimeout?: number
  /**
   * How long a client that was closed may take to go, ms, before it is cut. It is counted until then. Default 5000; 1
   * to 300000.
   */
  leaveTimeout?: number
  /**
   * How long a client waits for its topics' history, and for each promise of `topics`, `authorize`, `identify`,
   * `snapshot` and `onConnect`, ms. Default 5000; 1 to 300000. After that it is refused for now.
   */
  joinTimeout?: number
  /** Check published data, as it is to be sent, against its schema. Default: true unless NODE_ENV is production. */
  validate?: boolean
  /**
   * Cross-origin upgrades allowed on channels: a list, or `'*'`. Default: only http and https pages of the request's
   * own host.
   */
  origins?: string[] | '*'
  /**
   * The hosts of this server, as clients write them: `['app.example', 'localhost:3000']`, with the port unless it is 80
   * or 443. Guards streams and channels against DNS rebinding. Default `'*'`: any.
   */
  hosts?: string[] | '*'
  /** Limits of every channel that does not say. */
  limits?: ChannelLimits
  /**
   * `false`: channels' upgrades are left to @fastify/websocket, which the app must have. Default true: those that no
   * other listener has taken by the end of the turn are dispatched here. What nobody takes within `joinTimeout` the app
   * answers.
   *
   * An object: the options of @fastify/websocket, which is registered with them unless the app has it already, so that
   * plain `websocket: true` routes and `app.injectWS` are there beside channels. It must be installed, and not be
   * registered again.
   * @throws FST_ERR_REALTIME_PEER_MISSING if it is not installed
   */
  websocket?: boolean | Record<string, unknown>
}

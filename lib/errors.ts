/** Every coded error that a caller can catch. Its text says what to do. */
import createError, { type FastifyErrorConstructor } from '@fastify/error'

// The type is written out: what TypeScript makes of it by itself cannot be read under "moduleResolution": "bundler".
const make = (
  code: string, message: string, status = 500
): FastifyErrorConstructor<{ code: `FST_ERR_REALTIME_${string}` }> =>
  createError(`FST_ERR_REALTIME_${code}`, message, status)

// Options and declarations: thrown while the app is being built.
export const OptionInvalid = make('OPTION_INVALID', 'fastify-realtime option "%s" %s')
export const PeerMissing = make('PEER_MISSING',
  '%s needs a package that could not be loaded (%s). Run: npm install %s')
export const AlreadyRegistered = make('ALREADY_REGISTERED',
  'fastify-realtime is already registered in this scope or above it. ' +
  'Register it once, at the root. Then declare topics, streams and channels in any child.')
export const PatternInvalid = make('PATTERN_INVALID',
  'topic pattern "%s" %s. A pattern is segments joined by "/": text, ":param", and a final "*".')
export const PatternTaken = make('PATTERN_TAKEN',
  'topic pattern "%s" is already declared%s. Declare it once and share the Topic.')
export const EventNameInvalid = make('EVENT_NAME_INVALID', 'event name "%s" %s')
export const SchemaInvalid = make('SCHEMA_INVALID', 'the schema of %s cannot be used: %s')
export const RouteInvalid = make('ROUTE_INVALID', '%s "%s" %s')
export const TopicUndeclared = make('TOPIC_UNDECLARED',
  '%s "%s" names the topic "%s", which no declared pattern matches. ' +
  'Declare it with fastify.topic() before the app is ready.')
export const TopicParamsMissing = make('TOPIC_PARAMS_MISSING',
  '%s carries the topic "%s", but its URL has no param "%s". Use a function: topics: (request) => topic.at({ … }).')
export const NoDispatcher = make('NO_DISPATCHER',
  'channels are declared, but nothing dispatches WebSocket upgrades. ' +
  'Remove "websocket: false", or register @fastify/websocket.')
export const Http2Only = make('HTTP2_ONLY',
  'channels are declared, but this server speaks only HTTP/2, which cannot open a WebSocket. ' +
  'Add "allowHTTP1: true" to "https", or use streams.')
export const AlreadyStarted = make('ALREADY_STARTED',
  'cannot declare %s "%s": the app is already ready. Declare it in a plugin, or before listen().')

// Publishing and subscribing.
export const TopicUnknown = make('TOPIC_UNKNOWN',
  'no declared topic matches "%s". %s', 404)
export const TopicParamsInvalid = make('TOPIC_PARAMS', 'topic "%s": %s', 400)
export const EventUnknown = make('EVENT_UNKNOWN',
  'topic "%s" declares no event "%s". Add it to the events of the topic.')
export const EventDataInvalid = make('EVENT_DATA', 'topic "%s", event "%s": %s')
export const EventTooLarge = make('EVENT_TOO_LARGE',
  '%s: %s bytes of data are more than maxEventBytes (%s). Publish less, or raise the limit.', 413)
export const PublishOptionInvalid = make('PUBLISH_OPTION', 'publish option "%s" %s', 400)
const Conflicting = make('CONFLICT',
  'topic "%s" has a newer event: its last id is "%s", not the expected one. ' +
  'Read what was published since, and decide again.', 409)

/** `last` is the topic's last id: that of its last event, or its genesis id if it has no events. */
export class Conflict extends Conflicting {
  readonly last: string

  constructor (topic: string, last: string) {
    super(topic, last)
    this.last = last
  }
}

export const StateFull = make('STATE_FULL',
  'topic "%s" is full: its state may hold %s. Remove keys that you no longer need, ' +
  'or raise the limits in "keyed".', 507)
export const NotKeyed = make('NOT_KEYED', 'topic "%s" is not keyed, so it has no state. Declare it with "keyed: true".')
export const KeyedUnsupported = make('KEYED_UNSUPPORTED',
  'topic "%s" is keyed, but the adapter "%s" cannot store states. ' +
  'Use memory() or redis(), or add state() to your adapter.')

export const PresenceUnsupported = make('PRESENCE_UNSUPPORTED',
  'topic "%s" has presence, but the adapter "%s" cannot store members. ' +
  'Use memory() or redis(), or add "members" to your adapter.')
export const MemberInvalid = make('MEMBER_INVALID', 'topic "%s": %s')
export const NoPresence = make('NO_PRESENCE',
  'topic "%s" has no presence, so it does not know who is there. Declare it with "presence: true".')

export const RunSpaceUnknown = make('RUN_SPACE',
  'stop() does not know the space of the runs: %s. Name it: stop(key, { space }).')
export const RunKeyMissing = make('RUN_KEY_MISSING',
  'stream "%s" is resumable and has no key, but needs one: %s. ' +
  'Add resumable: { key: (request) => … }. Whoever has the key can read the run, so put the user in it.')
export const RunKeyInvalid = make('RUN_KEY_INVALID', 'the key of %s is %s. It must be a non-empty string.')
export const Closed = make('CLOSED', 'the app is closing: you can no longer publish or subscribe', 503)
export const HistoryUnavailable = make('HISTORY_UNAVAILABLE',
  'topic "%s" has "history: false", so there is no history to read')

// Connections: what a client is answered.
export const NotAcceptable = make('NOT_ACCEPTABLE',
  'this route answers only text/event-stream. Send "accept: text/event-stream".', 406)
export const MediaTypeUnknown = make('MEDIA_TYPE',
  'this route does not accept a body of type "%s". Send application/json, or application/octet-stream for bytes.', 415)
export const MessageTooLarge = make('MESSAGE_TOO_LARGE',
  'a message of %s bytes is larger than limits.messageBytes (%s). Send less, or raise the limit.', 413)
export const NoConnection = make('NO_CONNECTION',
  'connection.%s() cannot be called here: this message came by an HTTP request, which has an identity but no ' +
  'connection. Publish to a topic that the client hears, or return the answer from the handler.')
export const QueryInvalid = make('QUERY_INVALID', 'the query parameter "%s" %s', 400)
export const UpgradeRequired = make('UPGRADE_REQUIRED',
  'this route is a WebSocket channel: send an upgrade request. ' +
  'If there is a proxy in between, it must pass the upgrade on (nginx: proxy_http_version 1.1, and ' +
  'proxy_set_header for Upgrade and Connection).', 426)
export const UpgradeInvalid = make('UPGRADE_INVALID', 'not a valid WebSocket upgrade: %s', 400)
export const SubprotocolUnknown = make('SUBPROTOCOL_UNKNOWN',
  'the offered subprotocols are not known. Offer "fastify-realtime.v1", or none.', 400)
export const OriginRefused = make('ORIGIN_REFUSED', 'origin "%s" may not open this channel. %s.', 403)
export const HostRefused = make('HOST_REFUSED',
  'host "%s" is not a name of this server. If it is, add it to "hosts".', 403)
export const HttpVersionTooOld = make('HTTP_VERSION',
  'this stream needs HTTP/1.1 or newer: over HTTP/1.0 a broken-off answer looks complete. ' +
  'If a proxy sent this request, set it to HTTP/1.1 (nginx: proxy_http_version 1.1).', 505)
export const Forbidden = make('FORBIDDEN', 'topic "%s": this client may not %s', 403)
export const GrantInvalid = make('GRANT_INVALID',
  '%s must return true, or { allow: true, expiresAt?, info? }. The grant that it returned is not valid: %s')
export const ExpiryInvalid = make('EXPIRY_INVALID',
  '%s has an invalid "%s": %s. Use ms since the epoch, e.g. Date.now() + 60000, or exp * 1000 of a token.')
export const TokenInvalid = make('TOKEN_INVALID', 'the token %s', 401)
export const TokenMissing = make('TOKEN_MISSING',
  'topic "%s" needs a token: send one as "authorization: Bearer …" or in the open frame', 401)
export const Revoked = make('REVOKED', '%s was revoked. Log in again.', 401)
export const RevocationsFull = make('REVOCATIONS_FULL',
  '%s identities are already revoked (maxRevocations). Raise that option, or change the key that signs tokens.', 503)
export const Expired = make('EXPIRED', '%s has expired. Log in again, or send a newer token.', 401)
export const TooManyTopics = make('TOO_MANY_TOPICS', '%s topics on one connection are more than %s', 400)
export const TooManyConnections = make('TOO_MANY_CONNECTIONS', 'too many connections%s', 503)
export const Pipelined = make('PIPELINED',
  'this stream was requested while another response was still open on the same socket. ' +
  'Request it on a connection of its own.', 503)
export const ShuttingDown = make('SHUTTING_DOWN', 'the server is shutting down', 503)
export const IdentityInvalid = make('IDENTITY_INVALID',
  'identify returned a value that is not an identity: %s. ' +
  'Return an object whose id is a non-empty string, a number or a bigint ' +
  '(String(id) turns other ids into strings), or null or undefined for an anonymous client.')
export const CloseCodeInvalid = make('CLOSE_CODE',
  'a WebSocket cannot be closed with %s. Use 1000, or 3000 to 4999 (RFC 6455, section 7.4).')
export const CloseReasonInvalid = make('CLOSE_REASON', 'close option "%s" %s.')
export const TargetInvalid = make('TARGET',
  'the target must be an object with "identity", "connection" or "topic", or several of them%s. ' +
  '"identity" is a non-empty string, a number or a bigint; "connection" is its id; "topic" is a name or topic.at(…)',
  400)
export const ConnectionClosed = make('CONNECTION_CLOSED', 'the connection is closed', 410)
export const SubscriptionEnded = make('SUBSCRIPTION_ENDED',
  'the subscription has ended: %s. Subscribe again with the last id as "after", and you miss nothing.', 503)
export const NotOwner = make('NOT_OWNER', 'another node now owns the topic "%s"')
export const AdapterUnsupported = make('ADAPTER_UNSUPPORTED', '%s %s is too old: use Redis 7 or Valkey 7.2, or newer')
export const CallbackTimeout = make('CALLBACK_TIMEOUT',
  '%s did not settle within %s ms (joinTimeout), so it was given up. ' +
  'Make it resolve or reject sooner, or raise joinTimeout.', 503)

const NotAvailable = make('UNAVAILABLE', 'not available now%s', 503)

/**
 * Threat: clients get an error's message, so this one contains no address and no text of another server. The reason is
 * in its `cause`, which a logger prints and Fastify does not send.
 */
export class Unavailable extends NotAvailable {
  /** `unknown`: the work may have been done in spite of the error. */
  constructor (why = 'the cause is not known', { unknown = false } = {}) {
    super(unknown ? '; whether it was done is not known' : '')
    Object.defineProperty(this, 'cause', { value: new Error(why), writable: true, configurable: true })
  }
}

/** Every coded error a caller can catch. Each says what to do. */
import createError, { type FastifyErrorConstructor } from '@fastify/error'

// The type is written out: what TypeScript makes of it by itself cannot be read under "moduleResolution": "bundler".
const make = (
  code: string, message: string, status = 500
): FastifyErrorConstructor<{ code: `FST_ERR_REALTIME_${string}` }> =>
  createError(`FST_ERR_REALTIME_${code}`, message, status)

// Options and declarations: thrown while the app is being built.
export const OptionInvalid = make('OPTION_INVALID', 'fastify-realtime option "%s" %s')
export const AlreadyRegistered = make('ALREADY_REGISTERED',
  'fastify-realtime is registered already in this scope or above it. ' +
  'Register it once, at the root, and declare topics, streams and channels in any child.')
export const PatternInvalid = make('PATTERN_INVALID',
  'topic pattern "%s" %s. A pattern is segments joined by "/": text, ":param", and a final "*".')
export const PatternTaken = make('PATTERN_TAKEN',
  'topic pattern "%s" is declared already%s. Declare it once and share the Topic.')
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
  'channels are declared, but this server speaks HTTP/2 alone, where no WebSocket can be opened. ' +
  'Add "allowHTTP1: true" to "https", or declare streams.')
export const AlreadyStarted = make('ALREADY_STARTED', 'cannot declare %s "%s": the app is ready already')

// Publishing and subscribing.
export const TopicUnknown = make('TOPIC_UNKNOWN',
  'no declared topic matches "%s". %s', 404)
export const TopicParamsInvalid = make('TOPIC_PARAMS', 'topic "%s": %s', 400)
export const EventUnknown = make('EVENT_UNKNOWN', 'topic "%s" declares no event "%s". Add it to its events.')
export const EventDataInvalid = make('EVENT_DATA', 'topic "%s", event "%s": %s')
export const EventTooLarge = make('EVENT_TOO_LARGE',
  '%s: %s bytes of data are more than maxEventBytes (%s). Publish less, or raise the limit.', 413)
export const PublishOptionInvalid = make('PUBLISH_OPTION', 'publish option "%s" %s', 400)
const Conflicting = make('CONFLICT',
  'topic "%s" has moved on: its last id is "%s", not the one that was expected. ' +
  'Read what came since, and decide anew.', 409)

/** `last`: the topic's last id: its last event's, or where it has no events that before its first. */
export class Conflict extends Conflicting {
  readonly last: string

  constructor (topic: string, last: string) {
    super(topic, last)
    this.last = last
  }
}

export const StateFull = make('STATE_FULL',
  'topic "%s" is full: its state may hold %s. Remove keys that are over, or raise "keyed" of the topic.', 507)
export const NotKeyed = make('NOT_KEYED', 'topic "%s" is not keyed, so it has no state. Declare it with "keyed: true".')
export const KeyedUnsupported = make('KEYED_UNSUPPORTED',
  'topic "%s" is keyed, but the adapter "%s" keeps no states. Use memory() or redis(), or give yours a state().')

export const PresenceUnsupported = make('PRESENCE_UNSUPPORTED',
  'topic "%s" has presence, but the adapter "%s" keeps no members. Use memory() or redis(), or give yours "members".')
export const MemberInvalid = make('MEMBER_INVALID', 'topic "%s": %s')
export const NoPresence = make('NO_PRESENCE',
  'topic "%s" has no presence: nobody knows who is there. Declare it with "presence: true".')

export const RunSpaceUnknown = make('RUN_SPACE', 'which space are the runs in? Name it, as in stop(key, { space }): %s')
export const RunKeyMissing = make('RUN_KEY_MISSING',
  'stream "%s" is resumable without a key, and %s. ' +
  'Say whose run it is: resumable: { key: (request) => … }, ' +
  'with the user in it unless whoever has the key may read it.')
export const RunKeyInvalid = make('RUN_KEY_INVALID', 'the key of %s is %s. It must be a non-empty string.')
export const Closed = make('CLOSED', 'the app is closing: nothing can be published or subscribed any more', 503)
export const HistoryUnavailable = make('HISTORY_UNAVAILABLE', 'topic "%s" has history: false, so there is none to read')

// Connections: what a client is answered.
export const NotAcceptable = make('NOT_ACCEPTABLE',
  'this route answers text/event-stream only: send "accept: text/event-stream"', 406)
export const MediaTypeUnknown = make('MEDIA_TYPE',
  'a body of "%s" is not taken here: send application/json, or application/octet-stream for bytes', 415)
export const MessageTooLarge = make('MESSAGE_TOO_LARGE',
  'a message of %s bytes is larger than limits.messageBytes (%s). Send less, or raise the limit.', 413)
export const NoConnection = make('NO_CONNECTION',
  'connection.%s() cannot be called here: this message came by an HTTP request, which has an identity and no ' +
  'connection. Publish to a topic that the client hears, or answer by what the handler returns.')
export const UpgradeRequired = make('UPGRADE_REQUIRED',
  'this route is a WebSocket channel: send an upgrade request. ' +
  'Is there a proxy between, have it pass the upgrade on (nginx: proxy_http_version 1.1, and proxy_set_header ' +
  'for Upgrade and Connection)', 426)
export const UpgradeInvalid = make('UPGRADE_INVALID', 'not a valid WebSocket upgrade: %s', 400)
export const SubprotocolUnknown = make('SUBPROTOCOL_UNKNOWN',
  'none of the subprotocols offered is known: offer "fastify-realtime.v1", or none', 400)
export const OriginRefused = make('ORIGIN_REFUSED', 'origin "%s" may not open this channel. %s.', 403)
export const HostRefused = make('HOST_REFUSED',
  'host "%s" is none of this server\'s. List it in "hosts" if it is.', 403)
export const HttpVersionTooOld = make('HTTP_VERSION',
  'this stream needs HTTP/1.1 or newer: over HTTP/1.0 an answer that was broken off looks like one that is whole. ' +
  'Is it a proxy that asks so, have it speak HTTP/1.1 (nginx: proxy_http_version 1.1)', 505)
export const Forbidden = make('FORBIDDEN', 'topic "%s" may not be %s by this client', 403)
export const GrantInvalid = make('GRANT_INVALID',
  '%s allows in a way that is not understood: %s. Return true, or { allow: true, expiresAt?, info? }.')
export const ExpiryInvalid = make('EXPIRY_INVALID',
  '%s gave "%s" that is %s. Give ms since the epoch, e.g. Date.now() + 60000, or exp * 1000 of a token.')
export const TokenInvalid = make('TOKEN_INVALID', 'the token %s', 401)
export const TokenMissing = make('TOKEN_MISSING',
  'topic "%s" is opened by a token alone: bring one, as "authorization: Bearer …" or in the open frame', 401)
export const Revoked = make('REVOKED', '%s was revoked. Log in again.', 401)
export const RevocationsFull = make('REVOCATIONS_FULL',
  '%s identities are revoked already (maxRevocations). Raise it, or have all tokens signed by another key.', 503)
export const Expired = make('EXPIRED', '%s has expired. Log in again, or bring a newer token.', 401)
export const TooManyTopics = make('TOO_MANY_TOPICS', '%s topics on one connection are more than %s', 400)
export const TooManyConnections = make('TOO_MANY_CONNECTIONS', 'too many connections%s', 503)
export const Pipelined = make('PIPELINED',
  'this stream was asked for behind a response that is not over, on the same socket. ' +
  'Ask for it on a connection of its own.', 503)
export const ShuttingDown = make('SHUTTING_DOWN', 'the server is shutting down', 503)
export const IdentityInvalid = make('IDENTITY_INVALID',
  'identify gave no identity, but something %s. ' +
  'Give an object whose id is a non-empty string, a number or a bigint ' +
  '(String(id) makes one of others); null or undefined for nobody.')
export const CloseCodeInvalid = make('CLOSE_CODE',
  'a WebSocket cannot be closed with %s. Use 1000, or 3000 to 4999 (RFC 6455, section 7.4).')
export const CloseReasonInvalid = make('CLOSE_REASON', 'the "%s" that a connection is closed with %s.')
export const TargetInvalid = make('TARGET',
  'whose connections? Give an object with "identity", "connection" or "topic", or several of them%s. ' +
  'An identity is a non-empty string, a number or a bigint; a connection is its id; a topic is its name or topic.at(…)',
  400)
export const ConnectionClosed = make('CONNECTION_CLOSED', 'the connection is closed', 410)
export const SubscriptionEnded = make('SUBSCRIPTION_ENDED',
  'the subscription has ended: %s. Subscribe again, with the last id as "after": nothing is missed then.', 503)
export const NotOwner = make('NOT_OWNER', 'topic "%s" belongs to another node now')
export const AdapterUnsupported = make('ADAPTER_UNSUPPORTED', '%s %s is too old: Redis 7 or Valkey 7.2 is needed')
export const CallbackTimeout = make('CALLBACK_TIMEOUT',
  '%s did not settle within %s ms (joinTimeout), and was given up. ' +
  'Have it resolve or reject sooner, or raise joinTimeout.', 503)

const NotAvailable = make('UNAVAILABLE', 'not available now%s', 503)

/**
 * Threat: a client is answered with an error's message, so this one's says no address and repeats no server. Why it
 * came is its `cause`, which a logger prints and Fastify does not send.
 */
export class Unavailable extends NotAvailable {
  /** `unknown`: what was asked for may have been done all the same. */
  constructor (why = 'nothing more is known', { unknown = false } = {}) {
    super(unknown ? '; whether it was done is not known' : '')
    Object.defineProperty(this, 'cause', { value: new Error(why), writable: true, configurable: true })
  }
}

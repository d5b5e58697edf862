/** `connect()`: the client of a channel, as a page uses it. */
import { FIRST_MS, LONGEST_MS } from './backoff.ts'
import { nameOf } from './names.ts'
import { settingsOf, type Settings } from './options.ts'
import { Session } from './session.ts'
import type { ClientState } from './state.ts'
import type { Store } from './store.ts'
import type { TokenSource } from './token.ts'
import type { HeardMember, StateEntry } from './topic.ts'
import type {
  ClientEvent, ConnectionEvent, DataOf, MessageName, MessagesOf, ParamsFor, PatternsOf, ReplyOf, TopicFor, Untyped
} from './types.ts'
import type { SocketClass } from './socket-class.ts'
import { websocket } from './websocket.ts'
import type { Dial, Tabs, WireKind } from './wire.ts'

/** Options of `connect()`. An unknown one is a TypeError. */
export interface ConnectOptions {
  /**
   * Returns a token each time that the client needs one: for a new connection (`open`), before the last token expires
   * (`expiring`), and once more if the server refused it (`refused`). It is never called twice at the same time.
   * Default: no token.
   */
  token?: TokenSource
  /**
   * How long the client waits for a token, ms. Then it waits like after a lost connection and asks again. Default
   * 15000.
   */
  tokenTimeout?: number
  /**
   * How the client connects: `websocket` (default), `http`, or `auto`, which uses HTTP if it cannot get a WebSocket.
   * For `http` and `auto` the channel needs `http: true`.
   */
  wire?: WireKind
  /**
   * How long a new connection may take to send its first frame, ms. Then it is given up, and with `auto` HTTP is used.
   * Default 10000.
   */
  handshakeTimeout?: number
  /** How long `send` waits for its reply, ms. Then it rejects with `TIMEOUT`. Default 15000. */
  timeout?: number
  /**
   * How many messages are kept while there is no connection, and sent when it is back. Above it `send` rejects with
   * `QUEUE_FULL`. Default 0: `send` rejects with `OFFLINE`. Above 0, a message that got no reply before the connection
   * was lost is sent again with the same `key`. If its handler publishes with `dedupe: key`, the event is published
   * once.
   */
  offline?: number
  /**
   * The longest delay before the first attempt to reconnect, ms. The delay is random below this bound, and the bound
   * doubles with each attempt, up to `longestDelay`. If the server says when to come back, that counts. Default 1000.
   */
  firstDelay?: number
  /** The longest delay before any attempt to reconnect, ms. Default 30000. */
  longestDelay?: number
  /** How long a hidden page keeps its connection, ms. A visible page connects again. Default 300000. */
  hiddenTimeout?: number
  /** Events that wait for a slow `for await`. Above it the loop throws `SLOW_CONSUMER`. Default 1000. */
  maxQueued?: number
  /** The WebSocket class. Default: the global one. Node has it from version 22; before, pass the one of `ws`. */
  WebSocket?: SocketClass
  /** The `fetch` for HTTP, for example one that adds `credentials: 'include'`. Default: the global one. */
  fetch?: typeof fetch
  /** One connection for all tabs of the browser: `sharedTabs()` of `fastify-realtime/client/tabs`. Default: none. */
  tabs?: Tabs
}

const DEFAULTS: Settings & { wire: WireKind, maxQueued: number, tabs: Tabs | undefined } = {
  token: undefined,
  tokenTimeout: 15_000,
  wire: websocket,
  handshakeTimeout: 10_000,
  timeout: 15_000,
  offline: 0,
  firstDelay: FIRST_MS,
  longestDelay: LONGEST_MS,
  hiddenTimeout: 300_000,
  maxQueued: 1000,
  WebSocket: undefined,
  fetch: undefined,
  tabs: undefined
}
const NOBODY: readonly HeardMember[] = []
const NOTHING: ReadonlyMap<string, StateEntry> = new Map()

/** A client of one channel. It connects when something is used first, and disconnects when nothing is used any more. */
export interface Client<Api> {
  /** The state of the connection, as a store: it fits React's useSyncExternalStore and the like. */
  readonly state: Store<ClientState>
  /** Returns a topic of this client. Nothing is sent until it is used. @throws TypeError if a param is missing */
  topic <Pattern extends PatternsOf<Api> & string> (
    pattern: Pattern, ...params: ParamsFor<NoInfer<Pattern>>
  ): TopicFor<Api, Pattern>
  /**
   * Hears what the server sends to this connection alone, by `connection.send(event, data)`. Such an event has no id
   * and is not sent again after a lost connection. `'*'`: all of them. The connection stays open while somebody
   * listens. Returns a function that stops listening.
   */
  on (event: string, run: (event: ConnectionEvent) => void): () => void
  /** Sends a message to the channel. Resolves with the reply. @throws RealtimeError */
  send <K extends MessageName<MessagesOf<Api>>> (
    event: K, data: DataOf<MessagesOf<Api>, K>
  ): Promise<ReplyOf<MessagesOf<Api>, K>>
  /** Sends a binary message. Does nothing while the client is not connected. */
  sendBytes (bytes: Uint8Array): void
  /** Closes the connection for ever. */
  close (): void
  [Symbol.dispose] (): void
}

/**
 * Returns a client of the channel at `url`, which may be relative in a page.
 * @throws TypeError for an unknown option
 */
export function connect<Api = Untyped> (url: string | URL, options: ConnectOptions = {}): Client<Api> {
  const settings = settingsOf('connect', options, DEFAULTS)
  const { tabs, wire } = settings
  const dial: Dial = (host) => wire({ ...settings, url: absolute(url) }, host)
  const session = new Session({ ...settings, dial: tabs ? (host) => tabs(absolute(url), dial, host) : dial })
  const client = {
    state: session.state,
    topic: (pattern: string, params?: Record<string, string>) =>
      topicOf(session, nameOf(pattern, params), settings.maxQueued),
    on: (event: string, run: (event: ConnectionEvent) => void) => session.on(event, run),
    send: (event: string, data: unknown) => session.message(event, data),
    sendBytes: (bytes: Uint8Array) => session.hint(bytes),
    close: () => session.close(),
    [Symbol.dispose ?? Symbol.for('Symbol.dispose')]: () => session.close()
  }
  return client as unknown as Client<Api>
}

function topicOf (session: Session, name: string, maxQueued: number) {
  return {
    name,
    on: (event: string, run: (event: ClientEvent) => void) => session.topic(name).on(event, run),
    send: (event: string, data: unknown) => session.message(event, data, name),
    relay: (event: string, data: unknown) => session.hint({ event, data, topic: name }),
    show: (state: unknown) => session.show(name, state),
    members: storeOf(session, name, 'members', NOBODY),
    count: storeOf(session, name, 'count', 0),
    state: storeOf(session, name, 'state', NOTHING),
    [Symbol.asyncIterator]: async function * () { yield * session.topic(name).iterate(maxQueued) }
  }
}

/** A store of the topic. It has a value only while somebody hears the topic. */
function storeOf (
  session: Session, name: string, which: 'members' | 'count' | 'state', nothing: unknown
): Store<unknown> {
  return {
    get: () => session.peek(name)?.[which].get() ?? nothing,
    subscribe: (run) => session.topic(name)[which].subscribe(run)
  }
}

function absolute (url: string | URL): string {
  const { location } = globalThis as { location?: { href: string } }
  // Without a page the URL is absolute already. React Native's URL would add a slash to its end.
  return location ? new URL(url, location.href).href : String(url)
}

/** `connect()`: what a page is handed. */
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

export interface ConnectOptions {
  /**
   * Gives a token each time that one is needed: for a new connection (`open`), before the last one expires
   * (`expiring`), and once more where the server has not taken it (`refused`). Calls at one time share one promise.
   */
  token?: TokenSource
  /** A token that has not come by then is given up, ms: the client comes back, and asks again. Default 15000. */
  tokenTimeout?: number
  /**
   * What it goes by: a WebSocket, or `http`, or `auto`, which takes HTTP where a WebSocket cannot be had. The channel
   * needs `http: true` for both. Default: `websocket`.
   */
  wire?: WireKind
  /**
   * A connection that has not said its first word by then is given up, ms. With `auto` a WebSocket that is silent for
   * so long is given up for HTTP. Default 10000.
   */
  handshakeTimeout?: number
  /** How long `send` waits for its answer, ms. Default 15000. */
  timeout?: number
  /**
   * How many messages are kept while there is no connection, and sent when it is back. Default 0: `send` rejects with
   * `OFFLINE`. A message that was sent and not answered is sent again then, with the same `key`: a handler that
   * publishes under it (`dedupe: key`) does it once.
   */
  offline?: number
  /**
   * A lost connection is dialled again within so many ms, at random; the bound doubles with each attempt, up to
   * `longestDelay`. Where the server says when to come back, that counts. Default 1000.
   */
  firstDelay?: number
  /** ms. Default 30000. */
  longestDelay?: number
  /** How long a hidden page keeps its connection, ms. Default 300000. */
  hiddenTimeout?: number
  /** Events that may wait for a `for await` that is slow; past it that throws `SLOW_CONSUMER`. Default 1000. */
  maxQueued?: number
  /** The WebSocket class. Default: the global one, which Node has from 22 on; give the one of `ws` before. */
  WebSocket?: SocketClass
  /** By which HTTP is spoken: one that adds `credentials: 'include'`, say. Default: the global one. */
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

/** A server's channel, as a page uses it. Nothing is opened before the first use, and it is let go behind the last. */
export interface Client<Api> {
  /** Where it stands; fits useSyncExternalStore and its like. */
  readonly state: Store<ClientState>
  /** @throws TypeError where a param is missing */
  topic <Pattern extends PatternsOf<Api> & string> (
    pattern: Pattern, ...params: ParamsFor<NoInfer<Pattern>>
  ): TopicFor<Api, Pattern>
  /**
   * What the server sends to this connection alone, by `connection.send(event, data)`. It has no id and is not sent
   * again after a lost connection. The connection is kept while somebody listens. `'*'`: all of them. Returns what
   * ends it.
   */
  on (event: string, run: (event: ConnectionEvent) => void): () => void
  /** A message to the channel itself. @throws RealtimeError */
  send <K extends MessageName<MessagesOf<Api>>> (
    event: K, data: DataOf<MessagesOf<Api>, K>
  ): Promise<ReplyOf<MessagesOf<Api>, K>>
  /** A binary message; not sent while not connected. */
  sendBytes (bytes: Uint8Array): void
  /** Ends all of it, for good. */
  close (): void
  [Symbol.dispose] (): void
}

/**
 * A client of one channel. `url`: of the channel; in a page it may be relative.
 * @throws TypeError for a wrong option
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

/** What the topic knows while somebody hears it, and otherwise nothing. */
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
  // Where there is no page, it is absolute already; React Native's URL would end it with a slash.
  return location ? new URL(url, location.href).href : String(url)
}

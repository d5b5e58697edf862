/** What a client under test is told, and what it tells: the same in JavaScript and, a line of JSON each, elsewhere. */

/** `websocket`: PROTOCOL.md 4. `http`: 4.9. `sse`: a native stream, section 2. */
export type ClientWire = 'websocket' | 'http' | 'sse'

/** What a client may lack, so that its trials are left out. Each name is that of what the client does. */
export type ClientSkill = 'tokens' | 'refresh' | 'messages' | 'bytes'

/** The first thing that a client is told: where to connect, and how. */
export interface ClientOrder {
  wire: ClientWire
  url: string
  /** Those to hear, each by a `subscribe`; over HTTP in the `open`. Of a native stream there are none to name. */
  topics: string[]
  /** The names that the events of a native stream have. */
  events: string[]
  /** What to bring: the first, and the next each time that another one is needed. None: bring none. */
  tokens: string[]
  /** ms: a lost connection is dialled again within so many, unless the server says when. */
  delay: number
  /** ms: a dial on which nothing has been said by then is given up. */
  patience: number
}

/** What the client tells. `topic` may be left out where it has one only. */
export type ClientSaw =
  /** `id`: of an event that is in a history. `data`: bytes as base64, with `"bytes": true`. */
  | { saw: 'event', event: string, data: unknown, id?: string | undefined, topic?: string | undefined, bytes?: boolean }
  | { saw: 'snapshot', data: unknown, topic?: string | undefined }
  /** Events were lost for good. */
  | { saw: 'reset', topic?: string | undefined }
  /** This topic is not heard (any more). */
  | { saw: 'error', code?: string | undefined, topic?: string | undefined }
  /** It does not come back. `code`: the server's word for that, if it had one. */
  | { saw: 'over', code?: string | undefined }
  /** A message was answered, by its number. */
  | { saw: 'reply', n: number, data: unknown }
  /** A message has failed, or nobody knows. `code`: the server's word, if it had one. */
  | { saw: 'failed', n: number, code?: string | undefined }
  /** A connection is open. Not checked. */
  | { saw: 'open' }

/** A message that the client is to send. */
export interface ClientMessage {
  /** By which its answer is told. */
  n: number
  event: string
  data: unknown
}

/** A client that was started. */
export interface DrivenClient {
  /** Needed for the skill `messages`. */
  send?: (message: ClientMessage) => void
  /** Resolves when nothing of it runs any more; its connections must be gone by themselves. */
  close: () => unknown
}

/** Starts a client. `tell`: called for everything that it sees, in order. */
export type DriveClient = (order: ClientOrder, tell: (saw: ClientSaw) => void) => DrivenClient | Promise<DrivenClient>

export interface ClientSuiteOptions {
  connect: DriveClient
  /** Those that the client speaks. Default: all three. */
  wires?: ClientWire[]
  /** What it cannot do. Default: nothing. */
  without?: ClientSkill[]
  /** ms: a trial in which nothing more happens for so long has failed. Default 20000. */
  timeout?: number
  /** ms: for so long nothing more may come behind the last of each trial. Default 150. */
  quiet?: number
}

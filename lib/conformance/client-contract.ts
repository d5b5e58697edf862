/** What a client under test is told, and what it tells. In other languages each is a line of JSON. */

/** `websocket`: PROTOCOL.md 4. `http`: 4.9. `sse`: a native stream, section 2. */
export type ClientWire = 'websocket' | 'http' | 'sse'

/** What a client may be unable to do. The trials that need it are then left out. */
export type ClientSkill = 'tokens' | 'refresh' | 'messages' | 'bytes'

/** The first thing that a client is told: where and how to connect. */
export interface ClientOrder {
  /** The wire to use. */
  wire: ClientWire
  /** Where to connect. */
  url: string
  /** The topics to hear, each by a `subscribe`; over HTTP in the `open`. A native stream names none. */
  topics: string[]
  /** The names of the events of a native stream. */
  events: string[]
  /** Tokens to send: the first one, and the next each time that the client needs another. Empty: send none. */
  tokens: string[]
  /** How soon to connect again after a lost connection, ms at most, unless the server says when. */
  delay: number
  /** How long a new connection may take to send something, ms. Then give it up. */
  patience: number
}

/** What the client tells. `topic` may be left out if the client has only one. */
export type ClientSaw =
  /** An event. `id`: if it is in a history. `data`: bytes are base64, with `"bytes": true`. */
  | { saw: 'event', event: string, data: unknown, id?: string | undefined, topic?: string | undefined, bytes?: boolean }
  | { saw: 'snapshot', data: unknown, topic?: string | undefined }
  /** Events were lost and will not come. */
  | { saw: 'reset', topic?: string | undefined }
  /** The topic is not heard, or not any more. */
  | { saw: 'error', code?: string | undefined, topic?: string | undefined }
  /** The client has given up. `code`: the server's error code, if there was one. */
  | { saw: 'over', code?: string | undefined }
  /** The reply to message `n`. */
  | { saw: 'reply', n: number, data: unknown }
  /** Message `n` has failed, or may have. `code`: the server's error code, if there was one. */
  | { saw: 'failed', n: number, code?: string | undefined }
  /** A connection is open. This is not checked. */
  | { saw: 'open' }

/** A message that the client must send. */
export interface ClientMessage {
  /** Its number, by which the client tells the reply. */
  n: number
  event: string
  data: unknown
}

/** A client that was started. */
export interface DrivenClient {
  /** Sends a message. Required for the skill `messages`. */
  send?: (message: ClientMessage) => void
  /** Ends the client. Resolves when nothing of it runs any more. It must have closed its connections itself. */
  close: () => unknown
}

/** Starts a client. Call `tell` for everything that it sees, in order. */
export type DriveClient = (order: ClientOrder, tell: (saw: ClientSaw) => void) => DrivenClient | Promise<DrivenClient>

/** Options of `clientSuite()`. */
export interface ClientSuiteOptions {
  /** Starts the client under test. */
  connect: DriveClient
  /** The wires that the client speaks. Default: all three. */
  wires?: ClientWire[]
  /** What the client cannot do. Default: it can do everything. */
  without?: ClientSkill[]
  /** How long a trial may be without anything new, ms. Then it has failed. Default 20000. */
  timeout?: number
  /** How long a trial waits at its end for what must not come, ms. Default 150. */
  quiet?: number
}

/** What carries frames between a client and a server: a WebSocket, or HTTP where that is blocked. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import type { SocketClass } from './socket-class.ts'

export interface Wire {
  send (said: ClientFrame | Uint8Array): void
  /** Nothing is heard of it afterwards. */
  close (): void
  /** ms that it may take to answer a page that wakes, where it may take longer than others. */
  readonly patience?: number | undefined
}

/** What a connection begins with: who its client is, what it hears, and where it stands in that. */
export interface Opening {
  cursors: Record<string, string>
  token: string | undefined
  /** Those that the client wants. Over a WebSocket it asks for each of them, once that is open. */
  topics: string[]
}

export interface WireHost {
  /** As it is at this moment. */
  opening (): Opening
  heard (frame: ServerFrame): void
  /** It is over. `code`: of the close frame (RFC 6455 §7.4), an HTTP status, or 0 where nothing was said. */
  down (code: number): void
}

/** Where a wire leads, and what it is made of. */
export interface Place {
  /** Absolute. */
  url: string
  /** A connection on which nothing is said for longer is given up, ms. */
  handshakeTimeout: number
  /** A message that is not answered for longer is given up, ms. */
  timeout: number
  WebSocket: SocketClass | undefined
  fetch: typeof fetch | undefined
}

/** How a client connects: `websocket`, `http` or `auto`. `host` hears nothing before this has returned. */
export type WireKind = (place: Place, host: WireHost) => Wire
export type Dial = (host: WireHost) => Wire
/** Shares a connection between tabs. `sharedTabs()` makes one. `url` is the channel's, absolute. */
export type Tabs = (url: string, dial: Dial, host: WireHost) => Wire

/** What carries frames between a client and a server: a WebSocket, or HTTP where that is blocked. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import type { SocketClass } from './socket-class.ts'

export interface Wire {
  send (said: ClientFrame | Uint8Array): void
  /** Closes the wire. The host is not called any more. */
  close (): void
  /** How long the wire may take to answer a ping after a sleep, ms, if that is longer than usual. */
  readonly patience?: number | undefined
}

/** What a connection begins with: the client's cursors, token and topics. */
export interface Opening {
  cursors: Record<string, string>
  token: string | undefined
  /** The topics that the client wants. Over a WebSocket it subscribes to each after `open`. */
  topics: string[]
}

export interface WireHost {
  /** Returns the present cursors, token and topics. */
  opening (): Opening
  heard (frame: ServerFrame): void
  /** The connection has ended. `code`: of the close frame (RFC 6455 §7.4), an HTTP status, or 0 if there was none. */
  down (code: number): void
}

/** The target of a wire, and the APIs that it uses. */
export interface Place {
  /** Absolute. */
  url: string
  /** How long a new connection may take to send its first frame, ms. Then it is given up. */
  handshakeTimeout: number
  /** How long a message over HTTP may wait for its answer, ms. Then it is given up. */
  timeout: number
  WebSocket: SocketClass | undefined
  fetch: typeof fetch | undefined
}

/** How a client connects: `websocket`, `http` or `auto`. `host` hears nothing before this has returned. */
export type WireKind = (place: Place, host: WireHost) => Wire
export type Dial = (host: WireHost) => Wire
/** Shares a connection between tabs. `sharedTabs()` makes one. `url` is the channel's, absolute. */
export type Tabs = (url: string, dial: Dial, host: WireHost) => Wire

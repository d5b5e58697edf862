/** What carries frames between a client and a server: a WebSocket, or HTTP where that is blocked. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'

export interface Wire {
  send (said: ClientFrame | Uint8Array): void
  /** Nothing is heard of it afterwards. */
  close (): void
}

export interface WireHost {
  /** It can be spoken on. */
  up (): void
  heard (frame: ServerFrame): void
  /** It is over. `code`: of the close frame (RFC 6455 §7.4), an HTTP status, or 0 where nothing was said. */
  down (code: number): void
}

export type Dial = (host: WireHost) => Wire
/** Puts something between a client and its connection. `url`: of the channel, absolute. */
export type Tabs = (url: string, dial: Dial, host: WireHost) => Wire

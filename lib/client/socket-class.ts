/** The used part of a WebSocket: the browser's, Node's (22), or that of `ws`. */

export interface AnySocket {
  binaryType: string
  onopen: unknown
  onmessage: unknown
  onclose: unknown
  onerror: unknown
  send (data: string | Uint8Array): void
  close (code?: number): void
}
export type SocketClass = new (url: string, protocols: string[]) => AnySocket

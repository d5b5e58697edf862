/** The error of the client. */

/**
 * Rejects a call of the client. Its `code` is the server's (PROTOCOL.md section 5, or a handler's own), or one of
 * these:
 *
 * - `DISCONNECTED`: the connection was lost before the reply. The message may have been handled.
 * - `TIMEOUT`: there was no reply in time. The message may have been handled.
 * - `OFFLINE`: the client was not connected, and nothing was sent.
 * - `QUEUE_FULL`: more messages wait for a connection than `offline` allows.
 * - `CLOSED`: the client was closed.
 * - `SLOW_CONSUMER`: more than `maxQueued` events waited for a `for await`.
 * - `NOT_OVER_HTTP`: this needs a WebSocket.
 * - `NO_WEBSOCKET`: there is no WebSocket class here. Pass the one of `ws`.
 * - An HTTP status, for example `'502'`: something between the client and the server answered.
 */
export class RealtimeError extends Error {
  readonly code: string

  constructor (code: string, message: string) {
    super(message)
    this.name = 'RealtimeError'
    this.code = code
  }
}

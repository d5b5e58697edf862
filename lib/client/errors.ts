/** What a call of the client is refused with. */

/**
 * `code`: the server's (PROTOCOL.md section 5, or a handler's own), or one of the client's. `DISCONNECTED`: the
 * connection was lost before the answer, and whether it was done is not known. `TIMEOUT`: no answer in time, and the
 * same. `OFFLINE`: not connected, and nothing was sent. `QUEUE_FULL`, `CLOSED`, `SLOW_CONSUMER`, `NO_WEBSOCKET`.
 */
export class RealtimeError extends Error {
  readonly code: string

  constructor (code: string, message: string) {
    super(message)
    this.name = 'RealtimeError'
    this.code = code
  }
}

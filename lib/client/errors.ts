/** What a call of the client is refused with. */

/**
 * `code`: the server's (PROTOCOL.md section 5, or a handler's own), or one of the client's. `DISCONNECTED`: the
 * connection was lost before the answer, and whether it was done is not known. `TIMEOUT`: no answer in time, and the
 * same. `OFFLINE`: not connected, and nothing was sent. `NOT_OVER_HTTP`: it takes a WebSocket. `QUEUE_FULL`, `CLOSED`,
 * `SLOW_CONSUMER`, `NO_WEBSOCKET`. An HTTP status (`'502'`): what somebody else has answered in the server's place.
 */
export class RealtimeError extends Error {
  readonly code: string

  constructor (code: string, message: string) {
    super(message)
    this.name = 'RealtimeError'
    this.code = code
  }
}

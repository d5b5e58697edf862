/** The state of a client. */
import { RealtimeError } from './errors.ts'

export type ClientState =
  /** `idle`: nothing is used. `offline`: the browser says that there is no network. `closed`: by `close()`. */
  | { is: 'idle' | 'connecting' | 'open' | 'offline' | 'closed' }
  /** It connects again at `retryAt`, ms since the epoch; `Infinity` while the page is hidden. */
  | { is: 'waiting', retryAt: number }
  /** The server refused this client, and it does not try again. `code`: the server's error code, or the close code. */
  | { is: 'refused', code: string }

/** The error for every further call, if the client is over. */
export function overWith (state: ClientState): RealtimeError | undefined {
  if (state.is === 'closed') return new RealtimeError('CLOSED', 'closed')
  return state.is === 'refused' ? new RealtimeError(state.code, 'not let in') : undefined
}

/** Where a client stands. */
import { RealtimeError } from './errors.ts'

export type ClientState =
  /** `idle`: nobody wants anything. `offline`: there is no network, says the browser. `closed`: by `close()`. */
  | { is: 'idle' | 'connecting' | 'open' | 'offline' | 'closed' }
  /** `retryAt`: ms since the epoch; `Infinity` while the page is hidden. */
  | { is: 'waiting', retryAt: number }
  /** The server does not let it in, and nothing is tried any more. `code`: the server's word, or the close code. */
  | { is: 'refused', code: string }

/** Why nothing can be asked of it any more, if so. */
export function overWith (state: ClientState): RealtimeError | undefined {
  if (state.is === 'closed') return new RealtimeError('CLOSED', 'closed')
  return state.is === 'refused' ? new RealtimeError(state.code, 'not let in') : undefined
}

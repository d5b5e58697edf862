/** Where a client stands. */

export type ClientState =
  /** `idle`: nobody wants anything. `offline`: there is no network, says the browser. `closed`: by `close()`. */
  | { is: 'idle' | 'connecting' | 'open' | 'offline' | 'closed' }
  /** `retryAt`: ms since the epoch; `Infinity` while the page is hidden. */
  | { is: 'waiting', retryAt: number }
  /** The server does not let it in, and nothing is tried any more. `code`: the server's word, or the close code. */
  | { is: 'refused', code: string }

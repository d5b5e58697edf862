/**
 * What the end of a connection means for the client: PROTOCOL.md section 6, and the HTTP statuses with the same
 * meaning.
 */
import type { ServerFrame } from '../protocol.ts'

export type Bye = Extract<ServerFrame, { op: 'bye' }>

/**
 * After these codes a client does not come back, unless a `bye` said otherwise. 1000 is not among them: if it is final,
 * a `bye` has said so, and before the connection is open there is no `bye`.
 */
const FINAL: ReadonlySet<number> = new Set([1007, 1009, 4400, 4403])
/** The server did not receive the client's `open`, although the client always sends it. */
const NOT_HEARD = 4408
/** Refusals that a newer token may change. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 4401, 4403])
const TOO_MANY = 429

export type Verdict =
  /** Come back. */
  | 'again'
  /** Come back with another token. Without a token, what the code means otherwise counts. */
  | 'refused'
  | 'over'

/** `code`: the code of a close frame, an HTTP status, or 0. */
export function verdictOn (code: number, bye: Bye | undefined): Verdict {
  if (REFUSALS.has(code)) return 'refused'
  if (code === NOT_HEARD) return 'again'
  if (bye) return bye.reconnect ? 'again' : 'over'
  const status = code >= 200 && code < 500 && code !== TOO_MANY
  return status || FINAL.has(code) ? 'over' : 'again'
}

/** True if a client without a token may come back all the same: its identity has expired, and is checked again. */
export const mayReturn = (code: number): boolean => code === 4401

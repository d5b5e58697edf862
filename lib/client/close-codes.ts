/** What an end means for the client: PROTOCOL.md section 6, and the HTTP statuses that stand for the same. */
import type { ServerFrame } from '../protocol.ts'

export type Bye = Extract<ServerFrame, { op: 'bye' }>

/**
 * Nobody is to come back after these, unless the server has said otherwise. 1000 is none of them: where it is an end, a
 * `bye` has said so, and before a connection is open there is none.
 */
const FINAL: ReadonlySet<number> = new Set([1007, 1009, 4400, 4403])
/** What this client has said first has not come: it always says it. */
const NOT_HEARD = 4408
/** What a newer token may help with. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 4401, 4403])
const TOO_MANY = 429

export type Verdict =
  /** Come back. */
  | 'again'
  /** Come back with another token; where there is none, as what it says otherwise. */
  | 'refused'
  | 'over'

/** `code`: of a close frame, an HTTP status, or 0. */
export function verdictOn (code: number, bye: Bye | undefined): Verdict {
  if (REFUSALS.has(code)) return 'refused'
  if (code === NOT_HEARD) return 'again'
  if (bye) return bye.reconnect ? 'again' : 'over'
  const status = code >= 200 && code < 500 && code !== TOO_MANY
  return status || FINAL.has(code) ? 'over' : 'again'
}

/** One that stays refused: true where it may be judged anew all the same, as an identity is that has expired. */
export const mayReturn = (code: number): boolean => code === 4401

/** Options of the page's: one that is not known is a mistake, and says so. */
import type { Delays } from './backoff.ts'
import type { TokenSource } from './token.ts'
import type { Wire, WireHost } from './wire.ts'

export interface SessionOptions extends Delays {
  token: TokenSource | undefined
  /** ms until a token that does not come is given up. */
  tokenTimeout: number
  /** ms */
  timeout: number
  /** Messages kept while not connected. */
  offline: number
  /** ms after which a hidden page's connection is let go. */
  hiddenTimeout: number
  dial: (host: WireHost) => Wire
}

/** @throws TypeError */
export function checkOptions (of: string, options: object, known: readonly string[]): void {
  const wrong = Object.keys(options).find((key) => !known.includes(key))
  if (wrong !== undefined) throw new TypeError(`${of}: unknown option "${wrong}"; known: ${known.join()}`)
}

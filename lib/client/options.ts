/** Options of the page's, and their defaults: one that has none is not known, which is a mistake, and says so. */
import type { Delays } from './backoff.ts'
import type { TokenSource } from './token.ts'
import type { Place, Wire, WireHost } from './wire.ts'

/** What a page may say of its client, in ms where it is a time. */
export interface Settings extends Delays, Omit<Place, 'url'> {
  token: TokenSource | undefined
  /** Until a token that does not come is given up. */
  tokenTimeout: number
  /** Messages kept while not connected. */
  offline: number
  /** After which a hidden page's connection is let go. */
  hiddenTimeout: number
}

export interface SessionOptions extends Settings {
  dial: (host: WireHost) => Wire
}

/** @throws TypeError for an option that is not among the defaults */
export function settingsOf<T extends object> (of: string, options: Partial<T>, defaults: T): T {
  const settings = { ...defaults }
  for (const key of Object.keys(options) as Array<keyof T & string>) {
    if (!Object.hasOwn(defaults, key)) {
      throw new TypeError(`${of}: unknown option "${key}"; known: ${Object.keys(defaults).join()}`)
    }
    settings[key] = options[key] ?? settings[key]
  }
  return settings
}

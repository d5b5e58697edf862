/** The page's options and their defaults. An option that has no default here is unknown, and an error. */
import type { Delays } from './backoff.ts'
import { LONGEST_TIMER_MS, type TokenSource } from './token.ts'
import type { Place, Wire, WireHost } from './wire.ts'

/** The settings of a client. Times are in ms. */
export interface Settings extends Delays, Omit<Place, 'url'> {
  token: TokenSource | undefined
  /** How long the client waits for a token. */
  tokenTimeout: number
  /** How many messages are kept while not connected. */
  offline: number
  /** How long a hidden page keeps its connection. */
  hiddenTimeout: number
}

export interface SessionOptions extends Settings {
  dial: (host: WireHost) => Wire
}

/** Options that are numbers are ms or counts. @throws TypeError for an option that is unknown, or is not a number */
export function settingsOf<T extends object> (of: string, options: Partial<T>, defaults: T): T {
  const settings = { ...defaults }
  for (const key of Object.keys(options) as Array<keyof T & string>) {
    if (!Object.hasOwn(defaults, key)) {
      throw new TypeError(`${of}: unknown option "${key}"; known: ${Object.keys(defaults).join()}`)
    }
    const value: unknown = options[key] ?? settings[key]
    if (typeof defaults[key] === 'number' && !(typeof value === 'number' && value >= 0)) {
      throw new TypeError(`${of}: "${key}" must be a number`)
    }
    // A longer timer would fire at once.
    settings[key] = (typeof value === 'number' ? Math.min(value, LONGEST_TIMER_MS) : value) as T[typeof key]
  }
  return settings
}

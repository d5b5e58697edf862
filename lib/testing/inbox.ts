/** What a test client has received. Each event is taken once, in order, by its name or by any. */
import { afterMs } from './clock.ts'

/** One thing that a test client has received. */
export interface Received {
  /** The event's name; `message` for an unnamed one, `realtime:…` for the protocol's own. */
  event: string
  /** The parsed JSON. If it is not JSON: the text, or the bytes. */
  data: unknown
  id?: string
  /** The id of the event before it in its topic (envelope). */
  prev?: string
  /** The full name of its topic (envelope). */
  topic?: string
  /** Its key, in a keyed topic (envelope). */
  key?: string
}

interface Waiter {
  readonly matches: (event: Received) => boolean
  readonly resolve: (event: Received) => void
  readonly end: (why: string) => void
}

/** How long `next()` waits, ms. Test runners give up after 5 s, and its error should come before. */
export const NEXT_TIMEOUT = 2000
/** How many of the last events an error names. */
const MAX_NAMED = 50

export class Inbox {
  /** Everything received so far. */
  readonly events: Received[] = []
  readonly #untaken: Received[] = []
  #waiters: Waiter[] = []
  /** Why nothing more will come. */
  #over: string | undefined
  readonly #timeoutMs: number

  constructor (timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  put (event: Received): void {
    this.events.push(event)
    const index = this.#waiters.findIndex(({ matches }) => matches(event))
    if (index === -1) this.#untaken.push(event)
    else (this.#waiters.splice(index, 1)[0] as Waiter).resolve(event)
  }

  take (name: string | undefined): Promise<Received> {
    const matches = (event: Received): boolean =>
      name === undefined ? !event.event.startsWith('realtime:') : event.event === name
    const index = this.#untaken.findIndex(matches)
    if (index !== -1) return Promise.resolve(this.#untaken.splice(index, 1)[0] as Received)
    const what = name ?? 'any event'
    if (this.#over !== undefined) return Promise.reject(this.#missed(what, this.#over))
    return this.#wait(what, matches)
  }

  #wait (what: string, matches: Waiter['matches']): Promise<Received> {
    const here = new Error()
    return new Promise((resolve, reject) => {
      const stop = afterMs(this.#timeoutMs, () => {
        this.#waiters = this.#waiters.filter((one) => one !== waiter)
        reject(from(here, this.#missed(what, `not within ${this.#timeoutMs} ms`)))
      })
      const settle = <T>(then: (value: T) => void) => (value: T): void => {
        stop()
        then(value)
      }
      const waiter: Waiter = {
        matches,
        resolve: settle(resolve),
        end: settle((why: string) => reject(from(here, this.#missed(what, why))))
      }
      this.#waiters.push(waiter)
    })
  }

  #missed (what: string, why: string): Error {
    const got = this.events.slice(-MAX_NAMED).map(({ event }) => event).join(', ')
    return new Error(`no "${what}": ${why}; received: ${got || 'nothing'}`)
  }

  /** The connection is back, so events can come again. */
  reopen (): void {
    this.#over = undefined
  }

  /** Nothing more will come on this connection. */
  end (why: string): void {
    this.#over = why
    for (const waiter of this.#waiters.splice(0)) waiter.end(why)
  }
}

/** The stack of an error from a timer or a socket does not lead to the test, so it gets the stack of the call. */
function from (here: Error, error: Error): Error {
  const frames = here.stack?.split('\n').slice(1) ?? []
  error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n')
  return error
}

export function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

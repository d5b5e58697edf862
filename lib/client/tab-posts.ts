/** What tabs of one browser say to one another, and the two things of a browser that they need for it. */

/** Pages of two releases may be open at one time: those that do not speak alike share nothing. */
const VERSION = 1

export type Post =
  /** A tab looks for who leads. */
  | { say: 'hello' | 'left' }
  /** Who says so leads from here on, or leads no more. */
  | { say: 'lead' | 'over' }
  | { say: 'welcome' }
  /**
   * To the server: bytes, or JSON text, since what has a function in it cannot be cloned. `at`: when (ms since the
   * epoch).
   */
  | { say: 'said', frame: string | Uint8Array, at: number }
  | { say: 'heard', frame: object }
  | { say: 'down', code: number }

/** `to`: those who are meant; all, where nobody is named. */
type Envelope = { v: typeof VERSION, from: string, to: readonly string[] | undefined }

/** What is used of a BroadcastChannel. */
export interface AnyChannel {
  onmessage: unknown
  postMessage (message: unknown): void
  close (): void
}
interface LockOptions { mode?: 'exclusive' | 'shared', steal?: boolean, signal?: AbortSignal }
/** What is used of `navigator.locks`. */
export interface AnyLocks {
  request (name: string, options: LockOptions, run: () => Promise<void>): Promise<unknown>
}

/** What the tabs have in common: a browser, and what else hides a page. */
export interface Browser {
  readonly locks: AnyLocks
  readonly channel: (name: string) => AnyChannel
  /** The page is frozen, or left. Returns what ends it. */
  readonly onSleep: (run: () => void) => () => void
}

export const nameFor = (url: string, key: string): string => `fastify-realtime/${VERSION} ${JSON.stringify([url, key])}`

export class PostBox {
  readonly id: string
  readonly #channel: AnyChannel

  /** @throws what the browser throws where the page may have no channel */
  constructor (channel: AnyChannel, id: string, each: (post: Post, from: string) => void) {
    this.id = id
    this.#channel = channel
    channel.onmessage = ({ data }: { data: unknown }) => {
      if (isPost(data) && (data.to === undefined || data.to.includes(id))) each(data, data.from)
    }
  }

  post (post: Post, to?: readonly string[]): void {
    this.#channel.postMessage({ ...post, v: VERSION, from: this.id, to } satisfies Post & Envelope)
  }

  close (): void {
    this.#channel.onmessage = null
    this.#channel.close()
  }
}

const FIELDS: Record<Post['say'], (post: Record<string, unknown>) => boolean> = {
  hello: () => true,
  left: () => true,
  lead: () => true,
  over: () => true,
  welcome: () => true,
  said: ({ frame, at }) => (typeof frame === 'string' || frame instanceof Uint8Array) && typeof at === 'number',
  heard: ({ frame }) => typeof frame === 'object' && frame !== null,
  down: ({ code }) => typeof code === 'number'
}

/** The channel is of this origin alone; another release of its pages may say what it likes. */
function isPost (data: unknown): data is Post & Envelope {
  const { v, from, to, say, ...rest } = Object(data) as Record<string, unknown>
  return v === VERSION && typeof from === 'string' && (to === undefined || Array.isArray(to)) &&
    Object.hasOwn(FIELDS, say as string) && FIELDS[say as Post['say']](rest)
}

/**
 * Asks for a lock, and has it until what is returned is called. `held`: it has it. `lost`: it never gets it, or it
 * was taken from it.
 */
export function claim (
  locks: AnyLocks, name: string, options: Omit<LockOptions, 'signal'>, held: () => void, lost: () => void = () => {}
): () => void {
  const stop = new AbortController()
  let letGo = (): void => {}
  const kept = new Promise<void>((resolve) => { letGo = resolve })
  // A signal cannot be given to one who steals.
  const asked = options.steal ? options : { ...options, signal: stop.signal }
  const run = async (): Promise<void> => {
    if (stop.signal.aborted) return
    held()
    await kept
  }
  Promise.resolve(locks.request(name, asked, run)).catch(() => { if (!stop.signal.aborted) lost() })
  return () => {
    stop.abort()
    letGo()
  }
}

/** The messages between tabs of one browser, and the two browser APIs that they need. */

/** Pages of two releases may be open at the same time. Pages with different versions share nothing. */
const VERSION = 1

export type Post =
  /** `hello`: a tab looks for the leader. `left`: a follower has left. */
  | { say: 'hello' | 'left' }
  /** The sender leads from now on, or does not lead any more. */
  | { say: 'lead' | 'over' }
  | { say: 'welcome' }
  /**
   * A frame for the server: bytes, or JSON text, because an object with a function in it cannot be cloned. `at`: when
   * it was sent (ms since the epoch).
   */
  | { say: 'said', frame: string | Uint8Array, at: number }
  | { say: 'heard', frame: object }
  | { say: 'down', code: number }

/** `to`: the receivers. Undefined: all tabs. */
type Envelope = { v: typeof VERSION, from: string, to: readonly string[] | undefined }

/** The used part of a BroadcastChannel. */
export interface AnyChannel {
  onmessage: unknown
  postMessage (message: unknown): void
  close (): void
}
interface LockOptions { mode?: 'exclusive' | 'shared', steal?: boolean, signal?: AbortSignal }
/** The used part of `navigator.locks`. */
export interface AnyLocks {
  request (name: string, options: LockOptions, run: () => Promise<void>): Promise<unknown>
}

/** The parts of the browser that tabs use. */
export interface Browser {
  readonly locks: AnyLocks
  readonly channel: (name: string) => AnyChannel
  /** Calls `run` when the page is frozen or left. Returns what ends it. */
  readonly onSleep: (run: () => void) => () => void
}

export const nameFor = (url: string, key: string): string => `fastify-realtime/${VERSION} ${JSON.stringify([url, key])}`

export class PostBox {
  readonly id: string
  readonly #channel: AnyChannel

  /** @throws what the browser throws if the page may not have a channel */
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

/** Only pages of this origin can use the channel, but those of another release may post anything. */
function isPost (data: unknown): data is Post & Envelope {
  const { v, from, to, say, ...rest } = Object(data) as Record<string, unknown>
  return v === VERSION && typeof from === 'string' && (to === undefined || Array.isArray(to)) &&
    Object.hasOwn(FIELDS, say as string) && FIELDS[say as Post['say']](rest)
}

/**
 * Asks for a lock and keeps it until the returned function is called. `held` is called when the lock is there, `lost`
 * if the lock can never be had or was stolen.
 */
export function claim (
  locks: AnyLocks, name: string, options: Omit<LockOptions, 'signal'>, held: () => void, lost: () => void = () => {}
): () => void {
  const stop = new AbortController()
  let letGo = (): void => {}
  const kept = new Promise<void>((resolve) => { letGo = resolve })
  // A request that steals may not have a signal.
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

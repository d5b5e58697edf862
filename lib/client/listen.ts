/** `listen()`: one SSE stream. Unlike an EventSource it knows statuses, the end, and headers, and it can be stopped. */
import { headerOf } from './bytes.ts'
import { delayOf, FIRST_MS, LONGEST_MS, type Delays } from './backoff.ts'
import { quietly } from './callbacks.ts'
import { EventStreamParser, isEventStream, readText, type StreamBlock } from './event-stream.ts'
import { mayComeBack } from './http-status.ts'
import { settingsOf } from './options.ts'
import { LONGEST_TIMER_MS } from './token.ts'
import { isHidden, watchWake } from './wake.ts'

/** An event of a stream (WHATWG HTML §9.2). */
export interface StreamEvent<Data = unknown> {
  /** The event's name; `message` if it has none. */
  event: string
  /** The parsed JSON; the text if it is not JSON. */
  data: Data
  /** The text as it came. Use it for sources that send text, since a word may look like JSON. */
  text: string
  /** The last id of the stream. */
  id: string
}

/**
 * `waiting`: it connects again at `retryAt` (ms since the epoch). `over`: the stream has ended. `status` is what the
 * server answered (204: there is nothing more; 401, 403, 404 …: this client is refused), or 200 if a source told its
 * end. `stopped`: the page has stopped it.
 */
export type StreamState =
  | { is: 'connecting' | 'open' | 'stopped' }
  | { is: 'waiting', retryAt: number }
  | { is: 'over', status: number }

/** Options of `listen()`. An unknown one is a TypeError. */
export interface ListenOptions {
  /** The function for each event, by the event's name. `message`: events without a name. */
  on: Record<string, (event: StreamEvent) => void>
  /** Called at each change of the state. */
  state?: (state: StreamState) => void
  /** Returns headers, for example with a token. Called for each request. Default: none. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>
  /** The id to resume from. Default: from now on. */
  lastEventId?: string
  /** Stops the stream when it aborts. */
  signal?: AbortSignal
  /**
   * How long a stream may send nothing, not even a heartbeat, ms. Then it is given up and opened again. Set it longer
   * than the server's `heartbeat` (25000). 0: it is never given up. Default 60000.
   */
  heartbeat?: number
  /** As in `connect()`, ms. For the first attempt the stream's own `retry:` counts. Default 1000. */
  firstDelay?: number
  /** The longest delay before any attempt to reconnect, ms. Default 30000. */
  longestDelay?: number
  /** The `fetch` to use. Default: the global one. */
  fetch?: typeof fetch
}

type Settings = Required<{ [K in keyof ListenOptions]: ListenOptions[K] | undefined }> & Delays &
  Pick<ListenOptions, 'on'> & { lastEventId: string, heartbeat: number }

const DEFAULTS: Settings = {
  on: {},
  state: undefined,
  headers: undefined,
  lastEventId: '',
  signal: undefined,
  heartbeat: 60_000,
  firstDelay: FIRST_MS,
  longestDelay: LONGEST_MS,
  fetch: undefined
}
/** A stream that has lived this long counts as a good one: the delays start anew after it. */
const GOOD_MS = 10_000
const END = /^realtime:(end|aborted)$/

/**
 * Hears a stream until it is over. After each lost connection it connects again and resumes from the last id. Returns a
 * function that stops it.
 * @throws TypeError for a wrong option
 */
export function listen (url: string | URL, options: ListenOptions): () => void {
  const stream = new Stream(url, settingsOf('listen', options, DEFAULTS))
  if (options.signal?.aborted) stream.stop()
  else stream.open()
  return () => stream.stop()
}

class Stream {
  readonly #url: string | URL
  readonly #options: Settings
  readonly #abort = (): void => this.stop()
  #id: string
  #retry: number | undefined
  #attempt = 0
  #openedAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Undefined while it waits for its next attempt. */
  #request: AbortController | undefined
  /** Undefined when it is over, or stopped. */
  #unwatch: (() => void) | undefined
  #silence: ReturnType<typeof setTimeout> | undefined

  constructor (url: string | URL, options: Settings) {
    this.#url = url
    this.#options = options
    this.#id = options.lastEventId
    options.signal?.addEventListener('abort', this.#abort)
    this.#unwatch = watchWake({ awake: (slept) => this.#awake(slept), hidden: () => {}, offline: () => {} })
  }

  open (): void {
    this.#drop()
    const request = this.#request = new AbortController()
    this.#alive()
    this.#tell({ is: 'connecting' })
    if (request.signal.aborted) return
    const done = (status: number): void => {
      if (this.#request !== request) return
      if (mayComeBack(status)) this.#lost()
      else this.#end({ is: 'over', status })
    }
    this.#read(request.signal).then(done, () => done(0))
  }

  /** Resolves with the status, or with 0 if the connection was lost. */
  async #read (signal: AbortSignal): Promise<number> {
    const own = await this.#options.headers?.()
    if (signal.aborted) return 0
    const from = this.#id === '' ? {} : { 'last-event-id': headerOf(this.#id) }
    const headers = { accept: 'text/event-stream', ...from, ...own }
    const response = await (this.#options.fetch ?? fetch)(this.#url, { headers, signal, cache: 'no-store' })
    const { status, body } = response
    if (signal.aborted || !isEventStream(response)) {
      body?.cancel().catch(() => {})
      return status === 200 ? 0 : status
    }
    this.#alive()
    this.#openedAt = Date.now()
    this.#tell({ is: 'open' })
    let over = false
    const parser = new EventStreamParser((block) => { if (!over && !signal.aborted) over = this.#hear(block) })
    await readText(response, signal, (text) => {
      this.#alive()
      parser.push(text)
      return !over
    })
    return over ? 200 : 0
  }

  /** A stream cannot be asked whether it is alive, so it counts as lost after too long a silence. */
  #alive (): void {
    clearTimeout(this.#silence)
    const { heartbeat } = this.#options
    if (heartbeat > 0) this.#silence = setTimeout(() => this.#lost(), heartbeat)
  }

  /** True if nothing follows. */
  #hear ({ event, data, id, retry }: StreamBlock): boolean {
    if (retry !== undefined) this.#retry = retry
    if (id !== undefined) this.#id = id
    if (data === undefined) return false
    const { on } = this.#options
    const run = Object.hasOwn(on, event) ? on[event] : undefined
    if (run) quietly(() => run({ event, data: parsed(data), text: data, id: this.#id }))
    return END.test(event)
  }

  #lost (): void {
    this.#drop()
    const attempt = this.#attempt++
    const wanted = attempt === 0 ? this.#retry : undefined
    const delay = Math.min(wanted ?? delayOf(attempt, this.#options), LONGEST_TIMER_MS)
    this.#timer = setTimeout(() => this.open(), delay)
    this.#tell({ is: 'waiting', retryAt: Date.now() + delay })
  }

  /** Drops the present request. What still comes of it is ignored. */
  #drop (): void {
    if (this.#openedAt > 0 && Date.now() - this.#openedAt > GOOD_MS) this.#attempt = 0
    this.#openedAt = 0
    clearTimeout(this.#timer)
    clearTimeout(this.#silence)
    this.#request?.abort()
    this.#request = undefined
  }

  /** A stream without an id may be a source, which would begin anew. Such a stream waits for its heartbeat. */
  #awake (slept: boolean): void {
    // The timers of a hidden page are so slow that it seems to sleep all the time.
    if (isHidden() || (this.#request && !(slept && this.#id !== ''))) return
    this.#attempt = 0
    this.open()
  }

  stop (): void {
    this.#end({ is: 'stopped' })
  }

  #end (state: StreamState): void {
    if (!this.#unwatch) return
    this.#drop()
    this.#unwatch()
    this.#unwatch = undefined
    this.#options.signal?.removeEventListener('abort', this.#abort)
    this.#tell(state)
  }

  #tell (state: StreamState): void {
    const { state: told } = this.#options
    if (told) quietly(() => told(state))
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** `listen()`: one SSE stream, with what an EventSource leaves to the page: statuses, ends, headers, and a stop. */
import { headerOf } from './bytes.ts'
import { delayOf, FIRST_MS, LONGEST_MS, type Delays } from './backoff.ts'
import { quietly } from './callbacks.ts'
import { EventStreamParser, isEventStream, readText, type StreamBlock } from './event-stream.ts'
import { mayComeBack } from './http-status.ts'
import { settingsOf } from './options.ts'
import { LONGEST_TIMER_MS } from './token.ts'

export interface StreamEvent<Data = unknown> {
  event: string
  /** Parsed where it is JSON, else the text. */
  data: Data
  /** As it came: of a source that speaks text a word may look like JSON. */
  text: string
  /** The last id that the stream has said. */
  id: string
}

/**
 * `waiting`: it comes back at `retryAt` (ms since the epoch). `over`: the stream has ended; `status` is what the server
 * answered (204: there is nothing more; 401, 403, 404 …: it does not let this client in), or 200 where a source has
 * said its end. `stopped`: by the page.
 */
export type StreamState =
  | { is: 'connecting' | 'open' | 'stopped' }
  | { is: 'waiting', retryAt: number }
  | { is: 'over', status: number }

export interface ListenOptions {
  /** What is called for each event, by its name. `message`: those without a name. */
  on: Record<string, (event: StreamEvent) => void>
  /** Called at each change. */
  state?: (state: StreamState) => void
  /** Headers of each request, asked for anew each time: a token, say. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>
  /** Where it goes on: an id of before. */
  lastEventId?: string
  signal?: AbortSignal
  /** As in `connect`. The stream's own `retry:` counts for the first attempt. Default 1000. */
  firstDelay?: number
  /** ms. Default 30000. */
  longestDelay?: number
  fetch?: typeof fetch
}

type Settings = Required<{ [K in keyof ListenOptions]: ListenOptions[K] | undefined }> & Delays &
  Pick<ListenOptions, 'on'> & { lastEventId: string }

const DEFAULTS: Settings = {
  on: {},
  state: undefined,
  headers: undefined,
  lastEventId: '',
  signal: undefined,
  firstDelay: FIRST_MS,
  longestDelay: LONGEST_MS,
  fetch: undefined
}
/** A stream that has lived for so long was a good one. */
const GOOD_MS = 10_000
const ENDS: ReadonlySet<string> = new Set(['realtime:end', 'realtime:aborted'])

/**
 * Hears a stream until it is over, and comes back after each lost connection from the last id. Returns what stops it.
 * @throws TypeError for a wrong option
 */
export function listen (url: string | URL, options: ListenOptions): () => void {
  const stream = new Stream(url, settingsOf('listen', options, DEFAULTS))
  stream.open()
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
  #request: AbortController | undefined
  #ended = false

  constructor (url: string | URL, options: Settings) {
    this.#url = url
    this.#options = options
    this.#id = options.lastEventId
    options.signal?.addEventListener('abort', this.#abort)
    if (options.signal?.aborted) this.#ended = true
  }

  open (): void {
    if (this.#ended) return
    this.#tell({ is: 'connecting' })
    const request = this.#request = new AbortController()
    const done = (status: number): void => {
      if (this.#ended || this.#request !== request) return
      if (mayComeBack(status)) this.#comeBack()
      else this.#end({ is: 'over', status })
    }
    this.#read(request.signal).then(done, () => done(0))
  }

  /** Resolves with the status; with 0 where the connection was lost. */
  async #read (signal: AbortSignal): Promise<number> {
    const own = await this.#options.headers?.()
    const from = this.#id === '' ? {} : { 'last-event-id': headerOf(this.#id) }
    const headers = { accept: 'text/event-stream', ...from, ...own }
    const response = await (this.#options.fetch ?? fetch)(this.#url, { headers, signal, cache: 'no-store' })
    const { status, body } = response
    if (this.#ended) return 0
    if (!isEventStream(response)) {
      body?.cancel().catch(() => {})
      return status === 200 ? 0 : status
    }
    this.#openedAt = Date.now()
    this.#tell({ is: 'open' })
    let over = false
    const parser = new EventStreamParser((block) => { over = this.#hear(block) || over })
    await readText(response, (text) => {
      if (!this.#ended) parser.push(text)
      return !over && !this.#ended
    })
    return over ? 200 : 0
  }

  /** True: nothing follows. */
  #hear ({ event, data, id, retry }: StreamBlock): boolean {
    if (retry !== undefined) this.#retry = retry
    if (id !== undefined) this.#id = id
    if (data === '' && event === 'message') return false
    if (Date.now() - this.#openedAt > GOOD_MS) this.#attempt = 0
    const { on } = this.#options
    const run = this.#ended || !Object.hasOwn(on, event) ? undefined : on[event]
    if (run) quietly(() => run({ event, data: parsed(data), text: data, id: this.#id }))
    return ENDS.has(event)
  }

  #comeBack (): void {
    if (Date.now() - this.#openedAt > GOOD_MS) this.#attempt = 0
    const wanted = this.#attempt === 0 ? this.#retry : undefined
    const delay = Math.min(wanted ?? delayOf(this.#attempt, this.#options), LONGEST_TIMER_MS)
    this.#attempt++
    this.#tell({ is: 'waiting', retryAt: Date.now() + delay })
    this.#timer = setTimeout(() => this.open(), delay)
  }

  stop (): void {
    this.#end({ is: 'stopped' })
  }

  #end (state: StreamState): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    this.#request?.abort()
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

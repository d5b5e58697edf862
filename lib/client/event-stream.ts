/** Reads `text/event-stream` (WHATWG HTML, section 9.2.6). */

/** Another content type is a page of a proxy or an app, which is sent when the stream is not available. */
const STREAM = /^text\/event-stream\b/i

export function isEventStream ({ status, headers }: Response): boolean {
  return status === 200 && STREAM.test(headers.get('content-type') ?? '')
}

/**
 * Reads text to the end, or until `hear` returns false or `signal` aborts. Then it cancels the body itself, because an
 * app's own `fetch` may ignore the signal.
 */
export async function readText (
  { body }: Response, signal: AbortSignal, hear: (text: string) => boolean
): Promise<void> {
  const reader = body?.getReader()
  const letGo = (): void => { reader?.cancel().catch(() => {}) }
  signal.addEventListener('abort', letGo)
  const decoder = new TextDecoder()
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    if (!signal.aborted && hear(decoder.decode(part.value, { stream: true }))) continue
    letGo()
    return
  }
}

export interface StreamBlock {
  event: string
  /** Undefined if the block has no data. Then it is no event. */
  data: string | undefined
  id: string | undefined
  retry: number | undefined
}

/** Takes text in pieces, and calls back for each complete block. */
export class EventStreamParser {
  #rest = ''
  #block: Partial<StreamBlock> = {}
  readonly #data: string[] = []
  readonly #each: (block: StreamBlock) => void
  #started = false

  constructor (each: (block: StreamBlock) => void) {
    this.#each = each
  }

  push (text: string): void {
    this.#rest += text
    if (!this.#started && this.#rest !== '') {
      this.#started = true
      this.#rest = this.#rest.replace(/^\uFEFF/, '')
    }
    // A CR at the end may be half of a CRLF.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/)
    this.#rest = lines.pop() as string
    for (const line of lines) this.#line(line)
  }

  #line (line: string): void {
    if (line === '') return this.#end()
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#block.event = value
    else if (field === 'id' && !value.includes('\0')) this.#block.id = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.#block.retry = Number(value)
  }

  /** Reports also a block without data, because it may move the position. */
  #end (): void {
    const { event = '', id, retry } = this.#block
    this.#block = {}
    const data = this.#data.length > 0 ? this.#data.join('\n') : undefined
    this.#each({ event: event || 'message', data, id, retry })
    this.#data.length = 0
  }
}

/** A stream (PROTOCOL.md, section 2). */
import { headerOf } from '../../client/bytes.ts'
import { EventStreamParser, isEventStream, readText, type StreamBlock } from '../../client/event-stream.ts'
import { MARK } from './api.ts'
import { MAX_BODY, NotOpen, parsed, type Carrier, type CarrierHost } from './carrier.ts'

export class StreamCarrier implements Carrier {
  readonly #host: CarrierHost
  readonly #abort = new AbortController()

  constructor (host: CarrierHost) {
    this.#host = host
    this.#open().catch((error: unknown) => {
      this.close()
      host.cut('connection lost', String(error))
    })
  }

  close (): void { this.#abort.abort() }
  send (): void { throw new NotOpen() }
  join (): void { throw new NotOpen() }

  async #open (): Promise<void> {
    const { plan: { method, url, headers, body }, cursors } = this.#host
    const cursor = cursors.get('')
    const response = await fetch(url, {
      method,
      signal: this.#abort.signal,
      cache: 'no-store',
      headers: {
        accept: 'text/event-stream',
        ...headers,
        ...body !== undefined && { 'content-type': 'application/json' },
        ...cursor !== undefined && { 'last-event-id': headerOf(cursor) },
        [MARK]: this.#host.mark()
      },
      ...body !== undefined && { body: JSON.stringify(body) }
    })
    if (!isEventStream(response)) {
      return this.#host.cut(`answered ${response.status}`, (await response.text()).slice(0, MAX_BODY))
    }
    this.#host.opened(`open: ${response.status}`)
    const parser = new EventStreamParser((block) => this.#hear(block))
    await readText(response, this.#abort.signal, (text) => {
      parser.push(text)
      return true
    })
    this.#host.cut('ended by the server', '')
  }

  #hear ({ event, data, id, retry }: StreamBlock): void {
    if (id !== undefined && id !== '') this.#host.cursors.set('', id)
    if (retry !== undefined) {
      this.#host.heard({ name: `retry: ${retry} ms`, data: '', raw: `retry: ${retry}`, frame: true })
    }
    if (data === undefined) return
    const raw = rawBlock(event, data, id)
    const frame = event.startsWith('realtime:')
    this.#host.heard({ name: event, data: parsed(data), raw, frame, ...id !== undefined && { id } })
  }
}

function rawBlock (event: string, data: string, id: string | undefined): string {
  const lines = data.split('\n').map((line) => `data: ${line}`)
  return [...id === undefined ? [] : [`id: ${id}`], `event: ${event}`, ...lines].join('\n')
}

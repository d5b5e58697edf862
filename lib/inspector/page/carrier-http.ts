/** A channel over HTTP: a stream that is opened by POST, and a POST for each message (PROTOCOL.md 4.9). */
import { EventStreamParser, isEventStream, readText } from '../../client/event-stream.ts'
import { MARK } from './api.ts'
import { MAX_BODY, NotOpen, parsed, type Carrier, type CarrierHost } from './carrier.ts'
import { frameOf, heardOf, move } from './frames.ts'

const STREAM = 'text/event-stream'

export class HttpCarrier implements Carrier {
  readonly #host: CarrierHost
  readonly #messages = new AbortController()
  #stream = new AbortController()
  /** The id that the stream was told: a relayed message leaves its own sender out by it. */
  #connection = ''
  /** What `bye` has said. */
  #bye = ''
  #open = false

  constructor (host: CarrierHost) {
    this.#host = host
    this.#start()
  }

  close (): void {
    this.#stream.abort()
    this.#messages.abort()
  }

  send (event: string, data: unknown): void {
    if (this.#connection === '') throw new NotOpen()
    const frame = { event, data, connection: this.#connection }
    this.#post(event, frame, 'application/json', this.#messages.signal)
      .then(async (response) => this.#answered(response.status, await response.text()))
      .catch((error: unknown) => this.#host.heard({ name: 'no answer', data: String(error), raw: '', frame: true }))
  }

  /** Topics are named by `open` alone: another stream takes the place of this one, from where the client is. */
  join (): void {
    this.#stream.abort()
    this.#start()
  }

  #start (): void {
    const stream = this.#stream = new AbortController()
    this.#bye = ''
    this.#open = false
    this.#listen(stream).catch((error: unknown) => this.#over(stream, 'connection lost', String(error)))
  }

  async #listen (stream: AbortController): Promise<void> {
    const { plan: { join }, cursors } = this.#host
    const frame = { op: 'open', cursors: Object.fromEntries(cursors), ...join.length > 0 && { topics: join } }
    const response = await this.#post('open', frame, STREAM, stream.signal)
    if (!isEventStream(response)) {
      return this.#over(stream, `answered ${response.status}`, (await response.text()).slice(0, MAX_BODY))
    }
    this.#open = true
    this.#host.opened(`open: ${response.status}`)
    const parser = new EventStreamParser(({ data }) => { if (data && !stream.signal.aborted) this.#hear(data) })
    await readText(response, stream.signal, (text) => {
      parser.push(text)
      return true
    })
    this.#over(stream, this.#bye || 'ended by the server', '')
  }

  /** One that was let go for another is not told. */
  #over (stream: AbortController, how: string, why: string): void {
    if (stream.signal.aborted) return
    stream.abort()
    this.#open = false
    this.#host.cut(this.#bye || how, this.#bye ? '' : why)
  }

  async #post (name: string, frame: object, accept: string, signal: AbortSignal): Promise<Response> {
    const { url, headers } = this.#host.plan
    const body = JSON.stringify(frame)
    const { pathname, search } = new URL(url)
    this.#host.said(name, frame, `POST ${pathname}${search}\n${body}`)
    return await fetch(url, {
      method: 'POST',
      body,
      signal,
      cache: 'no-store',
      headers: {
        ...headers,
        accept,
        'content-type': 'application/json',
        ...accept === STREAM && { [MARK]: this.#host.mark() }
      }
    })
  }

  #hear (data: string): void {
    const frame = frameOf(data)
    const { op, connection, code, reason } = frame
    if (op === 'open') this.#connection = String(connection)
    if (op === 'bye') this.#bye = `closed: ${String(code)} ${String(reason)}`
    move(this.#host.cursors, frame)
    this.#host.heard(heardOf(frame, `data: ${data}`))
  }

  #answered (status: number, text: string): void {
    const fine = status >= 200 && status < 300
    const shown = text.slice(0, MAX_BODY)
    this.#host.heard({
      name: fine ? 'reply' : `error: ${status}`, data: parsed(shown), raw: `${status}\n${shown}`, frame: true
    })
  }
}

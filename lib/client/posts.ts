/** Messages over HTTP. They are sent one after the other, so that their order is kept as over a WebSocket. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { refusalOf, request } from './request.ts'
import type { Place } from './wire.ts'

export type Message = Extract<ClientFrame, { event: string }>

/** At most so many messages wait. Above it they are refused. */
const MOST = 1000

export interface PostsHost {
  readonly token: string | undefined
  /** The id of the client's stream. */
  readonly connection: string
  answered (frame: ServerFrame): void
  /** No message is on its way any more. */
  free (): void
}

export class Posts {
  readonly #place: Place
  readonly #host: PostsHost
  readonly #waiting: Array<Message | Uint8Array<ArrayBuffer>> = []
  #abort: AbortController | undefined
  /** True if the message on its way expects no reply, such as a relay. */
  #hint = false

  constructor (place: Place, host: PostsHost) {
    this.#place = place
    this.#host = host
  }

  /** True if a message is on its way that the server may relay to this client's own streams. */
  get relaying (): boolean { return this.#abort !== undefined && this.#hint }

  add (message: Message | Uint8Array): void {
    if (this.#waiting.length < MOST) {
      // A copy, because the page may reuse its buffer.
      this.#waiting.push(message instanceof Uint8Array ? new Uint8Array(message) : message)
    } else if ('ref' in message) this.#refuse(message, 'QUEUE_FULL', 'too many wait')
  }

  /** Sends the next message, unless one is on its way. */
  next (): void {
    const message = this.#abort ? undefined : this.#waiting.shift()
    if (!message) return
    const abort = this.#abort = new AbortController()
    this.#hint = !('ref' in message)
    const timer = setTimeout(() => abort.abort(), this.#place.timeout)
    const done = (): void => {
      clearTimeout(timer)
      if (this.#abort !== abort) return
      this.#abort = undefined
      this.#host.free()
    }
    this.#send(message, abort)
      .catch(() => this.#refuse(message, 'DISCONNECTED', 'no answer'))
      .finally(done)
  }

  async #send (message: Message | Uint8Array<ArrayBuffer>, { signal }: AbortController): Promise<void> {
    const { token, connection } = this.#host
    const body = message instanceof Uint8Array ? message : JSON.stringify({ ...message, ref: undefined, connection })
    const response = await request(this.#place, { body, token, accept: 'application/json', signal })
    if (response.ok) return this.#answer(message, await response.json())
    const { status, code, message: text } = await refusalOf(response)
    this.#refuse(message, code || String(status), text)
  }

  #answer (message: Message | Uint8Array, data: unknown): void {
    if ('ref' in message && message.ref !== undefined) this.#host.answered({ op: 'reply', ref: message.ref, data })
  }

  #refuse (message: Message | Uint8Array, code: string, text: string): void {
    if ('ref' in message) this.#host.answered({ op: 'error', ref: message.ref, code, message: text })
  }

  close (): void {
    this.#waiting.length = 0
    this.#abort?.abort()
    this.#abort = undefined
  }
}

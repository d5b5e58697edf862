/** Messages that wait for their answer, and those that wait to be sent. */
import type { ClientFrame } from '../protocol.ts'
import { RealtimeError } from './errors.ts'

type Message = Extract<ClientFrame, { event: string }>

interface Ask {
  readonly frame: ClientFrame & { ref: number }
  readonly resolve: (data: unknown) => void
  readonly reject: (error: Error) => void
  timer: ReturnType<typeof setTimeout> | undefined
  /** True if the message may be sent again. It has a `key`, by which its handler knows it again. */
  readonly again: boolean
  sent: boolean
}

function why ({ again, sent }: Ask): [code: string, message: string] {
  if (again) return ['QUEUE_FULL', 'too many wait']
  return sent ? ['DISCONNECTED', 'connection lost'] : ['OFFLINE', 'not connected']
}

export class Asks {
  readonly #asks = new Map<number, Ask>()
  readonly #timeout: number
  readonly #offline: number
  #refs = 0
  /** Identifies this client, so that two clients never use the same key. */
  readonly #id = `${Date.now()}${Math.random()}`

  /** `timeout`: ms until an answer is given up. `offline`: messages kept while not connected. */
  constructor (timeout: number, offline: number) {
    this.#timeout = timeout
    this.#offline = offline
  }

  get size (): number { return this.#asks.size }

  message (event: string, data: unknown, topic: string | undefined): Promise<unknown> {
    const key = this.#offline > 0 ? { key: `${this.#id}-${this.#refs}` } : {}
    return this.ask({ event, data, ...topic !== undefined && { topic }, ...key } as Message, this.#offline > 0)
  }

  ask (frame: ClientFrame, again = false): Promise<unknown> {
    const ref = ++this.#refs
    // Throws now if the frame cannot be JSON, before any state changes.
    JSON.stringify(frame)
    return new Promise((resolve, reject) => {
      const ask: Ask = { frame: { ...frame, ref }, resolve, reject, again, sent: false, timer: undefined }
      this.#asks.set(ref, ask)
      // A message that is kept has no timeout until it is sent.
      if (!again) this.#limit(ask)
    })
  }

  #limit (ask: Ask): void {
    clearTimeout(ask.timer)
    const late = new RealtimeError('TIMEOUT', 'no answer')
    ask.timer = setTimeout(() => this.answer(ask.frame.ref, undefined, late), this.#timeout)
  }

  /** Sends the messages that are not sent yet. */
  flush (send: (frame: ClientFrame) => void): void {
    for (const ask of this.#asks.values()) {
      if (ask.sent) continue
      ask.sent = true
      if (ask.again) this.#limit(ask)
      send(ask.frame)
    }
  }

  /** False if no message has this ref. */
  answer (ref: unknown, data: unknown, error?: Error): boolean {
    const ask = this.#asks.get(ref as number)
    if (!ask) return false
    this.#asks.delete(ref as number)
    clearTimeout(ask.timer)
    if (error) ask.reject(error)
    else ask.resolve(data)
    return true
  }

  /** The connection is lost, and does not return at once. Messages that may be sent again are kept, up to `offline`. */
  lost (): void {
    let kept = 0
    for (const [ref, ask] of this.#asks) {
      if (ask.again && ++kept <= this.#offline) {
        ask.sent = false
        clearTimeout(ask.timer)
      } else this.answer(ref, undefined, new RealtimeError(...why(ask)))
    }
  }

  end (error: Error): void {
    for (const ref of [...this.#asks.keys()]) this.answer(ref, undefined, error)
  }
}

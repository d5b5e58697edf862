/**
 * Requests with a body that are not answered yet. A client that sends half of its body, an answer that nobody reads and
 * a handler that never settles would keep `app.close()` waiting: nothing else ends them.
 */
import type { onRequestHookHandler } from 'fastify'

interface Answer {
  destroy (): void
  once (event: 'close', listener: () => void): void
}

export class OpenPosts {
  readonly #open = new Set<Answer>()

  /** For routes of ours that take a body. */
  readonly onRequest: onRequestHookHandler = ({ method }, { raw }, done): void => {
    if (method === 'POST') this.#add(raw)
    done()
  }

  #add (answer: Answer): void {
    this.#open.add(answer)
    answer.once('close', () => this.#open.delete(answer))
  }

  /** Those that are still there when the time is up are cut. */
  close (timeoutMs: number): void {
    setTimeout(() => {
      for (const answer of this.#open) answer.destroy()
    }, timeoutMs).unref()
  }
}

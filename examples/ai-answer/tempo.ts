/** How fast an answer is spoken. */
import { setTimeout as wait } from 'node:timers/promises'

export interface Tempo {
  /** Before the first token. Rejects when `signal` is aborted. */
  think (signal: AbortSignal): Promise<unknown>
  /** Before each token. Rejects when `signal` is aborted. */
  speak (token: string, signal: AbortSignal): Promise<unknown>
}

/** About thirty tokens per second, with a breath where a sentence ends. */
export const talking: Tempo = {
  think: signal => wait(900, undefined, { signal }),
  speak: (token, signal) => wait(/[.?!\n]/.test(token) ? 110 : 18 + 2.5 * token.length, undefined, { signal })
}

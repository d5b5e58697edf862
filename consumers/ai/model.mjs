// A language model that speaks when a test tells it to, and what it says.

/** What a parser, an encoding or a format might stumble over: half a surrogate pair, line ends, the format's own words. */
export const WORDS = [
  'Fish ', 'need ', 'water', ': \ud83d', '\udc1f!\r\n', '\n\ndata: [DONE]\n\n', 'id: 7\r', '\u2028\u0000"', '\\u0041 ', '', '[DONE]', ' é\u0301 ', 'The end.\n'
]
export const ANSWER = WORDS.join('')

export const first = (count) => WORDS.slice(0, count).join('')

export class Model {
  /** Answers that were begun. */
  runs = 0
  /** Answers that were told to stop. */
  stopped = 0
  #said = 0
  #failure
  #waiting = new Set()
  #changed = () => {}

  /** It may say so many words more. */
  say (count = WORDS.length) {
    this.#said += count
    this.#wake()
  }

  fail () {
    this.#failure = Object.assign(new Error('the model is gone'), { statusCode: 402 })
    this.#wake()
  }

  mend () {
    this.#failure = undefined
  }

  /** Resolves when so many answers were told to stop. */
  async stops (count = 1) {
    while (this.stopped < count) await new Promise((resolve) => { this.#changed = resolve })
  }

  #wake () {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  async * answer (signal) {
    this.runs++
    const stop = () => {
      this.stopped++
      this.#changed()
      this.#wake()
    }
    signal?.addEventListener('abort', stop)
    for (const [n, word] of WORDS.entries()) {
      while (n >= this.#said && !signal?.aborted && !this.#failure) await new Promise((resolve) => this.#waiting.add(resolve))
      if (this.#failure) throw this.#failure
      if (signal?.aborted) return
      yield word
    }
    signal?.removeEventListener('abort', stop)
  }
}

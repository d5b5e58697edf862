/** What a client has told in one trial, beside what it should. The first fault is the end of the trial. */
import { isDeepStrictEqual } from 'node:util'
import type { ClientSaw } from './client-contract.ts'

const UNCHECKED = 'open'

export class ClientWatch {
  readonly #expected: readonly ClientSaw[]
  readonly #timeout: number
  readonly #told: ClientSaw[] = []
  #waiting: Array<{ count: number, run: () => void }> = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #fail: (error: Error) => void = () => {}
  /** Rejects with the first fault. */
  readonly failed: Promise<never>
  #fault: Error | undefined
  #leaving = false

  constructor (expected: readonly ClientSaw[], timeout: number) {
    this.#expected = expected
    this.#timeout = timeout
    this.failed = new Promise((_resolve, reject) => { this.#fail = reject })
    this.failed.catch(() => {})
    this.moved()
  }

  get over (): boolean { return this.#fault !== undefined }

  tell (saw: ClientSaw): void {
    if (saw.saw === UNCHECKED || this.over || this.#leaving) return
    const expected = this.#expected[this.#told.length]
    this.#told.push(saw)
    if (!expected) return this.fault(`it told one more: ${shown(saw)}`)
    if (!fits(saw, expected)) return this.fault(`it told ${shown(saw)}, where ${shown(expected)} was to come`)
    this.moved()
    const due = this.#waiting.filter(({ count }) => count <= this.#told.length)
    this.#waiting = this.#waiting.filter((one) => !due.includes(one))
    for (const { run } of due) run()
  }

  /** Resolves when the client has told so many. */
  async told (count: number): Promise<void> {
    if (this.#told.length >= count) return
    await new Promise<void>((resolve) => { this.#waiting.push({ count, run: resolve }) })
  }

  /** Resolves when the client has told all of it. */
  async all (): Promise<void> { await Promise.race([this.told(this.#expected.length), this.failed]) }

  /** Something has happened: the time for the next thing begins anew. */
  moved (): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const next = this.#expected[this.#told.length]
      this.fault(next ? `nothing more came; missing: ${shown(next)}` : 'it did not come to an end')
    }, this.#timeout)
  }

  fault (what: string): void {
    if (this.over) return
    this.#fault = new Error(`${what}\nit has told: ${this.#told.map(shown).join(' ')}`)
    this.end()
    this.#fail(this.#fault)
  }

  /** The client is told to end: what it says of that is its own affair. */
  leave (): void { this.#leaving = true }

  /** @throws the first fault */
  check (): void { if (this.#fault) throw this.#fault }

  end (): void { clearTimeout(this.#timer) }
}

/** `topic` may be left out, and so may a `code` for which the server had no word. */
function fits (saw: ClientSaw, expected: ClientSaw): boolean {
  const told = new Map<string, unknown>(Object.entries(saw).filter(([, value]) => value != null))
  const due = new Map<string, unknown>(Object.entries(expected))
  if (!due.has('code')) told.delete('code')
  if (!told.has('topic')) due.delete('topic')
  if (!due.has('topic')) told.delete('topic')
  return isDeepStrictEqual(told, due)
}

const shown = (value: unknown): string => JSON.stringify(value)

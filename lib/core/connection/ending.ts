/** Tells the app of a connection's end, by a signal and by a callback. */
import type { CloseReason } from '../close-reasons.ts'

export class Ending {
  #abort: AbortController | undefined
  #callback: ((reason: CloseReason) => void) | undefined
  #reason: CloseReason | undefined
  #told = false

  /** The controller is made when the signal is first asked for: most connections never need one. */
  get signal (): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.#reason) this.#abort.abort(this.#reason)
    }
    return this.#abort.signal
  }

  /** Runs the callback once, also if the end has been told already. */
  whenTold (callback: (reason: CloseReason) => void): void {
    if (this.#told && this.#reason) callback(this.#reason)
    else this.#callback = callback
  }

  /** The connection has ended. The app is told later, by `tell`. */
  set (reason: CloseReason): void {
    this.#reason = reason
  }

  /** `run`: runs app code in the async context of the connection's request. */
  tell (reason: CloseReason, run: ((code: () => void) => void) | undefined): void {
    this.#told = true
    if (!this.#abort && !this.#callback) return
    const tell = (): void => {
      this.#abort?.abort(reason)
      this.#callback?.(reason)
    }
    if (run) run(tell)
    else tell()
  }
}

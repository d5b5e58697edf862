/** What the app sends while it accepts the connection: it goes out behind the opening. */
import type { Notice } from '../wire.ts'

/** Sends that may wait for a connection to begin. */
const MAX_EARLY = 1024
/** Shared by all connections that have none: most never do. */
const NONE: readonly never[] = []

export class Early {
  #notices: readonly Notice[] = NONE

  /** False when it was one too many. */
  add (notice: Notice): boolean {
    this.#notices = [...this.#notices, notice]
    return this.#notices.length <= MAX_EARLY
  }

  /** All of them, in order. */
  take (): readonly Notice[] {
    const notices = this.#notices
    this.#notices = NONE
    return notices
  }
}

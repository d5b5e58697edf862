/** What the app sends before the connection has begun. It is written after the opening. */
import type { Notice } from '../wire.ts'

/** How many notices may wait. One more ends the connection. */
const MAX_EARLY = 1024
/** Shared by all connections without such notices, which are most. */
const NONE: readonly never[] = []

export class Early {
  #notices: readonly Notice[] = NONE

  /** False if there are too many. */
  add (notice: Notice): boolean {
    this.#notices = [...this.#notices, notice]
    return this.#notices.length <= MAX_EARLY
  }

  /** Returns all notices in order, and forgets them. */
  take (): readonly Notice[] {
    const notices = this.#notices
    this.#notices = NONE
    return notices
  }
}

/** A client's position in a topic's linked log. Each event names the one before it, and the client checks that. */

/** How often an event may not link to one position before the missing events count as lost. */
const TRIES = 2

export type Step =
  /** The event links to the last one. */
  | 'next'
  /** The event is the last one, repeated. */
  | 'twice'
  /** Events are missing. The client resumes from its position. */
  | 'gap'
  /** Events are missing, and resuming did not bring them. */
  | 'lost'

/** The members of a protocol frame that name a position. */
interface Standing { op: string, id?: string | undefined, recovered?: boolean | undefined }

export class Position {
  id: string | undefined
  #broken = 0

  take (id: string, prev: string | undefined): Step {
    if (id === this.id) return 'twice'
    if (this.id !== undefined && prev !== this.id) {
      if (this.#broken++ < TRIES) return 'gap'
      this.move(id)
      return 'lost'
    }
    this.move(id)
    return 'next'
  }

  /**
   * Takes a frame that names a position without an event. If the cursor was found, the position stays: what follows it
   * is on its way.
   */
  stand ({ op, id, recovered }: Standing): void {
    const begins = op === 'snapshot' || op === 'reset'
    if (begins || (id !== undefined && recovered === undefined)) this.move(id)
  }

  move (id: string | undefined): void {
    this.id = id
    this.#broken = 0
  }
}

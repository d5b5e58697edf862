/** Where a client stands in a topic's linked log: each event names the one before it, and is checked again here. */

/** How often one place may break before what is missing counts as lost. */
const TRIES = 2

export type Step =
  /** It follows. */
  | 'next'
  /** It was heard before. */
  | 'twice'
  /** Something is missing: it is asked for again, from where this client is. */
  | 'gap'
  /** It was asked for, and did not come. */
  | 'lost'

/** A frame of the protocol. */
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

  /** What names a place without an event. A cursor that was found stays: what follows it is on its way. */
  stand ({ op, id, recovered }: Standing): void {
    const begins = op === 'snapshot' || op === 'reset'
    if (begins || (id !== undefined && recovered === undefined)) this.move(id)
  }

  move (id: string | undefined): void {
    this.id = id
    this.#broken = 0
  }
}

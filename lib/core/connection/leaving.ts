/** Connections closed from this side whose clients are not gone yet. They keep their socket, and what waits in it. */
/** What `Leaving` needs of a connection. */
export interface Leaver {
  /** Ends at once. */
  cut (): void
}

export class Leaving {
  /** The connections in the order in which they were closed, with the time of that (performance.now). */
  readonly #since = new Map<Leaver, number>()
  #empty: (() => void) | undefined

  get size (): number { return this.#since.size }

  add (connection: Leaver): void {
    this.#since.set(connection, performance.now())
  }

  delete (connection: Leaver): void {
    if (this.#since.delete(connection) && this.#since.size === 0) this.#empty?.()
  }

  /** Cuts connections that were closed so many ms ago and have not gone: a client that does not read never goes. */
  cut (olderThanMs: number): void {
    const latest = performance.now() - olderThanMs
    for (const [connection, since] of [...this.#since]) {
      if (since > latest) return
      connection.cut()
    }
  }

  /** Resolves when all are gone. */
  async emptied (): Promise<void> {
    if (this.#since.size > 0) await new Promise<void>((resolve) => { this.#empty = resolve })
  }
}

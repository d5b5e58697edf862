/** Who may hear what, as the orders say it. Knows nothing of the library: only what was asked of it, and when. */

export interface Target { identity?: string, connection?: string, topic?: string }

/** One client, from the arrival of its request on. */
export class Rights {
  readonly name: string
  readonly identity: string
  /** Known once the app has been shown the connection. */
  connection: string | undefined
  dead = false
  /** What it listens to, or is about to. */
  readonly hears: Set<string>
  readonly taken = new Set<string>()

  constructor (name: string, identity: string, topics: readonly string[]) {
    this.name = name
    this.identity = identity
    this.hears = new Set(topics)
  }

  subscribe (topic: string): void {
    if (!this.dead && !this.taken.has(topic)) this.hears.add(topic)
  }

  unsubscribe (topic: string): void {
    this.hears.delete(topic)
  }

  disconnect (target: Target): void {
    if (!this.#fits(target)) return
    this.dead = true
    this.hears.clear()
  }

  take (target: Target, topic: string): void {
    if (!this.#fits(target)) return
    this.taken.add(topic)
    this.hears.delete(topic)
  }

  /** May it hear an event that is published now? */
  may (topic: string): boolean {
    return !this.dead && !this.taken.has(topic)
  }

  #fits ({ identity, connection, topic }: Target): boolean {
    return !this.dead && (identity === undefined || identity === this.identity) &&
      (connection === undefined || connection === this.connection) && (topic === undefined || this.hears.has(topic))
  }
}

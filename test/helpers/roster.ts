/** Who is there, as a client makes it of what it is told. */
import type { ChannelClient, Received, StreamClient } from '../../lib/testing/index.ts'

interface Said { topic: string, type: string, members?: Array<{ id: string }>, ids?: string[], part?: number, more?: boolean, count?: number }

export class Roster {
  readonly #client: { readonly events: readonly Received[] }
  readonly #topic: string
  #members = new Map<string, { id: string }>()
  #read = 0
  /** The whole list has been told. */
  told = false
  /** How often it was told. */
  lists = 0
  count: number | undefined
  /** Joins and leaves as they were told: `+id`, `-id`. */
  readonly changes: string[] = []

  constructor (client: ChannelClient | StreamClient, topic = 'rooms/1') {
    this.#client = client
    this.#topic = topic
  }

  get members (): Map<string, { id: string }> {
    const { events } = this.#client
    for (; this.#read < events.length; this.#read++) this.#take(events[this.#read] as Received)
    return this.#members
  }

  /** The names of the last things that the client was told. */
  get heard (): string[] { return this.#client.events.slice(-8).map(({ event, topic = '' }) => `${event}:${topic}`) }

  get ids (): string[] { return [...this.members.keys()].sort() }

  #take ({ event, data }: Received): void {
    // A channel's list is a frame with `op: snapshot`.
    const said = (event === 'realtime:snapshot' ? (data as { data: Said }).data : data) as Said
    if ((event !== 'realtime:presence' && event !== 'realtime:snapshot') || said.topic !== this.#topic) return
    switch (said.type) {
      case 'members':
        if (said.part === 0) this.#members = new Map()
        this.#put(said)
        this.told = said.more === false
        if (this.told) this.lists++
        break
      case 'join':
        for (const { id } of said.members ?? []) this.changes.push(`+${id}`)
        this.#put(said)
        break
      case 'update': return this.#put(said)
      case 'leave':
        for (const id of said.ids ?? []) {
          this.changes.push(`-${id}`)
          this.#members.delete(id)
        }
        break
      case 'count': this.count = said.count ?? 0
    }
  }

  #put ({ members = [] }: Said): void {
    for (const member of members) this.#members.set(member.id, member)
  }

  async until (what: string, holds: (roster: this) => boolean, ms = 10_000): Promise<void> {
    for (const start = performance.now(); ;) {
      const { ids } = this
      if (holds(this)) return
      if (performance.now() - start > ms) throw new Error(`never ${what}; there are ${ids.length}: ${ids.slice(0, 20).join(' ')}; ${this.changes.slice(-20).join(' ')}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async untilIds (...wanted: string[]): Promise<void> {
    await this.until(wanted.join(' '), ({ ids, told }) => told && ids.join() === [...wanted].sort().join())
  }
}

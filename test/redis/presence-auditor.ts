/**
 * Knows who was connected, and when, on nodes that Redis could hear. It shares nothing with what it judges: of each join
 * and leave that a watcher was told it says whether anybody has made it. Times are Redis', which ids begin with, and
 * this process', which is on the same machine.
 */
import type { Received } from '../../lib/testing/index.ts'

interface Said { topic: string, type: string, members?: Array<{ id: string }>, ids?: string[] }

/** A connection is gone on one side before the other has heard of it. */
const SLACK_MS = 30

export class PresenceAuditor {
  /** Of each person the times without any sound connection, the last of which may be open. */
  readonly #away = new Map<string, Array<[from: number, to: number]>>()
  readonly #sound = new Set<string>()

  /** Who has a connection on a node that can be heard, from now on. */
  look (sound: ReadonlySet<string>): void {
    const now = Date.now()
    for (const id of sound) {
      if (this.#sound.has(id)) continue
      const last = this.#awayOf(id).at(-1)
      if (last) last[1] = now + SLACK_MS
      this.#sound.add(id)
    }
    for (const id of this.#sound) {
      if (sound.has(id)) continue
      this.#awayOf(id).push([now - SLACK_MS, Infinity])
      this.#sound.delete(id)
    }
  }

  #awayOf (id: string): Array<[number, number]> {
    let times = this.#away.get(id)
    if (!times) this.#away.set(id, times = [[-Infinity, Infinity]])
    return times
  }

  #wasAway (id: string, from: number, to: number): boolean {
    return this.#awayOf(id).some(([since, until]) => since <= to && until >= from)
  }

  /** What one watcher was told and nobody made. */
  faults (events: readonly Received[], topic: string): string[] {
    const faults: string[] = []
    /** Of each that the watcher knows of: the time of the event that said so. */
    const known = new Map<string, number>()
    for (const { event, data, id } of events) {
      const said = (event === 'realtime:snapshot' ? (data as { data: Said }).data : data) as Said
      if ((event !== 'realtime:presence' && event !== 'realtime:snapshot') || said.topic !== topic) continue
      const at = parseInt(String(id ?? (data as { id?: string }).id))
      if (Number.isNaN(at)) throw new Error(`an event without a time: ${event} ${JSON.stringify(data)}`)
      for (const member of said.members ?? []) {
        const since = known.get(member.id)
        if (said.type === 'join' && since !== undefined && !this.#wasAway(member.id, since, at)) faults.push(`+${member.id} ${at}`)
        known.set(member.id, said.type === 'members' ? since ?? at : at)
      }
      for (const gone of said.ids ?? []) {
        const since = known.get(gone)
        if (since !== undefined && !this.#wasAway(gone, since, at)) faults.push(`-${gone} ${at}`)
        known.delete(gone)
      }
    }
    return faults
  }
}

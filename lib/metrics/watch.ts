/** Listens to what the plugin tells of itself (`node:diagnostics_channel`), and counts it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Connection } from '../types/connection.ts'
import type { Realtime } from '../types/realtime.ts'
import type { Instruments } from './instruments.ts'
import type { Tally } from './tallies.ts'

/** What the messages have that are looked at here; each has some of it (docs/reference/diagnostics.md). */
interface Told {
  app: { realtime?: Realtime }
  connection: Connection
  pattern: string
  bytes: number
  /** ms */
  duration: number | undefined
  events: number
  listeners: number
  id: string | undefined
  recovered: boolean
  reason: string | { name: string } | undefined
  adapter: string
  state: 'up' | 'down'
}
type Count = (told: Told) => void

/** Another adapter's ids may be anything. */
const TIME = /^(\d{13})-/

/** Returns what ends it. */
export function watch (realtime: Realtime, instruments: Instruments): () => void {
  const counts = Object.entries(countsOf(instruments)).map(([what, count]) => {
    const run = (told: unknown): void => {
      // There may be several apps in one process.
      if ((told as Told).app.realtime === realtime) count(told as Told)
    }
    return [`fastify-realtime:${what}`, run] as const
  })
  const { name, state } = realtime.stats().adapter
  instruments.adapterUp.set({ adapter: name }, state === 'down' ? 0 : 1)
  for (const [channel, run] of counts) subscribe(channel, run)
  return () => { for (const [channel, run] of counts) unsubscribe(channel, run) }
}

function countsOf (to: Instruments): Record<string, Count> {
  return {
    publish: ({ pattern, bytes, duration }) => {
      const tally = to.tallies.of(pattern)
      tally.published++
      tally.publishedBytes += bytes
      if (duration !== undefined) tally.publish.add(duration)
    },
    deliver: (told) => delivered(to.tallies.of(told.pattern), told),
    resume: ({ recovered, reason }) => {
      to.recovered.inc({ result: recovered ? 'recovered' : 'reset' })
      if (!recovered) to.resets.inc({ reason: nameOf(reason) })
    },
    reset: ({ reason }) => to.resets.inc({ reason: nameOf(reason) }),
    disconnect: ({ connection, reason }) => to.closed.inc({ wire: connection.kind, reason: nameOf(reason) }),
    slow: () => to.slowClosed.inc(),
    drop: ({ pattern }) => to.dropped.inc({ topic: pattern }),
    repair: ({ pattern }) => to.repairs.inc({ topic: pattern }),
    adapter: ({ adapter, state }) => to.adapterUp.set({ adapter }, state === 'up' ? 1 : 0)
  }
}

function delivered (tally: Tally, { events, listeners, bytes, duration, id }: Told): void {
  tally.delivered += events * listeners
  tally.deliveredBytes += bytes * listeners
  if (duration !== undefined) tally.fanOut.add(duration)
  // An id of ours begins with ms since 1970, by the clock of whoever gave it: another's may be ahead of this one's.
  const given = Number(TIME.exec(id ?? '')?.[1])
  if (given > 0) tally.delivery.add(Math.max(0, Date.now() - given))
}

function nameOf (reason: Told['reason']): string {
  return typeof reason === 'object' ? reason.name : reason ?? 'unknown'
}

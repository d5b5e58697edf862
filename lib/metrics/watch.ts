/** Listens to what the plugin tells of itself (`node:diagnostics_channel`), and counts it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { meteringOf, type Meter } from '../core/metering.ts'
import { OptionInvalid } from '../errors.ts'
import type { Connection } from '../types/connection.ts'
import type { Realtime } from '../types/realtime.ts'
import type { Instruments } from './instruments.ts'

/** What the messages have that are looked at here; each has some of it (docs/reference/diagnostics.md). */
interface Told {
  app: { realtime?: Realtime }
  connection: Connection
  pattern: string
  recovered: boolean
  reason: string | { name: string } | undefined
  adapter: string
  state: 'up' | 'down'
}
type Count = (told: Told) => void

/**
 * Returns what ends it.
 * @throws OptionInvalid if it is no `app.realtime`
 */
export function watch (realtime: Realtime, instruments: Instruments): () => void {
  const metering = meteringOf(realtime)
  if (!metering) throw new OptionInvalid('metrics', 'needs the app.realtime of fastify-realtime')
  const remove = metering.add(meterOf(instruments))
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
  return () => {
    remove()
    for (const [channel, run] of counts) unsubscribe(channel, run)
  }
}

/** What happens for each event. */
function meterOf ({ tallies }: Instruments): Meter {
  return {
    published: (pattern, bytes, ms) => tallies.of(pattern).addPublished(bytes, ms),
    delivered: (delivery, ms) => tallies.of(delivery.pattern).addDelivered(delivery, ms)
  }
}

/** What happens seldom. */
function countsOf (to: Instruments): Record<string, Count> {
  return {
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

function nameOf (reason: Told['reason']): string {
  return typeof reason === 'object' ? reason.name : reason ?? 'unknown'
}

/** What happens, for those who watch: `node:diagnostics_channel` names `fastify-realtime:<what>`. Costs nothing unwatched. */
import { channel } from 'node:diagnostics_channel'

const named = (what: string): ReturnType<typeof channel> => channel(`fastify-realtime:${what}`)

const channels = {
  /** A connection began: `{ connection }`. */
  connect: named('connect'),
  /** It ended: `{ connection, reason }`. */
  disconnect: named('disconnect'),
  /** `{ connection, topic }` */
  subscribe: named('subscribe'),
  /** `{ connection, topic }` */
  unsubscribe: named('unsubscribe'),
  /** An event was taken by the adapter: `{ topic, event, id, bytes }`. */
  publish: named('publish'),
  /** Events were written to their listeners: `{ topic, events, listeners }`. */
  deliver: named('deliver'),
  /** Events were dropped or replaced for a slow client: `{ connection, topic }`. */
  drop: named('drop'),
  /** A client came back: `{ connection, topic, recovered }`. */
  resume: named('resume'),
  /** A client was told that events were lost: `{ connection, topic, reason }`. */
  reset: named('reset'),
  /** What did not link was repaired from history: `{ topic }`. */
  repair: named('repair'),
  /** A client that does not read was closed: `{ connection, buffered }`. */
  slow: named('slow'),
  /** A connection was refused: `{ address, error }`. */
  refuse: named('refuse'),
  /** `{ adapter, state, error }` */
  adapter: named('adapter')
} as const

export function report (what: keyof typeof channels, message: () => object): void {
  const target = channels[what]
  if (target.hasSubscribers) target.publish(message())
}

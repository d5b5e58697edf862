/**
 * What every wire must do for its clients, over real sockets if it has any, as trials for any test runner:
 *
 *     for (const { name, run } of wireSuite({ makeApp: () => Fastify(), connect })) test(name, run)
 */
import { trial, type Trial } from './trial.ts'
import { connections } from './wire-connections.ts'
import { events } from './wire-events.ts'
import { wireOf, type WireSuiteOptions } from './wire-house.ts'
import { slowClients } from './wire-slow-clients.ts'

export type { WireClient, WireEvent, WireRoutes, WireSuiteOptions } from './wire-house.ts'

/** Returns the trials of the wire suite. */
export function wireSuite (options: WireSuiteOptions): Trial[] {
  const wire = wireOf(options)
  return Object.entries({ ...events, ...slowClients, ...connections })
    .map(([name, run]) => trial(name, async (t) => await run(t, wire)))
}

/** The states of a run, and which clients get a run in which state. Only this file decides that. */
import type { Adapter, LogEvent } from '../../core/adapter.ts'
import { ABORTED, FINAL_EVENTS } from '../../core/event.ts'
import type { Ending } from './lease.ts'

/**
 * `runs`: from its begin on, also before its first event. `ended`: the source is done, or was stopped. `broken-off`:
 * its source failed, or its node closed or is lost. `nothing`: none was begun, it is over without an event, or its
 * events are not kept any more.
 */
export type RunState = 'nothing' | 'runs' | Ending

/** Other clients are told that nothing runs. */
const GIVEN_TO: Readonly<Record<RunState, 'nobody' | 'who comes back' | 'everybody'>> = {
  nothing: 'nobody',
  runs: 'everybody',
  // A page that loads gets finished answers from elsewhere.
  ended: 'who comes back',
  // An answer that was broken off is kept only here.
  'broken-off': 'everybody'
}

/** `comesBack`: the client has a cursor of the run. */
export function isGiven (state: RunState, comesBack: boolean): boolean {
  return GIVEN_TO[state] === 'everybody' || (comesBack && GIVEN_TO[state] === 'who comes back')
}

/** How a run has ended, by its last event. Undefined if that is not an end. */
export function endingOf (last: string): Ending | undefined {
  if (!FINAL_EVENTS.has(last)) return undefined
  return last === ABORTED ? 'broken-off' : 'ended'
}

const PAGE = { count: 512, bytes: 1 << 20 }

/** True if any event of the run is kept. */
export async function isKept (adapter: Pick<Adapter, 'read'>, name: string): Promise<boolean> {
  return (await adapter.read(name, null, { count: 1, bytes: 1 })).events.length > 0
}

/** The name of the last event that is kept. */
export async function lastKept (adapter: Pick<Adapter, 'read'>, name: string): Promise<string | undefined> {
  let last: LogEvent | undefined
  for (let more = true; more;) {
    const page = await adapter.read(name, last?.id ?? null, PAGE)
    last = page.events.at(-1) ?? last
    more = page.more && page.events.length > 0
  }
  return last?.name
}

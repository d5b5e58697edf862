/** What there is of a run, and who is given it: the one place that says so. */
import type { Adapter, LogEvent } from '../../core/adapter.ts'
import { ABORTED, FINAL_EVENTS } from '../../core/event.ts'
import type { Ending } from './lease.ts'

/**
 * `runs`: from when it is begun, before its first word too. `ended`: all was said, or it was stopped. `broken-off`:
 * that was not all, whether its source failed, or its node closed, or is lost. `nothing`: none was begun, it is over
 * and has said nothing, or what it said is not kept any more.
 */
export type RunState = 'nothing' | 'runs' | Ending

/** Whoever is not given it is told that nothing runs. */
const GIVEN_TO: Readonly<Record<RunState, 'nobody' | 'who comes back' | 'everybody'>> = {
  nothing: 'nobody',
  runs: 'everybody',
  // A page that is loaded has whole answers from elsewhere.
  ended: 'who comes back',
  // Nobody else has half an answer, or would say that it is half of one.
  'broken-off': 'everybody'
}

/** `comesBack`: with a place in it. */
export function isGiven (state: RunState, comesBack: boolean): boolean {
  return GIVEN_TO[state] === 'everybody' || (comesBack && GIVEN_TO[state] === 'who comes back')
}

/** How a run is over, by its last event. Undefined where that is no end. */
export function endingOf (last: string): Ending | undefined {
  if (!FINAL_EVENTS.has(last)) return undefined
  return last === ABORTED ? 'broken-off' : 'ended'
}

const PAGE = { count: 512, bytes: 1 << 20 }

/** Anything that it has said. */
export async function isKept (adapter: Pick<Adapter, 'read'>, name: string): Promise<boolean> {
  return (await adapter.read(name, null, { count: 1, bytes: 1 })).events.length > 0
}

/** The name of the last event kept. */
export async function lastKept (adapter: Pick<Adapter, 'read'>, name: string): Promise<string | undefined> {
  let last: LogEvent | undefined
  for (let more = true; more;) {
    const page = await adapter.read(name, last?.id ?? null, PAGE)
    last = page.events.at(-1) ?? last
    more = page.more && page.events.length > 0
  }
  return last?.name
}

/**
 * What every adapter must do (core/adapter.ts), as trials for any test runner:
 *
 *     for (const { name, run } of adapterSuite(() => [redis(url), redis(url)])) test(name, run)
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { start, type Elapse, type MakeNodes } from './adapter-cluster.ts'
import { expecting } from './adapter-expect.ts'
import { history } from './adapter-history.ts'
import { keyed as keyedStates } from './adapter-keyed.ts'
import { links } from './adapter-links.ts'
import { listening } from './adapter-listening.ts'
import { marking } from './adapter-marks.ts'
import { reads } from './adapter-reads.ts'
import { trial, type Trial } from './trial.ts'

export type { MakeNodes } from './adapter-cluster.ts'

/** Options of `adapterSuite()`. */
export interface AdapterSuiteOptions {
  /** Lets time pass for the adapter, ms. Default: it really waits. */
  elapse?: Elapse
  /** False for an adapter without states of keyed topics (`state()`). Default true. */
  keyed?: boolean
}

const wait: Elapse = async (_t, ms) => { await sleep(ms) }

/** Returns the trials of the adapter suite. `makeNodes` makes the nodes of one log for each trial. */
export function adapterSuite (
  makeNodes: MakeNodes, { elapse = wait, keyed = true }: AdapterSuiteOptions = {}
): Trial[] {
  return Object.entries({
    ...links, ...expecting, ...history, ...reads, ...listening, ...marking, ...keyed ? keyedStates : {}
  })
    .map(([name, run]) => trial(name, async (t) => await run(t, await start(t, makeNodes, elapse))))
}

/**
 * What every adapter does (core/adapter.ts), as trials for any test runner:
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

export interface AdapterSuiteOptions {
  /** Lets so much of the adapter's time go by, ms. Default: it waits. */
  elapse?: Elapse
  /** False for an adapter that keeps no states of keyed topics. Default true. */
  keyed?: boolean
}

const wait: Elapse = async (_t, ms) => { await sleep(ms) }

/** The adapter suite. */
export function adapterSuite (
  makeNodes: MakeNodes, { elapse = wait, keyed = true }: AdapterSuiteOptions = {}
): Trial[] {
  return Object.entries({
    ...links, ...expecting, ...history, ...reads, ...listening, ...marking, ...keyed ? keyedStates : {}
  })
    .map(([name, run]) => trial(name, async (t) => await run(t, await start(t, makeNodes, elapse))))
}

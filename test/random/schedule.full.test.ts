/**
 * Schedules at random: what every client hears, over every wire, through connections that break at any byte. SEED
 * repeats a run (with SCHEDULES=1, the one schedule that failed); SCHEDULES says how many.
 */
import t from 'tap'
import * as library from '../../lib/index.ts'
import { seedOf } from './random.ts'
import { runSchedules } from './schedule.ts'

t.setTimeout(600_000)

const SCHEDULES = Number(process.env.SCHEDULES ?? 1000)

t.test('no gap, no duplicate, no disorder, whatever happens', { timeout: 600_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const { schedules, tcp, fault } = await runSchedules({ library, seed, schedules: SCHEDULES })
  if (fault) return t.fail(`SEED=${fault.seed} SCHEDULES=1: ${fault.error.message}`)
  t.equal(schedules, SCHEDULES)
  t.comment(`${schedules} schedules, ${tcp} of them over TCP`)
})

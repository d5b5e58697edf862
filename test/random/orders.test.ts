/**
 * Orders at random: whoever they concern hears nothing of what was taken, at whatever step it was, and everybody else
 * hears everything. SEED repeats a run (with SCHEDULES=1, the one schedule that failed); SCHEDULES says how many.
 */
import t from 'tap'
import { OrderSchedule } from './orders.ts'
import { Random, seedOf } from './random.ts'

t.setTimeout(600_000)

const SCHEDULES = Number(process.env.SCHEDULES ?? 300)

t.test('what was taken is heard by nobody, and nothing else is missed', { timeout: 600_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let n = 0; n < SCHEDULES; n++) {
    const fault = await OrderSchedule.run(new Random(seed + n))
    if (fault) return t.fail(`SEED=${seed + n} SCHEDULES=1: ${fault}`)
  }
  t.pass(`${SCHEDULES} schedules`)
})

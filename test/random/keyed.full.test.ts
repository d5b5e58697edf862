/** Keyed topics at random: what every client's map is, over every wire. SEED repeats a run; SCHEDULES says how many. */
import t from 'tap'
import { live } from '../helpers/app.ts'
import { keyedAdapter, KeyedSchedule, memoryWorld } from './keyed.ts'
import { Random, seedOf } from './random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 60)

t.test('a client\'s map is the model\'s at each quiet point, whatever was cut and lost', { timeout: 600_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  let checks = 0
  for (let n = 0; n < SCHEDULES; n++) {
    const one = (seed + n) >>> 0
    try {
      const app = await live(t, { adapter: keyedAdapter() })
      const world = memoryWorld(app)
      await app.ready()
      const schedule = new KeyedSchedule(world, new Random(one))
      await schedule.run(120)
      checks += schedule.checks
      await app.close()
    } catch (error) {
      return t.fail(`SEED=${one} SCHEDULES=1: ${(error as Error).stack}`)
    }
  }
  t.ok(checks > SCHEDULES)
  t.comment(`${SCHEDULES} schedules, ${checks} quiet points`)
})

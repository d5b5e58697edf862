/**
 * Nodes that are processes, Redis, proxies between them, and faults at random: no client may miss, repeat or reorder
 * anything without being told, and all of them must be live again by themselves.
 *
 *   npx tap test/redis/chaos.full.test.ts                              the short run
 *   SCHEDULES=200 npx tap -R tap test/redis/chaos.full.test.ts         a long one; what happened is in its comments
 *   SEED=123 SCHEDULES=1 npx tap test/redis/chaos.full.test.ts         the schedule that failed
 *
 * What happens, and in which order, follows from the seed; how far each process has got by then does not.
 */
import t, { type Test } from 'tap'
import { Random, seedOf } from '../random/random.ts'
import { FAULTS, type FaultKind } from './faults.ts'
import { copyOfLib } from './library.ts'
import { ChaosWorld, sleep, type Topology } from './world.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 9)
const LONG = SCHEDULES > 20
/** For looking into one kind. */
const ONLY = process.env.FAULT

const seed = seedOf()
/** Another build, to see what the suite makes of it. */
const lib = process.env.LIB ?? copyOfLib(t)

t.setTimeout(SCHEDULES * 60_000)
const total = { delivered: 0, acknowledged: 0, rejected: 0, covered: 0, late: 0, excused: 0, again: 0, resets: 0, needless: new Map<string, number>(), faults: new Map<string, number>() }

function topologyOf (random: Random): Topology {
  return random.pick(['single', 'single', 'single', 'sentinel', 'cluster'])
}

/** In the short run every topology has its turn, and what only it knows. */
const FIRST: ReadonlyArray<{ topology: Topology, fault?: string }> = [
  { topology: 'sentinel', fault: 'a failover to a replica that lags, and a deaf node' },
  { topology: 'cluster', fault: 'a slot moves' }
]

interface Plan { readonly seed: number, readonly topology: Topology, readonly steps: FaultKind[][] }

function planOf (own: number, given?: { topology: Topology, fault?: string }): Plan {
  const random = new Random(own)
  const drawn = topologyOf(random)
  const topology = given?.topology ?? (process.env.TOPOLOGY as Topology | undefined) ?? drawn
  const kinds = FAULTS.filter(({ on, name }) => on.includes(topology) && (ONLY === undefined || name === ONLY))
  const quick = kinds.filter(({ slow }) => !slow)
  const steps = Array.from({ length: random.int(2, 4) }, () => {
    const pool = LONG ? (random.chance(0.25) ? kinds : quick) : (random.chance(0.1) ? kinds : quick)
    const some = pool.length > 0 ? pool : kinds
    // Two at a time, now and then.
    return random.shuffled(some).slice(0, random.chance(0.25) ? 2 : 1)
  })
  const wanted = kinds.find(({ name }) => name === given?.fault)
  return { seed: own, topology, steps: wanted ? [[wanted], ...steps.slice(0, 2)] : steps }
}

async function run (t: Test, { seed, topology, steps }: Plan): Promise<void> {
  const random = new Random(seed + 1)
  const world = await ChaosWorld.open({ topology, random, lib, t })
  const again = `SEED=${seed} SCHEDULES=1${process.env.TOPOLOGY || topology === planOf(seed).topology ? '' : ` TOPOLOGY=${topology}`}`
  try {
    for (const step of steps) {
      await sleep(random.int(50, 400))
      for (const { name, lossy } of step) {
        world.note(`--- ${name}`)
        total.faults.set(name, (total.faults.get(name) ?? 0) + 1)
        world.lossy ||= lossy ?? false
      }
      await Promise.all(step.map(async (fault) => await fault.run(world)))
      world.note('--- over')
      await world.settled()
    }
    const verdict = await world.verdict()
    for (const key of ['delivered', 'acknowledged', 'covered', 'late', 'excused', 'again', 'resets'] as const) total[key] += verdict[key]
    total.rejected += world.rejected
    const why = steps.flat().map(({ name }) => name).join(', ')
    for (const [reason, count] of verdict.needless) {
      total.needless.set(reason, (total.needless.get(reason) ?? 0) + count)
      t.comment(`${count} needless resets (${reason}) in ${again}: ${why}`)
    }
    t.comment(`${again}: ${topology}: ${why}: ${verdict.acknowledged} acknowledged, ${verdict.delivered} delivered, ${verdict.resets} resets`)
    if (verdict.faults.length > 0) t.fail(`${again}\n${verdict.faults.slice(0, 20).join('\n')}\n${verdict.faults.length} faults\n${world.story}`)
    else t.pass(`${topology}: ${why}`)
    if (process.env.TRACE) t.comment(world.story)
  } catch (error) {
    t.fail(`${again}\n${(error as Error).message}\n${world.story}`)
  }
}

t.comment(`SEED=${seed} SCHEDULES=${SCHEDULES}`)
// They wait most of the time: several at once.
t.jobs = Number(process.env.JOBS ?? 3)
await Promise.all(Array.from({ length: SCHEDULES }, async (_, i) => {
  const given = process.env.SEED === undefined && ONLY === undefined ? FIRST[i] : undefined
  await t.test(`schedule ${i + 1}`, { timeout: 180_000, buffered: true }, async (t) => await run(t, planOf((seed + i * 7919) >>> 0, given)))
}))
const { needless, faults, ...numbers } = total
t.comment(`${SCHEDULES} schedules: ${JSON.stringify(numbers)}`)
t.comment(`needless resets: ${JSON.stringify(Object.fromEntries(needless))}`)
t.comment(`faults: ${JSON.stringify(Object.fromEntries(faults))}`)

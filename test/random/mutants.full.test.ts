/** The proof of the proof: each rule that keeps the log linked is broken in a copy of lib/, and its loss must be noticed. */
import t from 'tap'
import * as library from '../../lib/index.ts'
import { failover, restart, type Heard } from './fork.ts'
import { compileLibrary, mutant, removeMutants, type Mutation } from './mutants.ts'
import { runSchedules } from './schedule.ts'
import type { Library } from './world.ts'

t.setTimeout(300_000)

/** Caught by schedules from this seed on, within so many. */
const SEED = 20_251
const SCHEDULES = 700

const BY_SCHEDULES: Record<string, Mutation> = {
  'every event is taken for the next': {
    file: 'core/log/topic-log.ts',
    rule: 'else if (event.prev === this.last) this.#append(event)',
    broken: 'else if (event.prev !== undefined) this.#append(event)'
  },
  'a client that comes back attaches where the topic is': {
    file: 'core/connection/joining.ts',
    rule: "typeof cursor === 'object' && found ? cursor.id : undefined",
    broken: 'undefined'
  },
  'a client joins the groups while it waits for a read': {
    file: 'core/connection/catch-up.ts',
    rule: "      else if (step === 'waiting' && all === 'level') all = 'waiting'\n",
    broken: ''
  },
  'the recent events do not know what they hold': {
    file: 'core/log/recent-events.ts',
    rule: 'return this.#positions().has(id)',
    broken: 'return false'
  },
  'the opening of a stream has no id': {
    file: 'wires/sse/outlet.ts',
    rule: "open === 'event' ? { retry, id, event: 'realtime:open', data: '{}' }",
    broken: "open === 'event' ? { retry, event: 'realtime:open', data: '{}' }"
  }
}

const GENESIS: Mutation = {
  file: 'adapters/memory.ts',
  // eslint-disable-next-line no-template-curly-in-string -- source text
  rule: 'return `0-0.${this.#boot}g${(this.#generations[name % GENERATIONS] as number).toString(36)}h${name.toString(36)}`',
  broken: "return '0-0.genesis'"
}
const NONCE: Mutation = {
  file: 'adapters/memory.ts',
  rule: 'log.append(this.#boot + (this.#counter++).toString(36), name, data, options)',
  broken: "log.append('nonce', name, data, options)"
}

const base = compileLibrary()
t.teardown(removeMutants)

t.test('schedules at random notice every broken rule', { timeout: 240_000 }, async (t) => {
  for (const [name, mutation] of Object.entries(BY_SCHEDULES)) {
    const broken = await mutant(base, name.replaceAll(' ', '-'), mutation)
    const { fault, schedules } = await runSchedules({ library: broken, seed: SEED, schedules: SCHEDULES })
    if (!fault) t.fail(`nobody noticed in ${schedules} schedules that ${name}`)
    else t.notMatch(fault.error.message, /^stuck/, `${name}: ${fault.error.message.split('\n', 1)[0]}`)
  }
})

/** The library tells the client of the loss; the mutant passes on what the client takes for the next. */
async function compare (t: Tap, name: string, mutation: Mutation, scene: (library: Library) => Promise<Heard>, said: Heard, silent: Heard): Promise<void> {
  t.same(await scene(library), said)
  t.same(await scene(await mutant(base, name, mutation)), silent, 'and without the rule nobody would')
}

type Tap = typeof t

t.test('a log that begins anew is not taken for the one that was lost', async (t) => {
  await compare(t as Tap, 'genesis', GENESIS, restart, ['reset', 'the last word'], ['the last word'])
})

t.test('two logs that were one and made the same time and number are told apart', async (t) => {
  for (const live of [true, false]) {
    const scene = (library: Library): Promise<Heard> => failover(library, live)
    const old = ['common', 'of the old master']
    await compare(t as Tap, `nonce-${String(live)}`, NONCE, scene, [...old, 'reset', 'the last word'], [...old, 'of the new master', 'the last word'])
  }
})

t.test('a rule that is not found in the source fails', async (t) => {
  await t.rejects(mutant(base, 'none', { file: 'core/log/recent-events.ts', rule: 'no such text', broken: '' }), /holds the rule 0 times/)
})

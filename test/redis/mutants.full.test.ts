/** Each rule of the Redis adapter is taken out in turn: the scenario that it is for must miss it, and nothing else may. */
import t from 'tap'
import { copyOfLib, moduleOf, type Change } from './library.ts'
import * as scenarios from './scenarios.ts'
import type { MakeRedis } from './kit.ts'

t.setTimeout(600_000)

interface Mutant {
  readonly rule: string
  readonly scenario: scenarios.Scenario
  readonly changes: readonly Change[]
  /** What takes many seconds takes some hundred milliseconds, or the other way round. */
  readonly swift?: readonly Change[]
}

const within = (file: string) => (from: string, to = ''): Change => ({ file: `adapters/redis/${file}.ts`, from, to })
const appender = within('appender')
const beat = within('beat')
const failover = within('failover')
const link = within('link')
const listened = within('listened-topics')
const append = within('append-script')
const lua = within('scripts')
const common = within('lua')
const queue = within('topic-queue')
const single = within('single-commands')
const subscriptions = within('subscriptions')

const SWIFT_LINKS = [link('SILENCE_MS = 4000', 'SILENCE_MS = 600'), link('HANDSHAKE_MS = 4000', 'HANDSHAKE_MS = 600'), beat('TICK_MS = 2000', 'TICK_MS = 200')]
const SWIFT_BEAT = [beat('TICK_MS = 2000', 'TICK_MS = 100'), beat('BEAT_MS = 30_000', 'BEAT_MS = 300')]
/** No beat comes to the aid. */
const NO_BEAT = [beat('TICK_MS = 2000', 'TICK_MS = 60_000')]
const ANNOUNCEMENT = '$' + '{announce}'
const ANNOUNCE = `  redis.call('${ANNOUNCEMENT}', ARGV[5], told[1])\n`
const XADD = "    local added = redis.pcall('XADD', log, 'MAXLEN'"
const WATCH = 'this.#watch = setTimeout('

const MUTANTS: readonly Mutant[] = [
  { rule: 'a batch is applied once (the mark)', scenario: scenarios.appliedOnce, changes: [append("  return string.match('\\\\n' .. done, '\\\\n' .. batch .. ' ([^\\\\n]*)') or ''\n", "  if last ~= batch then return '' end\n")] },
  { rule: 'so is each of those on their way (the mark)', scenario: scenarios.eachAppliedOnce, changes: [append("    record = record .. '\\\\n' .. line\n")] },
  { rule: 'never behind a later batch of its node (the mark)', scenario: scenarios.neverBehindALaterOne, changes: [append('tonumber(last) >= tonumber(batch)', 'last == batch')] },
  { rule: 'a batch is applied behind the one that was sent before it', scenario: scenarios.behindTheOneBefore, changes: [append("if ARGV[2] ~= '' and last ~= ARGV[2] then", 'if false then')] },
  { rule: 'what failed goes again one by one', scenario: scenarios.orderOverRetries, changes: [queue('await this.#deliver(batch)', 'this.#deliver(batch).catch(() => {})')] },
  { rule: 'another server is asked for what was acknowledged', scenario: scenarios.forkIsNoticed, changes: [single('    if (this.#identity !== undefined && identity !== this.#identity) await this.#host.replaced(identity)\n')] },
  { rule: 'what was acknowledged is remembered', scenario: scenarios.forkIsNoticed, changes: [failover('    this.#acknowledged.set(topic, { id, at: performance.now() })\n')] },
  { rule: 'a fork begins the log anew', scenario: scenarios.forkIsNoticed, changes: [lua('begin(log, head, ARGV[3], ARGV[4])\nif held then', 'if held then')] },
  { rule: 'what was trimmed is not taken for lost', scenario: scenarios.trimmedIsNotLost, changes: [lua("if string.match(bound, '^%d+-%d+%.') and server ~= '' and server ~= '-' and ARGV[7] ~= '-' then", 'if false then')] },
  { rule: 'what is newer than a server began with is lost', scenario: scenarios.forkIsNoticed, changes: [lua('if server ~= ARGV[7] then bound = last end', "bound = '9999999999999-0'")] },
  { rule: 'a fork is announced', scenario: scenarios.forkIsToldOf, swift: NO_BEAT, changes: [lua("redis.call(ARGV[5], ARGV[6], '?')\nreturn 'forked'", "return 'forked'")] },
  { rule: 'topics that are live again are compared with their heads', scenario: scenarios.checkedWhenLiveAgain, swift: NO_BEAT, changes: [listened('      if (anew && listened.durable) this.#host.missed(listened)\n')] },
  { rule: 'quiet topics are compared with their heads', scenario: scenarios.quietTopicsAreComparedToo, swift: SWIFT_BEAT, changes: [beat('      await this.#comparison.compare(some)\n      await Promise.all(', '      await Promise.all(')] },
  { rule: 'a genesis is never used again (publish)', scenario: scenarios.anotherGenesis, changes: [append("if not id then\n  id, ms, seq, total, base = '0-0.' .. ARGV[7]", "if not id then\n  id, ms, seq, total, base = '0-0.g'"), common("'0-0.' .. nonce .. 'g'", "'0-0.g'")] },
  { rule: 'a genesis is never used again (read)', scenario: scenarios.anotherGenesis, changes: [common("local id = '0-0.' .. nonce .. 'g'", "local id = '0-0.g'")] },
  { rule: 'the head outlives the history', scenario: scenarios.headOutlivesHistory, changes: [appender('headLife: Math.max(HEAD_MS, life, timeToLive(keyed?.bounds.lifetime ?? 0))', 'headLife: life')] },
  {
    rule: 'XADD is first: what does not fit is not announced',
    scenario: scenarios.fullIsAllOrNothing,
    changes: [append(ANNOUNCE), append(XADD, `    redis.call('${ANNOUNCEMENT}', ARGV[5], short .. '.' .. own .. ' ' .. prev .. ' ' .. body)\n${XADD}`)]
  },
  { rule: 'XADD is first: nothing that Redis lets pass goes before it', scenario: scenarios.fullIsAllOrNothing, changes: [append("  if redis.call('EXISTS', log) == 1 then redis.call('DEL', log) end", "  redis.call('DEL', log)")] },
  { rule: 'an id is never below the head', scenario: scenarios.idsNeverGoBack, changes: [append("if #now > #ms or (#now == #ms and now > ms) then ms, seq = now, '0' else seq = string.format('%d', seq + 1) end", "ms, seq = now, '0'")] },
  { rule: 'an id is its nonce too', scenario: scenarios.nonceTellsLogsApart, changes: [lua("if nonce and place[1] .. '.' .. nonce == after then", 'if place then')] },
  { rule: 'ioredis sends nothing again by itself', scenario: scenarios.atMostOnce, changes: [link('autoResendUnfulfilledCommands: false', 'autoResendUnfulfilledCommands: true'), link('maxRetriesPerRequest: 0', 'maxRetriesPerRequest: null')] },
  { rule: 'a silent link is cut', scenario: scenarios.silentLinksAreFound, swift: SWIFT_LINKS, changes: [link('socketTimeout: SILENCE_MS', 'socketTimeout: 3_600_000')] },
  { rule: 'the link that listens is asked for signs of life', scenario: scenarios.silentListenersAreFound, swift: SWIFT_LINKS, changes: [subscriptions('    this.#link.ping()\n')] },
  { rule: 'a handshake that nobody answers is given up', scenario: scenarios.silentHandshakesAreFound, swift: SWIFT_LINKS, changes: [link('socketTimeout: SILENCE_MS', 'socketTimeout: 3_600_000'), link(WATCH, 'if (!this) this.#watch = setTimeout(')] },
  { rule: 'whoever joins what is live still is told so', scenario: scenarios.leftAndJoinedInOneTurn, changes: [subscriptions('      this.#report(kept)\n')] },
  { rule: 'the head is read when the subscription is live', scenario: scenarios.headIsReadWhenLive, changes: [listened('    if (!listened.live) await this.#becomesLive(listened)\n')] }
]

const copies = new Map<string, Promise<MakeRedis>>()

async function redisOf (changes: readonly Change[]): Promise<MakeRedis> {
  const key = JSON.stringify(changes)
  const known = copies.get(key)
  if (known) return await known
  const made = moduleOf<{ redis: MakeRedis }>(copyOfLib(t, changes), 'adapters/redis/index.js').then(({ redis }) => redis)
  copies.set(key, made)
  return await made
}

/** Resolves with the ms that it took. */
async function play (scenario: scenarios.Scenario, changes: readonly Change[], patience: number): Promise<number> {
  const stage = new scenarios.Stage(await redisOf(changes), patience)
  try {
    const began = performance.now()
    await scenario(stage)
    return performance.now() - began
  } finally {
    await stage.end()
  }
}

/** For what is right to happen, ms: however busy the machine is. */
const PATIENCE_MS = 60_000
/** What is broken is given several times what the whole took, and not less than this. */
const LEAST_MS = 2500
const TIMES = 4

const whole = new Map<scenarios.Scenario, Promise<number>>()

t.jobs = 3
await Promise.all(MUTANTS.map(async ({ rule, scenario, swift = [], changes }) => {
  await t.test(rule, { timeout: 240_000, buffered: true }, async (t) => {
    const passes = whole.get(scenario) ?? play(scenario, swift, PATIENCE_MS)
    whole.set(scenario, passes)
    await t.resolves(passes, `${scenario.name} passes with it`)
    await t.resolves(redisOf([...swift, ...changes]), 'the rule stands as it is quoted here')
    const patience = Math.max(LEAST_MS, Math.ceil(TIMES * await passes))
    await t.rejects(play(scenario, [...swift, ...changes], patience), `${scenario.name} fails without it`)
  })
}))

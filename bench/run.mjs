// npm run bench         what the goals are about, in about four minutes
// npm run bench:full    all of it
//   -- --only <words of a work's name>  --rounds <n>  --seconds <n for each work>  --subscribers <n>
//
// See METHOD below, which every output starts with. Works, contestants and goals: lib/works.mjs.
import { fork } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { node, npm } from '../scripts/project.mjs'

const METHOD = `Method: each contestant is a server process and a process of clients on loopback. Rounds: in each, every contestant
is measured once, in random order. CPU is the server process's own (process.cpuUsage; nginx's worker: schedstat), user and
system, kernel writes included. Figures are medians over the rounds, ratios medians of the ratios within a round. Every
client checks the sequence of what it hears: a round with a lost, repeated or disordered event is void. Differences under
15 % are noise; absolute figures hold for this machine and hour only. Memory is RSS and heap of the process, without the
kernel's socket buffers.`

const { values } = parseArgs({ options: { full: { type: 'boolean' }, only: { type: 'string' }, rounds: { type: 'string' }, seconds: { type: 'string' }, subscribers: { type: 'string' } } })
const folder = fileURLToPath(new URL('.', import.meta.url))
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]

if (!existsSync(join(folder, 'node_modules/.package-lock.json'))) await must(npm(['ci', '--prefix', 'bench', '--ignore-scripts', '--no-audit', '--no-fund']))
await must(node(['scripts/build.mjs', '--if-changed']))
const { works } = await import('./lib/works.mjs')
const measures = await import('./lib/measures.mjs')
const { hasNchan } = await import('./lib/nchan.mjs')

async function must (work) {
  if (await work !== 0) process.exit(1)
}

/** A child process that answers one question at a time. */
class Child {
  #process
  fault

  constructor (file, args, execArgv) {
    this.#process = fork(join(folder, 'lib', file), args, { execArgv, env: { ...process.env, NODE_ENV: 'production' } })
  }

  answer () {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('a child process ended'))
      this.#process.once('exit', ended)
      this.#process.once('message', (message) => {
        this.#process.off('exit', ended)
        resolve(message)
      })
    })
  }

  async ask (op, how) {
    const answer = this.answer()
    this.#process.send({ op, ...how })
    const result = await answer
    this.fault ??= result.fault
    return result
  }

  async end () {
    this.#process.disconnect()
    await new Promise((resolve) => this.#process.once('exit', resolve))
  }
}

class Contestant {
  next = 0
  clients = 0
  topics = 1
  #ready
  #where
  #perTopic

  constructor (name, { perTopic = Infinity, ...options }) {
    this.name = name
    this.#perTopic = perTopic
    this.server = new Child('server.mjs', [name, JSON.stringify(options)], ['--expose-gc'])
    this.#ready = this.server.answer()
    this.crowd = new Child('clients.mjs', [], [])
  }

  async start () {
    this.#where = await this.#ready
  }

  async open (count) {
    this.clients = count
    this.topics = Math.max(1, Math.ceil(count / this.#perTopic))
    const perTopic = Math.min(count, this.#perTopic)
    if (count > 0) await this.crowd.ask('open', { count, where: this.#where, path: this.#where.path, perTopic })
  }

  async leave () {
    await this.crowd.ask('leave')
    this.clients = 0
  }

  /** All clients have heard so many more, in order. */
  async heard (count) {
    this.next += count
    await this.crowd.ask('expect', { count: this.next })
  }

  get fault () { return this.crowd.fault }

  async end () {
    await Promise.all([this.server.end(), this.crowd.end()])
  }
}

const print = []
function say (line = '') {
  print.push(line)
  console.log(line)
}

const results = []
const voids = []

async function run (work, subscribers) {
  const names = work.contestants.filter((name) => hasNchan || !name.startsWith('nchan'))
  const figures = Object.fromEntries(Object.keys(work.phases).map((phase) => [phase, Object.fromEntries(names.map((name) => [name, []]))]))
  const contestants = names.map((name) => new Contestant(name, { ...work.options, ...work.each?.[name] }))
  for (const one of contestants) await one.start()
  for (const one of contestants) await one.open(subscribers)
  const rounds = Number(values.rounds ?? work.rounds ?? (values.full ? 9 : 6))
  const end = performance.now() + Number(values.seconds ?? (values.full ? 300 : 22)) * 1000
  // A first round, or some, not counted, for the compilers.
  for (let round = 1 - (work.fresh ? 0 : work.warm ?? 1); round <= rounds && (round <= 3 || performance.now() < end); round++) {
    for (const [phase, how] of Object.entries(work.phases)) {
      for (const one of shuffled(contestants)) {
        const figure = one.fault ? undefined : await measures[work.measure](one, how)
        if (round > 0) figures[phase][one.name].push(one.fault ? undefined : figure)
      }
    }
  }
  for (const { name, fault } of contestants) if (fault) voids.push(`${work.name}, ${subscribers} subscribers, ${name}: ${fault}`)
  for (const one of contestants) await one.end()
  for (const [phase, by] of Object.entries(figures)) results.push({ work: work.name, subscribers, phase, by })
}

function shuffled (list) {
  return list.map((one) => [Math.random(), one]).sort(([a], [b]) => a - b).map(([, one]) => one)
}

function middle (by, name, metric) {
  return median(by[name].filter(Boolean).map((figure) => figure[metric]))
}

/** Of `ours` to `beside`, round by round. */
function ratio (by, ours, beside, metric) {
  if (beside === undefined) return middle(by, ours, metric)
  return median(by[ours].flatMap((figure, round) => figure && by[beside]?.[round] ? [figure[metric] / by[beside][round][metric]] : []))
}

const figure = (value) => value === undefined ? 'void' : value >= 100 ? value.toFixed(0) : value.toFixed(2)

function table ({ work, subscribers, phase, by }) {
  const [first, ...others] = Object.keys(by)
  const metrics = Object.keys(Object.values(by).flat().find(Boolean) ?? {})
  say()
  say(`${work}${subscribers ? `, ${subscribers} subscribers` : ''}: ${phase} (${by[first].length} rounds)`)
  say(`${''.padEnd(24)} ${metrics.map((metric) => metric.padStart(16)).join('')}   ratio to ${first}`)
  for (const name of [first, ...others]) {
    say(`${name.padEnd(24)} ${metrics.map((metric) => figure(middle(by, name, metric)).padStart(16)).join('')}   ${metrics.map((metric) => figure(ratio(by, name, first, metric))).join('  ')}`)
  }
}

function goals () {
  const rows = []
  for (const work of works) {
    for (const goal of work.goals) {
      const usual = work.subscribers.quick?.[0]
      const subscribers = usual && Number(values.subscribers ?? usual)
      const result = results.find((one) => one.work === work.name && one.subscribers === subscribers && one.phase === goal.phase)
      if (!result || (goal.beside && !result.by[goal.beside])) continue
      rows.push({ ...goal, is: ratio(result.by, goal.ours, goal.beside, goal.metric) })
    }
  }
  if (rows.length === 0) return rows
  say()
  say('Goals (ratios of CPU unless said; lower is better)')
  for (const { row, phase, ours, beside, metric, atMost, is } of rows) {
    const verdict = is === undefined ? 'void' : is <= atMost ? 'met' : is <= atMost * 1.15 ? 'within noise' : 'MISSED'
    say(`${row.padEnd(27)} ${`${ours}${beside ? ` ÷ ${beside}` : ''}, ${metric}`.padEnd(54)} ${phase.padEnd(36)} ${figure(is).padStart(6)}  goal ≤ ${atMost.toFixed(2)}  ${verdict}`)
  }
  return rows
}

/** A measurement that prints for itself. */
async function script (title, file, ...args) {
  say()
  say(`${title} (${file})`)
  const child = fork(join(folder, file), args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text) => { for (const line of text.trimEnd().split('\n')) say(line) })
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) voids.push(`${file} ended with ${code}`)
}

const versionOf = (name) => JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'))).version
const peers = ['fastify', '@fastify/sse', 'fastify-sse-v2', 'better-sse', '@fastify/websocket', 'ws', 'socket.io'].map((name) => `${name} ${versionOf(name)}`)

say(METHOD)
say()
say(`${new Date().toISOString()}  ${values.full ? 'full' : 'quick'}  Node ${process.version}  ${cpus().length} × ${cpus()[0]?.model}  ${(totalmem() / 2 ** 30).toFixed(0)} GiB  ${process.platform} ${release()}  load ${loadavg()[0].toFixed(1)}`)
say(`${peers.join('  ')}  nchan ${hasNchan ? 'yes' : 'not installed'}`)

const wanted = (name) => name.includes(values.only ?? '')
const started = performance.now()
// Ready bytes and ours by turns on the same connections: the least noisy comparison with the floor.
if (wanted('in process')) await script('In process', 'write-path.mjs', values.full ? '200' : '40', '--quiet')
for (const work of works) {
  if (!wanted(work.name)) continue
  for (const given of work.subscribers[values.full ? 'full' : 'quick'] ?? []) {
    const subscribers = given && Number(values.subscribers ?? given)
    await run(work, subscribers)
    for (const result of results.filter((one) => one.work === work.name && one.subscribers === subscribers)) table(result)
  }
}
if (wanted('Redis') && (values.full || values.only)) await script('Redis, two nodes', 'redis-nodes.mjs', values.rounds ?? '9', '3000')
const verdicts = goals()
say()
for (const line of voids) say(`VOID: ${line}`)
say(`${((performance.now() - started) / 1000).toFixed(0)} s`)

mkdirSync(join(folder, 'results'), { recursive: true })
const file = join(folder, 'results', `${new Date().toISOString().replace(/\W/g, '-')}.json`)
writeFileSync(file, JSON.stringify({ method: METHOD, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, peers, nchan: hasNchan, results, goals: verdicts, voids, text: print }, null, 1))
console.log(`Written to bench/results/${file.split(/[\\/]/).pop()}`)
process.exit(voids.length > 0 ? 1 : 0)

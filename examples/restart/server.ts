/** A rolling restart: two nodes behind a proxy are restarted while clients listen, and what each client heard is counted. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { findRedis, freePort, RedisServer } from '../cluster/redis.ts'
import { ShopNode } from '../cluster/shop-node.ts'
import { overSse, overWebSocket, type Listener } from './listeners.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { isPerfect, table, type Range, type Score } from './tally.ts'
import { Ticks } from './ticks.ts'

const started = performance.now()
const say = (text: string): void => console.log(`${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${text}`)

const ways = [
  { signal: 'SIGTERM', name: 'SIGTERM, as a deploy does' },
  { signal: 'SIGKILL', name: 'SIGKILL, as a machine does that dies' }
] as const
/** So many events are heard before the first restart, and after each. */
const before = 100
const after = 40
/** Not a speed that is asked for: what has not come by then is missed. */
const patienceMs = 30_000
const leaveMs = 5000

const { rounds, keep } = readArguments()
const host = process.env.HOST ?? '127.0.0.1'
const wanted = Number(process.env.PORT ?? 3000)
if (!Number.isInteger(wanted) || wanted < 0 || wanted > 65535) fail(`PORT has to be a number from 0 to 65535, not '${process.env.PORT}'.`)

const program = findRedis()
if (program === undefined) {
  fail(process.env.REDIS_SERVER_BIN
    ? `REDIS_SERVER_BIN is '${process.env.REDIS_SERVER_BIN}', which is not a program.`
    : 'This example needs a redis-server (7 or newer) or a valkey-server (7.2 or newer) on PATH; or set REDIS_SERVER_BIN.\n' +
      'Debian and Ubuntu: sudo apt-get install redis-server. macOS: brew install redis.')
}

/** Ended in this order, whatever happens. */
const open: Array<{ stop: () => unknown, stopNow?: () => void }> = []
/** `q` was pressed, or Ctrl+C. */
let asked = false

process.on('exit', () => {
  for (const each of open) each.stopNow?.()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, quit)
if (process.stdin.isTTY) process.stdin.setRawMode(true)
process.stdin.setEncoding('utf8').on('data', text => {
  if (['q', '\u0003'].some(key => String(text).includes(key))) quit()
})

run(program).then(process.exit, error => fail(String(error)))

async function run (program: string): Promise<number> {
  const redis = await RedisServer.start(program)
  open.unshift(redis)
  say(`Redis is there (${program})`)
  const { nodes, proxy } = await startNodes(redis.url)
  const url = `http://${host}:${proxy.port}`
  say(`In front of both: ${proxy.name}`)

  const ticks = await Ticks.start(redis.url)
  open.unshift(ticks)
  const listeners = [overSse(url), overWebSocket(url)]
  open.unshift(...listeners)
  await heard(listeners, 1)
  say('20 events a second are published; a client listens over SSE, another over a WebSocket')
  say(`A browser can listen too: ${url}`)
  await heard(listeners, ticks.last + before)

  const ranges = await restarts(nodes, listeners, ticks)
  await ticks.finish()
  await heard(listeners, ticks.last)
  ranges.at(-1)!.last = ticks.last
  const perfect = tell(ranges, listeners)
  for (const { stop } of listeners) stop()
  await nobodyListens(nodes)
  for (const each of open.splice(0)) await each.stop()
  return perfect ? 0 : 1
}

async function startNodes (redisUrl: string): Promise<{ nodes: ShopNode[], proxy: Proxy }> {
  const ports: [number, number] = [await freePort(), await freePort()]
  const app = fileURLToPath(new URL('./node.js', import.meta.url))
  const nodes = ports.map((port, i) => new ShopNode(`node-${i + 1}`, { REDIS_URL: redisUrl, PORT: String(port) }, say, app))
  open.unshift(...nodes)
  await Promise.all(nodes.map(node => node.start()))
  if (nodes.some(({ port }) => port === undefined)) throw new Error('A node did not start')
  const proxy = await startProxy(host, await portToUse(), ports)
  open.unshift(proxy)
  return { nodes, proxy }
}

/** Restarts all nodes, one after the other, in each way; resolves with the numbers of the events meanwhile. */
async function restarts (nodes: ShopNode[], listeners: Listener[], ticks: Ticks): Promise<Array<Range & { name: string }>> {
  const ranges: Array<Range & { name: string }> = []
  for (let round = 1; keep ? !asked || round === 1 : round <= rounds; round++) {
    for (const { signal, name } of ways) {
      const first = ticks.last + 1
      say(`Restarting both nodes by ${name}`)
      for (const node of nodes) {
        say(`${node.name} is ended by ${signal}`)
        await node.restart(signal)
        await heard(listeners, ticks.last + after)
        say(`Both clients hear: event ${ticks.last}`)
      }
      ranges.push({ name: keep || rounds > 1 ? `${round}: ${signal}` : signal, first, last: ticks.last })
    }
  }
  // Where one ends the next begins: no event is in none of them.
  ranges.forEach((range, i) => { range.last = (ranges[i + 1]?.first ?? range.last + 1) - 1 })
  return ranges
}

async function heard (listeners: Listener[], n: number): Promise<void> {
  await Promise.all(listeners.map(({ tally }) => tally.reach(n, patienceMs)))
}

/** Pages leave when they have heard that it is over. One that does not is not waited for. */
async function nobodyListens (nodes: ShopNode[]): Promise<void> {
  const counts = async (): Promise<number[]> => await Promise.all(nodes.map(async ({ port }) =>
    Number(await (await fetch(`http://127.0.0.1:${port}/listeners`)).text())))
  for (let waited = 0; waited < leaveMs && (await counts()).some(count => count > 0); waited += 50) await pause(50)
}

/** @returns Whether every client heard every event once and in order. */
function tell (ranges: Array<Range & { name: string }>, listeners: Listener[]): boolean {
  const scores: Array<[way: string, client: string, score: Score]> = ranges.flatMap(range =>
    listeners.map(({ tally }): [string, string, Score] => [range.name, tally.name, tally.score(range)]))
  console.log('\n' + table([
    ['restart', 'client', 'published', 'heard', 'missed', 'doubled', 'out of order', 'reconnects', 'longest silence'],
    ...scores.map(([way, client, { silence, ...counts }]) => [way, client, ...Object.values(counts).map(String), `${silence} ms`])
  ]))
  const perfect = scores.every(([, , score]) => isPerfect(score))
  console.log(`\n${perfect ? 'Every client heard every event, once and in order.' : 'That is not every event, once and in order.'}`)
  return perfect
}

/** nginx is told its port: none that is taken, and not "any". */
async function portToUse (): Promise<number> {
  if (wanted === 0) return await freePort()
  const server = createServer().listen(wanted, host)
  server.once('error', () => fail(`Port ${wanted} is in use; choose another with PORT=${wanted + 1} npm start -- restart`))
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function quit (): void {
  // With --keep the round is finished first, and asked twice: at once.
  if (!keep || asked) process.exit(130)
  asked = true
  say('This is the last round')
}

function readArguments (): { rounds: number, keep: boolean } {
  try {
    const { values } = parseArgs({ options: { rounds: { type: 'string', default: '1' }, keep: { type: 'boolean', default: false } } })
    const rounds = Number(values.rounds)
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) fail(`--rounds has to be a number from 1 to 1000, not '${values.rounds}'.`)
    return { rounds, keep: Boolean(values.keep) }
  } catch (error) {
    fail(`${(error as Error).message}\nnpm start -- restart [--rounds 3] [--keep]`)
  }
}

function fail (why: string): never {
  console.error(why)
  process.exit(1)
}

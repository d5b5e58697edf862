/** `listen()` and a stream that says nothing any more: nobody can ask it, so it is given up, and opened again from its id. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { listen, ListenOptions } from '../../lib/client/index.ts'
import { BareContext } from '../helpers/bare-context.ts'
import { until } from '../helpers/redis.ts'

const HEARTBEAT_MS = 60_000
/** Of lib/client/wake.ts. */
const TICK_MS = 1000
const SIX_HOURS = 6 * 3600 * 1000

type Answer = (response: ServerResponse, turn: number) => void

/** A page on a machine whose timers of these ms run when they are told to, and a server that answers as it is told. */
async function open (t: Test, answer: Answer, options: Partial<ListenOptions> = {}, held = (ms: number): boolean => ms === HEARTBEAT_MS || ms === TICK_MS) {
  const asked: IncomingMessage[] = []
  const answers: ServerResponse[] = []
  const server = createServer((request, response) => {
    answers.push(response)
    answer(response, asked.push(request) - 1)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const machine = new BareContext(held)
  machine.run(`
    Math.random = () => 1
    const handlers = {}
    const target = { addEventListener: (type, run) => { handlers[type] = run }, removeEventListener: (type) => { delete handlers[type] } }
    Object.assign(globalThis, target)
    globalThis.document = { ...target, visibilityState: 'visible' }
    globalThis.tell = (type) => handlers[type]?.({})
  `)
  const give = machine.run('(values) => { Object.assign(globalThis, values) }') as (values: object) => void
  give({ AbortController, TextDecoder, TextEncoder, fetch })
  const heard: unknown[] = []
  const states: string[] = []
  const start = (machine.run('client') as { listen: typeof listen }).listen
  const stop = start(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, {
    on: { n: ({ data }) => heard.push(data) }, state: ({ is }) => states.push(is), firstDelay: 5, ...options
  })
  t.teardown(stop)
  const cursors = (): unknown[] => asked.map(({ headers }) => headers['last-event-id'])
  const beSilent = (): void => { t.equal(machine.fire(HEARTBEAT_MS), 1) }
  return { asked, answers, machine, heard, states, cursors, beSilent, stop }
}

const begin = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' })
/** Event n to the nth that comes. */
const say: Answer = (response, turn) => { begin(response).write(`id: ${turn}\nevent: n\ndata: ${turn}\n\n`) }

t.test('it is opened again from its last id, and the silent one is let go', async (t) => {
  const { asked, answers, heard, states, cursors, beSilent } = await open(t, say)
  await until('the first event', () => heard.length === 1)
  const closed = once(answers[0] as ServerResponse, 'close')
  beSilent()
  await until('the next event', () => heard.length === 2)
  await closed
  t.same(heard, [0, 1])
  t.same(cursors(), [undefined, '0'])
  t.same(states, ['connecting', 'open', 'waiting', 'connecting', 'open'])
  t.equal(asked.length, 2)
})

t.test('a comment is a heartbeat: who says that much is not silent', async (t) => {
  const { asked, answers, machine, heard } = await open(t, say)
  await until('the first event', () => heard.length === 1)
  for (let beats = 0; beats < 5; beats++) {
    const before = machine.newest(HEARTBEAT_MS)
    answers[0]?.write(':\n\n')
    await until('its patience begins anew', () => machine.newest(HEARTBEAT_MS) !== before)
  }
  t.equal(machine.waiting(HEARTBEAT_MS), 1)
  t.equal(asked.length, 1)
})

t.test('a request that is never answered, and headers that never come, are given up as well', async (t) => {
  const silent = await open(t, (response, turn) => { if (turn > 0) say(response, turn) })
  await until('the request', () => silent.asked.length === 1)
  silent.beSilent()
  await until('an event', () => silent.heard.length === 1)
  t.same(silent.heard, [1])

  let turns = 0
  let late = (_headers: Record<string, string>): void => {}
  const hanging = await open(t, say, {
    headers: async () => turns++ > 0 ? {} : await new Promise((resolve) => { late = resolve })
  })
  await until('headers are asked for', () => turns === 1)
  hanging.beSilent()
  await until('an event', () => hanging.heard.length === 1)
  late({})
  t.equal(turns, 2)
  hanging.stop()
  t.same(hanging.asked.length, 1, 'headers that come too late ask for nothing')
})

t.test('heartbeat: 0 never gives it up, and another number counts', async (t) => {
  const never = await open(t, say, { heartbeat: 0 })
  await until('an event', () => never.heard.length === 1)
  t.equal(never.machine.fire(HEARTBEAT_MS), 0)
  const longer = await open(t, say, { heartbeat: Infinity })
  await until('an event', () => longer.heard.length === 1)
  t.equal(longer.machine.fire(HEARTBEAT_MS), 0)
  t.equal(longer.asked.length, 1)
})

t.test('behind a sleep, and on another network, it is opened again at once from its id', async (t) => {
  const { machine, heard, states, cursors } = await open(t, say)
  await until('the first event', () => heard.length === 1)
  machine.sleep(SIX_HOURS)
  machine.fire(TICK_MS)
  await until('the second', () => heard.length === 2)
  machine.run('tell("online")')
  await until('the third', () => heard.length === 3)
  t.same(heard, [0, 1, 2])
  t.same(cursors(), [undefined, '0', '1'])
  t.notOk(states.includes('waiting'))
})

t.test('a hidden page, whose timers are slow, leaves it as it is until it is seen', async (t) => {
  const { asked, answers, machine, heard } = await open(t, say)
  await until('the first event', () => heard.length === 1)
  machine.run('document.visibilityState = "hidden"; tell("visibilitychange")')
  for (let minute = 0; minute < 5; minute++) {
    machine.sleep(60_000)
    machine.fire(TICK_MS)
  }
  answers[0]?.write('id: still\nevent: n\ndata: "still"\n\n')
  await until('what the same stream says', () => heard.length === 2)
  t.equal(asked.length, 1)
  machine.sleep(60_000)
  machine.run('document.visibilityState = "visible"; tell("visibilitychange")')
  await until('what the next one says', () => heard.length === 3)
  t.same(heard, [0, 'still', 1])
})

t.test('without an id it is left as it is: a source would begin anew', async (t) => {
  const { asked, answers, machine, heard } = await open(t, (response) => { begin(response).write('event: n\ndata: 0\n\n') })
  await until('the first event', () => heard.length === 1)
  machine.sleep(SIX_HOURS)
  machine.fire(TICK_MS)
  machine.run('tell("online")')
  answers[0]?.write('event: n\ndata: 1\n\n')
  await until('the next', () => heard.length === 2)
  t.equal(asked.length, 1)
})

t.test('who waits for its next attempt does not wait any more when the network is there again', async (t) => {
  const { machine, heard, states } = await open(t, (response, turn) => {
    if (turn === 0) response.writeHead(503).end()
    else say(response, turn)
  }, { firstDelay: 10_000_000, longestDelay: 10_000_000 })
  await until('it waits', () => states.includes('waiting'))
  machine.run('tell("online")')
  await until('an event', () => heard.length === 1)
  t.same(states, ['connecting', 'waiting', 'connecting', 'open'])
})

t.test('a stream that is stopped leaves no timer', async (t) => {
  const { machine, heard, stop } = await open(t, say)
  await until('the first event', () => heard.length === 1)
  stop()
  t.equal(machine.fire(HEARTBEAT_MS) + machine.fire(TICK_MS), 0)
})

/** How long it waits before each of its next attempts. */
async function delays (machine: BareContext, count: number): Promise<number[]> {
  const waited: number[] = []
  while (waited.length < count) {
    await until('it waits', () => (machine.shortest() ?? HEARTBEAT_MS) < HEARTBEAT_MS)
    const ms = machine.shortest() as number
    waited.push(ms)
    machine.fire(ms)
  }
  return waited
}

t.test('it waits longer each time while the server is down, from the beginning and behind a good life', async (t) => {
  const all = () => true
  const never = await open(t, (response) => { response.writeHead(503).end() }, { longestDelay: 50 }, all)
  t.same(await delays(never.machine, 6), [5, 10, 20, 40, 50, 50])

  const good = await open(t, (response, turn) => {
    if (turn === 0) begin(response).write('retry: 7\nid: 0\nevent: n\ndata: 0\n\n')
    else response.writeHead(503).end()
  }, { longestDelay: 50 }, all)
  await until('the event', () => good.heard.length === 1)
  good.machine.sleep(11_000)
  good.answers[0]?.destroy()
  t.same(await delays(good.machine, 4), [7, 10, 20, 40], 'the server\'s own word counts once')
})

t.test('a fetch that knows nothing of the signal: what it has opened is let go all the same', async (t) => {
  const own = { fetch: (async (url, { headers = {} } = {}) => await fetch(url, { headers })) as typeof fetch }
  const { answers, heard, beSilent, stop } = await open(t, say, own)
  await until('the first event', () => heard.length === 1)
  const first = once(answers[0] as ServerResponse, 'close')
  beSilent()
  await first
  await until('the second event', () => heard.length === 2)
  const second = once(answers[1] as ServerResponse, 'close')
  stop()
  await second

  const late = await open(t, () => {}, own)
  await until('it is asked', () => late.asked.length === 1)
  late.stop()
  const closed = once(late.answers[0] as ServerResponse, 'close')
  say(late.answers[0] as ServerResponse, 0)
  await closed
  t.same(late.heard, [])
})

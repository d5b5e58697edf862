/** A machine that slept: its clock has jumped, its socket says that it is open, and nobody may be at the other end. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { BareContext } from '../helpers/bare-context.ts'
import { until } from '../helpers/redis.ts'

const SIX_HOURS = 6 * 3600 * 1000
/** Of lib/client/wake.ts and lib/client/pulse.ts: they run here when they are told to. */
const TICK_MS = 1000
const WAKE_MS = 800
const PROBE_MS = 3000
type Frame = Record<string, unknown>

/** `answers`: whether a connection, by its number, answers a ping. */
async function asleep (t: Test, answers: (connection: number) => boolean) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const lines: Array<{ socket: WebSocket, heard: Frame[] }> = []
  server.on('connection', (socket) => {
    const heard: Frame[] = []
    const number = lines.push({ socket, heard }) - 1
    const say = (frame: Frame): void => socket.send(JSON.stringify(frame))
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame
      heard.push(frame)
      if (frame.op === 'open') say({ op: 'open', connection: 'c', heartbeat: 25_000 })
      if (frame.op === 'ping' && answers(number)) say({ op: 'pong' })
      if (frame.op !== 'subscribe') return
      say({ op: 'subscribed', topic: 'news', id: frame.id ?? '0', ...frame.id !== undefined && { recovered: true } })
      const n = number + 1
      say({ topic: 'news', event: 'n', id: String(n), prev: String(n - 1), data: n })
    })
  })
  const machine = new BareContext((ms) => ms === TICK_MS || ms === WAKE_MS || ms === PROBE_MS)
  machine.run(`
    const handlers = {}
    globalThis.addEventListener = (type, run) => { handlers[type] = run }
    globalThis.removeEventListener = (type) => { delete handlers[type] }
    globalThis.tell = (type) => handlers[type]({})
  `)
  const client = machine.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  t.teardown(() => client.close())
  const told: unknown[] = []
  const states: string[] = []
  client.state.subscribe(() => states.push(client.state.get().is))
  client.topic('news').on('n', ({ data }) => told.push(data))
  await until('the first event', () => told.length === 1)
  const pinged = (number: number) => lines[number]?.heard.filter(({ op }) => op === 'ping').length
  return { machine, client, lines, told, states, pinged }
}

t.test('it is not believed, but asked; and dialled again from its cursor where nothing answers', async (t) => {
  const { machine, client, lines, told, states, pinged } = await asleep(t, (connection) => connection > 0)
  t.equal(machine.fire(TICK_MS), 1)
  t.equal(machine.fire(WAKE_MS), 0, 'nothing is asked of a machine that is awake')
  machine.sleep(SIX_HOURS)
  machine.fire(TICK_MS)
  await until('the question', () => pinged(0) === 1)
  t.equal(lines[0]?.socket.readyState, 1, 'it says that it is open')
  t.equal(client.state.get().is, 'open')
  t.equal(machine.fire(WAKE_MS), 1)
  await until('what was missed', () => told.length === 2)
  t.same(told, [1, 2])
  t.match(lines[1]?.heard.find(({ op }) => op === 'subscribe'), { id: '1' })
  t.same(states, ['connecting', 'open', 'connecting', 'open'], 'it did not wait')
})

t.test('where it answers, it stays', async (t) => {
  const { machine, client, lines, told, pinged } = await asleep(t, () => true)
  for (let nights = 1; nights <= 3; nights++) {
    machine.sleep(SIX_HOURS)
    machine.fire(TICK_MS)
    await until('the question', () => pinged(0) === nights)
    // Its answer takes away what waits for it.
    await until('the answer', () => machine.waiting(WAKE_MS) === 0)
  }
  t.equal(lines.length, 1)
  t.same(told, [1])
  t.equal(client.state.get().is, 'open')
})

t.test('told that the network is gone, it asks at once, and dials again where nothing answers', async (t) => {
  const { machine, told, pinged } = await asleep(t, (connection) => connection > 0)
  machine.run("tell('offline')")
  await until('the question', () => pinged(0) === 1)
  t.equal(machine.fire(PROBE_MS), 1)
  await until('what was missed', () => told.length === 2)
  t.same(told, [1, 2])
})

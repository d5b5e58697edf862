/**
 * Live again within a second of waking: behind each of the faults no timer of more than a second, and no two that are more
 * than one together, stand between the event that wakes the client and its being open. The machine's clock is a test's: a
 * timer runs when it is told to, and says how long it would have taken.
 */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { connect as ownConnect, type Client } from '../../lib/client/index.ts'
import { sharedBy } from '../../lib/client/tabs.ts'
import type { Untyped } from '../../lib/client/types.ts'
import { live } from '../helpers/app.ts'
import { BareContext } from '../helpers/bare-context.ts'
import { FakeBrowser } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'

const SECOND = 1000
const SIX_HOURS = 6 * 3600 * 1000
/** Of lib/client/wake.ts. */
const TICK_MS = 1000

type Frame = Record<string, unknown>
interface Dial { socket: WebSocket, heard: Frame[] }

/** A server that says event n to its nth dial. Nobody answers a ping where the network does not `carry` it. */
class House {
  readonly dials: Dial[] = []
  /** Upgrades are answered. */
  upgrades = true
  carries = true
  streams = 0
  #server: Server | undefined
  #sockets: WebSocketServer | undefined
  port = 0

  static async start (t: Test): Promise<House> {
    const house = new House()
    await house.up()
    t.teardown(() => house.down())
    return house
  }

  get url (): string { return `http://127.0.0.1:${this.port}/` }

  async up (): Promise<void> {
    const sockets = this.#sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'fastify-realtime.v1' })
    const server = this.#server = createServer((request, response) => {
      let text = ''
      request.on('data', (part: Buffer) => { text += String(part) }).on('end', () => {
        const { cursors } = JSON.parse(text) as { cursors: Record<string, string> }
        this.streams++
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        for (const frame of this.#opening(cursors.news)) response.write(`data: ${JSON.stringify(frame)}\n\n`)
      })
    })
    server.on('upgrade', (request, socket, head) => {
      if (!this.upgrades) socket.end('HTTP/1.1 502 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
      else sockets.handleUpgrade(request, socket, head, (client) => this.#dialled(client))
    })
    server.listen(this.port, '127.0.0.1')
    await once(server, 'listening')
    this.port = (server.address() as AddressInfo).port
  }

  async down (): Promise<void> {
    this.cut()
    this.#server?.closeAllConnections()
    this.#server?.close()
    await once(this.#server as Server, 'close')
  }

  cut (): void { for (const client of this.#sockets?.clients ?? []) client.terminate() }

  say (frame: Frame): void { this.dials.at(-1)?.socket.send(JSON.stringify(frame)) }

  #opening (id: string | undefined): Frame[] {
    const n = Number(id ?? 0) + 1
    return [
      { op: 'open', connection: 'c', heartbeat: 25_000 },
      { op: 'subscribed', topic: 'news', id: id ?? '0', ...id !== undefined && { recovered: true } },
      { topic: 'news', event: 'n', id: String(n), prev: String(n - 1), data: n }
    ]
  }

  #dialled (socket: WebSocket): void {
    const dial: Dial = { socket, heard: [] }
    this.dials.push(dial)
    socket.on('error', () => {})
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame
      dial.heard.push(frame)
      const [open, ...topic] = this.#opening(frame.id as string | undefined)
      if (frame.op === 'open') this.say(open as Frame)
      if (frame.op === 'ping' && this.carries) this.say({ op: 'pong' })
      if (frame.op === 'subscribe') for (const one of topic) this.say(one)
    })
  }
}

/** A client on a machine of its own. `again`: brings it to life, and says for how many ms its timers would have run. */
async function awake (t: Test, options: Record<string, unknown> = {}) {
  const house = await House.start(t)
  const machine = new BareContext((ms) => ms > 0)
  machine.run(`
    const handlers = {}
    const target = { addEventListener: (type, run) => { handlers[type] = run }, removeEventListener: (type) => { delete handlers[type] } }
    Object.assign(globalThis, target)
    globalThis.document = { ...target, visibilityState: 'visible' }
    globalThis.navigator.onLine = true
    globalThis.tell = (type) => handlers[type]({})
  `)
  const give = machine.run('(values) => { Object.assign(globalThis, values) }') as (values: object) => void
  give({ AbortController, TextDecoder, URL })
  const own = options.wire === 'auto' ? { ...options, wire: machine.run('client.auto') } : options
  const client: Client<Untyped> = machine.connect(house.url, own)
  t.teardown(() => client.close())
  const told: unknown[] = []
  const states: string[] = []
  client.state.subscribe(() => states.push(client.state.get().is))
  client.topic('news').on('n', ({ data }) => told.push(data))
  await until('the first event', () => told.length === 1)
  const again = async (): Promise<number> => {
    let spent = 0
    for (;;) {
      const due = (): number | undefined => machine.shortest()
      await until('life, or a timer', () => told.length === 2 || (due() ?? Infinity) <= SECOND)
      if (told.length === 2) return spent
      spent += due() as number
      machine.fire(due() as number)
    }
  }
  const check = async (t: Test, what: string): Promise<void> => {
    const spent = await again()
    t.ok(spent <= SECOND, `${what}: ${spent} ms of timers`)
    t.same(told, [1, 2], 'and what was missed is told, once')
    t.equal(client.state.get().is, 'open')
  }
  return { house, machine, client, states, check }
}

t.test('30 s offline, with a socket that was lost meanwhile: it dials at once', async (t) => {
  const { house, machine, client, check } = await awake(t)
  machine.run("navigator.onLine = false; tell('offline')")
  house.cut()
  await until('offline', () => client.state.get().is === 'offline')
  machine.sleep(30_000)
  machine.run("navigator.onLine = true; tell('online')")
  await check(t, 'online')
})

t.test('30 s offline, with a socket that has not noticed', async (t) => {
  const { house, machine, check } = await awake(t)
  house.carries = false
  machine.sleep(30_000)
  machine.run("tell('online')")
  await check(t, 'online')
})

t.test('another network, while the client was asking a silent one already: it does not wait for longer', async (t) => {
  const { house, machine, check } = await awake(t)
  house.carries = false
  machine.run("tell('offline')")
  await until('the question', () => house.dials[0]?.heard.some(({ op }) => op === 'ping'))
  machine.run("tell('online')")
  await check(t, 'online')
})

t.test('a frozen tab, whose socket says that it is open, or was closed meanwhile', async (t) => {
  for (const closed of [false, true]) {
    const { house, machine, client, check } = await awake(t)
    house.carries = false
    machine.sleep(60_000)
    if (closed) {
      house.cut()
      await until('it is noticed', () => client.state.get().is === 'waiting')
    }
    machine.run("tell('resume')")
    await check(t, closed ? 'closed' : 'open')
  }
})

t.test('a machine that slept for six hours, with a socket that says that it is open', async (t) => {
  const { house, machine, client, check } = await awake(t)
  house.carries = false
  machine.sleep(SIX_HOURS)
  t.equal(machine.fire(TICK_MS), 1, 'the clock alone tells of it, each second')
  t.equal(client.state.get().is, 'open')
  await check(t, 'the jump')
})

t.test('a server that restarts, with and without a word', async (t) => {
  for (const word of [true, false]) {
    const { house, check } = await awake(t)
    if (word) house.say({ op: 'bye', code: 1012, reason: 'shutting-down', reconnect: true, retry: 200 })
    await house.down()
    await house.up()
    await check(t, word ? 'told' : 'cut')
  }
})

t.test('a token that expires: it is there again at once, with another', async (t) => {
  const asked: string[] = []
  const { house, check } = await awake(t, { token: ({ reason }: { reason: string }) => { asked.push(reason); return reason } })
  house.say({ op: 'bye', code: 4401, reason: 'expired', reconnect: true })
  house.cut()
  await check(t, 'expired')
  t.same(asked, ['open', 'refused'])
})

t.test('a token that has held for a second, and expires again and again, is no refusal', async (t) => {
  const asked: string[] = []
  const { house, machine, client } = await awake(t, { token: ({ reason }: { reason: string }) => { asked.push(reason); return reason } })
  for (let dials = 2; dials <= 4; dials++) {
    machine.sleep(1001)
    house.say({ op: 'bye', code: 4401, reason: 'expired', reconnect: true })
    house.cut()
    await until('it is there again', () => house.dials.length === dials && client.state.get().is === 'open')
  }
  t.same(asked, ['open', 'refused', 'refused', 'refused'])
  house.say({ op: 'bye', code: 4401, reason: 'expired', reconnect: true })
  house.cut()
  await until('the end', () => client.state.get().is === 'refused')
  t.equal(house.dials.length, 4, 'one that did not hold is')
})

t.test('a network that lets no WebSocket through any more: it goes on over HTTP', async (t) => {
  const { house, check } = await awake(t, { wire: 'auto', fetch })
  house.upgrades = false
  house.cut()
  await check(t, 'cut')
  t.equal(house.streams, 1)
})

t.test('a tab that leads and is closed: the next one leads without any timer', async (t) => {
  const app = await live(t, { retry: 60_000 })
  const news = app.topic('news')
  app.channel('/realtime', { topics: news })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = new FakeBrowser()
  // Nothing that a timer would do comes to pass within this test.
  const open = () => {
    const page = browser.page()
    const client = ownConnect(`${url}/realtime`, {
      WebSocket: page.WebSocket, firstDelay: 3_600_000, tabs: sharedBy({ key: 'ada', patience: 3_600_000, recent: 500 }, () => page.browser)
    })
    t.teardown(() => client.close())
    const told: unknown[] = []
    client.topic('news').on('n', ({ data }) => told.push(data))
    return { client, told }
  }
  const leader = open()
  await until('it leads', () => leader.client.state.get().is === 'open')
  const follower = open()
  await until('it follows', () => follower.client.state.get().is === 'open')
  await news.publish({}, 'n', 1)
  await until('the first', () => follower.told.length === 1)
  leader.client.close()
  await news.publish({}, 'n', 2)
  await until('the second', () => follower.told.length === 2)
  t.same(follower.told, [1, 2])
  t.equal(app.realtime.connections().length, 1)
})

/**
 * Other people's EventSources behind a proxy that cuts their connections at bytes made up from a seed:
 *
 *   SEED=123456 npx tap test/random/eventsource.test.ts
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { EventSource } from 'eventsource'
import { createEventSource } from 'eventsource-client'
import t, { type Test } from 'tap'
import type { Topic } from '../../lib/index.ts'
import { listen, live, portOf } from '../helpers/app.ts'
import { launchChromium, openWindow } from '../helpers/chromium.ts'
import { Random, seedOf } from './random.ts'

const TOPICS = ['a', 'b', 'c']
const EVENTS = 5000
const CUTS = 50
/** So far may the publisher be ahead of the slowest client: cuts fall into live events as well as into a replay. */
const LEAD = 250
/** Every event is at least so many bytes on the wire. */
const EVENT_BYTES = 200
const FILL = 'x'.repeat(EVENT_BYTES)
/** One cut in so many falls into the head or the opening block. */
const EARLY = 6
const EARLY_BYTES = 600

const seed = seedOf()
t.setTimeout(120_000)

const browser = await launchChromium()
t.teardown(() => browser.close())

interface Cut { after: number, reset: boolean }

/** Cuts whose bytes together are fewer than the events have: all of them happen. */
function makeCuts (random: Random): Cut[] {
  const weights = Array.from({ length: CUTS }, () => random.next())
  const unit = EVENTS * EVENT_BYTES * 0.8 / weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight, index) => ({
    after: index % EARLY === 0 ? random.int(1, EARLY_BYTES) : 1 + Math.floor(weight * unit),
    reset: random.chance(0.5)
  }))
}

/** A TCP proxy that cuts one connection after the other, and can keep new ones waiting. */
class Cutter {
  cuts = 0
  readonly #upstream: number
  readonly #plan: Cut[]
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #waiting: Socket[] | undefined

  constructor (upstream: number, plan: Cut[]) {
    this.#upstream = upstream
    this.#plan = plan
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      this.#keep(socket)
      if (this.#waiting) this.#waiting.push(socket)
      else this.#relay(socket)
    })
  }

  async listen (): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Cuts what is open; whoever comes waits at the door until the returned function is called. */
  cutAndHold (): () => void {
    const waiting: Socket[] = this.#waiting = []
    for (const socket of this.#sockets) socket.destroy()
    return () => {
      this.#waiting = undefined
      for (const socket of waiting) if (!socket.destroyed) this.#relay(socket)
    }
  }

  async close (): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    if (this.#server.listening) await once(this.#server, 'close')
  }

  #relay (client: Socket): void {
    const server = connect({ port: this.#upstream, host: '127.0.0.1' })
    this.#keep(server)
    client.pipe(server)
    client.once('close', () => server.destroy())
    server.once('close', () => client.destroy())
    let cut: Cut | undefined
    let passed = 0
    let head = ''
    server.on('data', (bytes: Buffer) => {
      // Not before its first byte: browsers open connections that they may never use.
      if (passed === 0) cut = this.#plan.shift()
      const left = (cut?.after ?? Infinity) - passed
      if (left <= 0) return
      const part = bytes.subarray(0, left)
      passed += part.length
      if (!head.includes('\r\n\r\n')) head += part.toString('latin1')
      if (part.length < left) client.write(part)
      // Chromium takes a head that ends early for a whole one, and a content-type that was cut for another type.
      else this.#cut(client, part, cut?.reset === true || !head.includes('\r\n\r\n'))
    })
  }

  #cut (client: Socket, last: Buffer, reset: boolean): void {
    this.cuts++
    client.write(last, () => {
      if (reset) client.resetAndDestroy()
      else client.end(() => client.destroy())
    })
  }

  #keep (socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

/** What one client heard, and a way to wait for more of it. */
class Listener {
  readonly name: string
  readonly cutter: Cutter
  readonly heard = new Map<string, number[]>(TOPICS.map((topic) => [topic, []]))
  openings = 0
  #id = ''
  #fault: Error | undefined
  #check = (): void => {}

  constructor (name: string, cutter: Cutter) {
    this.name = name
    this.cutter = cutter
  }

  take (event: string, data: string, id: string): void {
    if (event === 'realtime:reset') this.#fail(`was reset: ${data}`)
    // Whoever lost its place might otherwise wait for events that have been.
    else if (event === 'realtime:open' && this.openings++ > 0 && id !== this.#id) this.#fail(`had ${this.#id}, and came back at ${id}`)
    else if (event === 'tick') {
      const { topic, n } = JSON.parse(data) as { topic: string, n: number }
      this.heard.get(topic)?.push(n)
    }
    this.#id = id
    this.#check()
  }

  #fail (what: string): void {
    this.#fault ??= new Error(`${this.name}, opening ${this.openings}: ${what}`)
  }

  /** Has heard the last of so many events in each topic, whatever it missed. */
  reached (events: number): boolean {
    return TOPICS.every((topic, index) => (this.heard.get(topic)?.at(-1) ?? -1) >= heldBy(index, events) - 1)
  }

  async until (done: (self: Listener) => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#check = () => {
        if (this.#fault) reject(this.#fault)
        else if (done(this)) resolve()
      }
      this.#check()
    })
    this.#check = () => {}
  }
}

/** How many of so many events are of this topic: they take turns. */
function heldBy (index: number, events: number): number {
  return Math.max(0, Math.ceil((events - index) / TOPICS.length))
}

const NAMES = ['tick', 'realtime:open', 'realtime:reset']

type Heard = [event: string, data: string, id: string]
type Connect = (t: Test, url: string, origin: string, listener: Listener) => Promise<void> | void

const clients: Record<string, Connect> = {
  async Chromium (t, url, origin, listener) {
    const { page, close } = await openWindow(browser, origin)
    t.teardown(close)
    await page.exposeFunction('report', (batch: Heard[]) => {
      for (const heard of batch) listener.take(...heard)
    })
    await page.evaluate(({ url, names }) => {
      const { report } = window as unknown as { report: (batch: Heard[]) => void }
      const batch: Heard[] = []
      const source = new window.EventSource(url)
      for (const name of names) {
        source.addEventListener(name, ({ data, lastEventId }) => {
          if (batch.push([name, data, lastEventId]) === 1) setTimeout(() => report(batch.splice(0)))
        })
      }
    }, { url, names: NAMES })
  },

  eventsource (t, url, _origin, listener) {
    const source = new EventSource(url)
    t.teardown(() => source.close())
    for (const name of NAMES) source.addEventListener(name, ({ data, lastEventId }: MessageEvent<string>) => listener.take(name, data, lastEventId))
  },

  'eventsource-client' (t, url, _origin, listener) {
    const source = createEventSource({ url, onMessage: ({ event = 'message', data, id = '' }) => listener.take(event, data, id) })
    t.teardown(() => source.close())
  }
}

/** A stream of three topics, and each client behind a proxy of its own; resolves when all are live. */
async function setUp (t: Test, makePlan: (random: Random) => Cut[]): Promise<{ topic: Topic<{ id: string }>, listeners: Listener[] }> {
  const app = await live(t, { retry: 10, history: { limit: EVENTS, maxBytes: 1 << 26 } })
  app.addHook('onRequest', async (_request, reply) => { reply.header('access-control-allow-origin', '*') })
  app.get('/', async (_request, reply) => await reply.type('text/html').send('<!doctype html><title>listener</title><link rel="icon" href="data:,">'))
  const topic = app.topic('feeds/:id')
  app.stream('/feeds', { topics: TOPICS.map((id) => `feeds/${id}`) })
  const origin = await listen(app)
  const listeners = await Promise.all(Object.entries(clients).map(async ([name, connectClient]) => {
    const cutter = new Cutter(portOf(app), makePlan(new Random(`${seed} ${name}`)))
    t.teardown(() => cutter.close())
    const listener = new Listener(name, cutter)
    const url = `${await cutter.listen()}/feeds`
    await connectClient(t, url, origin, listener)
    await listener.until(({ openings }) => openings > 0)
    return listener
  }))
  return { topic, listeners }
}

/** The nth of all events. */
async function publish (topic: Topic<{ id: string }>, n: number): Promise<void> {
  const id = TOPICS[n % TOPICS.length] as string
  await topic.publish({ id }, 'tick', { topic: id, n: Math.floor(n / TOPICS.length), fill: FILL })
}

/** So many events, each once and in the order of its topic. */
function hasAll (t: Test, { name, heard }: Listener, events: number): void {
  for (const [index, topic] of TOPICS.entries()) {
    const expected = Array.from({ length: heldBy(index, events) }, (_, n) => n)
    t.same(heard.get(topic), expected, `${name}: all ${expected.length} of ${topic}, once each, in order`)
  }
}

const allReach = async (listeners: Listener[], events: number): Promise<void> => {
  await Promise.all(listeners.map(async (listener) => await listener.until((self) => self.reached(events))))
}

t.test(`${CUTS} cuts during ${EVENTS} events, SEED=${seed}`, async (t) => {
  const { topic, listeners } = await setUp(t, makeCuts)
  for (let n = 0; n < EVENTS; n++) {
    await publish(topic, n)
    if (n % 50 === 0) await allReach(listeners, n - LEAD)
  }
  await allReach(listeners, EVENTS)
  for (const listener of listeners) {
    t.equal(listener.cutter.cuts, CUTS, `${listener.name} was cut ${CUTS} times`)
    hasAll(t, listener, EVENTS)
  }
})

t.test('a cut before the first event', async (t) => {
  const { topic, listeners } = await setUp(t, () => [])
  const letIn = listeners.map(({ cutter }) => cutter.cutAndHold())
  const missed = TOPICS.length * 3
  for (let n = 0; n < missed; n++) await publish(topic, n)
  for (const open of letIn) open()
  await Promise.all(listeners.map(async (listener) => await listener.until(({ openings }) => openings > 1)))
  // One more of each topic, so that there is something to wait for if they are missed, or come twice.
  const events = missed + TOPICS.length
  for (let n = missed; n < events; n++) await publish(topic, n)
  await allReach(listeners, events)
  for (const listener of listeners) hasAll(t, listener, events)
})

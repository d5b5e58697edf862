/** What becomes of a client that does not read, by each of the four policies, and of what it is told meanwhile. */
import t, { type Test } from 'tap'
import { memory } from '../../../lib/adapters/memory.ts'
import type { Adapter, Sink } from '../../../lib/core/adapter.ts'
import { Connection } from '../../../lib/core/connection/connection.ts'
import { Outbox } from '../../../lib/core/connection/outbox.ts'
import { durableEntry, ephemeralEntry, isPlace, type Entry } from '../../../lib/core/event.ts'
import { Hub } from '../../../lib/core/hub.ts'
import { DeclaredTopic } from '../../../lib/core/topics/topic.ts'
import type { Recipient, SlowPolicy } from '../../../lib/core/connection/slow-client.ts'
import type { Encoder, HeardSubscription, HeardTopic, Notice, Outlet } from '../../../lib/core/wire.ts'
import { Random, seedOf, turns } from '../../random/random.ts'

const MAX_BUFFERED = 4000
const POLICIES = ['close', 'latest', 'reset', 'replay'] as const
const LOG = { warn () {}, error () {}, info () {}, debug () {} }

interface Line {
  what: string
  topic: string
  id?: string | undefined
  prev?: string | undefined
  key?: string | undefined
  n?: number
  /** Where the client is told to be, by topic: what a cursor would say. */
  told: Record<string, string | undefined>
}

function lineOf (entry: Entry, { name: topic }: HeardTopic, told: Line['told']): string {
  const { id, prev, key, data } = entry
  const what = isPlace(entry) ? 'place' : 'event'
  return JSON.stringify({ what, topic, id, prev, key, ...(what === 'event' && { n: Number(Buffer.from(data).toString()) }), told }) + '\n'
}

/** A client's end that takes bytes when it is told to, and checks every link and every position. */
class Client implements Outlet {
  readonly kind = 'sse'
  readonly lines: Line[] = []
  readonly connection: Connection
  readonly held = new Map<string, string>()
  taking = true
  buffered = 0
  readonly #t: Test
  readonly #hub: Hub

  constructor (t: Test, hub: Hub, slow: SlowPolicy, id: string) {
    this.#t = t
    this.#hub = hub
    this.connection = new Connection(hub, {
      id,
      kind: 'sse',
      identity: { id },
      address: '',
      place: hub.admission.reserve(() => undefined),
      settings: { maxBuffered: MAX_BUFFERED, slow, heartbeat: 25_000 },
      subscribe: async () => {},
      resolve: (topic) => String(topic),
      since: performance.now(),
      authorizeAgain: async () => {}
    })
    hub.admit(this.connection)
    this.connection.attach(this)
  }

  async open (names: string[]): Promise<void> {
    this.connection.begin(await this.#hub.entrance.prepare(names.map((name) => ({ at: this.#hub.topics.resolve(name), cursor: undefined }))))
  }

  async enter (name: string): Promise<void> {
    const joining = await this.#hub.entrance.prepare([{ at: this.#hub.topics.resolve(name), cursor: undefined }])
    if (this.connection.closed) return this.#hub.release(joining)
    this.connection.announce(this.#hub.join(this.connection, joining))
    this.connection.settle()
  }

  take (): void {
    this.taking = true
    this.buffered = 0
    this.connection.drained()
  }

  // --- the outlet ---------------------------------------------------------------

  /** Like a stream of several topics: members of a group stand where their topics are. */
  encoder (subscriptions: readonly HeardSubscription[]): Encoder {
    const topics = subscriptions.map(({ topic }) => topic)
    return { shared: false, encode: (entries, topic) => Buffer.from(entries.map((entry) => this.#line(entry, topic, topics)).join('')) }
  }

  #line (entry: Entry, topic: HeardTopic, topics: readonly HeardTopic[]): string {
    return lineOf(entry, topic, Object.fromEntries(topics.map((other) => [other.name, other === topic ? entry.id : other.position])))
  }

  release (): void {}

  join (chunks: readonly Uint8Array[]): Uint8Array {
    return Buffer.concat(chunks)
  }

  encodeOne (entry: Entry, { topic }: HeardSubscription): Uint8Array {
    return Buffer.from(lineOf(entry, topic, this.#positions()))
  }

  #positions (): Record<string, string | undefined> {
    return Object.fromEntries(this.connection.subscriptions.map((one) => [one.topic.name, one.position]))
  }

  notice (notice: Notice): Uint8Array | undefined {
    if (!('subscription' in notice)) return undefined
    const { topic, position } = notice.subscription
    const what = notice.type === 'reset' ? `reset: ${notice.reason}` : notice.type
    return Buffer.from(JSON.stringify({ what, topic: topic.name, id: position, told: this.#positions() }) + '\n')
  }

  write (bytes: Uint8Array): boolean {
    for (const line of Buffer.from(bytes).toString().trimEnd().split('\n')) this.#receive(JSON.parse(line) as Line)
    if (!this.taking) this.buffered += bytes.byteLength
    return this.taking
  }

  #receive (line: Line): void {
    this.lines.push(line)
    if ((line.what === 'event' || line.what === 'place') && line.prev !== this.held.get(line.topic)) this.#t.fail(`${line.topic} ${line.n}: ${line.prev} does not link to ${this.held.get(line.topic)}`)
    this.held.set(line.topic, line.id as string)
    for (const [topic, id] of Object.entries(line.told)) {
      if (this.held.has(topic) && this.held.get(topic) !== id) this.#t.fail(`${line.what} of ${line.topic} says that ${topic} is at ${id}; it is at ${this.held.get(topic)}`)
    }
  }

  close (): void { this.connection.gone(this.connection.reason as NonNullable<Connection['reason']>) }
  destroy (): void { this.close() }
  beat (): void {}

  numbers (topic: string): number[] {
    return this.lines.filter((line) => line.what === 'event' && line.topic === topic).map(({ n }) => n as number)
  }

  notices (): string[] {
    return this.lines.filter(({ what }) => !['event', 'place', 'subscribed'].includes(what)).map(({ what, topic }) => `${what} ${topic}`)
  }
}

/** A hub with topics `a`, `b` and `c`; `deaf` keeps what is announced from it. */
async function start (t: Test, limit = 10_000) {
  const inner = memory()
  const ears = { deaf: false }
  const adapter: Adapter = Object.assign(Object.create(inner) as Adapter, {
    start: async (sink: Sink) => await inner.start({
      event: (topic, event) => { if (!ears.deaf) sink.event(topic, event) },
      ephemeral: (topic, event) => sink.ephemeral(topic, event),
      suspect: (topics) => sink.suspect(topics),
      state: (state) => sink.state(state)
    })
  })
  for (const name of ['publish', 'ephemeral', 'subscribe', 'unsubscribe', 'read', 'heads', 'close'] as const) {
    Object.assign(adapter, { [name]: (inner[name] as (...args: unknown[]) => unknown).bind(inner) })
  }
  const hub = new Hub(adapter, {
    maxEventBytes: 65_536, ringBytes: 1 << 30, maxConnections: 100, maxConnectionsPerAddress: 100, maxConnectionsPerIdentity: 100, messagesPerSecondPerIdentity: 500, leaveTimeout: 5000, closeTimeout: 100, joinTimeout: 5000, retry: 1000, log: LOG
  })
  for (const pattern of ['a', 'b', 'c']) {
    hub.topics.add(new DeclaredTopic(hub, pattern, {
      retention: { limit, maxAge: 3_600_000, maxBytes: 1 << 30 }, schemas: undefined, events: undefined, authorize: undefined, snapshot: undefined, validate: false
    }))
  }
  await hub.start()
  t.teardown(async () => {
    await hub.stop()
    await hub.close()
  })
  const counts = new Map<string, number>()
  /** What was published, and who was not to get it. */
  const excepted = new Map<string, string | undefined>()
  const publish = (topic: string, key?: string, except?: string): Promise<unknown> => {
    const n = counts.get(topic) ?? 0
    counts.set(topic, n + 1)
    excepted.set(`${topic} ${n}`, except)
    return hub.publisher.publish(hub.topics.resolve(topic), 'message', n, { ...(key !== undefined && { key }), ...(except !== undefined && { except }) })
  }
  return { hub, publish, ears, counts, excepted }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

t.test('close: within the bound nothing is lost, past it the client goes', async (t) => {
  const { hub, publish } = await start(t)
  const [patient, stuck] = [new Client(t, hub, 'close', 'patient'), new Client(t, hub, 'close', 'stuck')]
  for (const client of [patient, stuck]) {
    await client.open(['a', 'b'])
    client.taking = false
  }
  for (let n = 0; n < 6; n++) {
    await publish('a')
    await publish('b')
    await turns(1)
  }
  t.ok(patient.connection.output.buffered > 0 && patient.connection.output.buffered <= MAX_BUFFERED, `${patient.connection.output.buffered} bytes wait`)
  patient.take()
  t.same(patient.numbers('a'), upTo(6))
  t.same(patient.numbers('b'), upTo(6))
  t.equal(patient.connection.output.buffered, 0)
  for (let n = 0; n < 60 && !stuck.connection.closed; n++) {
    await publish('a')
    await turns(1)
  }
  t.equal(stuck.connection.reason?.name, 'slow-client')
  t.equal(hub.observe.counts.slowClosed, 1)
  t.equal(patient.connection.closed, false, 'the other is not concerned')
  t.same(patient.notices(), [])
})

t.test('latest: of what waits the newest of each key is kept, and every jump is told', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'latest', 'board')
  await client.open(['a', 'b'])
  client.taking = false
  for (let n = 0; n < 200; n++) {
    await publish('a', `item ${n % 3}`)
    await turns(1)
    if (client.connection.output.buffered > MAX_BUFFERED) t.fail(`${client.connection.output.buffered} bytes`)
  }
  await publish('b')
  await turns(1)
  client.take()
  t.same(client.numbers('a').slice(-3), [197, 198, 199])
  t.same(client.numbers('b'), [0])
  t.same(client.notices(), ['at a'])
  t.ok(hub.observe.counts.dropped > 150)
  await publish('a')
  await turns(1)
  t.equal(client.numbers('a').at(-1), 200, 'and on as before')
  t.equal(client.notices().length, 1)
})

t.test('latest: of the events that wait when the topics change, those without an id are lost and counted as dropped', async (t) => {
  const dropped: string[] = []
  const outlet = { buffered: 0 } as unknown as Outlet
  const outbox = new Outbox({
    closed: false, settings: { maxBuffered: MAX_BUFFERED, slow: 'latest' }, dropped: ({ name }) => dropped.push(name)
  }, { full: true, outlet, force () {} })
  const to = (name: string): Recipient => ({ topic: { name }, standBefore () {} }) as unknown as Recipient
  const event = { name: 'moved', data: Buffer.from('{}'), format: 'json' } as const
  outbox.add(event.data, to('a'), [ephemeralEntry(event)])
  outbox.add(event.data, to('b'), [durableEntry({ ...event, id: '1-1.a', prev: '1-0.a' })])
  outbox.addOwn(Buffer.from('own'), false)
  outbox.releaseEvents()
  t.same(dropped, ['a'], 'the other can be pulled again')
  t.equal(outbox.bytes, 3)
})

t.test('latest: a client whose newest events alone are too much goes', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'latest', 'board')
  await client.open(['a'])
  client.taking = false
  for (let n = 0; n < 100 && !client.connection.closed; n++) {
    await publish('a', `item ${n}`)
    await turns(1)
  }
  t.equal(client.connection.reason?.name, 'slow-client')
})

t.test('reset: what waits is dropped, told once for each topic, and nothing goes ahead of that', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'reset', 'viewer')
  await client.open(['a', 'b', 'c'])
  client.taking = false
  for (let n = 0; n < 100; n++) {
    await publish(n % 2 ? 'a' : 'b')
    await turns(1)
    if (client.connection.output.buffered > MAX_BUFFERED) t.fail(`${client.connection.output.buffered} bytes`)
  }
  const before = client.lines.length
  // In the turn in which it takes bytes again: these still wait in their topics.
  await publish('a')
  await publish('c')
  client.take()
  t.same(client.notices().sort(), ['reset: slow a', 'reset: slow b', 'reset: slow c'])
  t.equal(client.lines.findIndex(({ what }, i) => i >= before && what === 'event'), -1, 'no event of the gap')
  for (const topic of ['a', 'b', 'c']) await publish(topic)
  await turns(1)
  t.same([client.numbers('a').at(-1), client.numbers('b').at(-1), client.numbers('c').at(-1)], [51, 50, 1])
})

t.test('replay: what waits is dropped, and comes from the history when the client reads again', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'replay', 'reader')
  await client.open(['a', 'b', 'c'])
  client.taking = false
  for (let n = 0; n < 100; n++) {
    await publish(n % 2 ? 'a' : 'b')
    await turns(1)
    if (client.connection.output.buffered > MAX_BUFFERED) t.fail(`${client.connection.output.buffered} bytes`)
  }
  // In the turn in which it takes bytes again: these still wait in their topics.
  await publish('a')
  await publish('c')
  client.take()
  await turns(2)
  t.same([client.numbers('a'), client.numbers('b'), client.numbers('c')], [upTo(51), upTo(50), upTo(1)])
  for (const topic of ['a', 'b', 'c']) await publish(topic)
  await turns(1)
  t.same([client.numbers('a'), client.numbers('b'), client.numbers('c')], [upTo(52), upTo(51), upTo(2)], 'and on as before')
  t.same(client.notices(), [])
  t.equal(hub.observe.counts.dropped, 0, 'nothing was lost')
})

t.test('replay: one burst may be more than may wait, and is no reason to let the client go', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'replay', 'reader')
  await client.open(['a', 'b'])
  client.taking = false
  for (let n = 0; n < 100; n++) publish('a').catch(t.threw)
  await turns(2)
  t.ok(client.connection.output.buffered > MAX_BUFFERED, `${client.connection.output.buffered} bytes in one write`)
  for (let n = 0; n < 10; n++) {
    await publish('a')
    await publish('b')
    await turns(1)
  }
  t.equal(client.connection.closed, false)
  client.take()
  await turns(2)
  t.same([client.numbers('a'), client.numbers('b')], [upTo(110), upTo(10)])
  t.same(client.notices(), [])
})

t.test('replay: past the history the loss is told', async (t) => {
  const { hub, publish } = await start(t, 5)
  const client = new Client(t, hub, 'replay', 'reader')
  await client.open(['a', 'b'])
  client.taking = false
  await publish('b')
  for (let n = 0; n < 100; n++) {
    await publish('a')
    await turns(1)
  }
  client.take()
  await turns(5)
  t.same(client.notices(), ['reset: expired a'])
  await publish('a')
  await turns(1)
  t.equal(client.numbers('a').at(-1), 100, 'it goes on')
  t.same(client.numbers('b'), [0], 'the other topic has lost nothing')
})

t.test('topics joined and left while a client is behind: it is told of every jump, and of no place it has not reached', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'latest', 'board')
  await client.open(['a', 'b'])
  client.taking = false
  for (let n = 0; n < 60; n++) {
    await publish('a', `${n % 2}`)
    await turns(1)
  }
  await publish('a', '0')
  await client.enter('c')
  await publish('a', '1')
  client.connection.remove('b')
  client.take()
  await turns(2)
  t.same(client.numbers('a').slice(-2), [60, 61])
  t.equal(client.held.get('a'), hub.active.get('a')?.position)
})

t.test('a topic that was lost: nobody is told of its new place before the loss', async (t) => {
  const { hub, publish, ears } = await start(t, 2)
  const clients = upTo(4).map((i) => new Client(t, hub, 'close', `client ${i}`))
  for (const client of clients) await client.open(['a', 'b'])
  ears.deaf = true
  for (let n = 0; n < 5; n++) await publish('a')
  ears.deaf = false
  hub.suspect(['a'])
  // Waits in its topic while the loss is found out and told.
  await publish('b')
  await turns(3)
  for (const client of clients) {
    t.same(client.notices(), ['reset: lost a'])
    t.same(client.numbers('b'), [0])
    t.equal(client.held.get('a'), hub.active.get('a')?.position)
  }
})

t.test('an event that is not for a slow client: it is told the place, in the order of the events, and loses no other', async (t) => {
  const { hub, publish } = await start(t)
  const clients = POLICIES.map((slow) => new Client(t, hub, slow, slow))
  for (const client of clients) await client.open(['a', 'b'])
  for (const client of clients) client.taking = false
  for (const except of [...POLICIES, undefined]) {
    await publish('a', 'k', except)
    await publish('b', undefined, except)
    await turns(1)
  }
  await turns(2)
  for (const client of clients) {
    client.take()
    t.same(client.lines.filter(({ what, topic }) => topic === 'a' && (what === 'event' || what === 'place')).map(({ n }) => n ?? 'place'),
      [...POLICIES, undefined].map((except, n) => except === client.connection.id ? 'place' : n), client.connection.id)
    t.equal(client.held.get('a'), hub.active.get('a')?.position)
    t.same(client.notices(), [])
  }
})

t.test('latest: an event that is not for the client replaces none that is', async (t) => {
  const { hub, publish } = await start(t)
  const client = new Client(t, hub, 'latest', 'board')
  await client.open(['a'])
  client.taking = false
  for (let n = 0; n < 100; n++) await publish('a', 'k').then(async () => await turns(1))
  const dropped = hub.observe.counts.dropped
  for (let n = 0; n < 100; n++) await publish('a', 'k', 'board').then(async () => await turns(1))
  t.equal(hub.observe.counts.dropped, dropped, 'what is not for it is not counted as dropped')
  client.take()
  t.same(client.numbers('a').at(-1), 99)
  t.equal(client.lines.at(-1)?.what, 'place')
  t.equal(client.held.get('a'), hub.active.get('a')?.position)
})

t.test('at random: every link holds, every position is one that was reached, every bound is kept', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let round = 0; round < 100; round++) {
    const random = new Random(seed + round)
    const { hub, publish, ears, counts, excepted } = await start(t, random.pick([3, 10, 10_000]))
    const clients = POLICIES.map((slow, i) => new Client(t, hub, slow, `${i}`))
    for (const client of clients) await client.open(random.shuffled(['a', 'b', 'c']).slice(0, random.int(1, 3)))
    for (let step = 0; step < 60; step++) {
      const client = random.pick(clients)
      const topic = random.pick(['a', 'b', 'c'])
      const dice = random.next()
      ears.deaf = dice < 0.04
      if (dice < 0.5) for (let i = random.int(1, 8); i > 0; i--) await publish(topic, random.pick([undefined, 'x', 'y']), random.chance(0.3) ? random.pick(clients).connection.id : undefined)
      else if (dice < 0.65) client.taking = false
      else if (dice < 0.8) client.take()
      else if (dice < 0.87 && !client.connection.has(topic)) await client.enter(topic)
      // What waits for it in bytes comes still, and links.
      else if (dice < 0.92 && client.connection.has(topic) && client.connection.topics.length > 1) client.connection.remove(topic)
      if (ears.deaf) hub.suspect('all')
      if (random.chance(0.6)) await turns(random.int(1, 3))
      for (const { connection } of clients) if (!connection.closed && connection.output.buffered > MAX_BUFFERED + 2000) t.fail(`SEED=${seed + round}: ${connection.output.buffered} bytes`)
    }
    hub.suspect('all')
    for (let i = 0; i < 20; i++) {
      for (const client of clients) if (!client.connection.closed) client.take()
      await turns(1)
    }
    for (const client of clients) {
      for (const { what, topic, n } of client.lines) {
        if (what === 'event' && excepted.get(`${topic} ${n}`) === client.connection.id) t.fail(`SEED=${seed + round}: ${topic} ${n} came back to its sender`)
      }
      for (const name of client.connection.topics) {
        if (client.held.get(name) !== hub.active.get(name)?.position) t.fail(`SEED=${seed + round}: ${client.connection.id} is at ${client.held.get(name)} of ${name}, of which ${counts.get(name)} were published`)
      }
    }
  }
  t.pass('100 rounds')
})

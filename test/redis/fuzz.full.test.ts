/**
 * What is written on our channels and into our logs by others, at random: no crash, no forged event, no disconnect. SEED
 * repeats a run. Most of it is handed to the adapter as its connection would; some goes through a real Redis.
 */
import t, { type Test } from 'tap'
import { Redis } from 'ioredis'
import { WebSocket } from 'ws'
import type { FastifyInstance } from 'fastify'
import { compareIds } from '../../lib/core/id.ts'
import { RedisAdapter } from '../../lib/adapters/redis/adapter.ts'
import type { Commands } from '../../lib/adapters/redis/commands.ts'
import { encodeBody, encodeEphemeral } from '../../lib/adapters/redis/codec.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { readSettings } from '../../lib/adapters/redis/options.ts'
import { HEADS, OWNER, READ } from '../../lib/adapters/redis/scripts.ts'
import type { SubscriptionsHost } from '../../lib/adapters/redis/subscriptions.ts'
import type { Adapter } from '../../lib/index.ts'
import { connectionsOf, openStream, portOf, serve, SUBPROTOCOL, turn, type Stream } from '../conformance/clients.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { Random, seedOf } from '../random/random.ts'
import { body, changed, goodBody, message, randomBytes, words } from './garbage.ts'

const MESSAGES = Number(process.env.MESSAGES ?? 100_000)
const ENTRIES = Number(process.env.ENTRIES ?? 10_000)
const AT_ONCE = 500
const seed = seedOf()
const PREFIX = 'f:'

interface Entry { place: string, fields: Array<string | Buffer> }

/** A Redis of which only what the adapter asks is there: streams, and channels that say what they are told. */
class FakeRedis {
  readonly logs = new Map<string, { head: string, entries: Entry[] }>()
  reads = 0
  #host: SubscriptionsHost | undefined

  adapter (): Adapter {
    const fake = this
    const commands: Commands = {
      up: true,
      why: new Error('never'),
      cluster: false,
      server: '-',
      connect () {},
      run: async ({ lua }, keys, args) => fake.#run(lua, keys, args as string[]),
      get: async (keys) => keys.map(() => null),
      expire: async () => 1,
      wait: async () => 0,
      publish: async (channel, said) => { fake.say(channel, Buffer.from(said)) },
      listeners: async () => 1,
      tick () {},
      version: async () => 'redis_version:7.0.0',
      close () {}
    }
    return new RedisAdapter(readSettings({ prefix: PREFIX }), {
      commands: () => commands,
      messages: (_commands, host) => {
        this.#host = host
        return {
          up: true, why: new Error('never'), connect () {}, remove () {}, tick () {}, close () {}, add: (channel) => { setImmediate(() => host.live([channel], false)) }
        }
      }
    })
  }

  say (channel: string, said: Buffer): void {
    this.#host?.message(channel, said)
  }

  log (key: string): { head: string, entries: Entry[] } {
    let log = this.logs.get(key)
    if (!log) this.logs.set(key, log = { head: '0-0.genesis', entries: [] })
    return log
  }

  #run (lua: string, keys: readonly string[], args: readonly string[]): unknown {
    if (lua === HEADS.lua) return keys.filter((_, i) => i % 2 === 0).map((key) => Buffer.from(this.log(key).head))
    if (lua === READ.lua) return this.#read(keys[0] as string, args)
    return lua === OWNER.lua ? null : ''
  }

  /** As READ does it. */
  #read (key: string, [how, from = '', count]: readonly string[]): unknown {
    this.reads++
    const { head, entries } = this.log(key)
    if (how === 'after' && from === head) return [Buffer.from(head), 1, 0]
    const parts = ({ fields }: Entry): Buffer[] | undefined => {
      const [n, nonce, p, prev, c, , e, data] = fields.map((one) => Buffer.from(one))
      return String(n) === 'n' && String(p) === 'p' && String(c) === 'c' && String(e) === 'e' ? [nonce, prev, data].map((one) => one ?? Buffer.alloc(0)) : undefined
    }
    const idOf = (entry: Entry): string => [entry.place, ...[parts(entry)?.[0]].filter((one) => one !== undefined)].join('.')
    const at = how === 'oldest' ? -1 : entries.findIndex((entry) => (how === 'behind' ? entry.place : idOf(entry)) === from)
    const linked = how !== 'after' || at >= 0 || String(entries[0] && parts(entries[0])?.[1]) === from
    const some = entries.slice(at + 1, at + 1 + Number(count))
    const last = some.at(-1)
    return [Buffer.from(head), linked ? 1 : 0, last !== undefined && idOf(last) !== head ? 1 : 0,
      ...some.flatMap((entry) => [Buffer.from(idOf(entry)), parts(entry)?.[1] ?? Buffer.alloc(0), parts(entry)?.[2] ?? Buffer.alloc(0)])]
  }
}

async function declare (t: Test, adapter: Adapter): Promise<FastifyInstance> {
  return await serve(t, { adapter, identify: () => ({ id: 'somebody' }) }, (app) => {
    app.topic('news', { authorize: () => true, history: { limit: 200_000, maxBytes: 1 << 30 } })
    app.topic('loose', { authorize: () => true, history: false })
    app.stream('/news', { topics: 'news', maxBuffered: 256 << 20 })
    app.topic('logs/:id', { authorize: () => true, history: { limit: 1000 } })
    app.stream('/logs/:id', { topics: 'logs/:id' })
    app.stream('/loose', { topics: 'loose', maxBuffered: 256 << 20 })
    app.stream('/both', { topics: ['news', 'loose'], maxBuffered: 256 << 20 })
    app.channel('/channel', { topics: ['news', 'loose'], maxBuffered: 256 << 20 })
  })
}

/** What no event of an app may be called. */
// eslint-disable-next-line no-control-regex -- controls are what is looked for
const FORGED = /^(realtime:.*|error|open|)$|[\u0000-\u001f\u007f]/

/** An event as any wire tells it: name, and data as one text. */
type Told = string
const told = (name: string, data: unknown): Told => `${name} ${JSON.stringify(data)}`
/** As a client of plain JSON has it. */
const flat = (name: string, data: unknown): unknown => {
  const own = typeof data === 'object' && data !== null && !Array.isArray(data) && !Object.hasOwn(data, 'type')
  return own ? { type: name, ...data } : { type: name, data }
}

/** Clients of every wire, with all they were told. */
class Audience {
  readonly streams: Stream[]
  readonly envelope: Array<{ name: string, data: unknown, topic: string }> = []
  readonly flat: string[] = []
  readonly others: unknown[] = []
  readonly #app: FastifyInstance
  readonly #t: Test
  closed = 0

  constructor (t: Test, app: FastifyInstance, streams: Stream[]) {
    this.#t = t
    this.#app = app
    this.streams = streams
  }

  static async open (t: Test, app: FastifyInstance): Promise<Audience> {
    const streams = await Promise.all(['/news', '/loose', '/both'].map(async (path) => await openStream(t, app, path)))
    const audience = new Audience(t, app, streams)
    for (const stream of streams) stream.ended.then(() => { audience.closed++ }, () => {})
    for (const protocols of [[], [SUBPROTOCOL]]) await audience.#connect(protocols)
    await until('everybody has joined', () => connectionsOf(app).length === 5 && connectionsOf(app).every(({ topics }) => topics.length > 0))
    return audience
  }

  async #connect (protocols: string[]): Promise<void> {
    const ws = new WebSocket(`ws://127.0.0.1:${portOf(this.#app)}/channel`, protocols, { perMessageDeflate: false })
    this.#t.teardown(() => ws.terminate())
    ws.on('close', () => { this.closed++ })
    ws.on('error', (error) => { this.others.push(error) })
    ws.on('message', (bytes: Buffer, binary) => protocols.length > 0 ? this.#frame(bytes, binary) : this.#flatFrame(bytes, binary))
    await new Promise((resolve) => ws.once('open', resolve))
    if (protocols.length > 0) ws.send('{"op":"open"}')
  }

  #frame (bytes: Buffer, binary: boolean): void {
    const length = binary ? bytes.readUInt32BE(0) : 0
    const frame = JSON.parse(String(binary ? bytes.subarray(4, 4 + length) : bytes)) as Record<string, unknown>
    if (frame.op === 'reset') return
    if (frame.op !== undefined) this.others.push(frame.op)
    else this.envelope.push({ name: String(frame.event), data: binary ? bytes.subarray(4 + length).toString('base64') : frame.data, topic: String(frame.topic) })
  }

  #flatFrame (bytes: Buffer, binary: boolean): void {
    if (binary) this.flat.push(bytes.toString('base64'))
    else {
      const frame = JSON.parse(String(bytes)) as { type: string, code: string }
      if (frame.type !== 'error') this.flat.push(JSON.stringify(frame))
      else if (frame.code !== 'reset') this.others.push(frame)
    }
  }

  /** What one wire has been told all have, and nothing besides. */
  agree (t: Test): void {
    const lines = (text: string): string => text.replace(/\r\n|\r/g, '\n')
    const asStream = ({ name, data }: { name: string, data: unknown }): Told => told(name, typeof data === 'string' ? lines(data) : data)
    const streams = this.streams.map(({ reader }) => reader.events.filter(({ type }) => type !== 'realtime:open' && type !== 'realtime:reset'))
    const [news, loose, both] = streams.map((events) => events.map(({ type, data }) => ({ type, data })))
    t.equal(both?.length, this.envelope.length, 'as many events on a stream as on a channel')
    t.equal(this.flat.length, this.envelope.length, 'and in plain JSON')
    let wrong = 0
    for (const [i, event] of this.envelope.entries()) {
      const { type, data } = both?.[i] as { type: string, data: string }
      const seen = [told(type, parsed(data)), told(type, data), told(type, parsed(data, lines))]
      if (!seen.includes(asStream(event)) && !seen.includes(told(event.name, event.data)) && wrong++ < 5) t.fail(`a stream has ${type} ${data}, a channel ${JSON.stringify(event)}`)
      const plain = this.flat[i] as string
      if (plain !== JSON.stringify(flat(event.name, event.data)) && plain !== event.data && wrong++ < 5) t.fail(`plain JSON has ${plain}, a channel ${JSON.stringify(event)}`)
    }
    t.equal(wrong, 0, 'and the same ones')
    t.equal(news?.length, this.envelope.filter(({ topic }) => topic === 'news').length, 'a stream of one topic as well')
    t.equal(loose?.length, this.envelope.filter(({ topic }) => topic === 'loose').length)
    for (const { name } of this.envelope) if (FORGED.test(name)) t.fail(`an event with the name ${JSON.stringify(name)}`)
    for (const { reader } of this.streams) {
      const fields = new Set(reader.blocks.flat().map(([field]) => field))
      for (const field of fields) if (!['id', 'event', 'data', 'retry'].includes(field)) t.fail(`a stream has the field ${field}`)
    }
  }

  has (n: number): boolean {
    return this.envelope.some(({ name, data }) => name === 'settled' && (data as { n: number }).n === n) &&
      this.flat.some((one) => one === `{"type":"settled","n":${n}}`) &&
      this.streams[2]?.reader.events.some(({ type, data }) => type === 'settled' && data === `{"n":${n}}`) === true
  }

  unharmed (t: Test): void {
    t.equal(this.closed, 0, 'nobody was disconnected')
    t.equal(connectionsOf(this.#app).length, 5)
    t.same(this.others.filter((op) => op !== 'open' && op !== 'subscribed'), [], 'nothing was said that is not an event')
  }
}

function parsed (text: string, change = (one: string): string => one): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'string' ? change(value) : value
  } catch {
    return change(text)
  }
}

t.test(`${MESSAGES} messages at random, among those of ours`, { timeout: 300_000 }, async (t) => {
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const fake = new FakeRedis()
  const app = await declare(t, fake.adapter())
  const audience = await Audience.open(t, app)
  let heard = 0
  /** Stored and announced, as a node of ours would. */
  const publish = (data: string | Buffer, topic = 'news'): void => {
    const log = fake.log(`${PREFIX}{${topic}}:log`)
    const place = `${1800000000000 + heard++}-0`
    log.entries.push({ place, fields: ['n', 'own', 'p', log.head, 'c', '0', 'e', data] })
    const announced = Buffer.concat([Buffer.from(`${place}.own ${log.head} `), Buffer.from(data)])
    log.head = `${place}.own`
    fake.say(`${PREFIX}{${topic}}`, announced)
  }
  let settled = 0
  for (let fed = 0; fed < MESSAGES;) {
    for (let i = 0; i < AT_ONCE && fed < MESSAGES; i++, fed++) {
      const channel = random.pick(['{news}', '{loose}', '{loose}', '{loose}', '{realtime:control}'])
      if (random.chance(0.02)) publish(goodBody(random, fed))
      else if (channel !== '{realtime:control}') fake.say(PREFIX + channel, message(random))
      else {
        const order = encodeBody({ name: 'order', data: words(random), format: random.pick(['json', 'json', 'text', 'binary']) })
        if (random.chance(0.5)) fake.say(PREFIX + channel, Buffer.from(encodeEphemeral({ name: 'count', data: words(random), format: 'json' })))
        else publish(order, 'realtime:control')
      }
    }
    await turn()
    if (fed % (AT_ONCE * 20) !== 0 && fed < MESSAGES) continue
    // It may be lost with what a forged event did to the links: then another follows.
    for (let tries = 0; tries < 20 && !audience.has(settled); tries++) {
      publish(encodeBody({ name: 'settled', data: Buffer.from(`{"n":${settled}}`), format: 'json' }))
      for (let turns = 0; turns < 200 && !audience.has(settled); turns++) await turn()
    }
    if (!audience.has(settled)) return t.fail(`SEED=${seed}: what is published after ${fed} messages is not heard`)
    settled++
  }
  const { invalid } = app.realtime.stats().adapter as { invalid?: number }
  t.ok(Number(invalid) > MESSAGES / 4, `${String(invalid)} were not read`)
  t.ok(audience.envelope.length > MESSAGES / 100, `${audience.envelope.length} were events`)
  audience.unharmed(t)
  audience.agree(t)
})

t.test(`${ENTRIES} entries of logs at random, among those of ours`, { timeout: 300_000 }, async (t) => {
  t.comment(`SEED=${seed}`)
  const random = new Random(seed + 1)
  const fake = new FakeRedis()
  const app = await declare(t, fake.adapter())
  for (let added = 0, number = 0; added < ENTRIES; number++) {
    const topic = `logs/${number}`
    const log = fake.log(`${PREFIX}{${topic}}:log`)
    const ids: string[] = []
    const start = added
    for (const end = added + random.int(1, 200); added < end; added++) {
      const place = `${1700000000000 + added}-0`
      if (random.chance(0.4)) {
        log.entries.push({ place, fields: ['n', 'own', 'p', log.head, 'c', '0', 'e', goodBody(random, added)] })
        ids.push(log.head = `${place}.own`)
      } else log.entries.push(strange(random, place, log.head))
    }
    const reads = fake.reads
    const all = []
    for (let after: string | undefined, more = true; more;) {
      const page = await app.realtime.history(topic, { limit: random.int(1, 50), ...(after !== undefined && { after }) })
      all.push(...page.events)
      more = page.more
      after = page.events.at(-1)?.id ?? after
      if (fake.reads - reads > 2000) return t.fail(`SEED=${seed}: a reader does not come to the end of ${added - start} entries`)
    }
    for (const { event } of all) if (FORGED.test(event)) t.fail(`SEED=${seed}: an event with the name ${JSON.stringify(event)}`)
    if (ids.length === 0) continue
    const from = random.pick(ids)
    const back = await openStream(t, app, `/${topic}`, { lastEventId: from })
    await back.next('realtime:open')
    // A strange entry behind the last of ours may happen to be a right event, and is heard.
    const hasAll = (): boolean => (compareIds(back.lastEventId, log.head) ?? -1) >= 0
    await until('it has all of it, or was told of a loss', () => hasAll() || back.reader.events.some(({ type }) => type === 'realtime:reset'))
    for (const { type } of back.reader.events) if (type.startsWith('realtime:') && type !== 'realtime:open' && type !== 'realtime:reset') t.fail(`SEED=${seed}: ${type}`)
    if (fake.reads - reads > 3000) t.fail(`SEED=${seed}: ${fake.reads - reads} reads`)
    await back.leave()
    await until('it has left', () => connectionsOf(app).length === 0)
  }
  t.pass('every one came to its end')
})

function strange (random: Random, place: string, prev: string): Entry {
  const data = random.chance(0.3) ? changed(random, goodBody(random, -1), body(random)) : random.chance(0.2) ? randomBytes(random, 100) : body(random)
  return random.pick<() => Entry>([
    () => ({ place, fields: ['foo', 'bar'] }),
    () => ({ place, fields: [randomBytes(random, 5), randomBytes(random, 5)] }),
    () => ({ place, fields: ['n', 'own', 'p', prev, 'c', '0', 'e', data] }),
    () => ({ place, fields: ['n', random.pick(['', 'a b', '\n', 'x'.repeat(500)]), 'p', prev, 'c', '0', 'e', data] }),
    () => ({ place, fields: ['n', 'own', 'p', random.pick(['', '\n', '5-5.y', 'x'.repeat(500)]), 'c', '0', 'e', data] }),
    () => ({ place, fields: ['e', data, 'n', 'own'] }),
    () => ({ place, fields: ['n', 'own', 'p', prev] })
  ])()
}

t.test('some hundreds of each, through a real Redis', { timeout: 120_000 }, async (t) => {
  t.comment(`SEED=${seed}`)
  const random = new Random(seed + 2)
  const server = await RedisServer.start(t)
  const app = await declare(t, redis({ url: server.url, prefix: PREFIX }))
  const audience = await Audience.open(t, app)
  const stranger = new Redis(server.url)
  t.teardown(() => stranger.disconnect())
  const log = `${PREFIX}{news}:log`
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 60; i++) {
      await stranger.publish(PREFIX + random.pick(['{news}', '{loose}', '{realtime:control}']), message(random))
      const { fields } = strange(random, '', '0-0.g')
      await stranger.xadd(log, '*', ...fields as [string, string]).catch((error: Error) => t.fail(error.message))
      if (i % 20 === 0) await app.realtime.publish('news', 'said', { n: i })
    }
    for (let tries = 0; tries < 20 && !audience.has(round); tries++) {
      await app.realtime.publish('news', 'settled', { n: round })
      await until('it is heard', () => audience.has(round), 500).catch(() => {})
    }
    t.ok(audience.has(round), `round ${round}: what is published is heard`)
    let pages = 0
    for (let after: string | undefined, more = true; more && pages < 2000; pages++) {
      const page = await app.realtime.history('news', { limit: 50, ...(after !== undefined && { after }) })
      more = page.more
      after = page.events.at(-1)?.id ?? after
    }
    t.ok(pages < 2000, `and the history read to its end, in ${pages} pages`)
    const back = await openStream(t, app, '/news', { lastEventId: '1700000000000-0.own' })
    await back.next('realtime:reset')
    await back.leave()
    await until('it has left', () => connectionsOf(app).length === 5)
  }
  audience.unharmed(t)
  audience.agree(t)
})

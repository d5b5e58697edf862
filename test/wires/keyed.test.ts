/** Keyed topics on every wire: the state in parts, joined to the events, for clients that are slow, cut, and sent away. */
import { connect } from 'node:http2'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import realtime, { type AnyItem, type RealtimeOptions, type StatePart, type TopicOptions } from '../../lib/index.ts'
import {
  connectionsOf, EventStreamReader, openChannel, openEnvelope, openStream, portOf, serve, turn, type Channel, type Json, type Stream, type StreamEvent
} from '../conformance/clients.ts'

type Slow = 'close' | 'latest' | 'reset' | 'replay'
interface Shop { keyed?: TopicOptions<object, never>, history?: { limit: number }, options?: RealtimeOptions, slow?: Slow }

async function shopOf (t: Test, { keyed = {}, history = { limit: 1000 }, options = {}, slow = 'close' }: Shop = {}) {
  const app = await serve(t, { retry: 0, ...options }, (app) => {
    app.topic('prices', { keyed: true, history, ...keyed } as TopicOptions<object, never>)
    app.topic('news')
    app.stream('/one', { topics: 'prices', slow })
    app.stream('/two', { topics: ['prices', 'news'], slow })
    app.channel('/ws', { topics: ['prices', 'news'], slow })
  })
  const put = async (key: string, data: unknown = key) => await app.realtime.publish('prices', 'price', data, { key })
  return { app, put }
}

/** What a client makes of it. */
class View {
  readonly map = new Map<string, unknown>()
  readonly parts: number[] = []
  whole = false

  part ({ part, more, items }: StatePart): void {
    if (part === 0) this.map.clear()
    this.parts.push(part)
    for (const { key, data } of items) this.map.set(key, data)
    this.whole = !more
  }

  /** Of a stream: the data names the key. */
  stream ({ type, data }: StreamEvent): void {
    const value = JSON.parse(data) as { data: StatePart, key: string }
    if (type === 'realtime:snapshot') this.part(value.data)
    else if (type === 'realtime:removed') this.map.delete(value.key)
    else if (type === 'price') this.map.set(value.key, value)
  }

  frame ({ op, event, key, data }: Json): void {
    if (op === 'snapshot') this.part(data as StatePart)
    else if (event === 'realtime:removed') this.map.delete(key as string)
    else if (event === 'price') this.map.set(key as string, data)
  }

  get keys (): string[] { return [...this.map.keys()].sort() }
}

function viewOf (client: Stream | Channel): View {
  const view = new View()
  if ('reader' in client) {
    const { onEvent } = client.reader
    client.reader.onEvent = (event) => {
      view.stream(event)
      onEvent(event)
    }
    for (const event of client.reader.events) view.stream(event)
  } else {
    const push = client.inbox.push.bind(client.inbox)
    client.inbox.push = (frame) => {
      view.frame(frame)
      push(frame)
    }
    for (const frame of client.inbox.all) view.frame(frame)
  }
  return view
}

async function until (what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`gave up waiting: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const item = (key: string, fill = '') => ({ key, fill })

t.test('a stream of one topic: state, events, a removal; the cursor resumes without a state', async (t) => {
  const { app, put } = await shopOf(t)
  for (const key of ['a', 'b']) await put(key, item(key))
  const stream = await openStream(t, app, '/one')
  t.same(await stream.json('realtime:snapshot'), { topic: 'prices', data: { part: 0, more: false, items: ['a', 'b'].map((key) => ({ key, event: 'price', data: item(key) })) } })
  const { id } = await put('c', item('c'))
  t.match(await stream.next('price'), { data: JSON.stringify(item('c')), lastEventId: id })
  await stream.leave()
  await app.realtime.remove('prices', 'a')
  const back = await openStream(t, app, '/one', { lastEventId: id as string })
  t.same(await back.json('realtime:removed'), { topic: 'prices', key: 'a' })
  t.same(back.reader.events.map(({ type }) => type), ['realtime:open', 'realtime:removed'])
})

t.test('a stream of two topics hears the other while the state is on its way; an empty state is told as one', async (t) => {
  const { app, put } = await shopOf(t)
  const stream = await openStream(t, app, '/two')
  t.same(await stream.json('realtime:snapshot'), { topic: 'prices', data: { part: 0, more: false, items: [] } })
  await put('a', item('a'))
  await app.realtime.publish('news', 'said', 1)
  t.same([await stream.json('price'), await stream.json('said')], [item('a'), 1])
  const back = await openStream(t, app, '/two', { lastEventId: stream.lastEventId })
  await put('b', item('b'))
  t.same(await back.json('price'), item('b'))
  t.same(back.reader.events.map(({ type }) => type), ['realtime:open', 'price'])
})

t.test('HTTP/2', async (t) => {
  const app = Fastify({ http2: true } as object)
  await app.register(realtime)
  const prices = app.topic('prices', { keyed: true })
  app.stream('/one', { topics: prices } as unknown as Parameters<typeof app.stream>[1])
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const keys = Array.from({ length: 3000 }, (_, i) => `key ${i}`)
  for (const key of keys) await prices.publish({}, 'price', item(key, 'x'.repeat(100)), { key })
  const session = connect(`http://127.0.0.1:${portOf(app as never)}`)
  t.teardown(() => session.destroy())
  const asked = session.request({ ':path': '/one', accept: 'text/event-stream' })
  const view = new View()
  const reader = new EventStreamReader()
  reader.onEvent = (event) => view.stream(event)
  asked.setEncoding('utf8').on('data', (text: string) => reader.push(text))
  await until('the state', () => view.whole)
  t.ok(view.parts.length > 5)
  t.same(view.keys, [...keys].sort())
  await prices.remove({}, 'key 0')
  await until('the removal', () => !view.map.has('key 0'))
})

t.test('fastify-realtime.v1: a key in the frames of keyed topics and in no others; bytes and text; only the last part has an id', async (t) => {
  const { app, put } = await shopOf(t)
  const bytes = Uint8Array.of(0, 10, 255)
  await put('bytes', bytes)
  const { id } = await put('text', 'a\r\n"b"')
  const channel = await openEnvelope(t, app, '/ws')
  t.same(await channel.next({ op: 'snapshot' }), {
    op: 'snapshot',
    topic: 'prices',
    id,
    data: { part: 0, more: false, items: [{ key: 'bytes', event: 'price', encoding: 'base64', data: Buffer.from(bytes).toString('base64') }, { key: 'text', event: 'price', data: 'a\r\n"b"' }] }
  })
  const next = await put('__proto__', 1)
  t.strictSame(await channel.next({ event: 'price' }), { topic: 'prices', event: 'price', id: next.id, prev: id, key: '__proto__', data: 1 })
  await put('b', bytes)
  const frame = (await channel.bytes.take())
  t.match(JSON.parse(frame.subarray(4, 4 + frame.readUInt32BE(0)).toString()), { event: 'price', key: 'b' })
  await app.realtime.remove('prices', 'b')
  t.match(await channel.next({ event: 'realtime:removed' }), { key: 'b', data: { topic: 'prices', key: 'b' } })
  await app.realtime.publish('news', 'said', 1, { key: 'k' })
  t.notOk('key' in await channel.next({ event: 'said' }))
  for (let i = 0; i < 3000; i++) await put(`k${i}`, item(`k${i}`, 'x'.repeat(50)))
  const late = await openEnvelope(t, app, '/ws')
  const view = viewOf(late)
  await until('the state', () => view.whole)
  const parts = late.inbox.all.filter(({ op }) => op === 'snapshot')
  t.ok(parts.length > 3)
  t.same(parts.map((part) => 'id' in part), parts.map((_, i) => i === parts.length - 1))
})

t.test('plain JSON: the state comes under the name that keyed.event gives it, and not at all without', async (t) => {
  for (const event of ['all', undefined]) {
    const { app, put } = await shopOf(t, { keyed: { keyed: event === undefined ? true : { event } } })
    await put('a', item('a'))
    const channel = await openChannel(t, app, '/ws')
    if (event !== undefined) t.same(await channel.next(), { type: 'all', part: 0, more: false, items: [{ key: 'a', event: 'price', data: item('a') }] })
    await until('it listens', () => connectionsOf(app).some(({ topics }) => topics.length > 0))
    await turn()
    await put('b', item('b'))
    t.same(await channel.next(), { type: 'price', ...item('b') })
    await app.realtime.remove('prices', 'b')
    t.same(await channel.next(), { type: 'realtime:removed', topic: 'prices', key: 'b' })
  }
})

t.test('in the process: keys in items, and an id behind the last part alone', async (t) => {
  const { app, put } = await shopOf(t)
  for (let i = 0; i < 2000; i++) await put(`k${i}`, item(`k${i}`, 'x'.repeat(50)))
  const subscription = app.realtime.subscribe('prices')
  t.teardown(() => subscription.return())
  const view = new View()
  const items: AnyItem[] = []
  while (!view.whole) {
    const { value } = await subscription.next() as { value: AnyItem }
    items.push(value)
    view.part(value.data as StatePart)
  }
  t.ok(items.length > 3)
  t.same(items.map(({ id, key }) => [id !== undefined, key]), items.map((_, i) => [i === items.length - 1, undefined]))
  t.equal(view.keys.length, 2000)
  await put('b', 1)
  t.match((await subscription.next()).value, { event: 'price', key: 'b', data: 1 })
  await app.realtime.remove('prices', 'b')
  t.match((await subscription.next()).value, { event: 'realtime:removed', key: 'b', data: { topic: 'prices', key: 'b' } })
})

const KEYS = Array.from({ length: 10_000 }, (_, i) => `key ${i}`)
const FILL = 'x'.repeat(1000)

/** A state of 10 MB: more than sockets take. */
async function bigShop (t: Test, shop: Shop = {}) {
  const { app, put } = await shopOf(t, { ...shop, options: { maxBuffered: 256 * 1024, ...shop.options } })
  for (const key of KEYS) await put(key, item(key, FILL))
  return { app, put }
}

const pause = (client: Stream | Channel): void => { 'ws' in client ? client.ws.pause() : client.pause() }
const resume = (client: Stream | Channel): void => { 'ws' in client ? client.ws.resume() : client.resume() }
const OPENINGS: Record<string, (t: Test, app: Awaited<ReturnType<typeof serve>>) => Promise<Stream | Channel>> = {
  '/one': async (t, app) => await openStream(t, app, '/one'),
  '/two': async (t, app) => await openStream(t, app, '/two'),
  '/ws': async (t, app) => await openEnvelope(t, app, '/ws')
}

/** It has stopped reading, and the server has noticed. */
async function stalled (app: Awaited<ReturnType<typeof serve>>, client: Stream | Channel, view: View): Promise<void> {
  await until('the first part', () => view.parts.length > 0)
  pause(client)
  await until('it is full', () => connectionsOf(app).some(({ buffered }) => buffered > 0))
  for (let i = 0; i < 10; i++) await turn()
}

t.test('a client that reads 10,000 keys slowly is sent them as it reads, and what waits for it stays small', async (t) => {
  for (const [path, open] of Object.entries(OPENINGS)) {
    const { app, put } = await bigShop(t)
    const client = await open(t, app)
    const view = viewOf(client)
    await stalled(app, client, view)
    let most = 0
    for (let round = 0; !view.whole; round++) {
      for (const { buffered } of connectionsOf(app)) most = Math.max(most, buffered)
      if (round < 20) await put(`key ${round}`, item(`key ${round}`, 'new'))
      resume(client)
      await new Promise((resolve) => setTimeout(resolve, 2))
      pause(client)
    }
    for (let n = 0; n < 20; n++) await put(`key ${n}`, item(`key ${n}`, 'new'))
    resume(client)
    await until('the events', () => [...Array(20).keys()].every((n) => (view.map.get(`key ${n}`) as { fill: string }).fill === 'new'))
    t.same(view.keys, [...KEYS].sort(), path)
    t.same(view.parts, view.parts.map((_, i) => i), `${path}: one state, each part once`)
    t.ok(most < 200_000, `${path}: at most ${most} bytes waited`)
    await app.close()
  }
})

t.test('a client that reads as fast as it is written to is given at most 8 parts in one turn', async (t) => {
  const { app } = await bigShop(t)
  let inThisTurn = 0
  let most = 0
  app.server.on('connection', (socket) => {
    // As if the network took everything at once.
    Object.defineProperty(socket, 'writableLength', { get: () => 0 })
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean
    socket.write = ((data: Uint8Array | string, ...rest: unknown[]) => {
      if (inThisTurn === 0) setImmediate(() => { inThisTurn = 0 })
      inThisTurn += Buffer.from(data).toString('latin1').split('"part":').length - 1
      most = Math.max(most, inThisTurn)
      write(data, ...rest)
      return true
    }) as typeof socket.write
  })
  const view = viewOf(await openEnvelope(t, app, '/ws'))
  await until('the state', () => view.whole)
  t.same(view.keys, [...KEYS].sort())
  t.ok(view.parts.length > 100 && most > 1 && most <= 8, `${view.parts.length} parts, ${most} in one turn`)
})

t.test('while 10,000 keys are sent, an event of another topic that keeps none is not lost', async (t) => {
  const app = await serve(t, { retry: 0, maxBuffered: 16 * 1024 * 1024 }, (app) => {
    app.topic('prices', { keyed: true, history: { limit: 1000 } })
    app.topic('news', { history: false })
    app.stream('/both', { topics: ['prices', 'news'] })
  })
  for (const key of KEYS) await app.realtime.publish('prices', 'price', item(key), { key })
  const sent: number[] = []
  let done = false
  const publish = (): void => {
    // Whoever is counted as a listener is to hear what is published from then on.
    if (app.realtime.countLocal('news') > 0) app.realtime.publish('news', 'n', sent.push(sent.length) - 1).catch(t.fail)
    if (!done) setImmediate(publish)
  }
  publish()
  const client = await openStream(t, app, '/both')
  const view = viewOf(client)
  await until('the state', () => view.whole)
  done = true
  const heard = (): unknown[] => client.reader.events.filter(({ type }) => type === 'n').map(({ data }) => JSON.parse(data))
  await until('the last', () => heard().length >= sent.length)
  t.same(heard(), sent)
  t.same(view.keys, [...KEYS].sort())
})

t.test('a client so slow that the history passes starts over, and is told to come back where that goes on', async (t) => {
  for (const [path, open] of Object.entries(OPENINGS)) {
    const { app, put } = await bigShop(t, { history: { limit: 10 } })
    const client = await open(t, app)
    const view = viewOf(client)
    await stalled(app, client, view)
    for (let n = 0; n < 20; n++) await put(`key ${n}`, item(`key ${n}`, 'new'))
    resume(client)
    await until('the state', () => view.whole)
    t.equal(view.parts.filter((part) => part === 0).length, 2, `${path}: it starts over, once`)
    t.equal((view.map.get('key 5') as { fill: string }).fill, 'new')
    t.same(view.keys, [...KEYS].sort(), path)
    await ('ws' in client ? client.leave() : client.leave())

    const late = await open(t, app)
    const hasty = viewOf(late)
    let over = false
    late.ended.then(() => { over = true }, () => {})
    // eslint-disable-next-line no-unmodified-loop-condition -- its end says so
    while (!over && !hasty.whole) {
      await until('a part more, or the end', () => over || hasty.parts.length > 0)
      pause(late)
      await turn()
      for (let n = 0; n < 20; n++) await put(`key ${n}`, item(`key ${n}`, 'newer'))
      resume(late)
      hasty.parts.length = 0
    }
    t.ok(over && !hasty.whole, `${path}: it was sent away, with no state that is whole`)
    if ('ws' in late) t.match(await late.ended, { code: 1013 })
    await app.close()
  }
})

t.test('slow: what a client that reads again has is the state, whatever the policy', async (t) => {
  for (const slow of ['latest', 'reset', 'replay'] as const) {
    for (const [path, open] of Object.entries(OPENINGS)) {
      const { app, put } = await shopOf(t, { slow, history: { limit: 100_000 }, options: { maxBuffered: 1 << 20 } })
      for (const key of ['stays', 'goes']) await put(key, item(key))
      const client = await open(t, app)
      const view = viewOf(client)
      await until('the state', () => view.whole)
      pause(client)
      const fill = 'x'.repeat(5000)
      const push = async (n: number): Promise<unknown> => await put(`k${n % 3}`, item(`k${n % 3}`, fill))
      let n = 0
      while (connectionsOf(app).some(({ buffered }) => buffered === 0)) await push(n++)
      // More than maxBuffered.
      for (let i = 0; i < 400; i++) await push(n++)
      t.ok(connectionsOf(app).length === 1, `${slow} ${path}: it is kept`)
      await app.realtime.remove('prices', 'goes')
      await app.realtime.remove('prices', 'k0')
      await put('k1', item('k1', 'last'))
      await app.realtime.remove('prices', 'k2')
      await put('k2', item('k2', 'back'))
      resume(client)
      const wanted = { stays: item('stays'), k1: item('k1', 'last'), k2: item('k2', 'back') }
      await until(`${slow} ${path}`, () => JSON.stringify(Object.fromEntries([...view.map].sort())) === JSON.stringify(Object.fromEntries(Object.entries(wanted).sort())))
      t.pass(`${slow} ${path}`)
      await app.close()
    }
  }
})

t.test('cut between two parts a client has no place: it comes back to the whole state, also where its old place is kept', async (t) => {
  for (const path of ['/one', '/two', '/ws']) {
    const { app, put } = await bigShop(t, { slow: 'reset', history: { limit: 100_000 }, keyed: { keyed: { maxBytes: 1 << 28 } } })
    const first = path === '/ws' ? await openEnvelope(t, app, path) : await openStream(t, app, path)
    const view = viewOf(first)
    await until('the state', () => view.whole)
    await put('key 0', item('key 0', 'seen'))
    await until('an event', () => (view.map.get('key 0') as { fill: string }).fill === 'seen')
    pause(first)
    // So much is dropped that it is reset, and given the state again.
    while (connectionsOf(app)[0]?.buffered === 0) await put('key 1', item('key 1', 'y'.repeat(30_000)))
    for (let n = 0; n < 40; n++) await put('key 1', item('key 1', 'y'.repeat(30_000)))
    view.parts.length = 0
    view.whole = false
    resume(first)
    await until('a part of the new one', () => view.parts.length > 0)
    pause(first)
    t.notOk(view.whole, path)
    const held = view.keys.length
    t.ok(held < KEYS.length, `${path}: ${held} keys are there`)
    let back: Stream | Channel
    if ('ws' in first) {
      const cursors: Record<string, string> = {}
      for (const { op, topic, id } of first.inbox.all) {
        if (typeof topic === 'string' && typeof id === 'string') cursors[topic] = id
        else if (typeof topic === 'string' && op === 'snapshot') delete cursors[topic]
      }
      first.ws.terminate()
      back = await openEnvelope(t, app, path, cursors)
    } else {
      await first.leave()
      t.equal(path === '/one' ? first.lastEventId : 'v1~', 'v1~')
      back = await openStream(t, app, path, first.lastEventId === '' ? {} : { lastEventId: first.lastEventId })
    }
    const again = viewOf(back)
    await until('the whole state', () => again.whole)
    t.same(again.keys, [...KEYS].sort(), path)
    if ('reader' in back) t.notOk(back.reader.events.some(({ type }) => type === 'realtime:reset'), 'and is told of no loss')
    await app.close()
  }
})

t.test('while parts wait: the other topic is heard, the topic is taken away, the app closes', async (t) => {
  const { app } = await bigShop(t)
  const channel = await openEnvelope(t, app, '/ws')
  const view = viewOf(channel)
  await stalled(app, channel, view)
  await app.realtime.publish('news', 'said', 1)
  await app.realtime.revoke({ connection: connectionsOf(app)[0]?.id as string }, 'prices')
  resume(channel)
  t.match(await channel.next({ event: 'said' }), { data: 1 })
  t.match(await channel.next({ op: 'unsubscribed' }), { topic: 'prices' })
  t.notOk(view.whole)
  const parts = view.parts.length
  await app.realtime.publish('news', 'said', 2)
  t.match(await channel.next({ event: 'said' }), { data: 2 })
  t.equal(view.parts.length, parts, 'no part follows')
  await channel.leave()

  for (const open of Object.values(OPENINGS)) {
    const client = await open(t, app)
    await stalled(app, client, viewOf(client))
  }
  const since = performance.now()
  await app.close()
  t.ok(performance.now() - since < 8000)
})

/**
 * What every wire does for its clients, over real sockets, as trials for any test runner:
 *
 *     for (const { name, run } of wireSuite({ makeApp: () => Fastify(), connect })) test(name, run)
 */
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import realtime from '../index.ts'
import { connectChannel } from '../testing/index.ts'
import type { CloseReason, Connection, SlowPolicy } from '../types/connection.ts'
import type { RealtimeOptions } from '../types/options.ts'
import { Arrivals } from './arrivals.ts'
import { trial, type Checks, type Trial } from './trial.ts'

export interface WireEvent {
  /** `realtime:…` for what the protocol says itself. */
  event: string
  data: unknown
}

export interface WireClient {
  /** The next event (of this name). Without a name, the protocol's own are passed over. */
  next (event?: string): Promise<WireEvent>
  /** The next event of this name, whose data is bytes. */
  nextBytes (event: string): Promise<Buffer>
  /** Everything heard so far. */
  heard (): WireEvent[]
  /** Stops reading from the socket. */
  pause (): void
  resume (): void
  leave (): Promise<unknown>
  readonly ended: Promise<unknown>
  /** Says something to the server, where the wire can. */
  send?: (event: string, data: object) => void
}

export interface WireSuiteOptions {
  /** An app without the plugin; each trial registers it, listens on 127.0.0.1, and closes. */
  makeApp: () => FastifyInstance
  /** Opens a client at `/stream` or `/channel`, which are declared alike. */
  connect: (t: Checks, app: FastifyInstance) => Promise<WireClient>
}

interface LiveOptions {
  topics?: string | string[]
  slow?: SlowPolicy
  maxBuffered?: number
  onConnect?: (connection: Connection) => unknown
}

interface Departure { connection: Connection, reason: CloseReason }

interface House {
  app: FastifyInstance
  publish: (event: string, data: unknown, options?: { key?: string }) => Promise<unknown>
  departures: Arrivals<Departure>
  /** Connects a client, and waits until it listens. */
  enter: () => Promise<{ client: WireClient, connection: Connection }>
}

const TOPIC = 'rooms/1'
const KIB = 1024

/** The wire suite. */
export function wireSuite ({ makeApp, connect }: WireSuiteOptions): Trial[] {
  const trials: Trial[] = []
  const test = (name: string, run: (t: Checks) => Promise<void>): void => { trials.push(trial(name, run)) }

  /** One stream and one channel, declared alike, whose clients are told `ready` when they listen. */
  async function open (t: Checks, live: LiveOptions = {}, options: RealtimeOptions = {}): Promise<House> {
    const departures = new Arrivals<Departure>()
    const app = makeApp()
    t.teardown(() => app.close())
    await app.register(realtime, options)
    app.topic('rooms/:id')
    app.topic('halls/:id', { history: false })
    const routes = {
      topics: TOPIC,
      ...live,
      async onConnect (connection: Connection) {
        await live.onConnect?.(connection)
        connection.send('ready', {})
      },
      onDisconnect: (connection: Connection, reason: CloseReason) => departures.push({ connection, reason })
    }
    app.stream('/stream', routes)
    app.channel('/channel', { ...routes, messages: { wave: { relay: { topic: TOPIC } } } })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const enter = async (): Promise<{ client: WireClient, connection: Connection }> => {
      const before = new Set(connectionsOf(app))
      const client = await connect(t, app)
      await client.next('ready')
      return { client, connection: connectionsOf(app).find((one) => !before.has(one)) as Connection }
    }
    return { app, departures, enter, publish: (event, data, keys) => app.realtime.publish(TOPIC, event, data, keys) }
  }

  test('events arrive in order, under their names', async (t) => {
    const { publish, enter } = await open(t)
    const clients = [await enter(), await enter()]
    const names = ['bid', 'sold', 'Grüße 😀', 'a b', 'data', 'id', 'message']
    for (let burst = 0; burst < 20; burst++) {
      await Promise.all(names.map((event, i) => publish(event, { n: burst * names.length + i })))
    }
    for (const { client } of clients) {
      for (let n = 0; n < 20 * names.length; n++) {
        const heard = await client.next()
        t.same(heard, { event: names[n % names.length], data: { n } })
      }
      t.equal(client.heard().filter(({ event }) => event === 'bid').length, 20)
    }
  })

  test('data of any kind arrives as it was published', async (t) => {
    const { publish, enter } = await open(t)
    const { client } = await enter()
    const kinds: unknown[] = ['', 'text', ' padded ', 0, -1.5e300, true, false, null, [], [1, [2]], {}, { '': '' }, { deep: { er: [null, { a: '' }] } },
      'lines\r\nand\rmore\n', '\u2028\u2029\u0000\u0001', '😀🐶 héllo', { text: 'data: x\n\nevent: y\nid: 1\n\n' }, '{"type":"forged"}',
      { __proto__: null, constructor: 'x' }, 'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(60_000)]
    for (const data of kinds) await publish('kind', data)
    for (const data of kinds) t.same((await client.next('kind')).data, data)
  })

  test('a mebibyte arrives whole where the limit allows it, and is refused at publish where not', async (t) => {
    const { publish, enter } = await open(t, {}, { maxEventBytes: 2 << 20 })
    const { client } = await enter()
    const text = '0123456789abcdeé'.repeat((1 << 20) / 16)
    await publish('large', { text })
    await publish('after', {})
    t.same((await client.next()).data, { text })
    t.equal((await client.next()).event, 'after')
    await t.rejects(publish('larger', 'x'.repeat(2 << 20)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE', statusCode: 413 })
    const { publish: publishSmall } = await open(t)
    await t.rejects(publishSmall('large', 'x'.repeat(65_535)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE' })
    await t.resolves(publishSmall('large', 'x'.repeat(65_534)))
  })

  test('bytes arrive as they were published', async (t) => {
    const { publish, enter } = await open(t)
    const { client } = await enter()
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    for (const bytes of [every, Buffer.alloc(0), Buffer.alloc(40_000, 7)]) {
      await publish('picture', bytes)
      t.same(await client.nextBytes('picture'), bytes)
    }
    const reused = Uint8Array.of(1, 2, 3)
    await Promise.all([publish('picture', reused), reused.fill(9)])
    t.same(await client.nextBytes('picture'), Buffer.of(1, 2, 3), 'as they were when publish was called')
  })

  test('a burst in one turn is one write for each connection', async (t) => {
    const { app, publish, enter } = await open(t)
    const writes = countWrites(app)
    const clients = [await enter(), await enter(), await enter()]
    const before = [...writes]
    await Promise.all(Array.from({ length: 25 }, (_, n) => publish('tick', { n })))
    for (const { client } of clients) {
      for (let n = 0; n < 25; n++) t.same((await client.next('tick')).data, { n })
    }
    t.same(writes.map((count, i) => count - (before[i] as number)), [1, 1, 1])
  })

  test('a client\'s relayed event comes to the others, not to itself', async (t) => {
    const { app, publish, enter } = await open(t)
    const [{ client: one }, { client: other }] = [await enter(), await enter()]
    const speaker = await connectChannel(app, '/channel')
    t.teardown(() => speaker.close())
    await speaker.next('ready')
    speaker.send('wave', { from: 'speaker' })
    for (const client of [one, other]) t.same(await client.next('wave'), { event: 'wave', data: { from: 'speaker' } })
    one.send?.('wave', { from: 'one' })
    if (one.send) t.same(await other.next('wave'), { event: 'wave', data: { from: 'one' } })
    await publish('sentinel', {})
    for (const client of [one, other]) await client.next('sentinel')
    t.same(one.heard().filter(({ event }) => event === 'wave').map(({ data }) => data), [{ from: 'speaker' }])
    await speaker.next('sentinel')
    t.same(speaker.events.filter(({ event }) => event === 'wave').map(({ data }) => data), one.send ? [{ from: 'one' }] : [])
  })

  const live = { maxBuffered: 200 * KIB }
  const load = 'x'.repeat(60 * KIB)

  /** Publishes, each time until the quick client has it, until `enough`. */
  async function flood ({ publish }: House, quick: WireClient, slow: Connection, enough: () => boolean): Promise<{ published: number, most: number }> {
    let most = 0
    let published = 0
    for (; !enough() && published < 2000; published++) {
      await publish('tick', { n: published, load }, { key: published % 2 === 0 ? 'even' : 'odd' })
      await quick.next('tick')
      most = Math.max(most, slow.buffered)
    }
    return { published, most }
  }

  test('slow "close": a client that does not read is let go at maxBuffered, and delays nobody', async (t) => {
    const house = await open(t, { ...live, slow: 'close' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const { most } = await flood(house, quick.client, slow.connection, () => slow.connection.closed)
    t.equal(slow.connection.closed, true)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    t.match(await house.departures.take(), { connection: slow.connection, reason: { name: 'slow-client', code: 4409, reconnect: true } })
    t.match(house.app.realtime.stats(), { slowClosed: 1, subscriptions: 1 })
    slow.client.resume()
    await slow.client.ended
    await house.publish('sentinel', {})
    await quick.client.next('sentinel')
    t.equal(quick.connection.closed, false)
  })

  test('slow "latest": a client that does not read gets the newest of each name and key, and delays nobody', async (t) => {
    const house = await open(t, { ...live, slow: 'latest' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const { published, most } = await flood(house, quick.client, slow.connection, () => house.app.realtime.stats().dropped >= 20)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    await house.publish('end', {})
    slow.client.resume()
    await slow.client.next('end')
    const heard = slow.client.heard().filter(({ event }) => event === 'tick').map(({ data }) => (data as { n: number }).n)
    t.ok(heard.length < published, `${heard.length} of ${published} events came`)
    t.same(heard.slice(-2), [published - 2, published - 1], 'the newest of both keys')
    t.same(heard, [...heard].sort((a, b) => a - b), 'in order')
    t.equal(slow.connection.closed, false)
    await house.publish('tick', { n: -1 })
    let last: unknown
    while ((last as { n?: number } | undefined)?.n !== -1) last = (await slow.client.next('tick')).data
  })

  test('slow "reset": a client that does not read is told what it missed, and delays nobody', async (t) => {
    const house = await open(t, { ...live, slow: 'reset' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const { published, most } = await flood(house, quick.client, slow.connection, () => house.app.realtime.stats().dropped >= 20)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    slow.client.resume()
    t.match(JSON.stringify((await slow.client.next('realtime:reset')).data), /slow/)
    const heard = slow.client.heard().filter(({ event }) => event === 'tick').map(({ data }) => (data as { n: number }).n)
    t.same(heard, heard.map((_, i) => i), 'what came before is without a gap')
    t.ok(heard.length < published)
    await house.publish('sentinel', {})
    t.equal((await slow.client.next('sentinel')).event, 'sentinel', 'it goes on')
    t.equal(slow.client.heard().filter(({ event }) => event === 'realtime:reset').length, 1)
    t.equal(slow.connection.closed, false)
  })

  test('connection.send reaches this client alone, in order with what is published', async (t) => {
    const { publish, enter } = await open(t)
    const [one, other] = [await enter(), await enter()]
    await publish('before', {})
    await one.client.next('before')
    one.connection.send('hello', { to: 'one' })
    one.connection.send('text', 'plain')
    await publish('after', {})
    t.same(await one.client.next(), { event: 'hello', data: { to: 'one' } })
    t.same(await one.client.next(), { event: 'text', data: 'plain' })
    t.equal((await one.client.next()).event, 'after')
    t.equal((await other.client.next()).event, 'before')
    t.equal((await other.client.next()).event, 'after')
    for (const event of ['error', 'open', 'realtime:open', 'a\nb', 'a\rb', 'a\0b', '']) {
      t.throws(() => one.connection.send(event, {}), { code: 'FST_ERR_REALTIME_EVENT_NAME_INVALID' })
    }
  })

  test('connection.close ends this client alone', async (t) => {
    const { publish, departures, enter } = await open(t)
    const [one, other] = [await enter(), await enter()]
    one.connection.close()
    one.connection.close()
    await one.client.ended
    t.match(await departures.take(), { connection: one.connection, reason: { name: 'closed-by-app', code: 1000, reconnect: false } })
    t.equal(one.connection.closed, true)
    one.connection.send('late', {})
    await t.rejects(one.connection.subscribe('rooms/2'), { code: 'FST_ERR_REALTIME_CONNECTION_CLOSED' })
    await publish('sentinel', {})
    await other.client.next('sentinel')
    t.same(one.client.heard().filter(({ event }) => event === 'late'), [])
    t.equal(departures.all.length, 1)
  })

  test('an async onConnect is waited for: what it sends comes first, what was published meanwhile not at all', async (t) => {
    let accept = (): void => {}
    const accepted = new Promise<void>((resolve) => { accept = resolve })
    const arrived = new Arrivals<Connection>()
    const { app, publish } = await open(t, {
      async onConnect (connection) {
        connection.send('early', { n: 1 })
        arrived.push(connection)
        await accepted
        connection.send('early', { n: 2 })
      }
    })
    const coming = connect(t, app)
    const connection = await arrived.take()
    t.same(connection.topics, [], 'it hears nothing yet')
    await publish('missed', {})
    accept()
    const client = await coming
    t.same(await client.next(), { event: 'early', data: { n: 1 } })
    t.same(await client.next(), { event: 'early', data: { n: 2 } })
    await client.next('ready')
    await publish('live', {})
    t.equal((await client.next()).event, 'live')
    t.same(connection.topics, [TOPIC])
  })

  test('onConnect may join topics, and refuse', async (t) => {
    const refusal = Object.assign(new Error('not today'), { statusCode: 403 })
    let refuses = false
    const { app, departures, enter } = await open(t, {
      async onConnect (connection) {
        if (refuses) throw refusal
        await connection.subscribe('rooms/2')
      }
    })
    const { client, connection } = await enter()
    t.same(connection.topics, [TOPIC, 'rooms/2'])
    await app.realtime.publish('rooms/2', 'there', {})
    await client.next('there')
    refuses = true
    await t.rejects(connect(t, app).then((one) => one.next('ready')), 'a client that is refused hears nothing')
    await client.leave()
    await departures.take()
    t.equal(departures.all.length, 1, 'onDisconnect is for those who were accepted')
    t.same(connectionsOf(app), [])
  })

  test('a client that leaves while onConnect runs is gone, and onDisconnect runs once', async (t) => {
    let accept = (): void => {}
    const accepted = new Promise<void>((resolve) => { accept = resolve })
    const arrived = new Arrivals<Connection>()
    const { app, departures } = await open(t, {
      async onConnect (connection) {
        arrived.push(connection)
        await accepted
      }
    })
    const socket = new Promise<Socket>((resolve) => app.server.once('connection', resolve))
    connect(t, app).then((client) => client.ended, () => {})
    const connection = await arrived.take()
    const { signal } = connection
    const over = new Promise((resolve) => signal.addEventListener('abort', resolve))
    ;(await socket).destroy()
    await over
    accept()
    t.equal((await departures.take()).connection, connection)
    await turn()
    t.equal(departures.all.length, 1)
    t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, subscriptions: 0 })
  })

  test('onDisconnect runs once, whoever ends the connection; its signal is aborted, and nothing is left', async (t) => {
    const { app, departures, enter } = await open(t)
    const socket = new Promise<Socket>((resolve) => app.server.once('connection', resolve))
    const cut = await enter()
    const [left, closed, stays] = [await enter(), await enter(), await enter()]
    const all = [cut, left, closed, stays]
    let aborts = 0
    for (const { connection } of all) {
      t.equal(connection.signal.aborted, false)
      connection.signal.addEventListener('abort', () => { aborts++ })
    }
    t.match(app.realtime.stats(), { subscriptions: 4, topics: 1 })
    t.equal(app.realtime.countLocal(TOPIC), 4)
    ;(await socket).destroy()
    await left.client.leave()
    closed.connection.close({ text: 'enough' })
    const three = [await departures.take(), await departures.take(), await departures.take()]
    t.same(new Set(three.map(({ connection }) => connection)), new Set([cut.connection, left.connection, closed.connection]))
    t.equal(three.find(({ connection }) => connection === closed.connection)?.reason.text, 'enough')
    t.same(connectionsOf(app), [stays.connection])
    t.equal(app.realtime.countLocal(TOPIC), 1)
    await Promise.all([app.close(), stays.client.ended])
    t.match(await departures.take(), { connection: stays.connection, reason: { name: 'shutting-down', code: 1012, reconnect: true } })
    t.equal(departures.all.length, 4)
    t.equal(aborts, 4)
    for (const { connection } of all) {
      t.match(connection, { closed: true, topics: [], signal: { aborted: true } })
    }
    t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, subscriptions: 0, topics: 0 })
  })

  test('topics are joined and left at run time', async (t) => {
    const { app, publish, enter } = await open(t)
    const [{ client, connection }, other] = [await enter(), await enter()]
    await publish('first', {})
    await connection.subscribe('rooms/2')
    await connection.subscribe('rooms/2')
    await connection.subscribe('halls/1')
    t.same(connection.topics, [TOPIC, 'rooms/2', 'halls/1'])
    t.same(other.connection.topics, [TOPIC])
    await app.realtime.publish('rooms/2', 'second', {})
    await app.realtime.publish('halls/1', 'third', {})
    await turn()
    t.same([await client.next(), await client.next(), await client.next()].map(({ event }) => event), ['first', 'second', 'third'])
    connection.unsubscribe('rooms/2')
    connection.unsubscribe('rooms/2')
    t.equal(app.realtime.countLocal('rooms/2'), 0)
    await app.realtime.publish('rooms/2', 'unheard', {})
    await turn()
    await publish('fourth', {})
    t.equal((await client.next()).event, 'fourth')
    connection.unsubscribe(TOPIC)
    await publish('unheard', {})
    await turn()
    await app.realtime.publish('halls/1', 'fifth', {})
    t.equal((await client.next()).event, 'fifth')
    await connection.subscribe(TOPIC)
    await publish('sixth', {})
    t.equal((await client.next()).event, 'sixth', 'joined anew, from now on')
    await t.rejects(connection.subscribe('nowhere/1'), { code: 'FST_ERR_REALTIME_TOPIC_UNKNOWN' })
  })
  return trials
}

const connectionsOf = (app: FastifyInstance): Connection[] => app.realtime.connections()

/** Bytes that this connection costs the server now. */

/** Writes to the server's side of each socket, in the order of their connecting. */
function countWrites (app: FastifyInstance): number[] {
  const counts: number[] = []
  app.server.on('connection', (socket: Socket) => {
    const index = counts.push(0) - 1
    const write = socket.write as (...args: unknown[]) => boolean
    socket.write = (...args: unknown[]) => {
      counts[index] = (counts[index] as number) + 1
      return write.apply(socket, args)
    }
  })
  return counts
}

/** What a listener is told of the trace of an event: over each wire, and in tabs that share a connection. */
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { auto, connect, http, type Client, type ClientEvent, type ConnectOptions } from '../../lib/client/index.ts'
import { Hub } from '../../lib/client/hub.ts'
import { sharedBy } from '../../lib/client/tabs.ts'
import type { Untyped } from '../../lib/client/types.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import type { WireHost } from '../../lib/client/wire.ts'
import type { ClientFrame, ServerFrame } from '../../lib/protocol.ts'
import tracing, { linkTo } from '../../lib/tracing/index.ts'
import { live } from '../helpers/app.ts'
import { FakeBrowser, type FakePage } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'

async function start (t: Test, propagateToClients = true) {
  const app = await live(t, { identify: () => ({ id: 'ada' }), retry: 20 })
  await app.register(tracing, { tracerProvider: new BasicTracerProvider(), propagateToClients })
  const room = app.topic('rooms/:room', { authorize: (_request, { params }) => params.room !== 'secret' })
  /** Says to each tab that it has joined. */
  const shown = app.topic('shown', { authorize: () => true, snapshot: () => ({}) })
  app.channel('/realtime', { http: true, subscribe: [room, shown] })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const open = (own: ConnectOptions = {}) => {
    const client: Client<Untyped> = connect(`${url}/realtime`, { WebSocket: WebSocket as unknown as SocketClass, firstDelay: 20, ...own })
    t.teardown(() => client.close())
    return client
  }
  const browser = new FakeBrowser()
  const tab = (page: FakePage = browser.page()) => {
    const tabs = sharedBy({ key: 'ada', patience: 10_000, recent: 500 }, () => page.browser)
    return open({ WebSocket: page.WebSocket, tabs })
  }
  const publish = async (data: unknown): Promise<void> => { await room.publish({ room: '1' }, 'said', data) }
  /** Of each event in the history, as a link says it. */
  const traces = async (): Promise<string[]> => (await room.history({ room: '1' })).events.map((event) => {
    const { traceId = '', spanId = '' } = linkTo(app, event)?.context ?? {}
    return `00-${traceId}-${spanId}-01`
  })
  const heardBy = async (count: number): Promise<void> => await until('who listens', () => app.realtime.countLocal('rooms/1') === count)
  return { app, shown, open, tab, publish, traces, heardBy }
}

function hear (client: Client<Untyped>, name = '1') {
  const heard: ClientEvent[] = []
  client.topic('rooms/:room', { room: name }).on('*', (event) => heard.push(event as ClientEvent))
  return heard
}

const tracesOf = (heard: readonly ClientEvent[]) => heard.map(({ traceparent }) => traceparent)

for (const [name, wire] of [['a WebSocket', undefined], ['HTTP', http], ['auto', auto]] as const) {
  t.test(`over ${name} a listener is told the trace of each event, also of one of bytes`, async (t) => {
    const { open, publish, traces, heardBy } = await start(t)
    const heard = hear(open({ ...wire && { wire } }))
    await heardBy(1)
    await publish({ text: 'x' })
    await publish(Buffer.of(1, 2))
    await until('both', () => heard.length === 2)
    t.same(tracesOf(heard), await traces())
    t.not(heard[0]?.traceparent, heard[1]?.traceparent)
    t.same(Object.keys(heard[0] as object), ['topic', 'event', 'data', 'id', 'key', 'traceparent'])
  })
}

t.test('where the server says nothing, and for what is no event of the server\'s, there is none', async (t) => {
  const { open, publish, heardBy } = await start(t, false)
  const client = open()
  const [heard, refused] = [hear(client), hear(client, 'secret')]
  await heardBy(1)
  await publish(1)
  await until('the event and the refusal', () => heard.length + refused.length === 2)
  t.match(refused, [{ event: 'error', data: { code: 'FORBIDDEN' } }])
  t.same(tracesOf([...heard, ...refused]), [undefined, undefined])
})

t.test('behind a lost connection it comes with what was missed', async (t) => {
  const { app, open, publish, traces, heardBy } = await start(t)
  const heard = hear(open())
  await heardBy(1)
  await publish(1)
  await until('one', () => heard.length === 1)
  await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
  await publish(2)
  await until('the other', () => heard.length === 2)
  t.same(tracesOf(heard), await traces())
})

t.test('tabs that share a connection are told the same: who leads, who follows, and who comes later', async (t) => {
  const { app, shown, tab } = await start(t)
  const told: ClientEvent[][] = []
  const join = async (): Promise<void> => {
    const heard: ClientEvent[] = []
    told.push(heard)
    tab().topic('shown').on('*', (event) => heard.push(event as ClientEvent))
    await until('its snapshot', () => heard.length === 1)
  }
  await join()
  await join()
  await shown.publish({}, 'said', 1)
  await until('both', () => told.every(({ length }) => length === 2))
  await join()
  await shown.publish({}, 'said', 2)
  await until('all', () => told.every((heard) => heard.at(-1)?.data === 2))
  const [leader = [], follower = [], late = []] = told
  t.same(tracesOf(leader), [undefined, ...tracesOf(leader.slice(1))], 'a snapshot has none')
  t.equal(new Set(tracesOf(leader)).size, 3)
  t.same(tracesOf(follower), tracesOf(leader))
  t.equal(late.at(-1)?.traceparent, leader.at(-1)?.traceparent)
  await until('one connection', () => app.realtime.stats().connections.websocket === 1)
})

t.test('the tab that leads passes frames on as they came, and keeps them so for a tab that goes on from its place', async (t) => {
  const [own, others, said]: [ServerFrame[], ServerFrame[], ClientFrame[]] = [[], [], []]
  const wires: WireHost[] = []
  const hub = new Hub('own', {
    recent: 10,
    heartbeat: 1000,
    dial: (host) => {
      wires.push(host)
      return { send: (frame) => { said.push(frame as ClientFrame) }, close: () => {} }
    },
    tellOwn: (frame) => { own.push(frame) },
    tell: (_tabs, frame) => { others.push(frame) },
    drop: () => t.fail('nobody is dropped'),
    down: () => t.fail('the connection stays')
  })
  hub.said('own', { op: 'open' })
  const [wire] = wires as [WireHost]
  wire.heard({ op: 'open', connection: 'c', heartbeat: 1000 })
  hub.said('own', { op: 'subscribe', topic: 'news', ref: 'news' })
  const { ref } = said.at(-1) as { ref: number }
  wire.heard({ op: 'subscribed', topic: 'news', id: '0', ref })
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const event = { topic: 'news', event: 'n', id: '1', prev: '0', traceparent, tracestate: 'a=1', data: 1 }
  wire.heard(event)
  t.same(own.at(-1), event)
  hub.add('other')
  hub.said('other', { op: 'open' })
  hub.said('other', { op: 'subscribe', topic: 'news', id: '0', ref: 'news' })
  t.same(others.at(-1), event, 'what was kept')
  const next = { ...event, id: '2', prev: '1', data: 2 }
  wire.heard(next)
  t.same([own.at(-1), others.at(-1)], [next, next])
  hub.close()
})

/** A node's bounds: recent events, topics that nobody listens to; and snapshots that say how far they reach. */
import t, { type Test } from 'tap'
import { memory } from '../../lib/adapters/memory.ts'
import type { EventId } from '../../lib/core/adapter.ts'
import { Hub, type HubSettings } from '../../lib/core/hub.ts'
import { DeclaredTopic } from '../../lib/core/topics/topic.ts'

const SETTINGS: HubSettings = {
  maxEventBytes: 65_536,
  ringBytes: 1 << 20,
  maxConnections: 3,
  maxConnectionsPerAddress: 2,
  maxConnectionsPerIdentity: 100,
  messagesPerSecondPerIdentity: 500,
  leaveTimeout: 5000,
  closeTimeout: 100,
  joinTimeout: 5000,
  retry: 1000,
  log: { warn () {}, error () {}, info () {}, debug () {} }
}

async function start (t: Test, settings: Partial<HubSettings> = {}, snapshot?: () => unknown) {
  const adapter = memory()
  const asked = { subscribed: [] as string[], unsubscribed: [] as string[], reads: 0 }
  const { subscribe, unsubscribe, read } = { subscribe: adapter.subscribe.bind(adapter), unsubscribe: adapter.unsubscribe.bind(adapter), read: adapter.read.bind(adapter) }
  adapter.subscribe = (topic, durable) => {
    asked.subscribed.push(topic)
    return subscribe(topic, durable)
  }
  adapter.unsubscribe = (topic) => {
    asked.unsubscribed.push(topic)
    unsubscribe(topic)
  }
  adapter.read = (...args) => {
    asked.reads++
    return read(...args)
  }
  const hub = new Hub(adapter, { ...SETTINGS, ...settings })
  const topic = new DeclaredTopic(hub, 't/:id', {
    retention: { limit: 1000, maxAge: 3_600_000, maxBytes: 1 << 30 }, schemas: undefined, events: undefined, authorize: undefined, snapshot, validate: false
  })
  hub.topics.add(topic)
  await hub.start()
  t.teardown(() => hub.close())
  asked.subscribed.length = 0
  const prepare = async (id: string, cursor?: { id: EventId }) => await hub.entrance.prepare([{ at: topic.at({ id }), cursor }])
  const publish = async (id: string, data: unknown = 'x'): Promise<EventId> => (await hub.publisher.publish({ topic, params: { id } }, 'said', data)).id as EventId
  return { hub, topic, asked, prepare, publish }
}

t.test('past ringBytes the node lets go of rings, but not of those that somebody is about to join', async (t) => {
  const { hub, prepare, publish, asked } = await start(t, { ringBytes: 4000 })
  const held = new Map<string, EventId>()
  const joins = []
  for (const id of ['1', '2', '3']) {
    joins.push(await prepare(id))
    held.set(id, await publish(id, 'x'.repeat(2000)))
    await publish(id)
  }
  hub.release(joins.slice(1).flat())
  hub.active.sweep()
  t.equal(hub.active.get('t/1')?.log?.recent.size, 2, 'somebody is about to join')
  t.equal(hub.active.get('t/2')?.log?.recent.size, 0)
  t.ok(hub.observe.counts.ringBytes <= 4000, `${hub.observe.counts.ringBytes} bytes are left`)
  const { reads } = asked
  for (const [id, cursor] of held) {
    const back = await prepare(id, { id: cursor })
    t.ok(hub.active.get(`t/${id}`)?.log?.locate(cursor) !== undefined, 'and what it let go of is read again')
    hub.release(back)
  }
  t.ok(asked.reads > reads)
  hub.release(joins[0] ?? [])
})

t.test('a topic that nobody listens to is kept for a while, and then nothing of it is left', async (t) => {
  const { hub, prepare, asked } = await start(t)
  const first = await prepare('1')
  hub.active.sweep(0)
  t.ok(hub.active.get('t/1'), 'somebody is about to join')
  hub.release(first)
  hub.active.sweep()
  t.ok(hub.active.get('t/1'), 'who comes back finds it warm')
  const again = await prepare('1')
  t.same(asked.subscribed, ['t/1'])
  hub.release(again)
  hub.active.sweep(0)
  t.equal(hub.active.get('t/1'), undefined)
  t.same(asked.unsubscribed, ['t/1'])
  hub.release(await prepare('1'))
  t.same(asked.subscribed, ['t/1', 't/1'], 'and it can begin again')
})

t.test('a snapshot that says how far it reaches is joined there, also where this node has not been yet', async (t) => {
  const state: { at: EventId | undefined } = { at: undefined }
  const { hub, prepare, publish } = await start(t, {}, () => ({ data: {}, at: state.at }))
  const old = [await publish('1'), await publish('1'), await publish('1')]
  const joining = await prepare('1')
  const active = hub.active.get('t/1')
  t.equal(active?.log?.recent.size, 0, 'what was before is not here')
  state.at = old[0]
  t.equal((await active?.snapshot())?.from, old[0])
  // An event that has not been announced here.
  const { event } = hub
  hub.event = () => {}
  const ahead = await publish('1')
  hub.event = event
  state.at = ahead
  t.equal((await active?.snapshot())?.from, ahead)
  t.equal(active?.log?.last, ahead, 'the node has caught up')
  state.at = '1-0.elsewhere'
  t.equal((await active?.snapshot())?.from, ahead, 'an id of nobody: where the node was when it was taken')
  hub.release(joining)
})

t.test('joins that fail, or wait too long, leave nothing behind', async (t) => {
  const { hub, topic, prepare } = await start(t, { joinTimeout: 20 })
  const { subscribe } = hub.adapter
  hub.adapter.subscribe = async () => { throw new Error('away') }
  await t.rejects(prepare('1'), { message: 'away' })
  t.equal(hub.active.get('t/1'), undefined)
  hub.adapter.subscribe = () => new Promise(() => {})
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  await t.rejects(prepare('2'), { code: 'FST_ERR_REALTIME_UNAVAILABLE' })
  t.equal(hub.active.get('t/2')?.holds, 0)
  hub.active.sweep(0)
  t.equal(hub.active.get('t/2'), undefined)
  hub.adapter.subscribe = subscribe
  hub.state('down', new Error('gone'))
  await t.rejects(prepare('3'), { code: 'FST_ERR_REALTIME_UNAVAILABLE' })
  hub.state('up')
  hub.release(await hub.entrance.prepare([{ at: topic.at({ id: '3' }), cursor: 'unknown' }]))
})

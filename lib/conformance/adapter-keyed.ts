/** The states of keyed topics: the newest event of each key, one piece with the log. */
import { keyedStatesOf, type Adapter, type EventId, type KeyedBounds, type KeyedEvent } from '../core/adapter.ts'
import { ALL, bytes, chained, RETENTION, rises, subscribeAll, text, type Story } from './adapter-cluster.ts'

const BOUNDS: KeyedBounds = { maxKeys: 1000, maxBytes: 1 << 20, lifetime: 60_000 }
const FULL = { code: 'FST_ERR_REALTIME_STATE_FULL', statusCode: 507 }

async function set (node: Adapter, topic: string, key: string, data: string, more: object = {}): Promise<EventId> {
  const keyed = { change: 'put', bounds: BOUNDS } as const
  const options = { retention: RETENTION, format: 'json', key, keyed, ...more } as const
  return (await node.publish(topic, 'set', bytes(data), options)).id
}

async function remove (node: Adapter, topic: string, key: string): Promise<EventId> {
  const keyed = { change: 'remove', bounds: BOUNDS } as const
  return (await node.publish(topic, 'gone', bytes('null'), { retention: RETENTION, format: 'json', key, keyed })).id
}

/** All of its parts, put together. */
async function stateOf (
  node: Adapter, topic: string, count = 10
): Promise<{ head: EventId, events: Map<string, KeyedEvent> }> {
  const states = keyedStatesOf(node)
  if (!states) throw new Error('the adapter keeps no states: say so to the suite by "keyed: false"')
  const events = new Map<string, KeyedEvent>()
  for (let from: string | null = null; ;) {
    const page = await states.state(topic, from, count)
    for (const event of page.events) {
      const known = events.get(event.key)
      if (!known || rises(known.id, event.id)) events.set(event.key, event)
    }
    if (page.next === undefined) return { head: page.head, events }
    from = page.next
  }
}

async function shownOf (node: Adapter, topic: string): Promise<Record<string, string>> {
  return Object.fromEntries([...(await stateOf(node, topic)).events].map(([key, event]) => [key, text(event)]).sort())
}

export const keyed: Story = {
  'the state holds the newest event of each key, on every node': async (t, { nodes, node }) => {
    const other = nodes.at(-1) as Adapter
    t.same(await shownOf(node, 'keyed/newest'), {})
    await set(node, 'keyed/newest', 'a', '1')
    const b = await set(other, 'keyed/newest', 'b', '2')
    const a = await set(other, 'keyed/newest', 'a', '3')
    for (const one of nodes) {
      const { head, events } = await stateOf(one, 'keyed/newest')
      t.equal(head, a)
      t.same([...events.values()].map(({ key, id, name, format }) => [key, id, name, format]).sort(),
        [['a', a, 'set', 'json'], ['b', b, 'set', 'json']])
    }
    t.same(await shownOf(node, 'keyed/newest'), { a: '3', b: '2' })
  },

  'a removal is an event like any other, and takes its key out of the state': async (t, { nodes, node, sinks }) => {
    const [genesis] = await subscribeAll(nodes, 'keyed/removed') as [EventId]
    const put = await set(node, 'keyed/removed', 'a', '1')
    const gone = await remove(nodes.at(-1) as Adapter, 'keyed/removed', 'a')
    t.same(await shownOf(node, 'keyed/removed'), {})
    for (const sink of sinks) {
      await sink.ids('keyed/removed', [put, gone])
      const heard = chained(sink.of('keyed/removed'), genesis).map(({ name, key }) => [name, key])
      t.same(heard, [['set', 'a'], ['gone', 'a']])
    }
    await set(node, 'keyed/removed', 'a', '2')
    t.same(await shownOf(node, 'keyed/removed'), { a: '2' })
  },

  'to remove what is not there appends nothing, and gives an empty id': async (t, { nodes, node }) => {
    const genesis = await node.subscribe('keyed/absent', true)
    const b = await set(node, 'keyed/absent', 'b', '1')
    for (const one of nodes) t.equal(await remove(one, 'keyed/absent', 'a'), '')
    t.same((await node.read('keyed/absent', genesis, ALL)).events.map(({ id }) => id), [b])
    t.not(await remove(node, 'keyed/absent', 'b'), '')
    t.equal(await remove(node, 'keyed/absent', 'b'), '')
  },

  'more keys than the topic may have are refused, and nothing is lost': async (t, { nodes, node }) => {
    const keyed = { change: 'put', bounds: { ...BOUNDS, maxKeys: 3 } } as const
    for (const key of ['a', 'b', 'c']) await set(node, 'keyed/keys', key, '1', { keyed })
    await t.rejects(set(nodes.at(-1) as Adapter, 'keyed/keys', 'd', '1', { keyed }), FULL)
    await set(node, 'keyed/keys', 'a', '2', { keyed })
    await remove(node, 'keyed/keys', 'b')
    await set(nodes.at(-1) as Adapter, 'keyed/keys', 'd', '3', { keyed })
    t.same(await shownOf(node, 'keyed/keys'), { a: '2', c: '1', d: '3' })
  },

  'more bytes than the state may hold are refused, and what is replaced counts no more': async (t, { node }) => {
    const keyed = { change: 'put', bounds: { ...BOUNDS, maxBytes: 3000 } } as const
    const big = JSON.stringify('x'.repeat(1200))
    await set(node, 'keyed/bytes', 'a', big, { keyed })
    await set(node, 'keyed/bytes', 'b', big, { keyed })
    await t.rejects(set(node, 'keyed/bytes', 'c', big, { keyed }), FULL)
    for (let i = 0; i < 5; i++) await set(node, 'keyed/bytes', 'a', big, { keyed })
    await remove(node, 'keyed/bytes', 'a')
    await set(node, 'keyed/bytes', 'c', big, { keyed })
    t.same(Object.keys(await shownOf(node, 'keyed/bytes')), ['b', 'c'])
  },

  'dedupe and expect hold for keyed events too': async (t, { nodes, node }) => {
    const other = nodes.at(-1) as Adapter
    const first = await set(node, 'keyed/expect', 'a', '1', { dedupe: 'once', expect: null })
    t.equal(await set(other, 'keyed/expect', 'a', '2', { dedupe: 'once' }), first)
    await t.rejects(set(other, 'keyed/expect', 'a', '3', { expect: null }), { code: 'FST_ERR_REALTIME_CONFLICT' })
    await set(other, 'keyed/expect', 'b', '4', { expect: first })
    t.same(await shownOf(node, 'keyed/expect'), { a: '1', b: '4' })
  },

  'any bytes, names and keys come back from the state as they were': async (t, { node, nodes }) => {
    const every = Uint8Array.from({ length: 256 }, (_, i) => i)
    await set(node, 'keyed/kept', '__proto__', '{"a":1}')
    await set(node, 'keyed/kept', 'clé {1} 😀', 'a\r\nb\0', { format: 'text' })
    await node.publish('keyed/kept', 'picture', every, {
      retention: RETENTION, format: 'binary', key: 'p', keyed: { change: 'put', bounds: BOUNDS }
    })
    const { events } = await stateOf(nodes.at(-1) as Adapter, 'keyed/kept')
    const shown = [...events.values()].map(({ key, name, format, data }) =>
      [key, name, format, Buffer.from(data).toString('latin1')])
    t.same(shown.sort(), [
      ['__proto__', 'set', 'json', '{"a":1}'],
      ['clé {1} 😀', 'set', 'text', 'a\r\nb\0'],
      ['p', 'picture', 'binary', Buffer.from(every).toString('latin1')]
    ])
  },

  'a large state is read by parts, and what changes meanwhile is in the log': async (t, { nodes, node }) => {
    const other = nodes.at(-1) as Adapter
    const keys = Array.from({ length: 900 }, (_, i) => `key ${i}`)
    await Promise.all(keys.map(async (key) => await set(node, 'keyed/large', key, '0')))
    const { head: before } = await node.read('keyed/large', null, { count: 1, bytes: 1 })
    const writing = Promise.all(keys.slice(0, 200).map(async (key, i) =>
      await (i % 3 === 0 ? remove(other, 'keyed/large', key) : set(other, 'keyed/large', key, String(i)))))
    const { events } = await stateOf(node, 'keyed/large', 100)
    await writing
    const page = await node.read('keyed/large', before, ALL)
    t.ok(page.linked)
    const map = new Map([...events.values()].filter(({ id }) => !rises(before, id))
      .map((event) => [event.key, text(event)]))
    for (const event of page.events) {
      if (event.name === 'gone') map.delete(event.key as string)
      else map.set(event.key as string, text(event))
    }
    t.same(Object.fromEntries([...map].sort()), await shownOf(node, 'keyed/large'))
  },

  'a topic whose state is over begins anew': async (t, { node, elapse }) => {
    const genesis = await node.subscribe('keyed/over', true)
    const keyed = { change: 'put', bounds: { ...BOUNDS, lifetime: 300 } } as const
    await set(node, 'keyed/over', 'a', '1', { keyed })
    await elapse(1000)
    const { head, events } = await stateOf(node, 'keyed/over')
    t.equal(events.size, 0)
    t.not(head, genesis)
    const b = await set(node, 'keyed/over', 'b', '2', { keyed })
    t.same(await shownOf(node, 'keyed/over'), { b: '2' })
    const { events: past, linked } = await node.read('keyed/over', head, ALL)
    t.same([linked, past.map(({ id }) => id)], [true, [b]], 'the log has begun anew with it')
  }
}

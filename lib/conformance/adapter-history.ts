/** What is kept, for how long, and under which key it is published once. */
import type { Adapter, EventId } from '../core/adapter.ts'
import { ALL, put, putAll, RETENTION, text, type Story } from './adapter-cluster.ts'

export const history: Story = {
  'a dedupe key appends and announces once': async (t, { nodes, node, sink }) => {
    const genesis = await node.subscribe('dedupe', true)
    const first = await put(node, 'dedupe', 'one', { dedupe: 'order-1' })
    t.equal(
      await put(nodes.at(-1) as Adapter, 'dedupe', 'again', { dedupe: 'order-1' }), first,
      'the second call is given the first id'
    )
    const other = await put(node, 'dedupe', 'two', { dedupe: 'order-2' })
    const all = nodes.concat(nodes)
    const together = await Promise.all(all.map((one) => put(one, 'dedupe', 'three', { dedupe: 'order-3' })))
    t.equal(new Set(together).size, 1, 'also when they race')
    const elsewhere = await put(node, 'dedupe/other', 'one', { dedupe: 'order-1' })
    t.not(elsewhere, first, 'a key is the topic\'s own')
    const last = await put(node, 'dedupe', 'end')
    await sink.ids('dedupe', [last])
    t.same((await node.read('dedupe', genesis, ALL)).events.map(text), ['one', 'two', 'three', 'end'])
    t.same([...new Set(sink.of('dedupe').map(({ id }) => id))], [first, other, together[0], last])
  },

  'a dedupe key is forgotten with the history\'s age': async (t, { node, elapse }) => {
    const retention = { ...RETENTION, maxAge: 300 }
    const first = await put(node, 'dedupe/age', 'one', { dedupe: 'k', retention })
    await elapse(400)
    t.not(await put(node, 'dedupe/age', 'two', { dedupe: 'k', retention }), first)
  },

  'keeps the newest `limit` events': async (t, { node }) => {
    const genesis = await node.subscribe('limit', true)
    const ids = await putAll(node, 'limit', 12, { retention: { ...RETENTION, limit: 5 } })
    const page = await node.read('limit', null, ALL)
    t.same(page.events.map(({ id }) => id), ids.slice(-5))
    t.equal((await node.read('limit', genesis, ALL)).linked, false, 'what was trimmed away cannot be linked to')
    t.equal((await node.read('limit', ids[5] as EventId, ALL)).linked, false)
    const edge = await node.read('limit', ids[6] as EventId, ALL)
    t.equal(edge.linked, true, 'the oldest kept still links to the last one trimmed')
    t.same(edge.events.map(({ id }) => id), ids.slice(-5))
  },

  'keeps events for `maxAge`, and the head for longer': async (t, { node, elapse }) => {
    const retention = { ...RETENTION, maxAge: 300 }
    const [first] = await putAll(node, 'age', 3, { retention })
    await elapse(400)
    const last = await put(node, 'age', 'last', { retention })
    t.same((await node.read('age', null, ALL)).events.map(text), ['last'])
    t.equal((await node.read('age', first as EventId, ALL)).linked, false)
    await elapse(400)
    const quiet = await node.read('age', last, ALL)
    t.match(
      { head: quiet.head, linked: quiet.linked }, { head: last, linked: true }, 'who has read all has lost nothing'
    )
    const next = await put(node, 'age', 'next', { retention })
    const page = await node.read('age', last, ALL)
    t.match(page, { linked: true, head: next })
    t.same(page.events.map(({ prev }) => prev), [last])
  },

  'a log with a lifetime is forgotten after it, its head excepted, unless it is appended to again': async (
    t, { node, elapse }
  ) => {
    const genesis = await node.subscribe('lifetime', true)
    const first = await put(node, 'lifetime', 'first', { lifetime: 300 })
    t.match(await node.read('lifetime', genesis, ALL), { linked: true, events: [{ id: first }] })
    await elapse(400)
    t.match(await node.read('lifetime', genesis, ALL), { linked: false, events: [], head: first }, 'forgotten')
    t.match(await node.read('lifetime', first, ALL), { linked: true, events: [], head: first })
    const second = await put(node, 'lifetime', 'second', { lifetime: 300 })
    t.match(
      await node.read('lifetime', first, ALL), { linked: true, events: [{ id: second, prev: first }], head: second },
      'what comes later is kept'
    )
  },

  'keeps `maxBytes` of data, and the newest event whatever its size': async (t, { node }) => {
    const retention = { ...RETENTION, maxBytes: 1000 }
    for (let i = 0; i < 6; i++) await put(node, 'bytes', `${i}`.repeat(300), { retention })
    const kept = (await node.read('bytes', null, ALL)).events.map((event) => text(event)[0])
    t.same(kept, ['3', '4', '5'])
    await put(node, 'bytes', 'x'.repeat(5000), { retention })
    t.same((await node.read('bytes', null, ALL)).events.map(({ data }) => data.byteLength), [5000])
  }
}

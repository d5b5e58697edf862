/** One chain of events for each topic: their ids, their order, and where each topic begins. */
import type { Adapter, EventId } from '../core/adapter.ts'
import { ALL, chained, put, putAll, rises, SHAPE, subscribeAll, text, type Story } from './adapter-cluster.ts'

export const links: Story = {
  'each event links to the one before, the first to the genesis': async (t, { nodes, node, sinks }) => {
    const heads = await subscribeAll(nodes, 'links')
    const genesis = heads[0] as EventId
    t.same(new Set(heads), new Set([genesis]), 'every node is told the same genesis')
    t.match(genesis, SHAPE)
    const ids = await putAll(node, 'links', 20)
    for (const sink of sinks) {
      await sink.ids('links', ids)
      t.same(chained(sink.of('links'), genesis).map(({ id }) => id), ids, 'what is announced is one chain')
    }
    const page = await node.read('links', genesis, ALL)
    t.same(page.events.map(({ prev }) => prev), [genesis, ...ids.slice(0, -1)], 'and so is what is stored')
    t.same(page.events.map(text), ids.map((_, i) => String(i)))
  },

  'ids have one shape, are never given twice, and rise within a topic': async (t, { nodes }) => {
    const topics = ['ids/a', 'ids/b', 'ids/c']
    const ids = (await Promise.all(topics.map(async (topic) => {
      const own: EventId[] = []
      for (let i = 0; i < 60; i++) own.push(await put(nodes[i % nodes.length] as Adapter, topic, 'x'))
      t.ok(own.slice(1).every((id, i) => rises(own[i] as EventId, id)), `the ids of ${topic} rise`)
      return own
    }))).flat()
    t.equal(new Set(ids).size, ids.length)
    t.same(ids.filter((id) => !SHAPE.test(id)), [])
  },

  'an id is never below the head, even when the clock is set back': async (t, { node }) => {
    const genesis = await node.subscribe('clock', true)
    const before = await put(node, 'clock', 'before')
    const now = Date.now
    t.intercept(Date, 'now', { value: () => now() - 3_600_000 })
    const after = await putAll(node, 'clock', 3)
    const all = [before, ...after]
    t.ok(after.every((id, i) => rises(all[i] as EventId, id)), all.join(' '))
    t.same((await node.read('clock', genesis, ALL)).events.map(({ id }) => id), all)
  },

  'publishes of one node to one topic keep the order of their calls': async (t, { node, sink }) => {
    const genesis = await node.subscribe('order', true)
    const ids = await Promise.all(Array.from({ length: 200 }, (_, i) => put(node, 'order', String(i))))
    await sink.ids('order', ids)
    const chain = chained(sink.of('order'), genesis)
    t.same(chain.map(text), ids.map((_, i) => String(i)))
    t.same(chain.map(({ id }) => id), ids, 'and each call is given the id of its own event')
  },

  'publishes of all nodes at once make one chain': async (t, { nodes, sinks }) => {
    const [genesis] = await subscribeAll(nodes, 'race') as [EventId]
    const said = (n: number): string[] => Array.from({ length: 50 }, (_, i) => `${n}:${i}`)
    const ids = await Promise.all(nodes.flatMap((node, n) => said(n).map((data) => put(node, 'race', data))))
    for (const sink of sinks) {
      await sink.ids('race', ids)
      const chain = chained(sink.of('race'), genesis).map(text)
      t.equal(chain.length, ids.length, 'nothing is outside the chain')
      for (const [n] of nodes.entries()) {
        t.same(chain.filter((one) => one.startsWith(`${n}:`)), said(n), 'each node\'s own order holds')
      }
    }
  },

  'topics do not know each other\'s ids': async (t, { node }) => {
    const [here, there] = [await node.subscribe('apart/a', true), await node.subscribe('apart/b', true)]
    t.not(here, there, 'each log has a genesis of its own')
    const a = await put(node, 'apart/a', 'a')
    await put(node, 'apart/b', 'b')
    t.equal((await node.read('apart/b', a, ALL)).linked, false, 'an id of the other is unknown')
    t.equal((await node.read('apart/b', here, ALL)).linked, false, 'and so is its genesis')
    t.same((await node.read('apart/b', there, ALL)).events.map(text), ['b'])
  },

  'a topic nobody published to leaves nothing behind, and its genesis still links': async (t, { nodes, node }) => {
    const genesis = await node.subscribe('quiet', true)
    t.same(await node.read('quiet', genesis, ALL), { head: genesis, events: [], linked: true, more: false })
    t.match(await node.read('quiet', '1-0.other', ALL), { head: genesis, events: [], linked: false })
    node.unsubscribe('quiet')
    t.same(await node.heads(['quiet']), [null], 'no head is kept')
    t.equal(await (nodes.at(-1) as Adapter).subscribe('quiet', true), genesis, 'who comes back finds the same place')
    for (const one of nodes) one.unsubscribe('quiet')
    const first = await put(node, 'quiet', 'first')
    const page = await node.read('quiet', genesis, ALL)
    t.match(page, { head: first, linked: true })
    t.same(
      page.events.map(({ id, prev }) => ({ id, prev })), [{ id: first, prev: genesis }],
      'the first event links to what its listener was told'
    )
  }
}

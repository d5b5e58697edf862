/** Compare and append: an event goes behind the one that is expected to be the last, or nowhere. */
import type { Adapter, EventId } from '../core/adapter.ts'
import { ALL, chained, put, rises, subscribeAll, text, type Story } from './adapter-cluster.ts'

const CONFLICT = { code: 'FST_ERR_REALTIME_CONFLICT', statusCode: 409 }

export const expecting: Story = {
  'an event is appended behind the id that is expected to be the last, or not at all': async (t, { nodes, node }) => {
    const other = nodes.at(-1) as Adapter
    const genesis = await node.subscribe('expect', true)
    const first = await put(node, 'expect', 'first', { expect: genesis })
    const second = await put(other, 'expect', 'second', { expect: first })
    for (const expect of [first, genesis, '1-0.other', null]) {
      await t.rejects(put(node, 'expect', 'late', { expect }), { ...CONFLICT, last: second })
    }
    const third = await put(node, 'expect', 'third')
    await t.rejects(put(other, 'expect', 'late', { expect: second }), { ...CONFLICT, last: third })
    await put(other, 'expect', 'fourth', { expect: third })
    t.same((await node.read('expect', genesis, ALL)).events.map(text), ['first', 'second', 'third', 'fourth'])
  },

  'null expects that there is no event yet': async (t, { nodes, node }) => {
    const answers = await Promise.allSettled(Array.from({ length: 12 }, async (_, i) =>
      await put(nodes[i % nodes.length] as Adapter, 'expect/null', String(i), { expect: null })))
    const won = answers.flatMap((answer) => answer.status === 'fulfilled' ? [answer.value] : [])
    t.equal(won.length, 1)
    for (const answer of answers) {
      if (answer.status === 'rejected') t.match(answer.reason, { ...CONFLICT, last: won[0] })
    }
    t.equal((await node.read('expect/null', null, ALL)).events.length, 1)
    await t.rejects(put(node, 'expect/foreign', 'x', { expect: '1-0.other' }), CONFLICT)
    await put(node, 'expect/foreign', 'x', { expect: null })
  },

  'one after the other without waiting, on one node: each is decided in its turn': async (t, { node }) => {
    const genesis = await node.subscribe('expect/turns', true)
    const answers = await Promise.allSettled([
      put(node, 'expect/turns', 'a', { expect: genesis }),
      put(node, 'expect/turns', 'b', { expect: genesis }),
      put(node, 'expect/turns', 'c'),
      put(node, 'expect/turns', 'd', { expect: null }),
      put(node, 'expect/turns', 'e')
    ])
    t.same(answers.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'])
    t.same((await node.read('expect/turns', genesis, ALL)).events.map(text), ['a', 'c', 'e'])
  },

  'what a dedupe key knows already is no conflict': async (t, { nodes, node }) => {
    const id = await put(node, 'expect/dedupe', 'x', { expect: null, dedupe: 'move 1' })
    await put(node, 'expect/dedupe', 'y')
    for (const one of nodes) t.equal(await put(one, 'expect/dedupe', 'x', { expect: null, dedupe: 'move 1' }), id)
    await t.rejects(put(node, 'expect/dedupe', 'z', { expect: null, dedupe: 'move 2' }), CONFLICT)
    const later = await put(node, 'expect/dedupe', 'z', { dedupe: 'move 2' })
    t.ok(rises(id, later), 'a key of what was refused holds nothing')
  },

  'many writers on all nodes take turns: every event stands behind what its writer had seen': async (
    t, { nodes, sinks }
  ) => {
    const [genesis] = await subscribeAll(nodes, 'expect/race') as [EventId]
    const expected = new Map<EventId, EventId>()
    let conflicts = 0
    const write = async (node: Adapter, name: string): Promise<void> => {
      let seen = genesis
      for (let n = 0; n < 10;) {
        try {
          const id = await put(node, 'expect/race', `${name}:${n}`, { expect: seen })
          expected.set(id, seen)
          seen = id
          n++
        } catch (error) {
          const { code, last } = error as { code?: string, last: EventId }
          if (code !== CONFLICT.code) throw error
          conflicts++
          seen = last
        }
      }
    }
    await Promise.all(nodes.flatMap((node, i) => ['a', 'b', 'c'].map(async (name) => await write(node, `${i}${name}`))))
    const ids = [...expected.keys()]
    for (const sink of sinks) {
      await sink.ids('expect/race', ids)
      const chain = chained(sink.of('expect/race'), genesis)
      t.equal(chain.length, nodes.length * 30)
      t.same(chain.filter(({ id, prev }) => expected.get(id) !== prev), [])
    }
    t.ok(conflicts > 0, 'they did meet')
  }
}

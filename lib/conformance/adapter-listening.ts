/** What listeners hear, and until when. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, EphemeralEvent } from '../core/adapter.ts'
import { ALL, bytes, chained, put, slowly, text, type RecordingSink, type Story } from './adapter-cluster.ts'

export const listening: Story = {
  'a subscription misses nothing after the head it resolves with': async (t, { nodes, node, sinks }) => {
    const listener = nodes.at(-1) as Adapter
    const sink = sinks.at(-1) as RecordingSink
    const written = slowly(node, 'live', 100)
    while ((await listener.read('live', null, ALL)).events.length < 20) await sleep(0)
    const head = await listener.subscribe('live', true)
    const ids = await written
    t.ok(ids.includes(head), 'the head is an event of the log')
    const rest = ids.slice(ids.indexOf(head) + 1)
    t.ok(rest.length > 0, 'and not its last')
    await sink.ids('live', rest)
    t.same(chained(sink.of('live'), head).map(({ id }) => id), rest)
  },

  'after unsubscribe nothing arrives, and the topic can be joined again': async (t, { node, sink }) => {
    await node.subscribe('leave', true)
    await node.subscribe('sentinel', true)
    await sink.ids('leave', [await put(node, 'leave', 'heard')])
    node.unsubscribe('leave')
    let silent = false
    // The link may need a moment to let go.
    for (let round = 0; round < 50 && !silent; round++) {
      const missed = await put(node, 'leave', 'missed')
      await sink.ids('sentinel', [await put(node, 'sentinel', 'x')])
      silent = !sink.of('leave').some(({ id }) => id === missed)
    }
    t.ok(silent, 'the topic fell silent')
    const head = await node.subscribe('leave', true)
    t.same(await node.heads(['leave']), [head])
    const next = await put(node, 'leave', 'heard again')
    await sink.ids('leave', [next])
    t.equal(sink.of('leave').find(({ id }) => id === next)?.prev, head)
  },

  'an ephemeral event reaches listeners, and no log': async (t, { nodes, node, sinks }) => {
    await Promise.all(nodes.map((one) => one.subscribe('fleeting', false)))
    const cursor: EphemeralEvent = { name: 'cursor', data: bytes('{"x":1}'), format: 'json', key: 'u1' }
    await node.ephemeral('fleeting', cursor)
    const except = { connection: 'connection-7' }
    await node.ephemeral('fleeting', { name: 'cursor', data: bytes('{"x":2}'), format: 'json', except })
    await node.ephemeral('unheard', cursor)
    await node.ephemeral('fleeting', { name: 'end', data: bytes(''), format: 'text' })
    for (const sink of sinks) {
      await sink.until('the last ephemeral event', () => sink.ephemerals.length >= 3)
      t.match(sink.ephemerals, [
        { topic: 'fleeting', event: { name: 'cursor', format: 'json', key: 'u1' } },
        { topic: 'fleeting', event: { name: 'cursor', format: 'json', except: { connection: 'connection-7' } } },
        { topic: 'fleeting', event: { name: 'end', format: 'text' } }
      ])
      t.equal(sink.ephemerals.length, 3, 'a topic without listeners is not heard')
      t.same(sink.ephemerals.map(({ event }) => text(event)), ['{"x":1}', '{"x":2}', ''])
      t.equal(sink.ephemerals[1]?.event.key, undefined, 'a key is not made up')
    }
    t.same((await node.read('fleeting', null, ALL)).events, [])
    t.same(await node.heads(['fleeting', 'unheard']), [null, null])
  },

  'close() ends the announcements, and may come twice': async (t, { nodes, node, sink }) => {
    await node.subscribe('closing', true)
    await sink.ids('closing', [await put(node, 'closing', 'heard')])
    const heard = sink.events.length
    await node.close()
    await put(nodes.at(-1) as Adapter, 'closing', 'too late').catch(() => {})
    await nodes.at(-1)?.heads(['closing']).catch(() => {})
    t.equal(sink.events.length, heard)
    await t.resolves(node.close())
  }
}

/** What a read gives back, from any place in a log. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, EventId, LogEvent } from '../core/adapter.ts'
import { ALL, bytes, put, putAll, RETENTION, slowly, subscribeAll, text, type Story } from './adapter-cluster.ts'

const TRACES = ['a', 'b'].map((digit) => ({
  traceparent: `00-${digit.repeat(32)}-${digit.repeat(16)}-01`, tracestate: `${digit}=1,other=2 3`
}))

export const reads: Story = {
  'a trace comes with the event that was published with it, and with no other; or none comes': async (
    t, { nodes, node, sinks }
  ) => {
    await subscribeAll(nodes, 'traced')
    await Promise.all(nodes.map((one) => one.subscribe('traced/fleeting', false)))
    const published = [TRACES[0], undefined, TRACES[1]]
    const ids: EventId[] = []
    for (const trace of published) {
      ids.push(await put(node, 'traced', 'x', trace && { trace }))
      const event = { name: 'cursor', data: bytes('{}'), format: 'json', ...(trace && { trace }) } as const
      await node.ephemeral('traced/fleeting', event)
    }
    const fits = (event: Pick<LogEvent, 'trace'> | undefined, i: number, where: string): void => {
      if (event?.trace) t.same(event.trace, published[i], where)
    }
    for (const sink of sinks) {
      await sink.ids('traced', ids)
      await sink.until('the last ephemeral event', () => sink.ephemerals.length >= 3)
      for (const [i, id] of ids.entries()) fits(sink.of('traced').find((one) => one.id === id), i, 'live')
      for (const [i, { event }] of sink.ephemerals.entries()) fits(event, i, 'without history')
    }
    for (const one of nodes) {
      const { events } = await one.read('traced', null, ALL)
      t.same(events.map(({ id }) => id), ids)
      for (const [i, event] of events.entries()) fits(event, i, 'read')
    }
  },

  'reads from the oldest, from an id, from the head, and past an unknown id': async (t, { nodes, node }) => {
    const genesis = await node.subscribe('read', true)
    const ids = await putAll(node, 'read', 6)
    const head = ids[5] as EventId
    for (const one of nodes) {
      const whole = await one.read('read', null, ALL)
      t.match(whole, { head, more: false })
      t.same(whole.events.map(({ id }) => id), ids, 'null: everything')
      t.match(
        await one.read('read', genesis, ALL), { head, linked: true, more: false, events: ids.map((id) => ({ id })) }
      )
      const some = await one.read('read', ids[2] as EventId, ALL)
      t.match(some, { head, linked: true, more: false })
      t.same(some.events.map(({ id }) => id), ids.slice(3), 'an id: what follows it')
      t.same(
        await one.read('read', head, ALL), { head, events: [], linked: true, more: false },
        'the head: nothing, and that is known'
      )
      for (const unknown of ['1-0.foreign', '9999999999999999-0.future', 'garbage', '', head + 'x']) {
        const page = await one.read('read', unknown, ALL)
        t.match(page, { head, linked: false }, `"${unknown}" is not linked`)
        t.same(page.events.map(({ id }) => id), ids, 'and what is kept is shown')
      }
    }
  },

  'pages by count and by bytes, and says when there is more': async (t, { node }) => {
    const ids = await putAll(node, 'pages', 10)
    for (const limits of [{ count: 3, bytes: 1 << 20 }, { count: 100, bytes: 3 }]) {
      const seen: EventId[] = []
      const sizes: number[] = []
      for (let after: EventId | null = null, more = true; more;) {
        const page = await node.read('pages', after, limits)
        t.equal(page.linked, true)
        t.equal(page.head, ids.at(-1))
        seen.push(...page.events.map(({ id }) => id))
        sizes.push(page.events.length)
        after = seen.at(-1) as EventId
        more = page.more
      }
      t.same(seen, ids)
      t.ok(sizes.every((size) => size > 0 && size <= 4), `no page is empty or too long: ${sizes.join()}`)
    }
    t.match(
      await node.read('pages', null, { count: 1, bytes: 1 }), { events: [{ id: ids[0] }], more: true },
      'one event always fits'
    )
    const last = await node.read('pages', ids[8] as EventId, { count: 1, bytes: 1 })
    t.match(last, { events: [{ id: ids[9] }], more: false })
  },

  'the head is read before the events': async (t, { nodes, node }) => {
    let after = await node.subscribe('head-first', true)
    const reader = nodes.at(-1) as Adapter
    const written = Promise.all(nodes.map((one) => slowly(one, 'head-first', 100)))
    const faults: string[] = []
    for (let seen = 0; seen < 100 * nodes.length;) {
      const { head, events, linked } = await reader.read('head-first', after, ALL)
      if (!linked) faults.push(`lost its place at ${after}`)
      const ahead = head !== after && !events.some(({ id }) => id === head)
      if (ahead) faults.push(`the head ${head} ran ahead of its events`)
      after = events.at(-1)?.id ?? after
      seen += events.length
      await sleep(0)
    }
    await written
    t.same(faults, [])
    t.same(await node.heads(['head-first']), [after])
  },

  'name, data, format and key are kept to the byte': async (t, { nodes, node, sinks }) => {
    await subscribeAll(nodes, 'kept')
    const every = Uint8Array.from({ length: 256 }, (_, i) => i)
    const sent = [
      { name: 'message', data: bytes('{"a":"\u2028\u{1F436}"}'), format: 'json' as const },
      { name: 'Grüße 😀', data: bytes(''), format: 'text' as const, key: 'k' },
      { name: 'picture', data: every, format: 'binary' as const, key: 'clé {1}' },
      { name: 'lines', data: bytes('a\r\nb\n\nc\0'), format: 'text' as const },
      { name: 'big', data: Buffer.alloc(1 << 20, 'ä'), format: 'text' as const }
    ]
    const ids: EventId[] = []
    for (const { name, data, ...options } of sent) {
      ids.push((await node.publish('kept', name, data, { retention: RETENTION, ...options })).id)
    }
    const shape = ({ name, data, format, key }: Pick<LogEvent, 'name' | 'data' | 'format' | 'key'>): unknown =>
      ({ name, data: Buffer.from(data).toString('latin1'), format, key })
    for (const [n, sink] of sinks.entries()) {
      await sink.ids('kept', ids)
      const heard = ids.map((id) => sink.of('kept').find((event) => event.id === id) as LogEvent)
      t.same(heard.map(shape), sent.map(shape), 'as announced')
      t.same((await (nodes[n] as Adapter).read('kept', null, ALL)).events.map(shape), sent.map(shape), 'as stored')
    }
  },

  'any name a topic may have is a log of its own': async (t, { node, sink }) => {
    const names = [
      'a', 'a/b', 'a{b}', '{a}', 'a}b{', 'a:log', 'a%2Fb', 'ä/😀', 'x'.repeat(255),
      'toString', '__proto__', '*', '?', '\\'
    ]
    const ids = new Map<string, EventId>()
    for (const topic of names) await node.subscribe(topic, true)
    for (const topic of names) ids.set(topic, await put(node, topic, topic))
    for (const topic of names) {
      await sink.ids(topic, [ids.get(topic) as EventId])
      t.same(sink.of(topic).map(text), [topic])
      t.same((await node.read(topic, null, ALL)).events.map(text), [topic])
    }
  },

  'heads() answers for many topics in their order': async (t, { nodes, node }) => {
    const topics = Array.from({ length: 600 }, (_, i) => `heads/${i}`)
    const expected = await Promise.all(topics.map(async (topic, i) => i % 3 === 0 ? null : await put(node, topic, 'x')))
    for (const one of nodes) t.same(await one.heads(topics), expected)
    t.same(await node.heads([]), [])
  }
}

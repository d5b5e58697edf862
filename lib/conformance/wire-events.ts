/** What is published, relayed or sent arrives as it was, in order, and at once. */
import { connectChannel } from '../testing/index.ts'
import type { WireStory } from './wire-house.ts'

export const events: WireStory = {
  'events arrive in order, under their names': async (t, { open }) => {
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
  },

  'data of any kind arrives as it was published': async (t, { open }) => {
    const { publish, enter } = await open(t)
    const { client } = await enter()
    const kinds: unknown[] = [
      '', 'text', ' padded ', 0, -1.5e300, true, false, null,
      [], [1, [2]], {}, { '': '' }, { deep: { er: [null, { a: '' }] } }, { __proto__: null, constructor: 'x' },
      'lines\r\nand\rmore\n', '\u2028\u2029\u0000\u0001', '😀🐶 héllo', '{"type":"forged"}',
      { text: 'data: x\n\nevent: y\nid: 1\n\n' },
      'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(60_000)
    ]
    for (const data of kinds) await publish('kind', data)
    for (const data of kinds) t.same((await client.next('kind')).data, data)
  },

  'a mebibyte arrives whole where the limit allows it, and is refused at publish where not': async (t, { open }) => {
    const { publish, enter } = await open(t, {}, { maxEventBytes: 2 << 20 })
    const { client } = await enter()
    const text = '0123456789abcdeé'.repeat((1 << 20) / 16)
    await publish('large', { text })
    await publish('after', {})
    t.same((await client.next()).data, { text })
    t.equal((await client.next()).event, 'after')
    await t.rejects(
      publish('larger', 'x'.repeat(2 << 20)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE', statusCode: 413 }
    )
    const { publish: publishSmall } = await open(t)
    await t.rejects(publishSmall('large', 'x'.repeat(65_535)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE' })
    await t.resolves(publishSmall('large', 'x'.repeat(65_534)))
  },

  'bytes arrive as they were published': async (t, { open }) => {
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
  },

  'a burst in one turn is one write for each connection': async (t, { open, countWrites }) => {
    const { app, publish, enter } = await open(t)
    const writes = countWrites(t, app)
    const clients = [await enter(), await enter(), await enter()]
    const before = [...writes]
    await Promise.all(Array.from({ length: 25 }, (_, n) => publish('tick', { n })))
    for (const { client } of clients) {
      for (let n = 0; n < 25; n++) t.same((await client.next('tick')).data, { n })
    }
    t.same(writes.map((count, i) => count - (before[i] as number)), [1, 1, 1])
  },

  'a client\'s relayed event comes to the others, not to itself': async (t, { open }) => {
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
    const waves = speaker.events.filter(({ event }) => event === 'wave')
    t.same(waves.map(({ data }) => data), one.send ? [{ from: 'one' }] : [])
  },

  'connection.send reaches this client alone, in order with what is published': async (t, { open }) => {
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
  },

  'connection.send sends bytes as a publish does': async (t, { open }) => {
    const { enter } = await open(t)
    const { client, connection } = await enter()
    for (const bytes of [Buffer.from([0, 1, 2, 255]), Buffer.alloc(0), Buffer.alloc(40_000, 7)]) {
      connection.send('picture', new Uint8Array(bytes))
      t.same(await client.nextBytes('picture'), bytes)
      connection.send('picture', bytes)
      t.same(await client.nextBytes('picture'), bytes, 'a Buffer is bytes too')
    }
    const reused = Uint8Array.of(1, 2, 3)
    connection.send('picture', reused)
    reused.fill(9)
    t.same(await client.nextBytes('picture'), Buffer.of(1, 2, 3), 'as they were when send was called')
  }
}

/** Other hands on the same Redis: what they write ends no node, forges nothing, and stops no topic. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectionsOf, openChannel, openEnvelope, openStream, serve, turn, type Channel, type Stream } from '../conformance/clients.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import type { Page } from '../../lib/index.ts'
import { startNode, type Node } from './kit.ts'

const server = await RedisServer.start(t)
let prefixes = 0

interface House { app: FastifyInstance, prefix: string, stranger: Redis, stream: Stream, flat: Channel, envelope: Channel }

/** An app, a client on each wire, and a stranger's connection to the same Redis. */
async function house (t: Test): Promise<House> {
  const prefix = `hostile${prefixes++}:`
  const app = await serve(t, { adapter: redis({ url: server.url, prefix }), identify: () => ({ id: 'somebody' }) }, (app) => {
    const news = app.topic('news', { authorize: () => true })
    const loose = app.topic('loose', { history: false, authorize: () => true })
    app.stream('/stream', { topics: [news, loose] })
    app.stream('/news', { topics: [news] })
    app.channel('/channel', { topics: [news, loose] })
  })
  const own = new Redis(server.url)
  t.teardown(() => own.disconnect())
  const stream = await openStream(t, app, '/stream')
  const [flat, envelope] = [await openChannel(t, app, '/channel'), await openEnvelope(t, app, '/channel')]
  await envelope.next({ op: 'subscribed', topic: 'loose' })
  while (connectionsOf(app).some(({ topics }) => topics.length < 2)) await turn()
  return { app, prefix, stranger: own, stream, flat, envelope }
}

const invalidOf = (app: FastifyInstance): number => Number((app.realtime.stats().adapter as { invalid?: number }).invalid)

/** Everybody is there still, and hears the next event; nobody has heard anything else. */
async function unharmed (t: Test, { app, stream, flat, envelope }: House, topic = 'news'): Promise<void> {
  await app.realtime.publish(topic, 'sentinel', { right: true })
  t.equal((await stream.next()).type, 'sentinel')
  t.match(await flat.next(), { type: 'sentinel' })
  let frame = await envelope.next()
  while (frame.op === 'subscribed') frame = await envelope.next()
  t.match(frame, { event: 'sentinel' })
  t.equal(connectionsOf(app).length, 3, 'nobody was disconnected')
}

const ID = '1700000000000-0.x'
const MESSAGES: Record<string, string | Buffer> = {
  empty: '',
  'one byte': Buffer.from([0]),
  'a word': 'hello',
  'not of ours': '{"type":"message","data":{}}',
  null: 'null',
  'an id that is none': 'x y j 4 -\nsaid{}',
  'an id with a line feed': `${ID}\nevent: forged ${ID} j 4 -\nsaid{}`,
  'a prev with a line feed': `${ID} 0-0.\ng j 4 -\nsaid{}`,
  'an unknown format': `${ID} 0-0.g q 4 -\nsaid{}`,
  'no header': `${ID} 0-0.g`,
  'a header without an end': `${ID} 0-0.g j 4 -`,
  'a name that is longer than the message': `${ID} 0-0.g j 255 -\nsaid{}`,
  'a name of negative length': `${ID} 0-0.g j -1 -\nsaid{}`,
  'a name of no number': `${ID} 0-0.g j NaN -\nsaid{}`,
  'a name of 1e3 bytes': `${ID} 0-0.g j 1e3 -\nsaid{}`,
  'no name': '! - j 0 -\n{}',
  'a name with a line feed': '! - j 18 -\na\ndata: x\n\nevent: {}',
  'a name with a carriage return': '! - j 3 -\na\rb{}',
  'a name with a NUL': '! - j 3 -\na\0b{}',
  'a name that is reserved': '! - j 14 -\nrealtime:reset{}',
  'the end of a run, of a topic that is none': '! - j 12 -\nrealtime:end{"reason":"done"}',
  'a name of EventSource\'s': '! - j 5 -\nerror{}',
  'a name of half a character': Buffer.concat([Buffer.from('! - j 2 -\na'), Buffer.from([0xc3]), Buffer.from('{}')]),
  'a key with a line feed': '! - j 1 3\nea\nb{}',
  'an empty key': '! - j 1 0\ne{}',
  'a key longer than the message': '! - j 1 200\ne{}',
  'no JSON': '! - j 4 -\nsaid{',
  'members of the frame': '! - j 4 -\nsaid1,"op":"bye","event":"forged"',
  'members of a flat frame': '! - j 4 -\nsaid{"a":1},"type":"forged"',
  'JSON and more': '! - j 4 -\nsaid{}{"type":"forged"}',
  'JSON with a raw line feed in a string': '! - j 4 -\nsaid"a\nevent: forged"',
  'no UTF-8': Buffer.concat([Buffer.from('! - t 4 -\nsaid'), Buffer.from([0xff, 0xfe])]),
  'half of UTF-8 in JSON': Buffer.concat([Buffer.from('! - j 4 -\nsaid"'), Buffer.from([0xe2, 0x82]), Buffer.from('"')]),
  '300 kB of invalid JSON': `! - j 4 -\nsaid{"type":${'['.repeat(300_000)}`,
  '9 MB': `! - t 4 -\nsaid${'x'.repeat(9 << 20)}`,
  'a field of a version to come': '! - j 4 - v=99\nsaid{}',
  'a version of no number': '! - j 4 - v=x\nsaid{}',
  'an except that is cut': '! - j 4 - x=%E0%A4%A\nsaid{}',
  'a batch of nothing': '&\n',
  'a batch of negative size': '&\n-5 x',
  'a batch longer than it is': '&\n500 x y j 4 -\nsaid{}',
  'a batch of garbage': '&\n3 abc\n3 def',
  'a batch in one line': '&3 abc',
  'an ephemeral event of no words': '!',
  'an ephemeral event without a body': '! - ',
  'a channel\'s name as event': '!-j 4 -\nsaid{}'
}

t.test('messages that are none of ours: nobody hears of them, and they are counted', async (t) => {
  for (const topic of ['news', 'loose']) {
    const all = await house(t)
    for (const [what, message] of Object.entries(MESSAGES)) {
      const before = invalidOf(all.app)
      t.equal(await all.stranger.publish(`${all.prefix}{${topic}}`, message), 1)
      await until(what, () => invalidOf(all.app) > before)
    }
    await unharmed(t, all, topic)
    t.same(all.stream.reader.events.map(({ type }) => type), ['realtime:open', 'sentinel'])
    t.equal(all.flat.inbox.all.length, 1)
    t.equal(all.envelope.inbox.all.filter(({ op }) => op !== 'open' && op !== 'subscribed').length, 1)
  }
})

t.test('what is odd and right is heard as it is', async (t) => {
  const all = await house(t)
  await all.stranger.publish(`${all.prefix}{loose}`, '! - j 4 - zz=later another\nsaid{\n"a":\r1}')
  await all.stranger.publish(`${all.prefix}{loose}`, '! - t 4 -\nsaidid: 1\n\nevent: forged\rretry: 1')
  t.same(JSON.parse((await all.stream.next('said')).data), { a: 1 }, 'fields of a version to come are skipped; JSON may have lines')
  t.equal((await all.stream.next('said')).data, 'id: 1\n\nevent: forged\nretry: 1')
  const text = 'id: 1\n\nevent: forged\rretry: 1'
  t.same([await all.flat.next(), await all.flat.next()], [{ type: 'said', a: 1 }, { type: 'said', data: text }])
  t.same([await all.envelope.next({ event: 'said' }), await all.envelope.next({ event: 'said' })].map(({ data }) => data), [{ a: 1 }, text])
  await unharmed(t, all)
})

t.test('a batch of which one cannot be read: the others are heard, and the loss is told', async (t) => {
  const all = await house(t)
  const { id } = await all.app.realtime.publish('news', 'said', 1)
  await all.stream.next('said')
  const told = ['1999999999999-0.a', '1999999999999-1.b', '1999999999999-2.c'].map((own, i, ids) => `${own} ${i === 0 ? id : ids[i - 1]} j 4 -\nsaid${i === 1 ? '{' : i}`)
  await all.stranger.publish(`${all.prefix}{news}`, '&' + told.map((one) => `\n${one.length} ${one}`).join(''))
  t.equal((await all.stream.next('said')).data, '0')
  t.match(JSON.parse((await all.stream.next('realtime:reset')).data), { topic: 'news', reason: 'lost' }, 'what is announced and not stored is no event')
})

const ORDERS: Record<string, string | Buffer> = {
  'not JSON': '{',
  null: 'null',
  'a number': '1',
  'an array': '[]',
  'no target': '{"op":"disconnect"}',
  'a target that is null': '{"op":"disconnect","target":null}',
  'an empty target': '{"op":"disconnect","target":{}}',
  'a target of an array': '{"op":"disconnect","target":[]}',
  'a target of an empty text': '{"op":"disconnect","target":{"identity":""}}',
  'a target of a number': '{"op":"disconnect","target":{"identity":7}}',
  'a word that is not known': '{"op":"disconnect","target":{"identity":"somebody","tenant":"x"}}',
  'a prototype': '{"op":"disconnect","target":{"__proto__":{"identity":"somebody"}}}',
  'an order by prototype': '{"__proto__":{"op":"disconnect","target":{"identity":"somebody"}}}',
  'close code 1': '{"op":"disconnect","target":{"identity":"somebody"},"code":1}',
  'close code 1006': '{"op":"disconnect","target":{"identity":"somebody"},"code":1006}',
  'a code that is text': '{"op":"disconnect","target":{"identity":"somebody"},"code":"1000"}',
  'a text that is none': '{"op":"disconnect","target":{"identity":"somebody"},"text":{}}',
  'reconnect that is none': '{"op":"disconnect","target":{"identity":"somebody"},"reconnect":1}',
  'an unknown op with an empty target': '{"op":"destroy","target":{}}',
  'an unknown op': '{"op":"destroy","target":{"identity":"somebody"}}',
  'no op': '{"target":{"identity":"somebody"}}',
  'unsubscribe without a topic': '{"op":"unsubscribe","target":{"identity":"somebody"}}',
  'unsubscribe of an object': '{"op":"unsubscribe","target":{"identity":"somebody"},"topic":{}}',
  'stop without a key': '{"op":"stop"}',
  'stop of an object': '{"op":"stop","key":{}}'
}

t.test('orders that are none: stored, heard by every node, and obeyed by none', async (t) => {
  const all = await house(t)
  const control = await startNode(t, { url: server.url, prefix: all.prefix })
  const retention = { limit: 10_000, maxAge: 600_000, maxBytes: 4 << 20 }
  for (const [what, order] of Object.entries(ORDERS)) {
    const before = all.app.realtime.stats().ignored + invalidOf(all.app)
    await control.adapter.publish('realtime:control', 'order', Buffer.from(order), { retention, format: 'json' })
    await until(what, () => all.app.realtime.stats().ignored + invalidOf(all.app) > before)
    t.equal(connectionsOf(all.app).length, 3, what)
  }
  await control.adapter.publish('realtime:control', 'order', Buffer.from('1'), { retention, format: 'binary' })
  for (const words of ['{', 'null', '{}', '{"ask":1}', '{"ask":"a","count":-1}', '{"ask":"a","count":"1"}', '{"ask":"a","from":"../x","topic":"news"}', '{"ask":"a","from":"b","topic":""}']) {
    const before = all.app.realtime.stats().ignored + invalidOf(all.app)
    await control.adapter.ephemeral('realtime:control', { name: 'count', data: Buffer.from(words), format: 'json' })
    await until(words, () => all.app.realtime.stats().ignored + invalidOf(all.app) > before)
  }
  await unharmed(t, all)
  await all.app.realtime.disconnect({ identity: 'somebody' })
  await all.flat.ended
  t.pass('one that is one is obeyed')
})

// --- keys -----------------------------------------------------------------------

/** What stands in a topic's stream besides its events: where, and how it got there. */
const ENTRIES: Record<string, (redis: Redis, log: string, id: string) => Promise<unknown>> = {
  'other fields': async (redis, log, id) => await redis.xadd(log, id, 'foo', 'bar'),
  'one field more than one': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g'),
  'the fields in another order': async (redis, log, id) => await redis.xadd(log, id, 'e', 'j 4 -\nsaid{}', 'c', '0', 'p', '0-0.g', 'n', 'x'),
  'a body that is none': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '0', 'e', 'hello'),
  'a body without a name': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '0', 'e', 'j 9999 -\n'),
  'a name that forges': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '0', 'e', 'j 16 -\na\n\nevent: forged{}'),
  'a nonce that is none': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x y', 'p', '0-0.g', 'c', '0', 'e', 'j 4 -\nsaid{}'),
  'a prev that is none': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '\n', 'c', '0', 'e', 'j 4 -\nsaid{}'),
  'an event that links to nothing': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '5-5.other', 'c', '0', 'e', 'j 4 -\nsaid{}'),
  'a huge count': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '9'.repeat(400), 'e', 'hello'),
  'no count': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '', 'e', 'hello'),
  '5 MB': async (redis, log, id) => await redis.xadd(log, id, 'foo', 'x'.repeat(5 << 20)),
  'of a version to come': async (redis, log, id) => await redis.xadd(log, id, 'n', 'x', 'p', '0-0.g', 'c', '0', 'e', 'j 4 - v=99\nsaid{}')
}

t.test('an entry that is none of ours: who resumes over it is told of a loss, once, and goes on', async (t) => {
  for (const [what, add] of Object.entries(ENTRIES)) {
    for (const place of ['first', 'in the middle', 'last'] as const) {
      const all = await house(t)
      const log = `${all.prefix}{news}:log`
      const say = async (n: number): Promise<string> => (await all.app.realtime.publish('news', 'said', { n })).id as string
      const stranger = async (): Promise<void> => {
        const last = await all.stranger.call('XINFO', 'STREAM', log) as unknown[]
        const id = String(last[last.indexOf('last-generated-id') + 1])
        await add(all.stranger, log, `${id.split('-')[0]}-${Number(id.split('-')[1]) + 1}`)
      }
      const first = await say(0)
      if (place === 'first') {
        await all.stranger.del(log)
        await add(all.stranger, log, '5-5')
      }
      await say(1)
      if (place === 'in the middle') await stranger()
      await say(2)
      if (place === 'last') await stranger()
      for (let n = 0; n < 3; n++) t.same(await all.stream.json('said'), { n }, `${what}, ${place}: who listens misses nothing`)
      // A node that has heard nothing of it.
      const other = await serve(t, { adapter: redis({ url: server.url, prefix: all.prefix }) }, (app) => {
        app.topic('news', { authorize: () => true })
        app.stream('/news', { topics: 'news' })
      })
      const back = await openStream(t, other, '/news', { lastEventId: first })
      // Before the first and behind the last, the links show that nothing is missing.
      if (place !== 'in the middle') t.same([await back.json('said'), await back.json('said')], [{ n: 1 }, { n: 2 }], `${what}, ${place}`)
      else t.match(JSON.parse((await back.next('realtime:reset')).data), { topic: 'news', reason: 'lost' }, `${what}, ${place}`)
      await say(3)
      t.same(await back.json('said'), { n: 3 }, 'and hears what follows')
      t.same(back.reader.events.map(({ type }) => type).filter((type) => !['realtime:open', 'realtime:reset', 'said'].includes(type)), [], 'nothing is forged')
      const { events } = await other.realtime.history('news', { limit: 100 })
      t.ok(events.length > 0 && events.every(({ event }) => event === 'said'), `${what}, ${place}: history is read past it or up to it`)
      await other.close()
      await all.app.close()
    }
  }
})

/** Pages until there is no more. */
async function pages (node: Node, topic: string, after: string | null): Promise<Page[]> {
  const all: Page[] = []
  for (let from = after, more = true; more;) {
    const page = await node.adapter.read(topic, from, { count: 512, bytes: 1 << 20 })
    all.push(page)
    if (all.length > 1000) throw new Error('a reader would never come to the end')
    more = page.more
    from = page.events.at(-1)?.id ?? from
  }
  return all
}

t.test('a stream full of what is none of ours is read past', async (t) => {
  const prefix = `hostile${prefixes++}:`
  const node = await startNode(t, { url: server.url, prefix })
  const id = await node.publish('a', 'first')
  await server.ask(async (redis) => {
    const pipeline = redis.pipeline()
    for (let i = 0; i < 900; i++) pipeline.xadd(`${prefix}{a}:log`, '*', 'n', 'x', 'p', `${i}-0.x`, 'c', '0', 'e', i > 800 ? 'j 4 -\nsaid{}' : 'hello')
    await pipeline.exec()
  })
  const last = await node.publish('a', 'last')
  const read = await pages(node, 'a', id)
  t.match(read[0], { head: last, linked: false, lost: true })
  t.equal(read.flatMap(({ events }) => events).at(-1)?.id, last)
  t.match((await pages(node, 'a', null)).flatMap(({ events }) => events).map((event) => event.id), { 0: id })
})

type Spoil = (redis: Redis, keys: { log: string, head: string, owner: string }) => Promise<unknown>

const SPOILT: Record<string, Spoil> = {
  'the head is a hash': async (redis, { head }) => { await redis.del(head); await redis.hset(head, 'a', 'b') },
  'the head is a list': async (redis, { head }) => { await redis.del(head); await redis.lpush(head, 'a') },
  'the head is garbage': async (redis, { head }) => await redis.set(head, 'garbage'),
  'the head is empty': async (redis, { head }) => await redis.set(head, ''),
  'the head is bytes': async (redis, { head }) => await redis.set(head, Buffer.from([0, 255, 10, 13])),
  'the head lacks its numbers': async (redis, { head }) => await redis.set(head, '1700000000000-0.x'),
  'the head is of a year to come': async (redis, { head }) => await redis.set(head, `${'9'.repeat(30)}-0.x 0 0`),
  'the head counts too far': async (redis, { head }) => await redis.set(head, `1700000000000-${'9'.repeat(20)}.x 0 0`),
  'the head has counted too much': async (redis, { head }) => await redis.set(head, `1700000000000-0.x ${'9'.repeat(400)} 0`),
  'the head has trimmed more than there was': async (redis, { head }) => await redis.set(head, '1700000000000-0.x 5 500'),
  'the head has a server of garbage': async (redis, { head }) => await redis.set(head, '1700000000000-0.x 0 0 \n \r'),
  'the head is a megabyte': async (redis, { head }) => await redis.set(head, 'x'.repeat(1 << 20)),
  'the head is of a version to come': async (redis, { head }) => await redis.set(head, `${String(await redis.get(head))} more and more`),
  'the log is a string': async (redis, { log }) => await redis.set(log, 'x'),
  'the log is a hash': async (redis, { log }) => { await redis.del(log); await redis.hset(log, 'a', 'b') },
  'the log ends with an id of a year to come': async (redis, { log }) => await redis.xadd(log, '9999999999999-0', 'foo', 'bar'),
  'the log can take no more': async (redis, { log }) => await redis.xadd(log, '18446744073709551615-18446744073709551615', 'foo', 'bar'),
  'both are strings': async (redis, { log, head }) => { await redis.set(log, 'x'); await redis.set(head, 'x') },
  'both are lists': async (redis, { log, head }) => { await redis.del(log, head); await redis.lpush(log, 'x'); await redis.lpush(head, 'x') }
}

t.test('keys that are not what they should be: the topic is published to, listened to and read as before', async (t) => {
  for (const [what, spoil] of Object.entries(SPOILT)) {
    const prefix = `hostile${prefixes++}:`
    const nodes = [await startNode(t, { url: server.url, prefix }), await startNode(t, { url: server.url, prefix })] as const
    const [node, other] = nodes
    await node.adapter.subscribe('a', true)
    for (let n = 0; n < 3; n++) await node.publish('a', `before ${n}`)
    const keys = { log: `${prefix}{a}:log`, head: `${prefix}{a}:head`, owner: `${prefix}{a}:owner` }
    await server.ask(async (redis) => await spoil(redis, keys))
    const first = await node.publish('a', 'first')
    const second = await other.publish('a', 'second', { dedupe: 'once' })
    t.equal(await other.publish('a', 'second', { dedupe: 'once' }), second, what)
    t.equal(await other.adapter.subscribe('a', true), second, `${what}: the head is read`)
    t.same(await other.adapter.heads(['a']), [second])
    t.match((await other.adapter.read('a', first, { count: 10, bytes: 1 << 20 })), { linked: true, events: [{ id: second, prev: first }] }, `${what}: what is new links`)
    await until(`${what}: it is heard`, () => node.heard('a').includes('second'))
    for (const one of nodes) await one.adapter.close()
  }
})

t.test('keys that are spoilt while nobody publishes: they are listened to and read', async (t) => {
  for (const [what, spoil] of Object.entries(SPOILT)) {
    const prefix = `hostile${prefixes++}:`
    const node = await startNode(t, { url: server.url, prefix })
    const id = await node.publish('a', 'before')
    await server.ask(async (redis) => await spoil(redis, { log: `${prefix}{a}:log`, head: `${prefix}{a}:head`, owner: '' }))
    const head = await node.adapter.subscribe('a', true)
    t.match(head, /^\d+-\d+\.[\w-]+$/, what)
    const page = await node.adapter.read('a', id, { count: 10, bytes: 1 << 20 })
    t.match(page.head, /^\d+-\d+\.[\w-]+$/, what)
    t.same(page.events, [])
    await pages(node, 'a', null)
    t.equal((await node.adapter.heads(['a'])).length, 1)
    await node.adapter.close()
  }
})

t.test('a log that began anew by a stranger\'s hand: who listens is told of a loss, and hears what follows', async (t) => {
  for (const what of ['the head is garbage', 'the log is a string', 'the log ends with an id of a year to come']) {
    const all = await house(t)
    await all.app.realtime.publish('news', 'said', { n: 0 })
    await all.stream.next('said')
    await (SPOILT[what] as Spoil)(all.stranger, { log: `${all.prefix}{news}:log`, head: `${all.prefix}{news}:head`, owner: '' })
    await all.app.realtime.publish('news', 'said', { n: 1 })
    t.match(JSON.parse((await all.stream.next('realtime:reset')).data), { topic: 'news', reason: 'lost' }, what)
    await all.app.realtime.publish('news', 'said', { n: 2 })
    t.same(await all.stream.json('said'), { n: 2 }, what)
    t.equal(connectionsOf(all.app).length, 3)
  }
})

t.test('bytes are trimmed also where a stranger\'s entries stand between', async (t) => {
  const prefix = `hostile${prefixes++}:`
  const node = await startNode(t, { url: server.url, prefix })
  const retention = { limit: 1000, maxAge: 600_000, maxBytes: 1000 }
  const log = `${prefix}{a}:log`
  for (let n = 0; n < 30; n++) {
    await node.publish('a', 'x'.repeat(100), { retention })
    await server.ask(async (redis) => await redis.xadd(log, '*', ...(n % 2 ? ['foo', 'bar'] : ['n', 'x', 'p', '0-0.g', 'c', '999999999999', 'e', 'y']) as [string, string]))
  }
  t.ok(await server.ask(async (redis) => await redis.xlen(log)) < 30, 'nothing stays for ever')
  t.ok((await node.history('a')).length > 0)
})

t.test('marks, dedupe keys and owners of garbage', async (t) => {
  for (const value of ['garbage', '', '99999999999999999999', '5', '5 ', '5 garbage', '5 5\ngarbage\n4 x', Buffer.from([0, 1, 255])]) {
    const prefix = `hostile${prefixes++}:`
    const node = await startNode(t, { url: server.url, prefix })
    await node.publish('a', 'before')
    await server.ask(async (redis) => {
      const [mark] = await redis.keys(`${prefix}{a}:m:*`)
      await redis.set(mark as string, value)
      await redis.set(`${prefix}{a}:d:once`, value)
      await redis.set(`${prefix}{a}:owner`, value)
    })
    const ids = await Promise.all(['one', 'two', 'three'].map(async (text) => await node.publish('a', text, text === 'two' ? { dedupe: 'once' } : {})))
    t.equal(new Set(ids).size, 3, `${String(value)}: published once each`)
    t.equal(await node.publish('a', 'two', { dedupe: 'once' }), ids[1])
    t.same(await node.history('a'), ['before', 'one', 'two', 'three'])
    const own = node.adapter as unknown as { claim: (topic: string, owner: string, ms: number) => Promise<string>, owner: (topic: string) => Promise<string | undefined> }
    // What stands there for ever is given an end.
    await own.claim('a', 'me', 50)
    await until('the lease', async () => await own.claim('a', 'me', 60_000) === 'me')
    t.equal(await own.owner('a'), 'me')
    t.equal(await own.claim('a', 'you', 60_000), 'me', 'a lease is one')
    await node.adapter.close()
  }
})

t.test('marks, dedupe keys and owners of another type', async (t) => {
  const prefix = `hostile${prefixes++}:`
  const node = await startNode(t, { url: server.url, prefix })
  await node.publish('a', 'before')
  await server.ask(async (redis) => {
    for (const key of [...await redis.keys(`${prefix}{a}:m:*`), `${prefix}{a}:d:once`, `${prefix}{a}:owner`]) {
      await redis.del(key)
      await redis.hset(key, 'a', 'b')
    }
  })
  const own = node.adapter as unknown as { claim: (topic: string, owner: string, ms: number) => Promise<string>, owner: (topic: string) => Promise<string | undefined> }
  t.equal(await own.owner('a'), undefined)
  const id = await node.publish('a', 'after', { dedupe: 'once' })
  t.equal(await node.publish('a', 'after', { dedupe: 'once' }), id)
  t.equal(await own.claim('a', 'me', 60_000), 'me')
  t.same(await node.history('a'), ['before', 'after'])
})

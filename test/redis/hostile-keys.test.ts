/** Other hands on our keys: what they write there forges nothing, and stops no topic. */
import t from 'tap'
import type { Redis } from 'ioredis'
import { redis } from '../../lib/adapters/redis/index.ts'
import { ownershipOf, type Ownership } from '../../lib/core/adapter.ts'
import type { Page } from '../../lib/index.ts'
import { connectionsOf, openStream, serve } from '../conformance/clients.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { freshPrefix, openHouse } from './hostile-house.ts'
import { startNode, type Node } from './kit.ts'

const server = await RedisServer.start(t)

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
      const all = await openHouse(t, server)
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
  const prefix = freshPrefix()
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
    const prefix = freshPrefix()
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
    const prefix = freshPrefix()
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
    const all = await openHouse(t, server)
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
  const prefix = freshPrefix()
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
    const prefix = freshPrefix()
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
    const own = ownershipOf(node.adapter) as Ownership
    // What stands there for ever is given an end.
    await own.claim('a', 'me', 50)
    await until('the lease', async () => await own.claim('a', 'me', 60_000) === 'me')
    t.equal(await own.owner('a'), 'me')
    t.equal(await own.claim('a', 'you', 60_000), 'me', 'a lease is one')
    await node.adapter.close()
  }
})

t.test('marks, dedupe keys and owners of another type', async (t) => {
  const prefix = freshPrefix()
  const node = await startNode(t, { url: server.url, prefix })
  await node.publish('a', 'before')
  await server.ask(async (redis) => {
    for (const key of [...await redis.keys(`${prefix}{a}:m:*`), `${prefix}{a}:d:once`, `${prefix}{a}:owner`]) {
      await redis.del(key)
      await redis.hset(key, 'a', 'b')
    }
  })
  const own = ownershipOf(node.adapter) as Ownership
  t.equal(await own.owner('a'), undefined)
  const id = await node.publish('a', 'after', { dedupe: 'once' })
  t.equal(await node.publish('a', 'after', { dedupe: 'once' }), id)
  t.equal(await own.claim('a', 'me', 60_000), 'me')
  t.same(await node.history('a'), ['before', 'after'])
})

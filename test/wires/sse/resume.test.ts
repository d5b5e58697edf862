/** Streams that resume: from an id, of one topic or several, or with a reset. */
import t from 'tap'
import { memory } from '../../../lib/index.ts'
import type { Adapter, Sink } from '../../../lib/core/adapter.ts'
import { openStream, serve, type StreamEvent } from '../../conformance/clients.ts'
import { publish } from '../../helpers/sse.ts'

t.test('a stream of one topic resumes after its last event id, from the header or the query', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const first = await openStream(t, app, '/feed')
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push(await publish(app, 'feed', i))
  for (let i = 0; i < 5; i++) t.match(await first.next(), { data: String(i), lastEventId: ids[i] }, 'the id of an event is its own')
  await first.leave()
  const ways = [
    openStream(t, app, '/feed', { lastEventId: ids[1] as string }),
    openStream(t, app, `/feed?a=b&lastEventId=${ids[1]}`),
    openStream(t, app, `/feed?lastEventId=garbage&lastEventId=${ids[1]}`),
    openStream(t, app, '/feed?lastEventId=garbage', { lastEventId: ids[1] as string })
  ]
  for (const back of await Promise.all(ways)) {
    t.equal((await back.next('realtime:open')).lastEventId, ids[1], 'it opens where the client was')
    for (let i = 2; i < 5; i++) t.match(await back.next(), { data: String(i), lastEventId: ids[i] })
    await back.leave()
  }
  const level = await openStream(t, app, '/feed', { lastEventId: ids[4] as string })
  await publish(app, 'feed', 'live')
  t.equal(await level.json(), 'live', 'from the head nothing is repeated')
  t.match(app.realtime.stats(), { recovered: 5, resets: 0 })
})

t.test('a stream of several topics resumes all of them from one id', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('a/:id')
    app.topic('fleeting', { history: false })
    app.stream('/several', { topics: ['a/1', 'a/2', 'a/3', 'fleeting'] })
    app.stream('/fewer', { topics: ['a/2', 'a/3'] })
  })
  const all = ['a/1', 'a/2', 'a/1', 'a/3', 'a/3', 'a/2', 'a/1']
  const stream = await openStream(t, app, '/several')
  await stream.next('realtime:open')
  for (const [i, topic] of all.entries()) await publish(app, topic, i)
  const heard: StreamEvent[] = []
  for (let i = 0; i < all.length; i++) heard.push(await stream.next())
  t.equal(new Set(heard.map(({ lastEventId }) => lastEventId)).size, all.length, 'each block has an id of its own')
  t.ok(heard.every(({ lastEventId }) => /^[\x21-\x7e]{1,2048}$/.test(lastEventId)))
  await app.realtime.publish('fleeting', 'said', 'x')
  const fleeting = await stream.next()
  t.equal(fleeting.lastEventId, heard.at(-1)?.lastEventId, 'an event without an id leaves the last one standing')
  t.equal(stream.blocks.all.at(-1)?.some(([field]) => field === 'id'), false)

  for (const [n, { lastEventId }] of heard.entries()) {
    const back = await openStream(t, app, '/several', { lastEventId })
    const expected = all.map((_, i) => i).filter((i) => !heard.slice(0, n + 1).some(({ data }) => Number(data) === i))
    const again: number[] = []
    for (let i = 0; i < expected.length; i++) again.push(await back.json() as number)
    t.same(again.sort((a, b) => a - b), expected, `after event ${n}: neither a gap nor a repeat`)
    await back.leave()
  }
  const last = heard.at(-1) as StreamEvent
  await publish(app, 'a/1', 'one')
  await publish(app, 'a/3', 'three')
  const fewer = await openStream(t, app, '/fewer', { lastEventId: last.lastEventId })
  t.equal(await fewer.json(), 'three', 'a stream of fewer topics takes the id as well')
  t.match(app.realtime.stats(), { resets: 0 })
})

/** A memory adapter whose log can be lost, as a server's can. */
function fragile (): { adapter: Adapter, lose: () => Promise<void> } {
  let inner = memory()
  let sink: Sink | undefined
  const subscribed = new Set<string>()
  const adapter: Adapter = {
    name: 'fragile',
    start (given) {
      sink = given
      return inner.start(given)
    },
    publish: (...args) => inner.publish(...args),
    ephemeral: (...args) => inner.ephemeral(...args),
    subscribe (topic, durable) {
      subscribed.add(topic)
      return inner.subscribe(topic, durable)
    },
    unsubscribe (topic) {
      subscribed.delete(topic)
      inner.unsubscribe(topic)
    },
    read: (...args) => inner.read(...args),
    heads: (topics) => inner.heads(topics),
    close: () => inner.close()
  }
  const lose = async (): Promise<void> => {
    await inner.close()
    inner = memory()
    await inner.start(sink as Sink)
    for (const topic of subscribed) await inner.subscribe(topic, true)
  }
  return { adapter, lose }
}

t.test('a cursor that cannot be recovered is answered with a reset, its reason, and the snapshot', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed', { history: { limit: 3 } })
    app.topic('other')
    app.topic('state', { history: { limit: 3 }, snapshot: () => ({ all: 'of it' }) })
    app.stream('/feed', { topics: 'feed' })
    app.stream('/state', { topics: 'state' })
    app.stream('/two', { topics: ['feed', 'other'] })
  })
  const old = await publish(app, 'feed', 'old')
  const foreign = await publish(app, 'other', 'x')
  const expired = await publish(app, 'state', 'old')
  for (let i = 0; i < 6; i++) {
    await publish(app, 'feed', i)
    await publish(app, 'state', i)
  }
  const future = `${Date.now() + 86_400_000}-0.${old.split('.')[1]}`
  const cases: Array<[path: string, cursor: string, topic: string, reason: string]> = [
    ['/feed', old, 'feed', 'expired'],
    ['/feed', future, 'feed', 'unknown-cursor'],
    ['/feed', 'garbage', 'feed', 'unknown-cursor'],
    ['/feed', '0', 'feed', 'unknown-cursor'],
    ['/feed', 'v1~AAAAA~!!~+', 'feed', 'unknown-cursor'],
    ['/feed', 'v1~' + '~'.repeat(500), 'feed', 'unknown-cursor'],
    ['/feed', 'x'.repeat(2049), 'feed', 'unknown-cursor'],
    ['/feed', '../../etc passwd', 'feed', 'unknown-cursor'],
    ['/state', expired, 'state', 'expired'],
    ['/state', foreign.replace(/^\d+/, (ms) => String(Number(ms) + 60_000)), 'state', 'unknown-cursor']
  ]
  for (const [path, lastEventId, topic, reason] of cases) {
    const stream = await openStream(t, app, path, { lastEventId })
    t.same(await stream.json('realtime:reset'), { topic, reason }, `${lastEventId.slice(0, 30)} is ${reason}`)
    if (topic === 'state') t.same(await stream.json('realtime:snapshot'), { topic, data: { all: 'of it' } })
    const id = await publish(app, topic, 'live')
    t.match(await stream.next(), { data: '"live"', lastEventId: id }, 'it goes on')
    t.same(stream.inbox.all.filter(({ type }) => type === 'said').length, 1)
    await stream.leave()
    const back = await openStream(t, app, path, { lastEventId: stream.lastEventId })
    await publish(app, topic, 'again')
    t.equal(await back.json(), 'again')
    t.notOk(back.inbox.all.some(({ type }) => type === 'realtime:reset'), 'and resumes from there: no error loop')
    await back.leave()
  }
  const two = await openStream(t, app, '/two', { lastEventId: foreign })
  t.same([await two.json('realtime:reset'), await two.json('realtime:reset')], [
    { topic: 'feed', reason: 'unknown-cursor' }, { topic: 'other', reason: 'unknown-cursor' }
  ], 'a bare id says nothing of a stream of several')
})

t.test('a log that was lost resets its listeners once, with its reason', async (t) => {
  const { adapter, lose } = fragile()
  const app = await serve(t, { adapter }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const stream = await openStream(t, app, '/feed')
  await publish(app, 'feed', 1)
  t.equal(await stream.json(), 1)
  const before = stream.lastEventId
  await lose()
  const id = await publish(app, 'feed', 2)
  t.same(await stream.json('realtime:reset'), { topic: 'feed', reason: 'lost' })
  t.equal(stream.lastEventId, id)
  const next = await publish(app, 'feed', 3)
  t.match(await stream.next(), { data: '3', lastEventId: next })
  t.equal(stream.inbox.all.filter(({ type }) => type === 'realtime:reset').length, 1)
  const back = await openStream(t, app, '/feed', { lastEventId: before })
  t.match(await back.json('realtime:reset'), { topic: 'feed' }, 'a cursor of the lost log is none of this one')
})

// No options object of ours leaves out in silence what it does not know: it is an error that names what is known, and
// what may have been meant.

import t from 'tap'
import { memory, type Connection, type RealtimeOptions } from '../lib/index.ts'
import { onlyKnown, whyUnknown } from '../lib/known.ts'
import { redis } from '../lib/adapters/redis/index.ts'
import { connectChannel, connectStream } from '../lib/testing/index.ts'
import { bare, gate, live } from './helpers/app.ts'
import realtime from '../lib/index.ts'

interface Refused { code?: unknown, message?: string }

async function refusalOf (work: () => unknown): Promise<Refused> {
  try {
    await work()
    return {}
  } catch (error) {
    return error as Refused
  }
}

t.test('what may have been meant is told, and nothing far-fetched', async (t) => {
  const known = new Set(['dedupe', 'key', 'except', 'maxAge', 'maxBytes'])
  for (const [name, meant] of [['dedup', 'dedupe'], ['Dedupe', 'dedupe'], ['keys', 'key'], ['max_age', 'maxAge'], ['max-bytes', 'maxBytes'], ['exept', 'except'], ['maxAgee', 'maxAge']] as const) {
    t.equal(whyUnknown(name, known), `is not known. Known: dedupe, key, except, maxAge, maxBytes. Did you mean "${meant}"?`)
  }
  for (const name of ['', 'x', 'ab', 'retry', 'toString', '__proto__', 'x'.repeat(1e6)]) t.equal(whyUnknown(name, known), 'is not known. Known: dedupe, key, except, maxAge, maxBytes', name.slice(0, 20))
})

t.test('names of any kind are refused, and none that others have put on all objects', async (t) => {
  const known = new Set(['key'])
  for (const value of [{ kye: 1 }, { kye: undefined }, JSON.parse('{"__proto__":1}') as object, { constructor: 1 }, { toString: 1 }, Object.assign(Object.create(null), { kye: 1 })]) {
    t.throws(() => onlyKnown('', value, known), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  }
  for (const value of [{}, { key: 1 }, Object.create({ inherited: 1 }) as object, Object.create(null) as object]) t.doesNotThrow(() => onlyKnown('', value, known))
  t.throws(() => onlyKnown('', { ['x'.repeat(1e6)]: 1 }, known), { message: /^.{1,300}$/ })
})

const source = () => []
const handler = () => {}
const right = { type: 'object' }

/** Everything of ours that takes options: how it is called with them, one that is misspelt, what was meant, and the code. */
const calls: Array<[what: string, call: (options: never) => unknown, options: object, meant: string, code: string]> = [
  ['the plugin', async (options) => await bareApp().register(realtime, options), { hartbeat: 1000 }, 'heartbeat', 'OPTION_INVALID'],
  ['its history', async (options) => await bareApp().register(realtime, { history: options }), { limits: 5 }, 'limit', 'OPTION_INVALID'],
  ['its limits', async (options) => await bareApp().register(realtime, { limits: options }), { bursts: 5 }, 'burst', 'OPTION_INVALID'],
  ['memory()', (options) => memory(options), { maxByte: 5 }, 'maxBytes', 'OPTION_INVALID'],
  ['redis()', (options) => redis(options), { prefx: 'x' }, 'prefix', 'OPTION_INVALID'],
  ['redis() wait', (options) => redis({ wait: options }), { replicas: 1, timout: 5 }, 'timeout', 'OPTION_INVALID'],
  ['redis() cluster', (options) => redis({ cluster: options }), { nodes: [{ host: '127.0.0.1', port: 1 }], option: {} }, 'options', 'OPTION_INVALID'],
  ['topic()', async (options) => (await fresh()).topic('new', options), { event: {} }, 'events', 'OPTION_INVALID'],
  ['a topic\'s history', async (options) => (await fresh()).topic('new', { history: options }), { maxage: 5 }, 'maxAge', 'OPTION_INVALID'],
  ['resumable', async (options) => (await fresh()).stream('/new', { source, resumable: options }), { maxages: 5 }, 'maxAge', 'OPTION_INVALID'],
  ['a channel\'s limits', async (options) => (await fresh()).channel('/new', { topics: 'news', limits: options }), { fault: 5 }, 'faults', 'OPTION_INVALID'],
  ['a message', async (options) => (await fresh()).channel('/new', { messages: { bid: options } }), { handler, shema: right }, 'schema', 'ROUTE_INVALID'],
  ['a relay', async (options) => (await fresh()).channel('/new', { topics: 'news', messages: { bid: { relay: options } } }), { topics: 'news' }, 'topic', 'ROUTE_INVALID'],
  ['topic.publish()', async (options) => await (await news).publish({}, 'said', 1, options), { dedup: 'k' }, 'dedupe', 'PUBLISH_OPTION'],
  ['realtime.publish()', async (options) => await (await app).realtime.publish('news', 'said', 1, options), { keys: 'k' }, 'key', 'PUBLISH_OPTION'],
  ['topic.history()', async (options) => await (await news).history({}, options), { afer: 'x' }, 'after', 'OPTION_INVALID'],
  ['realtime.history()', async (options) => await (await app).realtime.history('news', options), { limits: 1 }, 'limit', 'OPTION_INVALID'],
  ['realtime.stop()', async (options) => await (await app).realtime.stop('key', options), { spaces: 'x' }, 'space', 'OPTION_INVALID'],
  ['realtime.disconnect()', async (options) => await (await app).realtime.disconnect({ identity: 'u1' }, options), { reconect: true }, 'reconnect', 'OPTION_INVALID'],
  ['whom disconnect() means', async (options) => await (await app).realtime.disconnect(options), { identity: 'u1', topics: 'news' }, 'topic', 'TARGET'],
  ['whom revoke() means', async (options) => await (await app).realtime.revoke(options, 'news'), { identiy: 'u1' }, 'identity', 'TARGET'],
  ['connection.close()', async (options) => (await connection).close(options), { cod: 4000 }, 'code', 'OPTION_INVALID'],
  ['connectStream()', async (options) => await connectStream(await app, '/news', options), { header: {} }, 'headers', 'OPTION_INVALID'],
  ['connectChannel()', async (options) => await connectChannel(await app, '/talk', options), { cursor: {} }, 'cursors', 'OPTION_INVALID']
]

const bareApp = () => bare(t)
/** Where something may still be declared. */
const fresh = async () => {
  const app = await live(t)
  app.topic('news')
  return app
}
const accepted = gate<Connection>()
const app = live(t)
const news = app.then(async (app) => {
  const news = app.topic('news')
  app.stream('/news', { topics: news, onConnect: (connection) => accepted.open(connection) })
  app.channel('/talk', { topics: news })
  return news
})
const connection = news.then(async () => {
  await connectStream(await app, '/news', { t })
  return await accepted.passed
})

t.test('every options object of the API refuses what it does not know, and says what it knows', async (t) => {
  await news
  for (const [what, call, options, meant, code] of calls) {
    const refused = await refusalOf(() => call(options as never))
    t.equal(refused.code, `FST_ERR_REALTIME_${code}`, what)
    t.match(refused.message, /Known: /, what)
    t.match(refused.message, `Did you mean "${meant}"?`, what)
  }
})

t.test('what is no options object at all is refused too', async (t) => {
  const later = calls.filter(([what]) => !['the plugin', 'its history', 'its limits', 'topic()', 'resumable'].includes(what))
  for (const [what, call] of later) {
    for (const options of ['k', 5, null, ['k'], true]) {
      const { code } = await refusalOf(() => call(options as never))
      if (what === 'redis()' && options === 'k') continue
      if (what === 'a relay' && options === true) continue
      t.match(code, /^FST_ERR_REALTIME_/, `${what}: ${JSON.stringify(options)}`)
    }
  }
  t.same(await (await app).realtime.history('news'), { events: [], linked: true, more: false }, 'and none of it was published')
})

t.test('the values of options given with a call are checked', async (t) => {
  const { realtime } = await app
  for (const options of [{ limit: 0 }, { limit: -1 }, { limit: 1.5 }, { limit: NaN }, { limit: '5' }, { limit: 10_001 }, { limit: Infinity }, { after: 5 }, { after: null }]) {
    await t.rejects(realtime.history('news', options as never), { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /history\(\)/ }, JSON.stringify(options))
  }
  for (const options of [undefined, {}, { limit: 1 }, { limit: 10_000 }, { after: undefined, limit: undefined }]) t.ok((await realtime.history('news', options as never)).linked)
  t.equal((await realtime.history('news', { after: 'of nobody' })).linked, false)
  for (const reason of [{ text: 5 }, { reconnect: 'yes' }, { reconnect: null }]) {
    await t.rejects(realtime.disconnect({ identity: 'u1' }, reason as never), { code: 'FST_ERR_REALTIME_CLOSE_REASON' }, JSON.stringify(reason))
    const one = await connection
    t.throws(() => one.close(reason as never), { code: 'FST_ERR_REALTIME_CLOSE_REASON' })
    t.notOk(one.closed)
  }
  await realtime.disconnect({ identity: 'u1' }, {})
})

t.test('a source that misspells a member of its events fails, before and after it has begun', async (t) => {
  const app = await live(t)
  const yielding = (event: object) => async function * () {
    yield { event: 'first', data: 1 }
    yield event
  }
  app.stream('/plain', { source: yielding({ evnt: 'second', data: 2 }) as never })
  app.stream('/resumable', { source: yielding({ evnt: 'second', data: 2 }) as never, resumable: { key: () => 'a' } })
  app.stream('/right', { source: yielding({ event: 'second', data: 2, id: '1', retry: 5, comment: 'c' }) as never })
  const plain = await connectStream(app, '/plain', { t })
  await plain.next('first')
  await plain.ended
  t.same(plain.events.map(({ event }) => event).filter((event) => !event.startsWith('realtime:')), ['first'])
  const resumable = await connectStream(app, '/resumable', { t })
  t.same((await resumable.next('realtime:aborted')).data, { reason: 'failed' })
  t.ok(await (await connectStream(app, '/right', { t })).next('second'))
})

t.test('options of a route are open: other plugins have theirs among them', async (t) => {
  const app = await live(t, {} satisfies RealtimeOptions)
  app.stream('/stream', { topics: 'news', rateLimit: 5, config: { other: true } } as never)
  app.channel('/channel', { topics: 'news', rateLimit: 5 } as never)
  app.topic('news')
  await app.ready()
  t.ok(await connectStream(app, '/stream', { t }))
})

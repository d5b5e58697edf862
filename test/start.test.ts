/** The start of an app whose adapter does not: it fails in time, leaves nothing open, and can be tried again. */
import Fastify from 'fastify'
import t from 'tap'
import realtime, { memory, type Adapter } from '../lib/index.ts'

const CODE = 'FST_ERR_REALTIME_UNAVAILABLE'

/** A memory adapter that counts how often it was started and closed, with some of its methods replaced. */
function adapterWith (replaced: Partial<Adapter>): { adapter: Adapter, counts: { started: number, closed: number } } {
  const inner = memory()
  const counts = { started: 0, closed: 0 }
  const adapter: Adapter = {
    name: 'tried',
    start: async (sink) => {
      counts.started++
      await (replaced.start ?? inner.start.bind(inner))(sink)
    },
    publish: inner.publish.bind(inner),
    ephemeral: inner.ephemeral.bind(inner),
    subscribe: replaced.subscribe ?? inner.subscribe.bind(inner),
    unsubscribe: inner.unsubscribe.bind(inner),
    read: inner.read.bind(inner),
    heads: inner.heads.bind(inner),
    close: async () => {
      counts.closed++
      await (replaced.close ?? inner.close.bind(inner))()
    }
  }
  return { adapter, counts }
}

const never = new Promise<never>(() => {})
const failures: Record<string, Partial<Adapter>> = {
  'start() rejects': { start: async () => { throw Object.assign(new Error('no'), { code: CODE }) } },
  'start() throws nothing at all': { start: () => { throw undefined } }, // eslint-disable-line no-throw-literal
  'it starts, and cannot be subscribed to': { subscribe: async () => { throw Object.assign(new Error('no'), { code: CODE }) } },
  'start() hangs': { start: async () => await never },
  'it starts, and subscribing hangs': { subscribe: async () => await never },
  'start() rejects, and close() too': { start: async () => { throw new Error('first') }, close: async () => { throw new Error('second') } }
}

for (const [what, replaced] of Object.entries(failures)) {
  t.test(`${what}: the app does not start, and the adapter is closed`, async (t) => {
    const { adapter, counts } = adapterWith(replaced)
    const app = Fastify({ pluginTimeout: 2000 })
    app.register(realtime, { adapter, closeTimeout: 100 })
    const error = await app.ready().then(() => t.fail('it started'), (error: Error) => error) as Error & { code?: string }
    t.ok(error instanceof Error)
    if (/hang/.test(what)) t.match(error, { code: CODE, cause: { message: /did not start within/ } })
    t.equal(counts.started, 1)
    t.ok(counts.closed >= 1, 'closed')
    t.notMatch(error.message, 'second')
    await app.close().catch(() => {})
  })
}

t.test('an app that is closed while its start hangs closes, and so does its adapter', async (t) => {
  const { adapter, counts } = adapterWith({ start: async () => await never })
  const app = Fastify({ pluginTimeout: 2000 })
  app.register(realtime, { adapter, closeTimeout: 100 })
  const ready = app.ready().then(() => {}, () => {})
  await app.close()
  await ready
  t.ok(counts.closed >= 1)
})

t.test('a start that comes through when nobody waits for it any more is closed again', async (t) => {
  let begun!: () => void
  const open = { connections: 0 }
  const begins = new Promise<void>((resolve) => { begun = resolve })
  const { adapter } = adapterWith({
    start: async () => {
      await begins
      open.connections++
    },
    close: async () => { open.connections = 0 }
  })
  const app = Fastify({ pluginTimeout: 2000 })
  app.register(realtime, { adapter, closeTimeout: 100 })
  await t.rejects(async () => { await app.ready() }, { code: CODE })
  await app.close()
  begun()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(open.connections, 0)
})

t.test('a start that failed can be tried again, with the same adapter where that can start again', async (t) => {
  let fails = true
  const inner = memory()
  const { adapter, counts } = adapterWith({
    start: async (sink) => {
      if (fails) throw new Error('not yet')
      await inner.start(sink)
    }
  })
  const build = () => Fastify().register(realtime, { adapter })
  await t.rejects(async () => { await build() }, { message: 'not yet' })
  fails = false
  const app = build()
  t.teardown(async () => await app.close())
  await app
  t.same(counts, { started: 2, closed: 1 })
  t.equal(app.realtime.stats().adapter.name, 'tried')
})

t.test('an adapter is one app\'s at a time; the second does not take it from the first, nor close it', async (t) => {
  const adapter = memory()
  const [first, second] = [Fastify(), Fastify()]
  t.teardown(async () => await first.close())
  await first.register(realtime, { adapter })
  const news = first.topic('news')
  await t.rejects(async () => { await second.register(realtime, { adapter }) }, { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /one for each app/ })
  await second.close()
  await first.ready()
  const { id } = await news.publish({}, 'said', 1)
  t.match(await news.history({}), { events: [{ id, data: 1 }] })
  await first.close()
  const third = Fastify()
  t.teardown(async () => await third.close())
  await third.register(realtime, { adapter })
})

/** The state of a keyed topic, as the app reads it: exact pages in the order of the keys. */
import t, { type Test } from 'tap'
import { memory } from '../../../lib/adapters/memory.ts'
import type { Adapter, KeyedStates } from '../../../lib/core/adapter.ts'
import { codeOf, live } from '../../helpers/app.ts'
import { hubOf } from '../../helpers/insides.ts'

async function pricesOf (t: Test, adapter: Adapter & Partial<KeyedStates> = memory(), joinTimeout = 10_000) {
  const app = await live(t, { adapter, joinTimeout })
  const prices = app.topic('prices', { keyed: true })
  const news = app.topic('news')
  await app.ready()
  const put = async (key: string, data: unknown = key) => await prices.publish({}, 'set', data as object, { key })
  return { app, prices, news, put }
}

t.test('pages are in the order of the keys, by UTF-16 code units, whatever was published when', async (t) => {
  const { prices, put } = await pricesOf(t)
  const keys = ['b', 'a', '😀', '\uffee', 'é', '__proto__', 'Z', 'a b', '10', '9', 'constructor']
  for (const key of [...keys, 'b']) await put(key)
  const sorted = [...keys].sort()
  for (const limit of [1, 2, 3, 100]) {
    const found: string[] = []
    for (let after: string | undefined; ;) {
      const page = await prices.state({}, { ...after !== undefined && { after }, limit })
      t.equal(page.size, keys.length)
      found.push(...page.items.map(({ key }) => key))
      after = page.items.at(-1)?.key
      if (!page.more) break
    }
    t.same(found, sorted, `limit ${limit}`)
  }
})

t.test('a page goes on behind a key that is gone, or never was', async (t) => {
  const { prices, put } = await pricesOf(t)
  for (const key of ['a', 'b', 'c', 'd']) await put(key)
  const { items } = await prices.state({}, { limit: 2 })
  t.same(items.map(({ key }) => key), ['a', 'b'])
  await prices.remove({}, 'b')
  for (const after of ['b', 'bb']) t.match(await prices.state({}, { after }), { items: [{ key: 'c' }, { key: 'd' }], size: 3, more: false })
  t.match(await prices.state({}, { after: 'zzz' }), { items: [], more: false })
  t.equal((await prices.state({}, { after: '' })).items.length, 3)
})

t.test('what was published before is in it, however late the node hears of it; its id is the last event\'s', async (t) => {
  const inner = memory()
  const held: Array<() => void> = []
  const late: Adapter & Partial<KeyedStates> = new Proxy(inner, {
    get (target, name) {
      if (name === 'start') {
        return async (sink: Parameters<Adapter['start']>[0]) => await target.start({
          ...sink,
          ephemeral () {},
          suspect: (topics) => sink.suspect(topics),
          state: (...args) => sink.state(...args),
          event: (...args) => { held.push(() => sink.event(...args)) }
        })
      }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  const { prices, put } = await pricesOf(t, late)
  await put('a', 1)
  t.match(await prices.state({}), { items: [{ key: 'a', data: 1 }] })
  const { id } = await put('a', 2)
  const removed = await put('b', 3)
  t.ok(held.length >= 1, 'the node has not heard of them')
  t.match(await prices.state({}), { items: [{ key: 'a', id, event: 'set', data: 2 }, { key: 'b', id: removed.id }], id: removed.id })
  for (const hear of held) hear()
  const gone = await prices.remove({}, 'b')
  t.match(await prices.state({}), { items: [{ key: 'a' }], id: gone.id, size: 1 })
})

t.test('an item is the app\'s own, and bytes come back as bytes', async (t) => {
  const { app, prices, put } = await pricesOf(t)
  await put('a', { n: [1] })
  await put('b', Uint8Array.of(0, 255))
  const [a] = (await prices.state({})).items
  ;(a?.data as { n: number[] }).n.push(2)
  t.strictSame((await app.realtime.state('prices')).items.map(({ data }) => data), [{ n: [1] }, Uint8Array.of(0, 255)])
})

t.test('options, and topics that are not keyed', async (t) => {
  const { app, prices, news } = await pricesOf(t)
  for (const options of [null, 1, 'x', [], { limit: 0 }, { limit: 10_001 }, { limit: 1.5 }, { limit: '1' }, { after: 1 }, { after: null }, { before: 'a' }]) {
    t.equal(await codeOf(() => prices.state({}, options as object)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
  }
  t.equal(await codeOf(() => news.state({})), 'FST_ERR_REALTIME_NOT_KEYED')
  t.equal(await codeOf(() => app.realtime.state('news')), 'FST_ERR_REALTIME_NOT_KEYED')
  t.equal(await codeOf(() => app.realtime.state('none')), 'FST_ERR_REALTIME_TOPIC_UNKNOWN')
})

t.test('an adapter that never answers, or always fails: unavailable within joinTimeout, and nothing is held afterwards', async (t) => {
  const answers: Record<string, () => Promise<never>> = {
    never: async () => await new Promise(() => {}),
    fails: async () => { throw new Error('away') }
  }
  for (const [what, state] of Object.entries(answers)) {
    const adapter = Object.assign(memory(), { state })
    const { app, prices } = await pricesOf(t, adapter, 100)
    const since = performance.now()
    t.equal(await codeOf(() => prices.state({})), 'FST_ERR_REALTIME_UNAVAILABLE', what)
    t.ok(performance.now() - since < 3000, what)
    const { active } = hubOf(app)
    t.equal(active.get('prices')?.holds, 0, what)
    active.sweep(0)
    t.equal(active.get('prices'), undefined, what)
    await app.close()
  }
})

t.test('the state of a topic counts among what a node keeps, and is let go of and read again past ringBytes', async (t) => {
  const adapter = memory()
  let reads = 0
  const { state } = adapter as Adapter & KeyedStates
  const app = await live(t, { adapter: Object.assign(adapter, { state: async (...args: Parameters<KeyedStates['state']>) => { reads++; return await state.apply(adapter, args) } }), ringBytes: 1 << 20 })
  const prices = app.topic('prices/:n', { keyed: true, history: { limit: 2 } })
  await app.ready()
  const hub = hubOf(app)
  // A hub does so every second by itself: here it is done when the test says so.
  const sweep = hub.active.sweep.bind(hub.active)
  t.intercept(hub.active, 'sweep', { value: () => {} })
  for (let n = 0; n < 20; n++) {
    for (let i = 0; i < 100; i++) await prices.publish({ n: String(n) }, 'set', 'x'.repeat(1000), { key: String(i) })
    t.equal((await prices.state({ n: String(n) })).size, 100)
  }
  const kept = (): number => [...hub.active.names].reduce((sum, name) => sum + (hub.active.get(name)?.keptBytes ?? 0), 0)
  t.ok(kept() > 2_000_000)
  sweep()
  t.ok(kept() <= 1 << 20, `${kept()} bytes`)
  t.equal(app.realtime.stats().ringBytes, kept())
  t.equal(reads, 20)
  t.equal((await prices.state({ n: '0' })).items.length, 100)
  t.equal(reads, 21, 'and read again')
})

/** What nodes say to each other is checked as everything is that comes from the adapter's server. */
import t from 'tap'
import { readAnswer, readAsk, readHead } from '../../lib/inspector/said.ts'

const NODE = {
  silent: 0,
  uptime: 1,
  connections: { sse: 1, websocket: 2, process: 3 },
  topics: 1,
  published: 1,
  delivered: 1,
  replayed: 0,
  recovered: 0,
  resets: 1,
  resetReasons: { slow: 1 },
  slowClosed: 0,
  dropped: 0,
  refused: 0,
  slowNow: 0,
  stalled: 0,
  adapter: { name: 'redis', state: 'up' }
}
const ROW = { id: 'c1', kind: 'sse', identity: 'ada', address: '', url: '/x', age: 1, beat: -1, buffered: 0, stalled: false, anonymous: false, topics: ['a'], more: 0, own: false }
const HOSTILE = [undefined, null, 1, 'x', [], {}, true, { ask: 1 }, { ask: 'a', from: {} }, { __proto__: null }]

t.test('a question is read member by member', async (t) => {
  const head = { ask: 'a', from: 'n' }
  for (const wish of [{ want: 'node' }, { want: 'topics', find: 'x' }, { want: 'connections', find: '', mark: 'm' }, { want: 'act', act: 'drop', node: 'n', connection: 'c' }]) {
    t.same(readAsk({ ...head, wish: { ...wish, extra: 1 }, more: 2 }), { ...head, wish }, 'what is not known is left out')
  }
  for (const value of HOSTILE) t.equal(readAsk(value), undefined, JSON.stringify(value))
  for (const wish of [...HOSTILE, { want: 'all' }, { want: 'topics' }, { want: 'topics', find: 'x'.repeat(201) }, { want: 'connections', find: '', mark: 1 },
    { want: 'act', act: 'delete', node: 'n', connection: 'c' }, { want: 'act', act: 'drop', node: '../n', connection: 'c' }, { want: 'act', act: 'constructor', node: 'n', connection: '' }]) {
    t.equal(readAsk({ ...head, wish }), undefined, JSON.stringify(wish))
  }
  for (const from of ['', 'a/b', 'a b', 'x'.repeat(65), '*', ':node', 1]) t.equal(readAsk({ ask: 'a', from, wish: { want: 'node' } }), undefined, `the name "${from}" would be a part of a topic's`)
})

t.test('an answer is copied, bounded, and bears the name of who has given it', async (t) => {
  const head = { ask: 'a', node: 'n' }
  t.same(readAnswer({ ...head, said: { ...NODE, node: 'another', evil: 1 } }, 'node', 10)?.said, { ...NODE, node: 'n' })
  for (const said of [...HOSTILE, { ...NODE, topics: -1 }, { ...NODE, delivered: 1e300 }, { ...NODE, connections: {} }, { ...NODE, uptime: 'x' }, { ...NODE, stalled: NaN }]) {
    t.equal(readAnswer({ ...head, said }, 'node', 10), undefined, JSON.stringify(said))
  }
  const reasons = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`r${i}`, i]))
  t.equal(Object.keys(readAnswer({ ...head, said: { ...NODE, resetReasons: reasons } }, 'node', 10)?.said.resetReasons ?? {}).length, 16)
  for (const value of HOSTILE) {
    t.equal(readHead(value), undefined)
    t.equal(readAnswer(value, 'node', 10), undefined)
  }
})

t.test('rows that are none are left out, and more than may be are cut', async (t) => {
  const read = (rows: unknown, cut: unknown = false) => readAnswer({ ask: 'a', node: 'n', said: { rows, cut } }, 'connections', 3)?.said
  t.same(read([ROW]), { rows: [{ ...ROW, node: 'n' }], cut: false })
  t.same(read([ROW, ROW, ROW, ROW])?.rows.length, 3)
  t.equal(read([ROW, ROW, ROW, ROW])?.cut, true)
  t.same(read([...HOSTILE.slice(0, 2), { ...ROW, id: '' }])?.rows, [])
  for (const wrong of [{ id: 'x'.repeat(2000) }, { kind: 'tcp' }, { identity: {} }, { age: -1 }, { beat: -2 }, { beat: 'x' }, { topics: 'a' }, { buffered: Infinity }, { more: null }]) {
    t.same(read([{ ...ROW, ...wrong }])?.rows, [], JSON.stringify(wrong))
  }
  t.same(read([{ ...ROW, topics: Array.from({ length: 100 }, () => 'a'), url: 'x'.repeat(5000), stalled: 'yes', own: 1 }])?.rows.map(({ topics, url, stalled, own }) =>
    [topics.length, url.length, stalled, own]), [[64, 1024, false, false]])
  t.equal(read('rows'), undefined)
  t.equal(read([], 'no'), undefined)
  const topics = readAnswer({ ask: 'a', node: 'n', said: { rows: [{ name: 'a', pattern: ':a', listeners: 1 }, { name: 'b' }], cut: true } }, 'topics', 3)?.said
  t.same(topics, { rows: [{ name: 'a', pattern: ':a', listeners: 1, node: 'n' }], cut: true })
  t.same(readAnswer({ ask: 'a', node: 'n', said: { done: true } }, 'act', 1)?.said, { done: true })
  t.equal(readAnswer({ ask: 'a', node: 'n', said: { done: 1 } }, 'act', 1), undefined)
})

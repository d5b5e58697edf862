/** What nodes say to each other, read: whole, or not at all. */
import t from 'tap'
import { readMembers, readOrder, readQuestion } from '../../../lib/core/cluster/orders.ts'
import { isReadable } from '../../../lib/core/readable.ts'

const bytes = (value: unknown): Uint8Array => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
const orderOf = (data: Uint8Array, format: 'json' | 'text'): unknown => {
  const said = readMembers(data, format)
  return said && readOrder(said)
}
const order = (value: unknown): unknown => orderOf(bytes(value), 'json')
const question = (value: unknown): unknown => readQuestion(bytes(value), 'json')

t.test('orders are read as they were given; what a later version adds to them is left out', async (t) => {
  const target = { identity: 'somebody', topic: 'news' }
  t.same(order({ op: 'disconnect', target, code: 4001, text: 'bye', reconnect: true, revoke: true }), { op: 'disconnect', target, code: 4001, text: 'bye', reconnect: true })
  t.same(order({ op: 'disconnect', target: { connection: 'c' } }), { op: 'disconnect', target: { connection: 'c' } })
  t.same(order({ op: 'unsubscribe', target, topic: 'other', why: 'x' }), { op: 'unsubscribe', target, topic: 'other' })
})

t.test('a text fits a close frame, whatever it is made of', async (t) => {
  for (const text of ['x'.repeat(123), 'x'.repeat(5000), 'ß'.repeat(200), '💧'.repeat(100), 'a' + '💧'.repeat(100)]) {
    const read = order({ op: 'disconnect', target: { identity: 'x' }, text }) as { text: string }
    t.ok(Buffer.byteLength(read.text) <= 123 && read.text.length > 30 && read.text.isWellFormed(), `${read.text.length} of ${text.length}`)
  }
  t.equal((order({ op: 'disconnect', target: { identity: 'x' }, text: 'x'.repeat(123) }) as { text: string }).text.length, 123)
})

t.test('what is not understood whole is no order', async (t) => {
  const identity = 'somebody'
  for (const value of [
    '', '{', 'null', '1', '"x"', '[]', '{}', { op: 'disconnect' }, { op: 'disconnect', target: {} }, { op: 'disconnect', target: null }, { op: 'disconnect', target: [identity] },
    { op: 'disconnect', target: identity }, { op: 'disconnect', target: { identity: '' } }, { op: 'disconnect', target: { identity: null } }, { op: 'disconnect', target: { identity: 'x'.repeat(5000) } },
    { op: 'disconnect', target: { identity, tenant: 'x' } }, '{"op":"disconnect","target":{"__proto__":{"identity":"x"}}}', '{"__proto__":{"op":"stop","key":"k"}}',
    ...[1, 999, 1006, 1015, 2999, 5000, 4000.5, '1000', null, NaN].map((code) => ({ op: 'disconnect', target: { identity }, code: Number.isNaN(code) ? [] : code })),
    { op: 'disconnect', target: { identity }, text: 7 }, { op: 'disconnect', target: { identity }, reconnect: 'yes' },
    { op: 'unsubscribe', target: { identity } }, { op: 'unsubscribe', target: {}, topic: 'news' }, { op: 'unsubscribe', target: { identity }, topic: '' },
    { op: 'stop' }, { op: 'stop', key: '' }, { op: 'stop', key: {} }, { op: 'stop', key: 'k', space: 7 },
    { op: 'destroy', target: { identity } }, { op: 'constructor' }, { op: '__proto__' }, { op: ['stop'], key: 'k' }
  ]) t.equal(order(value), undefined, JSON.stringify(value))
  t.equal(orderOf(bytes({ op: 'disconnect', target: { identity: 'x' } }), 'text'), undefined, 'not JSON')
})

t.test('questions and answers', async (t) => {
  t.same(question({ ask: 'a', from: 'node_1-x', topic: 'news', more: 1 }), { ask: 'a', from: 'node_1-x', topic: 'news' })
  t.same(question({ ask: 'a', count: 0 }), { ask: 'a', count: 0 })
  for (const value of ['null', '[]', {}, { ask: 'a' }, { ask: '', count: 1 }, { ask: 'a', count: -1 }, { ask: 'a', count: 1.5 }, { ask: 'a', count: '1' }, { ask: 'a/b', count: 1 },
    { ask: 'a', from: 'x/y', topic: 'news' }, { ask: 'a', from: '', topic: 'news' }, { ask: 'a', from: 'b' }, { ask: 'a', from: 'x'.repeat(65), topic: 'news' }]) t.equal(question(value), undefined, JSON.stringify(value))
})

t.test('data is what its format says, or is not read', async (t) => {
  for (const text of ['{}', ' {"a":\n1} ', 'null', '"\\ud800"', '1e400']) t.ok(isReadable(bytes(text), 'json'), text)
  for (const text of ['', '{', '{}{}', '1,"op":"bye"', '"a\nb"', '\ufeff{}', 'undefined', 'NaN', '[['.repeat(150_000)]) t.notOk(isReadable(bytes(text), 'json'), text.slice(0, 20))
  const half = Buffer.from([0x22, 0xe2, 0x82, 0x22])
  t.notOk(isReadable(half, 'json'))
  t.notOk(isReadable(half, 'text'))
  t.ok(isReadable(half, 'binary'))
  t.ok(isReadable(bytes('any\0thing'), 'text'))
})

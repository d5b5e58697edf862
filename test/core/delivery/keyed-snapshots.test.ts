/** A keyed topic's state as it is sent: in parts by bytes, made once for many, and anew when much has changed. */
import t, { type Test } from 'tap'
import type { Format, KeyedEvent, LogEvent } from '../../../lib/core/adapter.ts'
import { KeyedSnapshots } from '../../../lib/core/delivery/keyed-snapshots.ts'
import { KeyedState } from '../../../lib/core/delivery/keyed-state.ts'
import { TopicLog } from '../../../lib/core/log/topic-log.ts'
import { newestOfEach } from '../../../lib/core/state-codec.ts'

interface Part { part: number, more: boolean, items: Array<{ key: string, event: string, data: unknown, encoding?: string }> }

function topicOf (t: Test, { limit = 1000, event }: { limit?: number, event?: string } = {}) {
  const stored = new Map<string, KeyedEvent>()
  const log: TopicLog = new TopicLog({
    append: (entry) => state.append(entry),
    reset: () => state.forget(),
    read: async () => ({ head: log.last, events: [], linked: true, more: false }),
    readFailed: () => {},
    repaired: () => {}
  }, { limit, maxAge: 3_600_000, maxBytes: 1 << 30 })
  const read = async () => ({ head: log.last, events: [...stored.values()], next: undefined })
  const state: KeyedState = new KeyedState({ maxKeys: 100_000, codec: () => newestOfEach, settle: 0, read, readFailed: () => {} }, log)
  log.open('0-0.g', true)
  t.teardown(() => log.close())
  let count = 0
  const put = (key: string, text = '1', format: Format = 'json'): void => {
    const change: LogEvent = { id: `${++count}-0.n`, prev: log.last, name: 'set', key, data: Buffer.from(text), format }
    stored.set(key, { ...change, key })
    log.deliver(change)
  }
  return { put, log, state, snapshots: new KeyedSnapshots('keyed', event, state, log) }
}

const textOf = (data: Uint8Array): Part => JSON.parse(Buffer.from(data).toString()) as Part

t.test('an empty state is one part without items', async (t) => {
  const { snapshots, log } = topicOf(t, { event: 'all' })
  const { parts, from } = await snapshots.take()
  t.same(parts.map(({ data }) => textOf(data)), [{ part: 0, more: false, items: [] }])
  t.equal(parts[0]?.event, 'all')
  t.equal(from, log.last)
})

t.test('parts are cut by bytes, and hold each key once', async (t) => {
  const { snapshots, put } = topicOf(t, { limit: 10_000 })
  const keys = Array.from({ length: 3000 }, (_, i) => `key ${i}`)
  for (const key of keys) put(key, JSON.stringify('x'.repeat(40)))
  put('huge', JSON.stringify('y'.repeat(200_000)))
  put('key 0', '"again"')
  const { parts } = await snapshots.take()
  const read = parts.map(({ data }) => textOf(data))
  t.ok(parts.length > 5)
  t.same(read.map(({ part, more }) => [part, more]), parts.map((_, i) => [i, i < parts.length - 1]))
  t.same(read.flatMap(({ items }) => items.map(({ key }) => key)).sort(), [...keys, 'huge'].sort())
  for (const [i, { data }] of parts.entries()) {
    if (data.byteLength > 40_000) t.same(read[i]?.items.map(({ key }) => key), ['huge'], 'what is larger than a part has one of its own')
  }
})

/** Data, its format, and what a client is sent. */
const DATA: Array<[format: Format, text: string | Buffer, sent: object]> = [
  ['json', '{"a":[1,"\u2028"]}', { data: { a: [1, '\u2028'] } }],
  ['text', 'a\r\n"b"\0', { data: 'a\r\n"b"\0' }],
  ['binary', Buffer.from([0, 255, 13, 10]), { data: Buffer.from([0, 255, 13, 10]).toString('base64'), encoding: 'base64' }],
  ['binary', '', { data: '', encoding: 'base64' }]
]

t.test('data of every format, and keys of every kind', async (t) => {
  for (const key of ['a', '__proto__', 'clé {1} 😀', '"\\', '\u2028</script>', 'x'.repeat(255)]) {
    for (const [format, text, sent] of DATA) {
      const { snapshots, put } = topicOf(t)
      put(key, text as string, format)
      const [part] = (await snapshots.take()).parts
      t.strictSame(textOf(part?.data as Uint8Array).items, [{ key, event: 'set', ...sent }], `${key} ${format}`)
    }
  }
})

t.test('one is given to many, with the same bytes, while few events followed it', async (t) => {
  const { snapshots, put, log } = topicOf(t)
  put('a')
  const [one, two] = [await snapshots.take(), await snapshots.take()]
  t.equal(one, two)
  t.equal(one.parts[0]?.data, two.parts[0]?.data)
  for (let i = 0; i < 64; i++) put('a', String(i))
  t.equal(await snapshots.take(), one)
  put('a', '64')
  const anew = await snapshots.take()
  t.not(anew, one)
  t.equal(anew.from, log.last)
  t.match(textOf(anew.parts[0]?.data as Uint8Array), { items: [{ data: 64 }] })
})

t.test('one is not given so late that its place is soon gone', async (t) => {
  const { snapshots, put } = topicOf(t, { limit: 20 })
  put('a')
  const one = await snapshots.take()
  for (let i = 0; i < 10; i++) put('a', String(i))
  t.equal(await snapshots.take(), one)
  put('a', '10')
  t.not(await snapshots.take(), one)
})

t.test('a reset, or a state that was let go of, makes it anew', async (t) => {
  const { snapshots, put, state } = topicOf(t)
  put('a')
  const one = await snapshots.take()
  state.forget()
  t.equal(textOf((await snapshots.take()).parts[0]?.data as Uint8Array).items.length, 1)
  for (let i = 0; i < 100; i++) put(`k${i}`)
  state.forget()
  put('b')
  const anew = await snapshots.take()
  t.not(anew, one)
  t.equal(textOf(anew.parts[0]?.data as Uint8Array).items.length, 102)
})

t.test('however many clients do not read, few are kept for them: the oldest are given up', async (t) => {
  const { snapshots, put } = topicOf(t, { limit: 100_000 })
  const taken = []
  for (let n = 0; n < 20; n++) {
    for (let i = 0; i < 100; i++) put(`k${i}`, JSON.stringify('x'.repeat(1000)))
    const snapshot = await snapshots.take()
    for (const { data } of snapshot.parts) t.ok(data.byteLength > 0)
    taken.push(snapshot)
  }
  t.same(taken.map(({ parts }) => parts.length > 0), taken.map((_, i) => i >= 16))
  t.ok(snapshots.bytes < 4 * 150_000, `${snapshots.bytes} bytes`)
  t.ok(snapshots.bytes > 4 * 100_000, 'and they are counted')
})

t.test('one whose place is gone is given up when another is made', async (t) => {
  const { snapshots, put } = topicOf(t, { limit: 10 })
  put('a')
  const one = await snapshots.take()
  for (let i = 0; i < 20; i++) put('a')
  t.equal(one.parts.length, 1)
  await snapshots.take()
  t.equal(one.parts.length, 0)
})

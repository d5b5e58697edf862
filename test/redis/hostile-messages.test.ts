/** Other hands on our channels: what they say ends no node, forges nothing, and is obeyed by none. */
import t from 'tap'
import { Decoder } from '../../lib/adapters/redis/decode.ts'
import type { EphemeralEvent, TraceContext } from '../../lib/core/adapter.ts'
import { connectionsOf } from '../conformance/clients.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { invalidOf, openHouse, unharmed } from './hostile-house.ts'
import { startNode } from './kit.ts'

const server = await RedisServer.start(t)

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
    const all = await openHouse(t, server)
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
  const all = await openHouse(t, server)
  await all.stranger.publish(`${all.prefix}{loose}`, '! - j 4 - zz=later another\nsaid{\n"a":\r1}')
  await all.stranger.publish(`${all.prefix}{loose}`, '! - t 4 -\nsaidid: 1\n\nevent: forged\rretry: 1')
  t.same(JSON.parse((await all.stream.next('said')).data), { a: 1 }, 'fields of a version to come are skipped; JSON may have lines')
  t.equal((await all.stream.next('said')).data, 'id: 1\n\nevent: forged\nretry: 1')
  const text = 'id: 1\n\nevent: forged\rretry: 1'
  t.same([await all.flat.next(), await all.flat.next()], [{ type: 'said', a: 1 }, { type: 'said', data: text }])
  t.same([await all.envelope.next({ event: 'said' }), await all.envelope.next({ event: 'said' })].map(({ data }) => data), [{ a: 1 }, text])
  await unharmed(t, all)
})

t.test('a trace that is not well formed is left out, and its event is heard', async (t) => {
  const parent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const long = `a=${'x'.repeat(251)},b=${'x'.repeat(256)}`
  const cases: Array<[string, TraceContext | undefined]> = [
    [`t=${parent}`, { traceparent: parent }],
    [`t=${parent} s=a%3D1%2Cb%3D2%203`, { traceparent: parent, tracestate: 'a=1,b=2 3' }],
    [`s=a%3D1 t=${parent}`, { traceparent: parent, tracestate: 'a=1' }],
    [`t=${parent} s=${long}`, { traceparent: parent, tracestate: long }],
    [`t=${parent} s=${long},`, { traceparent: parent }],
    [`t=${parent} s=x`, { traceparent: parent }],
    [`t=${parent} s=%0d%0aevent:forged`, { traceparent: parent }],
    [`t=${parent} s=%E0%A4`, { traceparent: parent }],
    [`t=${parent} s=`, { traceparent: parent }],
    [`t=${parent}-more`, undefined],
    [`t=${parent.toUpperCase()}`, undefined],
    [`t=ff${parent.slice(2)}`, undefined],
    [`t=00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`, undefined],
    [`t=00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`, undefined],
    ['t=', undefined],
    ['t', undefined],
    ['s=a%3D1', undefined],
    [`t=${'a'.repeat(5000)}`, undefined]
  ]
  const decoder = new Decoder()
  for (const [fields, trace] of cases) {
    const { type, event } = decoder.message('news', Buffer.from(`! - j 4 - ${fields}\nsaid{}`)) as { type: string, event: EphemeralEvent }
    t.equal(type, 'ephemeral', fields.slice(0, 80))
    t.same(event.trace, trace, fields.slice(0, 80))
  }
  t.equal(decoder.invalid, 0)
})

t.test('a batch of which one cannot be read: the others are heard, and the loss is told', async (t) => {
  const all = await openHouse(t, server)
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
  const all = await openHouse(t, server)
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

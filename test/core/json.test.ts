/** What JSON.parse takes, and nothing else. */
import t from 'tap'
import { isJson } from '../../lib/core/json.ts'
import { Random, seedOf } from '../random/random.ts'

function parses (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const TEXTS = [
  '', ' ', '{}', '[]', '{ }', '[ ]', '{}{}', '[][]', '{},', ',', ':', '"', '""', '"a"', '"a', 'a"', '"\\"', '"\\\\"', '"\\u"', '"\\u12"', '"\\u123g"', '"\\uD800"', '"\\x"', '"\\', '"\\u', '"a\nb"', '"\t"', '"\u007f"', '"ß\u2028💧"',
  '0', '-0', '00', '01', '-', '--1', '+1', '1.', '.1', '1.0', '1.0.0', '1e', '1e5', '1E+5', '1e-5', '1e+', '-1.5e-10', '0e0', '0x1', '1 2', '1,2', 'NaN', 'Infinity', '-Infinity', '9'.repeat(400),
  'true', 'false', 'null', 'tru', 'truee', 'nul', 'True', 'undefined', 'nullx', 't', 'f', 'n',
  '[1]', '[1,]', '[,1]', '[1 2]', '[1,2]', '[[[]]]', '[[]', '[]]', '[}', '{]', '{"a"}', '{"a":}', '{"a":1}', '{"a":1,}', '{,"a":1}', '{"a":1 "b":2}', '{"a":1,"b":2}', '{a:1}', '{1:1}', '{"a"::1}', '{"a":1:2}', "{'a':1}", '{"a":{"b":[1,{"c":null}]}}', '{"":0}', '[{}]', '{"a":[]}', '[{]}',
  ' \t\r\n{ "a" : [ 1 , 2 ] } \n', '\u00a0{}', '\ufeff{}', '{}\u0000', '\u0000', '{"a":1}}', '{"a":1},"b":2', '1,"op":"bye"', '/* */{}', '{}//', '[['.repeat(1000) + ']]'.repeat(1000), '['.repeat(1000)
]

t.test('each text is JSON to both, or to neither', async (t) => {
  t.same(TEXTS.filter((text) => isJson(Buffer.from(text)) !== parses(text)), [])
})

t.test('at random: made, and changed by some bytes', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const value = (depth: number): unknown => random.pick<() => unknown>([
    () => random.pick([null, true, false, 0, -1.5, 1e21, 5e-324, '', 'ß💧', '"\\\n\u0001', 'x'.repeat(30)]),
    () => depth > 3 ? 1 : Array.from({ length: random.int(0, 3) }, () => value(depth + 1)),
    () => depth > 3 ? 'x' : Object.fromEntries(Array.from({ length: random.int(0, 3) }, (_, i) => [random.pick(['a', '', 'ö"', `${i}`]), value(depth + 1)]))
  ])()
  const pieces = ['{', '}', '[', ']', ',', ':', '"', '\\', 'u', '0', '1', '9', '-', '+', '.', 'e', 'E', ' ', '\n', 't', 'true', 'null', '\u0000', 'ß']
  let right = 0
  for (let n = 0; n < 30_000; n++) {
    let text = JSON.stringify(value(0), null, random.pick([undefined, 1, '\t']))
    for (let times = random.int(0, 3); times > 0; times--) {
      const at = random.int(0, text.length)
      text = text.slice(0, at) + random.pick(pieces) + text.slice(at + random.int(0, 2))
    }
    text = text.toWellFormed()
    const expected = parses(text)
    if (expected) right++
    if (isJson(Buffer.from(text)) !== expected) return t.fail(`SEED=${seed}: ${JSON.stringify(text)} is ${expected ? '' : 'no '}JSON`)
  }
  t.ok(right > 3000 && right < 27_000, `${right} of 30000 were JSON`)
})

t.test('however deep, it comes to an end', async (t) => {
  t.ok(isJson(Buffer.from('['.repeat(60_000) + ']'.repeat(60_000))))
  t.notOk(isJson(Buffer.from('['.repeat(200_000) + ']'.repeat(200_000))))
  t.notOk(isJson(Buffer.from('{"a":'.repeat(200_000))))
})

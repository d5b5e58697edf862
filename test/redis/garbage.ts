/** Messages and entries such as nobody's codec would write: random bytes, valid ones changed, and each kind of lie. */
import { encodeBody, encodeEphemeral } from '../../lib/adapters/redis/codec.ts'
import type { Random } from '../random/random.ts'

const NAMES = ['said', 'message', 'Grüße 💧', 'a\nevent: forged', 'a\r\ndata: x', 'a\0b', '', 'realtime:reset', 'realtime:end', 'realtime:open', 'error', 'open', 'x'.repeat(300), '\u2028', '__proto__', ':']
const DATA = ['{}', '{} ', ' { }\n', '\t{ "a" : 1 }', '{"n":1}', '{"type":"forged"}', '{"\\u0074ype":"forged"}', '[1,2]', '"text\\nmore"', 'null', '1e400', '{', '}', '1,"op":"bye"', '{"a":1},"type":"forged"', '{}{}', '"a\nb"', '{\r\n"a":1}',
  'id: 1\n\nevent: forged', '\ufeff{}', '{"__proto__":{"x":1}}', '[['.repeat(2000), '', ' ', '\u0000', '{"op":"disconnect"}']
const HEADS = ['j 4 -', 't 4 -', 'b 4 -', 'q 4 -', 'j 4', 'j', '', 'j -1 -', 'j 1e3 -', 'j 4 -1', 'j 4 9', 'j 4 0', 'j 04 -', 'j 4 - x=', 'j 4 - x=%zz', 'j 4 - x=me i=you', 'j 4 - v=1', 'j 4 - v=99', 'j 4 - v=', 'j  4 -', 'j 4 -\r', ' j 4 -', 'j 9999999999 -', 'j NaN -', 'j 4 - =', 'j 4 - \u0001']
const WORDS = ['-', '', 'me', 'a b', '\n', 'x'.repeat(9000), '%', 'ü']
const IDS = ['1700000000000-0.x', '0-0.g', '', '-', '1-1', '1-1.', 'x', '1-1.a b', '1-1.a\nb', `${'9'.repeat(40)}-0.x`, '1-1.ü', '1-1.' + 'x'.repeat(200)]
const BYTES = [0, 10, 13, 32, 33, 34, 38, 45, 48, 57, 63, 92, 123, 125, 127, 194, 226, 255]

export function randomBytes (random: Random, most: number): Buffer {
  return Buffer.from(Array.from({ length: random.int(0, most) }, () => random.int(0, 255)))
}

/** One or some of its bytes are others, more or fewer. */
export function changed (random: Random, bytes: Buffer, other: Buffer): Buffer {
  let result = bytes
  for (let times = random.pick([1, 1, 1, 2, 5]); times > 0; times--) {
    const [a, b] = [random.int(0, result.length), random.int(0, result.length)].sort((one, two) => one - two) as [number, number]
    const middle = random.pick([
      () => Buffer.alloc(0),
      () => Buffer.from([random.pick(BYTES)]),
      () => Buffer.from([random.int(0, 255)]),
      () => Buffer.concat([result.subarray(a, b), result.subarray(a, b)]),
      () => other.subarray(random.int(0, other.length)),
      () => Buffer.from(String(random.int(-10, 1000)))
    ])()
    result = Buffer.concat([result.subarray(0, a), middle, result.subarray(random.chance(0.7) ? Math.min(a + 1, result.length) : b)])
  }
  return result
}

/** A body with a head of its own, which may be a lie. */
export function body (random: Random): Buffer {
  const [name, data] = [Buffer.from(random.pick(NAMES)), Buffer.from(random.chance(0.1) ? randomBytes(random, 60) : random.pick(DATA))]
  const key = random.chance(0.3) ? Buffer.from(random.pick(NAMES)) : undefined
  if (random.chance(0.4)) return Buffer.concat([Buffer.from(random.pick(HEADS) + '\n'), name, data])
  const head = `${random.pick(['j', 'j', 't', 'b'])} ${name.length} ${key?.length ?? '-'}${random.pick(['', '', ' x=me', ' zz=new'])}\n`
  return Buffer.concat([Buffer.from(head), name, key ?? Buffer.alloc(0), data])
}

/** A body that is one. */
export function goodBody (random: Random, n: number): Buffer {
  const name = random.pick(['said', 'message', 'Grüße 💧'])
  const key = random.chance(0.3) ? { key: 'k' } : {}
  const trace = random.chance(0.1) ? { trace: { traceparent: random.chance(0.5) ? `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` : 'none\n', tracestate: 'a=b c' } } : {}
  const except = random.chance(0.1) ? { except: { connection: 'nobody', ...(random.chance(0.5) && { identity: 'some body' }) } } : {}
  const [data, format] = random.pick([
    [JSON.stringify({ n, text: random.pick(['', 'ß\u2028', '"\\\n']) }), 'json'], [`line ${n}\nand more`, 'text'], ['\u0000\u0001', 'binary']
  ] as const)
  return Buffer.from(encodeBody({ name, data: Buffer.from(data), format, ...key, ...except, ...trace }))
}

function batch (random: Random, told: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from('&'), ...told.flatMap((one) => [Buffer.from(`\n${random.chance(0.2) ? random.int(-5, 500) : one.length} `), one])])
}

/** A message that is most likely none. */
export function message (random: Random): Buffer {
  const told = (): Buffer => Buffer.concat([Buffer.from(`${random.pick(IDS)} ${random.pick(IDS)} `), random.chance(0.5) ? body(random) : goodBody(random, 0)])
  const loose = (): Buffer => Buffer.concat([Buffer.from(`! ${random.pick(WORDS)} `), body(random)])
  const valid = (): Buffer => Buffer.from(encodeEphemeral({ name: 'said', data: Buffer.from('{"n":-1}'), format: 'json' }))
  return random.pick([
    () => randomBytes(random, 200),
    () => told(),
    () => loose(), () => loose(),
    () => batch(random, [told(), told(), loose()].slice(0, random.int(0, 3))),
    () => changed(random, valid(), loose()), () => changed(random, valid(), told()),
    () => changed(random, told(), loose()),
    () => changed(random, batch(random, [told(), told()]), loose()),
    () => Buffer.from(random.pick(['', '?', '? later', '!', '&', '& ', '&\n', 'x', '{"op":"disconnect"}']))
  ])()
}

const OPS: readonly unknown[] = ['disconnect', 'unsubscribe', 'stop', 'destroy', '', 7, null, '__proto__', 'constructor']
/** None of these is anybody. */
const TARGETS: readonly unknown[] = [undefined, null, {}, [], 'x', 7, { identity: '' }, { identity: 7 }, { identity: 'nobody at all' }, { connection: 'nobody', tenant: 'x' }, { tenant: 'x' }, { topic: '' }, { toString: 'x' }]

/** What is said on the control topic: an order that disconnects nobody, or none. */
export function words (random: Random): Buffer {
  const order = JSON.stringify({ op: random.pick(OPS), target: random.pick(TARGETS), code: random.pick([undefined, 1, 1000, 4000, -1, '1000']), text: random.pick([undefined, 'x'.repeat(500), 7]), topic: random.pick([undefined, 'news', '', {}]), key: random.pick([undefined, 'k', {}]), ask: random.pick([undefined, 'a', '../x', 7]), from: random.pick([undefined, 'b', '\n']), count: random.pick([undefined, 1, -1, Infinity, 'x']) })
  const bytes = Buffer.from(random.chance(0.5) ? order : random.pick(DATA))
  // Not where a byte less would make a target of somebody.
  return random.chance(0.2) && !bytes.includes('identity') ? changed(random, bytes, Buffer.from('"')) : bytes
}

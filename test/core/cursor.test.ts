/** Cursors of several topics as text, and the order among ids. */
import t from 'tap'
import { MAX_CURSOR_BYTES, cursorPart, joinCursor, readCursor, topicHash, NO_PLACE } from '../../lib/core/cursor.ts'
import { compareIds, hasOrder, idParts } from '../../lib/core/id.ts'
import type { HeardTopic } from '../../lib/core/wire.ts'
import { Random, seedOf } from '../random/random.ts'

const heard = (name: string): HeardTopic => ({ name, pattern: name, durable: true, keyed: false, tracesTold: false, position: '', derived: new Map() })

const NONCE = 'ABCXYZabcxyz0189-_'

function idOf (random: Random): string {
  const nonce = Array.from({ length: random.int(1, 16) }, () => random.pick([...NONCE])).join('')
  return random.pick([
    () => `${random.int(1, 2 ** 31)}${random.int(0, 9999)}-${random.int(0, 10 ** 6)}.${nonce}`,
    () => `${random.int(0, 9)}-0.${nonce}`,
    // Not of this shape, or not the same once packed: kept as they are.
    () => `00${random.int(0, 9)}-01.${nonce}`,
    () => `99999999999999999999-${random.int(0, 9)}.${nonce}`,
    () => `master:${nonce}/${random.int(0, 99)}`
  ])()
}

t.test('what was packed is unpacked, for any ids and names', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  for (let round = 0; round < 500; round++) {
    const topics = new Map(Array.from({ length: random.int(2, 20) }, (_, i) => [`topic/${round}/${i}/${random.pick(['a', 'ß', '💧', '%2F'])}`, idOf(random)]))
    const text = joinCursor([...topics].map(([name, id]) => cursorPart(heard(name), id)))
    const positions = readCursor(text, topics.size)
    for (const [name, id] of topics) if ((positions(name) as { id: string }).id !== id) t.same(positions(name), { id }, `${name} in ${text}`)
    if (!/^v1~[\x21-\x7e]+$/.test(text) || text.length > MAX_CURSOR_BYTES) t.fail(`not fit for a header: ${text}`)
    t.equal(positions('another'), undefined)
  }
})

t.test('one topic: the id is the cursor', async (t) => {
  t.same(readCursor('1763724000000-0.abc', 1)('any'), { id: '1763724000000-0.abc' })
  t.equal(readCursor('1763724000000-0.abc', 2)('any'), 'unknown', 'it says nothing of several')
  for (const nothing of [undefined, '']) t.equal(readCursor(nothing, 1)('any'), undefined)
})

t.test('past the bound the last topics are left out, and the client that names them is told so', async (t) => {
  const names = Array.from({ length: 200 }, (_, i) => `topic/${i}`)
  const text = joinCursor(names.map((name, i) => cursorPart(heard(name), `1763724000000-${i}.0123456789abcdef`)))
  t.ok(text.length <= MAX_CURSOR_BYTES)
  const positions = readCursor(text, 200)
  const found = names.map((name) => positions(name))
  const kept = found.filter((position) => typeof position === 'object').length
  t.ok(kept > 50, `${kept} kept`)
  t.ok(found.slice(0, kept).every((position, i) => (position as { id: string }).id === `1763724000000-${i}.0123456789abcdef`))
  t.ok(found.slice(kept).every((position) => position === 'unknown'), 'not taken for topics that are new to the client')
  t.equal(joinCursor(['x'.repeat(MAX_CURSOR_BYTES)]), 'v1~+', 'a part that is too long alone')
})

t.test('two topics of one hash: one of the two ids, and never an error', async (t) => {
  const seen = new Map<string, string>()
  let twins: [string, string] | undefined
  for (let i = 0; !twins && i < 200_000; i++) {
    const hash = topicHash(heard(`t${i}`))
    const other = seen.get(hash)
    if (other !== undefined) twins = [other, `t${i}`]
    seen.set(hash, `t${i}`)
  }
  if (!twins) return t.fail('no two names of one hash')
  const [one, other] = twins
  const positions = readCursor(joinCursor([cursorPart(heard(one), '1-0.one'), cursorPart(heard(other), '2-0.other')]), 2)
  t.same(positions(one), positions(other), 'whose id it is shows when it is looked for')
})

t.test('whatever a client sends is a cursor, or unknown', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const good = joinCursor(['a', 'b', 'c'].map((name) => cursorPart(heard(name), idOf(random))))
  const texts = ['v1~', 'v1~~', 'v1~+', 'v2~abcde1-0.x', 'v0~', '~', 'null', '%00', 'a b', 'ü', '\u0000', 'v1~abcde', 'v1~abcdezzzzzzzzzzzz-0.x', 'x'.repeat(MAX_CURSOR_BYTES + 1)]
  for (let i = 0; i < 2000; i++) {
    const at = random.int(0, good.length)
    texts.push(random.pick([
      () => good.slice(0, at),
      () => good.slice(0, at) + String.fromCharCode(random.int(0, 300)) + good.slice(at + 1),
      () => good.slice(at) + good,
      () => Array.from({ length: random.int(0, 40) }, () => String.fromCharCode(random.int(0, 255))).join('')
    ])())
  }
  for (const text of texts) {
    for (const topics of [1, 3]) {
      const position = readCursor(text, topics)('a')
      const fine = position === undefined || position === 'unknown' || (typeof position.id === 'string' && position.id.length <= MAX_CURSOR_BYTES)
      if (!fine) t.fail(`${JSON.stringify(text)}: ${JSON.stringify(position)}`)
    }
  }
  for (const foreign of ['v2~abcde1-0.x', 'x'.repeat(MAX_CURSOR_BYTES + 1), 'a b', 'v1~abcde', 'ü']) t.equal(readCursor(foreign, 2)('a'), 'unknown', foreign.slice(0, 20))
  for (const topics of [1, 3]) t.equal(readCursor(NO_PLACE, topics)('a'), undefined, 'who has no place is new to all topics')
})

t.test('ids are ordered by time and number alone; others have no order', async (t) => {
  const sorted = ['0-0.g', '1-0.z', '1-1.a', '1-10.a', '2-0.a', '10-0.a', '1763724000000-0.x', '1763724000000-1.a']
  for (const [i, one] of sorted.entries()) {
    for (const [j, other] of sorted.entries()) t.equal(Math.sign(compareIds(one, other) ?? NaN), Math.sign(i - j), `${one} ${other}`)
  }
  t.equal(compareIds('1-0.a', '1-0.b'), 0, 'a nonce has none')
  for (const none of ['', '1', '1-0', '1-0.', 'a-0.x', '1-0.a b', '1-0.x\n', '99999999999999999-0.x', '1-99999999999.x']) {
    t.equal(hasOrder(none), false, JSON.stringify(none))
    t.equal(compareIds(none, '1-0.x'), undefined)
    t.equal(compareIds('1-0.x', none), undefined)
    t.equal(idParts(none), undefined)
  }
  t.same(idParts('12-3.x'), { ms: 12, seq: 3 })
})

/** A run's name: whatever space and key hold, it fits, and is no other's. */
import t from 'tap'
import { checkRunKey, ownRunOf, runOf, RunSpaces } from '../../../lib/features/resumable/names.ts'

const long = 'x'.repeat(100_000)
const hex = '0123456789abcdef'.repeat(4)

/** Keys that differ by as little as keys can. */
const KEYS = [
  'a', 'A', 'a ', ' a', 'a/b', 'a%2Fb', 'a%252Fb', 'a?b', 'a#b', 'a;b', '.', '..', '.'.repeat(21), '.'.repeat(22), '.'.repeat(63), '.'.repeat(64), '*', ':key',
  '%', '%25', '\0', '\n', 'é', 'e\u0301', '😀', '\ud83d', '\ude00', '\ufffd', 'null', 'undefined', '0', '00', '__proto__',
  'x'.repeat(63), 'x'.repeat(64), 'x'.repeat(255), 'x'.repeat(256), long, `${long.slice(1)}y`, hex, hex.toUpperCase(), hex.slice(1), `${hex}0`,
  '["u1",[["id","string 1"]]]'
]

const nameOf = ({ space, key }: { space: string, key: string }): string => `realtime:runs/${encodeURIComponent(space)}/${encodeURIComponent(key)}`
const name = (space: string, key: string): string => nameOf(runOf(space, key))

t.test('no two spaces and keys have one name, and every name fits', async (t) => {
  const names = KEYS.flatMap((space) => KEYS.map((key) => name(space, key)))
  t.equal(new Set(names).size, names.length)
  t.ok(names.every((one) => Buffer.byteLength(one) <= 255))
})

t.test('a text that is a hash already is not taken for what it is the hash of', async (t) => {
  for (const key of KEYS) {
    const hashed = runOf('s', key).key
    if (hashed === key) continue
    t.not(name('s', hashed), name('s', key))
    t.not(name(hashed, 'k'), name(key, 'k'))
  }
})

t.test('an identity\'s own run is no key\'s, and no other identity\'s', async (t) => {
  const own = [
    ownRunOf('s', 'u1', []), ownRunOf('s', 'u2', []), ownRunOf('t', 'u1', []), ownRunOf('s', 'u1', [['id', 'string 1']]), ownRunOf('s', 'u1', [['id', 'number 1']]),
    ownRunOf('s', 'u1', [['a', 'string b'], ['c', 'string d']]), ownRunOf('s', 'u1', [['a', 'string b","c","string d']]), ownRunOf('s', 'u1","', []),
    ownRunOf('s', '\ud83d', []), ownRunOf('s', '\ufffd', [])
  ].map(nameOf)
  t.equal(new Set(own).size, own.length)
  const given = [...KEYS, JSON.stringify(['u1', []]), `own\0${JSON.stringify(['u1', []])}`, ownRunOf('s', 'u1', []).key].map((key) => name('s', key))
  t.same(own.filter((one) => given.includes(one)), [])
})

t.test('only a non-empty string is a key', async (t) => {
  for (const key of [undefined, null, '', 0, 7, true, {}, [], ['a'], Symbol('a'), () => 'a', new String('a'), Promise.resolve('a')]) { // eslint-disable-line no-new-wrappers -- looks like a string
    t.throws(() => checkRunKey('stream "/a"', key), { code: 'FST_ERR_REALTIME_RUN_KEY_INVALID', statusCode: 500 })
  }
  t.equal(checkRunKey('stream "/a"', ' '), ' ')
})

t.test('a space is found by its name, by its route\'s pattern, or for being the only one', async (t) => {
  const spaces = new RunSpaces()
  t.throws(() => spaces.find(undefined), { code: 'FST_ERR_REALTIME_RUN_SPACE', message: /no route/ })
  t.equal(spaces.find('elsewhere'), 'elsewhere', 'another node may know it')
  spaces.add('/a/:id', '/a/:id')
  t.equal(spaces.find(undefined), '/a/:id')
  spaces.add('POST /b', '/b')
  t.throws(() => spaces.find(undefined), { code: 'FST_ERR_REALTIME_RUN_SPACE', message: /"\/a\/:id", "POST \/b"/ })
  t.equal(spaces.find('/b'), 'POST /b')
  spaces.add('shared', '/b')
  t.throws(() => spaces.find('/b'), { message: /"POST \/b", "shared"/ })
  t.equal(spaces.find('shared'), 'shared')
})

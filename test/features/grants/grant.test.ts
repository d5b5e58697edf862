/** What `authorize` answers: `true`, a grant, or a refusal; and what is neither is said to be so. */
import t from 'tap'
import { readExpiry, readMoment } from '../../../lib/features/grants/expiry.ts'
import { endingBy, readAnswer, UNLIMITED } from '../../../lib/features/grants/grant.ts'

const NOW = 1_800_000_000_000
const clock = { isOver: (wall: number) => wall <= NOW }
const read = (answer: unknown) => readAnswer(answer, 'authorize', clock)

t.test('true and grants allow', async (t) => {
  t.equal(read(true), UNLIMITED)
  t.equal(read({ allow: true }), UNLIMITED)
  t.equal(read({ allow: true, expiresAt: undefined, info: undefined }), UNLIMITED)
  t.equal(read({ allow: true, expiresAt: null }), UNLIMITED)
  t.same(read({ allow: true, expiresAt: NOW + 1 }), { expiresAt: NOW + 1 })
  t.same(read({ allow: true, info: { name: 'Ada' } }), { info: { name: 'Ada' } })
  t.same(read(Object.assign(Object.create(null), { allow: true, info: 0 })), { info: 0 })
})

t.test('all else refuses', async (t) => {
  for (const answer of [undefined, null, false, 1, 'true', 'token', 1n, [], [true], {}, { allow: 1 }, { allow: 'true' }, { allow: Object(true) }, { allowed: true }, Object.create({ allow: true }),
    Object.assign([], { allow: true }), new Map([['allow', true]]), () => true, Symbol('yes')]) t.equal(read(answer), undefined, String(answer))
})

t.test('a grant with a word that is not known is said to be wrong: it could never end', async (t) => {
  t.throws(() => read({ allow: true, expireAt: NOW + 1 }), { code: 'FST_ERR_REALTIME_GRANT_INVALID', statusCode: 500, message: /expireAt.*Did you mean "expiresAt"/ })
  t.throws(() => read({ allow: true, expires: NOW + 1 }), { code: 'FST_ERR_REALTIME_GRANT_INVALID' })
})

t.test('an expiry is ms since the epoch, and not over', async (t) => {
  for (const value of [NaN, Infinity, -Infinity, -1, 8.64e15 + 1, '1800000000001', new Date(NOW + 1), 1n, true, {}, []]) {
    t.throws(() => read({ allow: true, expiresAt: value }), { code: 'FST_ERR_REALTIME_EXPIRY_INVALID', statusCode: 500 }, String(value))
  }
  for (const seconds of [0, 1, 3600, NOW / 1000, NOW / 1000 + 60]) {
    t.throws(() => read({ allow: true, expiresAt: seconds }), { code: 'FST_ERR_REALTIME_EXPIRY_INVALID', message: /seconds.*exp \* 1000/ }, String(seconds))
  }
  for (const past of [NOW, NOW - 1, NOW - 86_400_000]) t.throws(() => read({ allow: true, expiresAt: past }), { code: 'FST_ERR_REALTIME_EXPIRED', statusCode: 401 })
  t.equal(readExpiry(NOW + 0.5, 'it', clock), NOW + 0.5)
  t.equal(readMoment(NOW - 5, 'it', 'issuedAt'), NOW - 5)
  t.throws(() => readMoment('soon', 'it', 'issuedAt'), { message: /an invalid "issuedAt": "soon"/ })
})

t.test('a grant ends no later than the claims that were asked about', async (t) => {
  const claims = { sub: 'ada', exp: NOW / 1000 + 60 }
  t.same(endingBy(UNLIMITED, claims), { expiresAt: NOW + 60_000 })
  t.same(endingBy({ expiresAt: NOW + 5, info: 1 }, claims), { expiresAt: NOW + 5, info: 1 })
  t.same(endingBy({ expiresAt: NOW + 90_000, info: 1 }, claims), { expiresAt: NOW + 60_000, info: 1 })
  t.equal(endingBy(UNLIMITED, undefined), UNLIMITED)
  t.equal(endingBy(undefined, claims), undefined)
})

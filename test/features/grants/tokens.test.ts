/** What tokens hold, what is refused at register, and what sign() makes. */
import t from 'tap'
import realtime, { type RealtimeOptions, type SignOptions } from '../../../lib/index.ts'
import { Patience } from '../../../lib/core/callbacks.ts'
import { readTokens } from '../../../lib/features/grants/token-options.ts'
import { Tokens } from '../../../lib/features/grants/tokens.ts'
import { bare, codeOf, live } from '../../helpers/app.ts'
import { holding, made, madeByRsa, OTHER_SECRET, PUBLIC_PEM, SECRET, seconds } from '../../helpers/tokens.ts'

const tokensOf = async (options: object): Promise<Tokens> => await Tokens.of(readTokens(options), new Patience(1000))
const verdict = async (tokens: Tokens, token: string): Promise<string> =>
  await codeOf(async () => await tokens.verify(token, {})).then((code) => code.replace('FST_ERR_REALTIME_', ''))

/** The same bytes: the last letter of 43 has two bits that say nothing. */
function otherText (token: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return token.slice(0, -1) + letters[letters.indexOf(token.slice(-1)) ^ 1]
}

t.test('options that are wrong fail the registration', async (t) => {
  const secret = 's'.repeat(32)
  const WRONG: unknown[] = [
    null, true, 'secret', [], {}, { secret: undefined }, { secret: '' }, { secret: 's'.repeat(31) }, { secret: 7 }, { secret: {} }, { secret: new Uint8Array(31) },
    { secret: PUBLIC_PEM }, { secret: `\n${PUBLIC_PEM}` }, { secret, keys: { a: secret } }, { secret, verify: () => ({}) }, { keys: {} }, { keys: [secret] }, { keys: { a: 'short' } },
    { keys: { '': secret } }, { keys: { a: secret, b: secret } }, { keys: { a: secret, b: secret }, kid: 'c' }, { keys: { a: secret }, kid: '__proto__' }, { secret, kid: 'a' },
    { keys: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, secret])), kid: 'k0' }, { verify: true }, { verify: () => ({}), issuer: 'me' }, { verify: () => ({}), audience: ['us'] },
    { verify: () => ({}), kid: 'a' }, { secret, issuer: '' }, { secret, issuer: [] }, { secret, audience: [7] }, { secret, audience: /./ }, { secret, clockTolerance: -1 }, { secret, clockTolerance: 300_001 },
    { secret, maxLifetime: 999 }, { secret, maxLifetime: Infinity }, { secret, maxLifetime: '1d' }, { secret, maxBytes: 63 }, { secret, maxBytes: 65_537 }, { secret, query: 1 },
    { secret, algorithms: ['none'] }, { secret, cache: true }, { Secret: secret }
  ]
  for (const tokens of WRONG) {
    const app = bare(t)
    t.equal(await codeOf(async () => await app.register(realtime, { tokens } as RealtimeOptions)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(tokens))
  }
  for (const right of [{ secret }, { secret: new Uint8Array(32) }, { secret: Buffer.alloc(64, 1) }, { keys: { a: secret } }, { keys: { 2: secret, 1: secret }, kid: '2' }, { secret, issuer: 'me', audience: ['us', 'them'] }]) {
    t.ok(await tokensOf(right))
  }
})

t.test('tokens that hold, and those that do not', async (t) => {
  const now = seconds()
  const tokens = await tokensOf({ secret: SECRET, issuer: 'me', audience: ['us', 'them'] })
  const claims = (more: object = {}) => holding({ iss: 'me', aud: 'us', ...more })
  const without = (name: string, more: object = {}) => Object.fromEntries(Object.entries(claims(more)).filter(([key]) => key !== name))
  const raw = (text: string) => `{"sub":"ada","iss":"me","aud":"us","iat":${now},${text}}`
  const CASES: Array<[what: string, token: string, verdict: string]> = [
    ['as it should be', made(claims()), 'no error'],
    ['one of several audiences', made(claims({ aud: ['others', 'them'] })), 'no error'],
    ['an end within the tolerance', made(claims({ iat: now - 60, exp: now - 3 })), 'no error'],
    ['a start within the tolerance', made(claims({ nbf: now + 3 })), 'no error'],
    ['no iat', made(without('iat')), 'no error'],
    ['a kid where there is one secret', made(claims(), { header: { kid: 'any' } }), 'no error'],
    ['another key', made(claims(), { secret: OTHER_SECRET }), 'TOKEN_INVALID'],
    ['no key', made(claims(), { secret: '' }), 'TOKEN_INVALID'],
    ['alg none', made(claims(), { header: { alg: 'none' } }).replace(/[^.]*$/, ''), 'TOKEN_INVALID'],
    ['alg none, signed', made(claims(), { header: { alg: 'none' } }), 'TOKEN_INVALID'],
    ['alg None', made(claims(), { header: { alg: 'None' } }).replace(/[^.]*$/, ''), 'TOKEN_INVALID'],
    ['no alg', made(claims(), { header: { alg: undefined } }), 'TOKEN_INVALID'],
    ['HS384', made(claims(), { header: { alg: 'HS384' }, hash: 'sha384' }), 'TOKEN_INVALID'],
    ['HS512', made(claims(), { header: { alg: 'HS512' }, hash: 'sha512' }), 'TOKEN_INVALID'],
    ['RS256', madeByRsa(claims()), 'TOKEN_INVALID'],
    ['RS256 by a public key as a secret', made(claims(), { secret: PUBLIC_PEM }), 'TOKEN_INVALID'],
    ['no signature', made(claims()).replace(/[^.]*$/, ''), 'TOKEN_INVALID'],
    ['a critical header', made(claims(), { header: { crit: ['exp'], exp: 1 } }), 'TOKEN_INVALID'],
    ['over', made(claims({ iat: now - 60, exp: now - 10 })), 'EXPIRED'],
    ['over, and of another key', made(claims({ exp: now - 10 }), { secret: OTHER_SECRET }), 'TOKEN_INVALID'],
    ['not yet', made(claims({ nbf: now + 60 })), 'TOKEN_INVALID'],
    ['from the future', made(claims({ iat: now + 60, exp: now + 120 })), 'TOKEN_INVALID'],
    ['another issuer', made(claims({ iss: 'you' })), 'TOKEN_INVALID'],
    ['no issuer', made(without('iss')), 'TOKEN_INVALID'],
    ['another audience', made(claims({ aud: 'me' })), 'TOKEN_INVALID'],
    ['no audience', made(without('aud')), 'TOKEN_INVALID'],
    ['no audience at all', made(claims({ aud: [] })), 'TOKEN_INVALID'],
    ['no end', made(without('exp')), 'TOKEN_INVALID'],
    ['an end that is null', made(claims({ exp: null })), 'TOKEN_INVALID'],
    ['an end that is text', made(claims({ exp: String(now + 60) })), 'TOKEN_INVALID'],
    ['an end that is a list', made(claims({ exp: [now + 60] })), 'TOKEN_INVALID'],
    ['an end that never comes', made(raw('"exp":1e999')), 'TOKEN_INVALID'],
    ['an end before time', made(raw('"exp":-1')), 'EXPIRED'],
    ['an end in ms', made(claims({ exp: Date.now() + 60_000 })), 'TOKEN_INVALID'],
    ['too long a life', made(claims({ exp: now + 86_400 + 60 })), 'TOKEN_INVALID'],
    ['too long a life, by an old iat', made(claims({ iat: now - 86_400, exp: now + 60 })), 'TOKEN_INVALID'],
    ['too long a life, without iat', made(without('iat', { exp: now + 86_400 + 60 })), 'TOKEN_INVALID'],
    ['nobody', made(without('sub')), 'TOKEN_INVALID'],
    ['an empty sub', made(claims({ sub: '' })), 'TOKEN_INVALID'],
    ['a sub that is a number', made(claims({ sub: 7 })), 'TOKEN_INVALID'],
    ['a sub that is a list', made(claims({ sub: ['ada'] })), 'TOKEN_INVALID'],
    ['a sub that is too long', made(claims({ sub: 'a'.repeat(4097) })), 'TOKEN_INVALID'],
    ['rights that are text', made(claims({ realtime: 'rooms/1' })), 'TOKEN_INVALID'],
    ['rights that are a list', made(claims({ realtime: [] })), 'TOKEN_INVALID'],
    ['topics that are text', made(claims({ realtime: { subscribe: 'rooms/1' } })), 'TOKEN_INVALID'],
    ['topics that are objects', made(claims({ realtime: { subscribe: [{}] } })), 'TOKEN_INVALID'],
    ['topics that are null', made(claims({ realtime: { publish: null } })), 'TOKEN_INVALID'],
    ['a __proto__', made(raw(`"exp":${now + 60},"__proto__":{"admin":true}`)), 'TOKEN_INVALID'],
    ['a __proto__ within', made(raw(`"exp":${now + 60},"realtime":{"info":{"a":[{"__proto__":{}}]}}`)), 'TOKEN_INVALID'],
    ['a constructor', made(raw(`"exp":${now + 60},"constructor":{"prototype":{}}`)), 'TOKEN_INVALID'],
    ['claims that are a list', made('[]'), 'TOKEN_INVALID'],
    ['claims that are null', made('null'), 'TOKEN_INVALID'],
    ['claims that are no JSON', made('{'), 'TOKEN_INVALID'],
    ['a header that is no JSON', made(claims(), { header: '{' }), 'TOKEN_INVALID'],
    ['a header that is a list', made(claims(), { header: '[]' }), 'TOKEN_INVALID'],
    ['a deep nest', made(raw(`"exp":${now + 60},"a":${'['.repeat(2500)}${']'.repeat(2500)}`)), 'no error'],
    ['another text of its signature', otherText(made(claims())), 'TOKEN_INVALID'],
    ['two signatures', `${made(claims())}.x`, 'TOKEN_INVALID'],
    ['padding', `${made(claims())}=`, 'TOKEN_INVALID'],
    ['a line', `${made(claims())}\n`, 'TOKEN_INVALID'],
    ['nothing', '', 'TOKEN_INVALID'], ['dots', '..', 'TOKEN_INVALID'], ['text', 'bearer', 'TOKEN_INVALID'],
    ['too large', made(claims({ a: 'x'.repeat(8192) })), 'TOKEN_INVALID'],
    ['far too large', 'x'.repeat(1 << 20), 'TOKEN_INVALID']
  ]
  for (const [what, token, expected] of CASES) t.equal(await verdict(tokens, token), expected, what)
  t.equal(({} as { admin?: boolean }).admin, undefined)
})

t.test('keys are known by their kid, and a new one takes over from an old one', async (t) => {
  const old = await tokensOf({ keys: { old: SECRET } })
  const both = await tokensOf({ keys: { old: SECRET, new: OTHER_SECRET }, kid: 'new' })
  const late = await tokensOf({ keys: { new: OTHER_SECRET } })
  const byOld = made(holding(), { header: { kid: 'old' } })
  const byNew = made(holding(), { header: { kid: 'new' }, secret: OTHER_SECRET })
  t.same(await Promise.all([old, both, late].map(async (tokens) => [await verdict(tokens, byOld), await verdict(tokens, byNew)])), [
    ['no error', 'TOKEN_INVALID'], ['no error', 'no error'], ['TOKEN_INVALID', 'no error']
  ])
  t.equal(await verdict(old, made(holding())), 'no error', 'one key needs no name')
  t.equal(await verdict(both, made(holding())), 'TOKEN_INVALID')
  t.equal(await verdict(both, made(holding(), { header: { kid: 'new' } })), 'TOKEN_INVALID', 'the other\'s name')
  for (const kid of ['', 'x', '__proto__', 'constructor', 'toString', 0, null, ['old'], { toString: 'old' }]) t.equal(await verdict(both, made(holding(), { header: { kid } })), 'TOKEN_INVALID', String(JSON.stringify(kid)))
  t.match(both.signer?.sign(holding()), new RegExp(`^${Buffer.from('{"alg":"HS256","typ":"JWT","kid":"new"}').toString('base64url')}\\.`))
})

t.test('where a request brings its token', async (t) => {
  const [plain, query] = [await tokensOf({ secret: SECRET }), await tokensOf({ secret: SECRET, query: true })]
  const CASES: Array<[string | undefined, unknown, string | undefined, string | undefined]> = [
    ['Bearer a.b.c', {}, 'a.b.c', 'a.b.c'], ['bearer a', {}, 'a', 'a'], ['BEARER   a  ', {}, 'a', 'a'], ['Bearer', {}, '', ''], ['Bearer ', {}, '', ''],
    ['Basic eDp5', {}, undefined, undefined], ['Bearerx', {}, undefined, undefined], [undefined, { token: 'q' }, undefined, 'q'], ['Bearer a', { token: 'q' }, 'a', 'a'],
    [undefined, null, undefined, undefined], [undefined, undefined, undefined, undefined], [undefined, 'token', undefined, undefined]
  ]
  for (const [authorization, query_, byPlain, byQuery] of CASES) {
    const request = { headers: { authorization }, query: query_ }
    t.same([plain.find(request), query.find(request)], [byPlain, byQuery], String(authorization))
  }
  t.throws(() => query.find({ headers: {}, query: { token: ['a', 'b'] } }), { code: 'FST_ERR_REALTIME_TOKEN_INVALID', statusCode: 401 })
})

t.test('sign() makes tokens that hold, and refuses what would make others', async (t) => {
  const app = await live(t, { tokens: { keys: { k1: SECRET }, issuer: ['me', 'you'], audience: 'us', maxLifetime: 7_200_000 } })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  const { realtime: api } = app
  const read = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as Record<string, unknown> & { iat: number, exp: number }
  const token = read(api.sign({ sub: 7, subscribe: [room.at({ id: 'a/*' }), room, 'rooms/1', 'rooms/:id'], publish: room.at({ id: '1' }), info: { name: 'Ada' }, expiresIn: 61_999, claims: { role: 'admin' } }))
  t.match(token, { sub: '7', iss: 'me', aud: 'us', role: 'admin', realtime: { subscribe: ['rooms/a%2F%2A', 'rooms/:id', 'rooms/1', 'rooms/:id'], publish: ['rooms/1'], info: { name: 'Ada' } } })
  t.equal(token.exp - token.iat, 61)
  t.ok(Number.isInteger(token.iat))
  const plain = read(api.sign({ sub: 'ada' }))
  t.equal(plain.exp - plain.iat, 3600)
  t.same(plain.realtime, {})
  const WRONG: unknown[] = [undefined, null, 'ada', {}, { sub: '' }, { sub: {} }, { sub: NaN }, { sub: 'ada', expiresIn: 0 }, { sub: 'ada', expiresIn: 999 }, { sub: 'ada', expiresIn: 7_200_001 }, { sub: 'ada', expiresIn: '1h' }, { sub: 'ada', expiresIn: NaN },
    { sub: 'ada', subscribe: [7] }, { sub: 'ada', subscribe: [{}] }, { sub: 'ada', subscribe: null }, { sub: 'ada', claims: { exp: 1 } }, { sub: 'ada', claims: { realtime: {} } }, { sub: 'ada', claims: JSON.parse('{"__proto__":1}') as object }, { sub: 'ada', claims: [] }, { sub: 'ada', topics: [] },
    { sub: 'ada', info: 'x'.repeat(9000) }]
  for (const options of WRONG) t.equal(await codeOf(() => api.sign(options as SignOptions)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
  for (const name of ['halls/1', 'rooms/*', 'rooms', '']) t.equal(await codeOf(() => api.sign({ sub: 'ada', subscribe: name })), 'FST_ERR_REALTIME_TOPIC_UNKNOWN', name)
  for (const tokens of [undefined, { verify: () => ({}) }]) {
    const other = await live(t, tokens ? { tokens } : {})
    t.equal(await codeOf(() => other.realtime.sign({ sub: 'ada' })), 'FST_ERR_REALTIME_OPTION_INVALID')
    if (!tokens) t.equal(await codeOf(() => other.topic('x', { authorize: 'token' })), 'FST_ERR_REALTIME_OPTION_INVALID')
  }
})

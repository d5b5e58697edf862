/** Ten thousand tokens that somebody has tampered with: none lets anybody in, and none leaves anything behind. */
import t from 'tap'
import { connectChannel } from '../../lib/testing/index.ts'
import { live } from '../helpers/app.ts'
import { hubOf, insidesOf } from '../helpers/insides.ts'
import { bearer, holding, made, madeByRsa, OTHER_SECRET, PUBLIC_PEM, SECRET, seconds } from '../helpers/tokens.ts'
import { Random, seedOf } from '../random/random.ts'

const MUTATIONS = Number(process.env.MUTATIONS ?? 10_000)
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ %\u0000é'

const rights = (subscribe: string[]) => ({ realtime: { subscribe, publish: subscribe } })
const goodClaims = () => ({ ...holding(rights(['rooms/1'])), iss: 'me', aud: 'us' })

/** A token that does not open rooms/1, made from one that does. `holds`: it may well be a token, for something else. */
function mutated (random: Random): { token: string, holds: boolean } {
  const claims = goodClaims()
  const token = made(claims)
  for (;;) {
    const [way, holds] = random.pick(waysFrom(random, claims, token))
    const other = way()
    // Space at the end of a header is none of the token's.
    if (other.trim() !== token) return { token: other, holds }
  }
}

function waysFrom (random: Random, claims: ReturnType<typeof goodClaims>, token: string): Array<[() => string, boolean]> {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const at = random.int(0, token.length - 1)
  const other = made({ ...claims, sub: 'eve', ...rights(['rooms/2']) })
  const narrow: Array<() => string> = [
    () => made({ ...claims, ...rights([random.pick(['rooms', 'rooms/', 'rooms/*', 'rooms*', '*', ':id', 'rooms/11', 'rooms-secret/1', 'rooms/1/', '/rooms/1', 'Rooms/1', 'rooms/%31', 'rooms/1\u0000'])]) }),
    () => made({ ...claims, realtime: random.pick<unknown>(['rooms/1', ['rooms/1'], { subscribe: 'rooms/1' }, { subscribe: { 0: 'rooms/1', length: 1 } }, { subscribe: [['rooms/1']] }, { Subscribe: ['rooms/1'] }, { subscribe: null }, null, 7]) })
  ]
  const broken: Array<() => string> = [
    () => token.slice(0, at),
    () => token.slice(at + 1),
    () => token.slice(0, at) + random.pick([...LETTERS]) + token.slice(at + 1),
    () => token.slice(0, at) + random.pick([...LETTERS]) + token.slice(at),
    () => token.slice(0, at) + token.slice(at + 1 + random.int(0, 5)),
    () => token + random.pick([...LETTERS]),
    () => [header, payload, signature].filter(() => random.chance(0.6)).join('.'),
    () => random.shuffled([header, payload, signature]).join('.'),
    () => [header, other.split('.')[1], signature].join('.'),
    () => [other.split('.')[0], payload, other.split('.')[2]].join('.'),
    () => Buffer.from(`{"alg":"${random.pick(['none', 'None', 'NONE', 'nOnE', '', 'HS1', 'ES256'])}"}`).toString('base64url') + `.${payload}.${random.pick(['', signature])}`,
    () => made(claims, { secret: random.pick([OTHER_SECRET, '', ' ', SECRET.slice(0, -1), `${SECRET} `, SECRET.toUpperCase(), PUBLIC_PEM]) }),
    () => made(claims, { header: { alg: random.pick(['HS384', 'HS512', 'RS256', 'none']) }, hash: random.pick(['sha256', 'sha384', 'sha512']) }),
    () => madeByRsa(claims),
    () => made({ ...claims, exp: seconds() - random.int(6, 100_000) }),
    () => made({ ...claims, exp: random.pick<unknown>([null, '9999999999', [seconds() + 60], {}, true, -1, 0, seconds() + 100_000]) }),
    () => made({ ...claims, nbf: seconds() + random.int(10, 100_000) }),
    () => made({ ...claims, iat: seconds() + random.int(10, 100_000) }),
    () => made({ ...claims, sub: random.pick<unknown>([null, '', 7, true, [], ['ada'], {}, { toString: 'ada' }]) }),
    () => made({ ...claims, iss: random.pick<unknown>(['you', '', null, ['me'], {}, 'me ']) }),
    () => made({ ...claims, aud: random.pick<unknown>(['them', '', null, [], ['them', 7], {}, 'us ']) }),
    () => made(`{"__proto__":{"realtime":{"subscribe":["rooms/1"]}},"sub":"ada","iss":"me","aud":"us","exp":${seconds() + 60}}`),
    () => made(`{"sub":"ada","iss":"me","aud":"us","exp":${seconds() + 60},"realtime":{"__proto__":{"subscribe":["rooms/1"]}}}`),
    () => 'x'.repeat(random.int(0, 12_000)),
    () => made({ ...claims, pad: 'x'.repeat(random.int(8192, 9000)) })
  ]
  return [...broken.map((way): [() => string, boolean] => [way, false]), ...narrow.map((way): [() => string, boolean] => [way, true])]
}

t.test('whatever is made of a token lets nobody in, and nothing grows', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const app = await live(t, { tokens: { secret: SECRET, issuer: 'me', audience: 'us', query: true }, messagesPerSecondPerIdentity: Infinity, limits: { messagesPerSecond: 1_000_000, burst: 1_000_000, topicsPerMinute: 1_000_000, faults: 1_000_000 } })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  app.topic('rooms/*', { authorize: 'token' })
  app.topic('rooms-secret/:id', { authorize: 'token' })
  app.stream('/stream/:id', { topics: room })
  app.channel('/hall', { subscribe: room })
  const right = goodClaims()
  t.equal((await app.inject({ method: 'HEAD', url: '/stream/1', headers: bearer(made(right)) })).statusCode, 200, 'the one that they are made of holds')

  const hall = await connectChannel(app, '/hall', { t, format: 'envelope', token: made(right), timeout: 30_000 })
  await hall.next('realtime:open')
  const before = new Map(Object.entries(sizes(app)))
  const won: string[] = []
  for (let i = 0; i < MUTATIONS; i++) {
    const { token, holds } = mutated(random)
    const way = i % 4
    if (way < 2) {
      const headers = way === 0 ? { authorization: `Bearer ${encodable(token)}` } : {}
      const { statusCode } = await app.inject({ method: 'HEAD', url: way === 0 ? '/stream/1' : `/stream/1?token=${encodeURIComponent(token)}`, headers })
      if (statusCode !== 401 && statusCode !== 403) won.push(`${statusCode} ${token}`)
    } else {
      hall.sendRaw(JSON.stringify(way === 2 || holds ? { op: 'subscribe', topic: 'rooms/1', token, ref: i } : { op: 'refresh', token, ref: i }))
      const { data } = await hall.next(`realtime:reply:${i}`) as { data: { op: string, code: string } }
      if (data.op !== 'error' || !['TOKEN_INVALID', 'EXPIRED', 'FORBIDDEN', 'TOKEN_MISSING'].includes(data.code)) won.push(`${data.code} ${token}`)
    }
  }
  t.same(won, [])
  t.equal(app.realtime.countLocal('rooms/1'), 0)
  t.equal(insidesOf(app).length, 1)
  t.same(new Map(Object.entries(sizes(app))), before)
  t.equal(({} as { realtime?: unknown }).realtime, undefined)
})

/** What is kept for clients. */
function sizes (app: object): Record<string, number> {
  const { admission, deadlines, active, connections } = hubOf(app)
  return { places: admission.size, remembered: admission.remembered, deadlines: deadlines.size, topics: active.listenedTo, leaving: connections.leaving.size }
}

/** What a header can carry. */
const encodable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?')

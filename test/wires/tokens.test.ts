/** Tokens: who brings one, on which wire and in which frame, hears what it names, and for as long as it says. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { memory, type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient } from '../../lib/testing/index.ts'
import { calls, gate, live, refusalOf } from '../helpers/app.ts'
import { hubOf, insidesOf } from '../helpers/insides.ts'
import { bearer, holding, made, OTHER_SECRET, SECRET, seconds } from '../helpers/tokens.ts'

// The plugin's timers keep no process alive, and clients in memory have no socket that would.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

async function rooms (t: Test, options: RealtimeOptions = {}) {
  const app = await live(t, {
    expiryGrace: 0,
    retry: 10,
    tokens: { secret: SECRET, query: true },
    identify: (request) => typeof request.headers.user === 'string' ? { id: request.headers.user } : null,
    ...options
  })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  const asked = calls<unknown>()
  const claimed = app.topic('claimed/:id', {
    authorize: (_request, { params, claims, action }) => {
      asked.note({ action, claims })
      return claims?.sub === params.id
    }
  })
  const connected = calls<string>()
  const onConnect = ({ identity }: { identity: { id: string } }) => connected.note(identity.id)
  app.topic('lobby')
  app.stream('/stream/:id', { topics: room, onConnect })
  app.channel('/channel/:id', {
    topics: room,
    subscribe: [room, claimed],
    messages: { wave: { relay: { topic: room } }, who: { handler: (_data, { connection }) => connection.identity.id } },
    onConnect
  })
  app.channel('/lobby', { topics: 'lobby', subscribe: [room, claimed], messages: { wave: { relay: { topic: room } } }, onConnect })
  return { app, room, claimed, asked, connected }
}

const rights = (subscribe: string[], publish: string[] = [], info?: unknown) => ({ realtime: { subscribe, publish, ...(info !== undefined && { info }) } })
const tell = (client: ChannelClient, frame: object): void => client.sendRaw(JSON.stringify(frame))

/** Says `open` by itself, with a token. */
async function openWith (t: Test, app: FastifyInstance, url: string, token: string | undefined, headers: Record<string, string> = {}): Promise<ChannelClient> {
  return await connectChannel(app, url, { t, format: 'envelope', headers, ...(token !== undefined && { token }) })
}

t.test('a bearer hears the topics that its token names, on every wire', async (t) => {
  const { app, room, connected } = await rooms(t)
  const token = made(holding(rights(['rooms/1'], [], { name: 'Ada' })))
  const clients = [
    await connectStream(app, '/stream/1', { t, headers: bearer(token) }),
    await connectStream(app, `/stream/1?token=${token}`, { t }),
    await connectChannel(app, '/channel/1', { t, headers: bearer(token) }),
    await openWith(t, app, '/channel/1', undefined, bearer(token)),
    await openWith(t, app, '/channel/1', token)
  ]
  for (const client of clients.slice(3)) await client.next('realtime:subscribed')
  t.same(app.realtime.connections().map(({ identity: { id } }) => id), Array(5).fill('ada'))
  for (const one of app.realtime.connections()) t.match(one.grant('rooms/1'), { info: { name: 'Ada' }, expiresAt: Number })
  await room.publish({ id: '1' }, 'said', { text: 'hello' })
  for (const client of clients) t.same((await client.next('said')).data, { text: 'hello' })
  t.same(connected.all, Array(5).fill('ada'))
  t.equal((await app.inject({ method: 'HEAD', url: '/stream/1', headers: bearer(token) })).statusCode, 200)
})

t.test('without one, or for other topics, nobody gets in', async (t) => {
  const { app, connected } = await rooms(t)
  const other = made(holding(rights(['rooms/2', 'rooms', 'rooms/', 'rooms/*', '*', 'rooms/1/', 'rooms/11', ':id', 'ROOMS/1'], ['rooms/1'])))
  for (const [token, statusCode, code] of [[undefined, 401, 'TOKEN_MISSING'], [other, 403, 'FORBIDDEN'], [made(holding()), 403, 'FORBIDDEN'], [made(holding(), { secret: OTHER_SECRET }), 401, 'TOKEN_INVALID']] as const) {
    const headers: Record<string, string> = token === undefined ? {} : bearer(token)
    const refusal = { statusCode, body: { code: `FST_ERR_REALTIME_${code}` } }
    t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers })), refusal)
    t.match(await refusalOf(connectChannel(app, '/channel/1', { t, headers })), refusal)
    if (token === undefined) continue
    t.match(await refusalOf(openWith(t, app, '/channel/1', undefined, headers)), refusal)
    t.match(await (await openWith(t, app, '/channel/1', token)).ended, { code: 4403 })
  }
  t.match(await (await openWith(t, app, '/channel/1', undefined)).ended, { code: 4403 })
  t.same(connected.all, [])
  t.same(insidesOf(app), [])
  t.equal(hubOf(app).admission.size, 0)
  t.equal(hubOf(app).deadlines.size, 0)
})

t.test('the text of a pattern stands for its topics, and for no others', async (t) => {
  const app = await live(t, { tokens: { secret: SECRET } })
  for (const pattern of ['rooms/:id', 'rooms/*', 'rooms-secret/:id', 'files/*']) app.topic(pattern, { authorize: 'token' })
  app.stream('/hear/*', { topics: (request) => (request.params as { '*': string })['*'] })
  const hears = async (names: string[], topic: string): Promise<boolean> => {
    const { statusCode } = await app.inject({ method: 'HEAD', url: `/hear/${encodeURIComponent(topic)}`, headers: bearer(made(holding(rights(names)))) })
    return statusCode === 200
  }
  const CASES: Array<[names: string[], topic: string, hears: boolean]> = [
    [['rooms/:id'], 'rooms/1', true], [['rooms/:id'], 'rooms/1/2', false], [['rooms/:id'], 'rooms-secret/1', false],
    [['rooms/*'], 'rooms-secret/1', false], [['rooms/*'], 'rooms/1/2', true], [['rooms/*'], 'rooms/1', false],
    [['rooms*'], 'rooms-secret/1', false], [['rooms'], 'rooms/1', false], [['rooms/:x'], 'rooms/1', false],
    [['files/*'], 'files/a', true], [['files/*'], 'files/a/b', true], [['files/a'], 'files/a/b', false],
    // A client's "*" is a name like any other, and no pattern.
    [['rooms/*'], 'rooms/%2A', false], [['rooms/%2A'], 'rooms/%2A', true], [['rooms/%2A'], 'rooms/1', false]
  ]
  for (const [names, topic, expected] of CASES) t.equal(await hears(names, topic), expected, `${names.join()} and ${topic}`)
})

t.test('a cookie\'s user with another user\'s token is refused, with its own it is let in', async (t) => {
  const { app } = await rooms(t)
  const token = made(holding(rights(['rooms/1'])))
  const refusal = { statusCode: 401, body: { code: 'FST_ERR_REALTIME_TOKEN_INVALID', message: /another user/ } }
  const eve = { user: 'eve' }
  t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers: { ...eve, ...bearer(token) } })), refusal)
  t.match(await refusalOf(connectChannel(app, '/channel/1', { t, headers: { ...eve, ...bearer(token) } })), refusal)
  t.match(await (await openWith(t, app, '/channel/1', token, eve)).ended, { code: 4403 })
  const own = await openWith(t, app, '/channel/1', token, { user: 'ada' })
  t.match((await own.next('realtime:subscribed')).data, { topic: 'rooms/1', expires: Number })
  const hall = await openWith(t, app, '/lobby', undefined, eve)
  await hall.next('realtime:subscribed')
  tell(hall, { op: 'subscribe', topic: 'rooms/1', token, ref: 1 })
  t.match((await hall.next('realtime:reply:1')).data, { op: 'error', code: 'TOKEN_INVALID' })
  tell(hall, { op: 'refresh', token, ref: 2 })
  t.match((await hall.next('realtime:reply:2')).data, { op: 'error', code: 'TOKEN_INVALID' })
  tell(hall, { op: 'subscribe', topic: 'rooms/1', token: made(holding({ sub: 'eve', ...rights(['rooms/1']) })), ref: 3 })
  t.match((await hall.next('realtime:subscribed')).data, { topic: 'rooms/1', ref: 3 })
})

t.test('who brings nothing with the upgrade is judged at open: identity, token topics and onConnect', async (t) => {
  const { app, connected } = await rooms(t)
  const client = await openWith(t, app, '/channel/1', made(holding({ sub: 'ben', ...rights(['rooms/1'], ['rooms/1']) })))
  t.match((await client.next('realtime:subscribed')).data, { topic: 'rooms/1', expires: Number })
  t.equal(await client.request('who'), 'ben')
  t.same(connected.all, ['ben'])
  const nobody = await openWith(t, app, '/lobby', undefined)
  await nobody.next('realtime:subscribed')
  t.equal(connected.all.length, 2)
  t.match(connected.all[1], /^anonymous:/)
  tell(nobody, { op: 'subscribe', topic: 'rooms/1', ref: 1 })
  t.match((await nobody.next('realtime:reply:1')).data, { op: 'error', code: 'TOKEN_MISSING' })
  tell(nobody, { op: 'refresh', token: made(holding(rights(['rooms/1']))), ref: 2 })
  t.match((await nobody.next('realtime:reply:2')).data, { op: 'error', code: 'TOKEN_INVALID' }, 'nobody becomes somebody')
})

t.test('an order that came while nobody knew who it is concerns who it turns out to be', async (t) => {
  for (const order of ['disconnect', 'revoke'] as const) {
    const { app, room } = await rooms(t)
    const ordered = gate()
    const connecting = connectChannel(app, '/channel/1', { t, format: 'envelope', token: async () => { await ordered.passed; return made(holding(rights(['rooms/1']))) } })
    while (insidesOf(app).length === 0) await new Promise(setImmediate)
    if (order === 'disconnect') await app.realtime.disconnect({ identity: 'ada' }, { code: 4001, text: 'out' })
    else await app.realtime.revoke({ identity: 'ada' }, 'rooms/1')
    ordered.open()
    const client = await connecting
    if (order === 'disconnect') t.match(await client.ended, { code: 4001 })
    else t.match((await client.next('realtime:unsubscribed')).data, { topic: 'rooms/1' })
    await room.publish({ id: '1' }, 'said', 'secret')
    await client.close()
    t.notMatch(JSON.stringify(client.events), /secret/)
  }
})

t.test('claims are shown to authorize, and bound what it grants', async (t) => {
  const { app, asked } = await rooms(t)
  const client = await openWith(t, app, '/lobby', undefined, bearer(made(holding({ role: 'admin' }))))
  await client.next('realtime:subscribed')
  tell(client, { op: 'subscribe', topic: 'claimed/ada', ref: 1 })
  const { data } = await client.next('realtime:subscribed') as { data: { expires: number } }
  t.ok(data.expires > 0 && data.expires <= 60_000)
  t.match(asked.all, [{ action: 'subscribe', claims: { sub: 'ada', role: 'admin', exp: Number } }])
  tell(client, { op: 'subscribe', topic: 'claimed/ben', ref: 2 })
  t.match((await client.next('realtime:reply:2')).data, { op: 'error', code: 'FORBIDDEN' })
})

t.test('a token says where its bearer may relay to', async (t) => {
  const { app } = await rooms(t)
  for (const [publish, answer] of [[['rooms/1'], undefined], [['rooms/:id'], undefined], [['rooms/2'], 'FORBIDDEN'], [[], 'FORBIDDEN']] as const) {
    const client = await openWith(t, app, '/channel/1', made(holding(rights(['rooms/1'], [...publish]))))
    await client.next('realtime:subscribed')
    t.equal(await client.request('wave', {}).then(() => undefined, ({ code }: { code: string }) => code), answer)
    await client.close()
  }
})

t.test('a token that ends takes its bearer with it; refresh extends all in place, without a gap', async (t) => {
  const { app, room } = await rooms(t)
  const brief = () => made({ sub: 'ada', iat: seconds(), exp: Date.now() / 1000 + 0.3, ...rights(['rooms/1', 'rooms/2']) })
  const [left, kept] = [await openWith(t, app, '/channel/1', brief()), await openWith(t, app, '/channel/1', brief())]
  await Promise.all([left, kept].map(async (client) => await client.next('realtime:subscribed')))
  tell(kept, { op: 'refresh', token: made(holding(rights(['rooms/1']))), ref: 'r' })
  t.match((await kept.next('realtime:refreshed')).data, { ref: 'r', expires: Number })
  t.match(await left.ended, { code: 4401 })
  await room.publish({ id: '1' }, 'said', 'still here')
  t.equal((await kept.next('said')).data, 'still here')
  t.equal((await connectStream(app, '/stream/1', { t, headers: bearer(brief()) }).then(async (stream) => { await stream.ended; return 'ended' })), 'ended')
})

t.test('a refresh with narrower claims takes topics; another\'s, and what does not hold, changes nothing', async (t) => {
  const { app, room } = await rooms(t)
  const wide = made(holding(rights(['rooms/:id'])))
  const client = await openWith(t, app, '/channel/1', wide)
  await client.next('realtime:subscribed')
  for (const topic of ['rooms/2', 'claimed/ada']) {
    tell(client, { op: 'subscribe', topic, ref: topic })
    await client.next('realtime:subscribed')
  }
  const WRONG: Array<[unknown, string]> = [
    [made(holding({ sub: 'eve', ...rights(['rooms/:id']) })), 'TOKEN_INVALID'], [made(holding(), { secret: OTHER_SECRET }), 'TOKEN_INVALID'],
    [made({ ...holding(), exp: seconds() - 60 }), 'EXPIRED'], ['', 'TOKEN_INVALID'], ['x'.repeat(10_000), 'TOKEN_INVALID'], [7, 'INVALID_FRAME'], [null, 'INVALID_FRAME'], [undefined, 'INVALID_FRAME']
  ]
  for (const [ref, [token, code]] of WRONG.entries()) {
    tell(client, { op: 'refresh', token, ref })
    t.match((await client.next(`realtime:reply:${ref}`)).data, { op: 'error', code }, String(ref))
  }
  t.same(app.realtime.connections()[0]?.topics.sort(), ['claimed/ada', 'rooms/1', 'rooms/2'])
  tell(client, { op: 'refresh', token: made(holding(rights(['rooms/1']))) })
  t.same((await client.next('realtime:unsubscribed')).data, { op: 'unsubscribed', topic: 'rooms/2', reason: 'refused' })
  await client.next('realtime:refreshed')
  t.same(app.realtime.connections()[0]?.topics.sort(), ['claimed/ada', 'rooms/1'])
  await room.publish({ id: '2' }, 'said', 'secret')
  await room.publish({ id: '1' }, 'said', 'hello')
  t.equal((await client.next('said')).data, 'hello')
})

t.test('a topic that is still being joined is taken by a narrower token too', async (t) => {
  const [asked, passed] = [gate(), gate()]
  const adapter = memory()
  const subscribe = adapter.subscribe.bind(adapter)
  adapter.subscribe = async (topic, durable) => {
    if (topic === 'rooms/2') {
      asked.open()
      await passed.passed
    }
    return await subscribe(topic, durable)
  }
  const app = await live(t, { adapter, tokens: { secret: SECRET } })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  const joining = gate<Promise<void>>()
  app.channel('/', { subscribe: room, messages: { go: { handler: (_data, { connection }) => { joining.open(connection.subscribe(room.at({ id: '2' }))) } } } })
  const client = await connectChannel(app, '/', { t, format: 'envelope', token: made(holding(rights(['rooms/:id']))) })
  await client.next('realtime:open')
  await client.request('go')
  await asked.passed
  tell(client, { op: 'refresh', token: made(holding(rights(['rooms/1']))) })
  await client.next('realtime:refreshed')
  passed.open()
  await (await joining.passed)
  t.same(app.realtime.connections()[0]?.topics, [])
  await room.publish({ id: '2' }, 'said', 'secret')
  await client.close()
  t.notMatch(JSON.stringify(client.events), /secret/)
})

t.test('what brings a token late and never says open costs no more than any other', async (t) => {
  const { app, connected } = await rooms(t)
  const never = gate<string>()
  const connecting = connectChannel(app, '/channel/1', { t, format: 'envelope', token: async () => await never.passed })
  while (insidesOf(app).length === 0) await new Promise(setImmediate)
  t.equal(hubOf(app).admission.size, 1)
  await app.realtime.disconnect({ connection: app.realtime.connections()[0]?.id as string })
  while (hubOf(app).admission.size > 0) await new Promise(setImmediate)
  t.same([insidesOf(app).length, connected.all.length, hubOf(app).deadlines.size], [0, 0, 0])
  never.open('')
  await connecting
})

t.test('an expired token, and one that is cut, in open: come back with another, or do not', async (t) => {
  const { app } = await rooms(t)
  t.match(await (await openWith(t, app, '/channel/1', made({ ...holding(rights(['rooms/1'])), exp: seconds() - 60 }))).ended, { code: 4401 })
  t.match(await (await openWith(t, app, '/channel/1', made(holding(rights(['rooms/1']))).slice(0, -1))).ended, { code: 4403 })
  t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers: bearer(made({ ...holding(), exp: seconds() - 60 })) })), { statusCode: 401, body: { code: 'FST_ERR_REALTIME_EXPIRED' } })
})

t.test('one of one\'s own: verify, with whatever it gives, throws or never settles', async (t) => {
  let verify: (token: string, request: FastifyRequest) => unknown = () => ({})
  const { app } = await rooms(t, { joinTimeout: 50, tokens: { verify: ((token: string, request: FastifyRequest) => verify(token, request)) as never } })
  const ask = async () => {
    const { statusCode, payload } = await app.inject({ method: 'HEAD', url: '/stream/1', headers: bearer('opaque') })
    return payload === '' ? statusCode : payload
  }
  const cyclic: Record<string, unknown> = holding(rights(['rooms/1']))
  cyclic.self = cyclic
  const good = holding(rights(['rooms/1']))
  const CASES: Array<[string, () => unknown, number]> = [
    ['claims', () => good, 200], ['a promise of them', async () => good, 200], ['a class of them', () => Object.assign(new (class Claims {})(), good), 200],
    ['nothing', () => undefined, 401], ['null', () => null, 401], ['true', () => true, 401], ['text', () => 'ada', 401], ['an array', () => [good], 401],
    ['no sub', () => ({ ...good, sub: undefined }), 401], ['a sub that is a number', () => ({ ...good, sub: 7 }), 401], ['no exp', () => ({ ...good, exp: undefined }), 401],
    ['an end that is over', () => ({ ...good, exp: seconds() - 60 }), 401], ['a circle', () => cyclic, 401], ['a BigInt', () => ({ ...good, big: 1n }), 401],
    ['a poisoned member', () => JSON.parse('{"sub":"ada","exp":9999999999,"__proto__":{"admin":true}}') as object, 401],
    ['a throw', () => { throw new Error('no') }, 401], ['a thenable that rejects with null', () => ({ then: (_resolve: unknown, reject: (why: null) => void) => reject(null) }), 401], ['a rejection', async () => { throw Object.assign(new Error('no'), { statusCode: 403 }) }, 401],
    ['what cannot be checked now', () => { throw Object.assign(new Error('no keys'), { statusCode: 503 }) }, 503], ['one that never settles', async () => await new Promise(() => {}), 503]
  ]
  for (const [what, code, status] of CASES) {
    verify = code
    t.equal(await ask(), status, what)
  }
  let seen: unknown
  verify = (token, request) => { seen = [token, request.url]; return good }
  await ask()
  t.same(seen, ['opaque', '/stream/1'])
})

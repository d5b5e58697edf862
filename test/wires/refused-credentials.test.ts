/** `disconnect(…, { revoke: true })`: what was issued before is refused, everywhere and from then on; a new login works. */
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { memory, type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { codeOf, gate, live, refusalOf } from '../helpers/app.ts'
import { hubOf, insidesOf, revocationOf } from '../helpers/insides.ts'
import { bearer, holding, made, SECRET, seconds } from '../helpers/tokens.ts'

// The plugin's timers keep no process alive, and clients in memory have no socket that would.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

const REVOKED = { statusCode: 401, body: { code: 'FST_ERR_REALTIME_REVOKED' } }
const rights = { realtime: { subscribe: ['rooms/:id'] } }
const old = (more: object = {}) => made(holding({ iat: seconds() - 5, ...rights, ...more }))

async function serve (t: Test, options: RealtimeOptions = {}): Promise<FastifyInstance> {
  const app = await live(t, { tokens: { secret: SECRET }, ...options })
  const room = app.topic('rooms/:id', { authorize: 'token' })
  app.topic('lobby')
  app.stream('/stream/:id', { topics: room })
  app.channel('/channel/:id', { topics: room, subscribe: room })
  app.stream('/lobby', { topics: 'lobby' })
  return app
}

t.test('old tokens are out on every way in, and a new one is in at once', async (t) => {
  const app = await serve(t)
  const token = old()
  const stream = await connectStream(app, '/stream/1', { t, headers: bearer(token) })
  const channel = await connectChannel(app, '/channel/1', { t, format: 'envelope', token })
  await channel.next('realtime:subscribed')
  await app.realtime.disconnect({ identity: 'ada' }, { code: 4001, text: 'signed out', revoke: true })
  t.match(await channel.ended, { code: 4001, reason: 'signed out' })
  await stream.ended
  for (const again of [token, old({ iat: undefined }), old({ iat: seconds() })]) {
    t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers: bearer(again) })), REVOKED)
    t.match(await refusalOf(connectChannel(app, '/channel/1', { t, headers: bearer(again) })), REVOKED)
    t.match(await (await connectChannel(app, '/channel/1', { t, format: 'envelope', token: again })).ended, { code: 4403 })
  }
  t.match(await refusalOf(connectStream(app, '/lobby', { t, headers: bearer(token) })), REVOKED, 'never as nobody')
  const login = app.realtime.sign({ sub: 'ada', subscribe: 'rooms/:id' })
  const back = await connectChannel(app, '/channel/1', { t, format: 'envelope', token: login })
  await back.next('realtime:subscribed')
  for (const [ref, op] of [['s', 'subscribe'], ['r', 'refresh']] as const) {
    back.sendRaw(JSON.stringify({ op, topic: 'rooms/2', token, ref }))
    t.match((await back.next(`realtime:reply:${ref}`)).data, { op: 'error', code: 'REVOKED' }, op)
  }
  await connectStream(app, '/stream/1', { t, headers: bearer(old({ sub: 'ben' })) })
  t.equal(insidesOf(app).length, 2)
})

t.test('logins of request.user are refused by their iat; sessions are the app\'s to end', async (t) => {
  let issuedAt: number | undefined = Date.now() - 5000
  const app = await live(t, { identify: () => ({ id: 7, ...(issuedAt !== undefined && { issuedAt }) }) })
  app.topic('lobby')
  app.stream('/lobby', { topics: 'lobby' })
  const before = await connectStream(app, '/lobby', { t })
  await app.realtime.disconnect({ identity: 7 }, { revoke: true })
  await before.ended
  t.match(await refusalOf(connectStream(app, '/lobby', { t })), REVOKED)
  issuedAt = Date.now() + 1
  await connectStream(app, '/lobby', { t })
  issuedAt = undefined
  await connectStream(app, '/lobby', { t })
})

t.test('who is on the way in when the order is given is out, wherever it is held', async (t) => {
  for (const step of ['verify', 'authorize', 'identify', 'onConnect'] as const) {
    const [held, passed] = [gate(), gate()]
    const hold = async (here: string): Promise<void> => {
      if (here !== step) return
      held.open()
      await passed.passed
    }
    const claims = { ...holding(rights), iat: seconds() - 5 }
    const app = await live(t, { tokens: { verify: async () => { await hold('verify'); return claims } }, identify: async () => { await hold('identify'); return null } })
    app.topic('rooms/:id', { authorize: async () => { await hold('authorize'); return true } })
    app.stream('/stream/:id', { topics: 'rooms/:id', onConnect: async () => await hold('onConnect') })
    const connecting = connectStream(app, '/stream/1', { t, headers: bearer('opaque') })
    await held.passed
    await app.realtime.disconnect({ identity: 'ada' }, { revoke: true })
    passed.open()
    const client = await connecting.catch((error: { statusCode?: number }) => { t.ok(error.statusCode, step) })
    await client?.ended
    t.same(insidesOf(app), [], step)
    await app.realtime.publish('rooms/1', 'said', 'secret')
    t.notMatch(JSON.stringify(client?.events ?? []), /secret/)
  }
})

t.test('a node that starts later knows, and one that heard nothing learns it', async (t) => {
  // Two apps on one adapter's store: what the adapter keeps is all that they share.
  const kept = new Map<string, number>()
  const marks = () => Object.assign(memory(), {
    mark: async (_space: string, key: string, at: number) => { kept.set(key, Math.max(at, kept.get(key) ?? 0)); return true },
    marks: async () => new Map(kept)
  })
  const first = await serve(t, { adapter: marks() })
  await first.realtime.disconnect({ identity: 'ada' }, { revoke: true })
  const later = await serve(t, { adapter: marks() })
  t.match(await refusalOf(connectStream(later, '/stream/1', { t, headers: bearer(old()) })), REVOKED)
  const [ben, new_] = [await connectStream(later, '/stream/1', { t, headers: bearer(old({ sub: 'ben' })) }), await connectStream(later, '/stream/1', { t, headers: bearer(later.realtime.sign({ sub: 'ada', subscribe: 'rooms/1' })) })]
  await first.realtime.disconnect({ identity: 'ben' }, { revoke: true })
  t.equal(insidesOf(later).length, 2, 'it has not heard')
  hubOf(later).resync()
  await ben.ended
  t.match(await refusalOf(connectStream(later, '/stream/1', { t, headers: bearer(old({ sub: 'ben' })) })), REVOKED)
  await later.realtime.publish('rooms/1', 'said', 1)
  t.equal((await new_.next('said')).data, 1, 'a newer login stays')
  kept.clear()
  hubOf(first).resync()
  while (kept.size < 2) await new Promise(setImmediate)
  t.same([...kept.keys()].sort(), ['ada', 'ben'], 'what the adapter has lost it is told again')
})

t.test('an adapter that fails, lies or is full is told, and nothing is half done', async (t) => {
  let answer: () => Promise<boolean> = async () => true
  let marks: () => Promise<ReadonlyMap<string, number>> = async () => new Map()
  const adapter = Object.assign(memory(), { mark: async () => await answer(), marks: async () => await marks() })
  const app = await serve(t, { adapter, maxRevocations: 2 })
  const client = await connectStream(app, '/stream/1', { t, headers: bearer(old()) })
  answer = async () => false
  t.equal(await codeOf(async () => await app.realtime.disconnect({ identity: 'ada' }, { revoke: true })), 'FST_ERR_REALTIME_REVOCATIONS_FULL')
  answer = async () => { throw Object.assign(new Error('away'), { code: 'AWAY' }) }
  t.equal(await codeOf(async () => await app.realtime.disconnect({ identity: 'ada' }, { revoke: true })), 'AWAY')
  await app.realtime.publish('rooms/1', 'said', 1)
  t.equal((await client.next('said')).data, 1)
  marks = async () => { throw new Error('away') }
  hubOf(app).resync()
  // A moment that is no clock's would refuse for ever.
  marks = async () => new Map([['eve', 8e15]])
  await new Promise(setImmediate)
  hubOf(app).resync()
  while (revocationOf(app).identities.size === 0) await new Promise(setImmediate)
  t.match(await refusalOf(connectStream(app, '/stream/1', { t, headers: bearer(old({ sub: 'eve' })) })), REVOKED)
  const { identities } = revocationOf(app)
  t.ok(identities.at('eve') as number <= Date.now() + 300_000)
})

t.test('orders that are not understood are ignored, and as many identities are kept as may be', async (t) => {
  const app = await serve(t, { maxRevocations: 3 })
  const { node } = hubOf(app)
  const before = app.realtime.stats().ignored
  const WRONG: object[] = [{}, { identity: '' }, { identity: 7, at: 1 }, { identity: 'ada' }, { identity: 'ada', at: '1' }, { identity: 'ada', at: null }, { identity: 'ada', at: -1 }, { identity: 'x'.repeat(5000), at: Date.now() }]
  for (const order of WRONG) await node.order({ op: 'revoke', ...order })
  t.equal(app.realtime.stats().ignored - before, WRONG.length)
  for (let i = 0; i < 100; i++) await node.order({ op: 'revoke', identity: `user ${i}`, at: Date.now() })
  t.equal(revocationOf(app).identities.size, 3)
  t.equal(await codeOf(async () => await app.realtime.disconnect({ identity: 'ada' }, { revoke: true })), 'FST_ERR_REALTIME_REVOCATIONS_FULL')
  await app.realtime.disconnect({ identity: 'user 99' }, { revoke: true })
  t.equal(await codeOf(async () => await app.realtime.disconnect({ identity: 'one more', topic: 'lobby' }, { revoke: true })), 'FST_ERR_REALTIME_TARGET')
  t.equal(await codeOf(async () => await app.realtime.disconnect({ topic: 'lobby' }, { revoke: true })), 'FST_ERR_REALTIME_TARGET')
  for (const revoke of [1, 'yes', null]) t.equal(await codeOf(async () => await app.realtime.disconnect({ identity: 'ada' }, { revoke } as never)), 'FST_ERR_REALTIME_OPTION_INVALID')
})

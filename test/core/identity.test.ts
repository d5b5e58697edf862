/** An identity's id is text, whatever the app gives; what is no identity is said to be none. */
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { identityId, readIdentity } from '../../lib/core/identity.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { codeOf, live, refusalOf } from '../helpers/app.ts'

const IDS: ReadonlyArray<[unknown, string]> = [['ada', 'ada'], [42, '42'], [0, '0'], [-0, '0'], [-7, '-7'], [1.5, '1.5'], [42n, '42'], [2n ** 70n, String(2n ** 70n)], [' ', ' '], ['anonymous:x', 'anonymous:x'], ['x'.repeat(4096), 'x'.repeat(4096)]]
const NO_IDS: readonly unknown[] = [undefined, null, '', NaN, Infinity, -Infinity, 2 ** 53, 1e21, true, false, {}, [], ['ada'], { toString: () => 'ada' }, Object('ada'), Symbol('ada'), () => 'ada', new Date(0), 'x'.repeat(4097)]

t.test('an id is its text', async (t) => {
  for (const [id, text] of IDS) {
    t.equal(identityId(id), text)
    t.equal(readIdentity({ id })?.id, text)
  }
  for (const id of NO_IDS) t.equal(identityId(id), undefined)
})

t.test('nobody is nobody, and what is no identity throws', async (t) => {
  t.equal(readIdentity(undefined), undefined)
  t.equal(readIdentity(null), undefined)
  for (const given of ['ada', '', 42, 0, 42n, true, false, Symbol('ada'), () => ({ id: 'ada' }), ['ada'], {}, new Map([['id', 'ada']]), ...NO_IDS.map((id) => ({ id }))]) {
    t.throws(() => readIdentity(given), { code: 'FST_ERR_REALTIME_IDENTITY_INVALID', statusCode: 500 })
  }
})

t.test('what else the app gives stays: its class, its members, and what it holds itself', async (t) => {
  class User {
    readonly id: number
    name = 'Ada'
    constructor (id: number) { this.id = id }
    get shout (): string { return this.name.toUpperCase() }
  }
  const given = Object.freeze(new User(42))
  const identity = readIdentity(given) as unknown as User
  t.equal(identity.id, '42')
  t.ok(identity instanceof User)
  t.equal(identity.shout, 'ADA')
  t.equal(given.id, 42, 'the app\'s own is not touched')
  const text = { id: 'ada' }
  t.equal(readIdentity(text), text, 'one that is right is taken as it is')
  t.equal(readIdentity(Object.create({ id: 7 }))?.id, '7')
  t.equal(readIdentity({ get id () { return 7n } })?.id, '7')
  const hostile = readIdentity(JSON.parse('{"id":7,"__proto__":{"admin":true}}') as object) as unknown as { admin?: boolean }
  t.equal(hostile.admin, undefined)
})

t.test('identify may give a number: the connection has its text, and orders find it by either', async (t) => {
  let given: unknown = 42
  const app = await live(t, { identify: () => ({ id: given }) as never })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.channel('/channel', { topics: 'news' })
  for (const [id, text] of IDS.filter(([id]) => String(id).length < 100)) {
    for (const target of [id, text]) {
      given = id
      const clients = [await connectStream(app, '/stream', { t }), await connectChannel(app, '/channel', { t })]
      t.same(app.realtime.connections().map(({ identity }) => identity.id), [text, text])
      await app.realtime.disconnect({ identity: target as string })
      await Promise.all(clients.map(async (client) => await client.ended))
      t.same(app.realtime.connections(), [])
    }
  }
})

t.test('identify that gives no identity is the server\'s fault, on both wires; null is nobody', async (t) => {
  let given: unknown
  const app = await live(t, { identify: (async () => given) as RealtimeOptions['identify'] as never })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.channel('/channel', { topics: 'news' })
  for (given of ['ada', {}, { id: {} }, { id: NaN }, { id: '' }, { id: null }, 42, false, []]) {
    const wrong = { statusCode: 500, body: { code: 'FST_ERR_REALTIME_IDENTITY_INVALID', message: /non-empty string/ } }
    t.match(await refusalOf(connectStream(app, '/stream', { t })), wrong)
    t.match(await refusalOf(connectChannel(app, '/channel', { t })), wrong)
  }
  for (given of [null, undefined]) {
    await connectStream(app, '/stream', { t })
    const { id, anonymous } = app.realtime.connections().at(-1)?.identity ?? {}
    t.equal(anonymous, true)
    await app.realtime.disconnect({ identity: id as string })
    t.same(app.realtime.connections(), [], 'one that is nobody can be named by the id it got')
  }
})

t.test('without identify it is what other plugins have put into request.user', async (t) => {
  const app = await live(t)
  let user: unknown
  app.decorateRequest('user', null)
  app.addHook('onRequest', async (request) => { (request as FastifyRequest & { user?: unknown }).user = user })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  for (const [given, id] of [[{ id: 7, name: 'Ada' }, '7'], [{ sub: 'ada' }, 'ada'], [{ id: 7n }, '7'], [{ id: 0 }, '0'], [{ id: '', sub: 'ada' }, 'ada'], [{ id: 'ben', sub: 'ada' }, 'ben']] as const) {
    user = given
    const client = await connectStream(app, '/stream', { t })
    t.match(app.realtime.connections()[0]?.identity, { ...given, id })
    await client.close()
  }
  for (user of [null, undefined, 'ada', {}, { id: {} }, { sub: NaN }]) {
    const client = await connectStream(app, '/stream', { t })
    t.equal(app.realtime.connections()[0]?.identity.anonymous, true)
    await client.close()
  }
})

t.test('a target names somebody, or it is refused', async (t) => {
  const app = await live(t)
  const room = app.topic('rooms/:id')
  await app.ready()
  const wrong: unknown[] = [undefined, null, {}, [], 'eve', 42, { user: 'eve' }, { identity: 'eve', user: 'eve' }, { connection: '' }, { connection: 7 }, { topic: '' }, { topic: 7 }, { topic: {} },
    // What is not there widens the target to all whom the rest fits.
    { identity: undefined, topic: 'rooms/1' }, { topic: 'rooms/1', connection: undefined }, ...NO_IDS.map((identity) => ({ identity }))]
  for (const target of wrong) {
    t.equal(await codeOf(async () => await app.realtime.disconnect(target as never)), 'FST_ERR_REALTIME_TARGET')
    t.equal(await codeOf(async () => await app.realtime.revoke(target as never, 'rooms/1')), 'FST_ERR_REALTIME_TARGET')
  }
  for (const target of [{ identity: 42 }, { identity: 42n }, { identity: 'anonymous:x' }, { connection: 'x' }, { topic: 'rooms/1' }, { topic: room.at({ id: '1' }) }, { identity: 1, connection: 'x', topic: 'rooms/1' }]) {
    await app.realtime.disconnect(target)
    await app.realtime.revoke(target, room.at({ id: '1' }))
  }
  t.equal(await codeOf(async () => await app.realtime.disconnect({ topic: 'nowhere' })), 'FST_ERR_REALTIME_TOPIC_UNKNOWN')
})

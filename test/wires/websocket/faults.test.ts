/** What counts as a fault of a client's, and how much of it is logged. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { ChannelOptions, Connection } from '../../../lib/index.ts'
import { connectionsOf, Log, openChannel, openEnvelope, serve, turn, type Channel, type Json } from '../../conformance/clients.ts'
import { codeOf } from '../../helpers/app.ts'

const failing = (error: unknown) => ({ handler: () => { throw error } })
const coded = (code: string, statusCode: number) => Object.assign(new Error('no'), { code, statusCode })

const MESSAGES: Record<string, { handler: () => unknown } | { relay: { topic: string } }> = {
  fails: failing(new Error('broken')),
  rejects: { handler: async () => await Promise.reject(new Error('broken')) },
  'throws nothing': failing(undefined),
  'refuses a right': failing(coded('NOT_YOURS', 403)),
  'knows nobody': failing(coded('WHO', 401)),
  'status only': failing(Object.assign(new Error('no'), { statusCode: 409 })),
  'refuses in its own words': failing(coded('OUTBID', 409)),
  'is not there for now': failing(coded('BUSY', 503)),
  'names no topic': failing(coded('FST_ERR_REALTIME_TOPIC_UNKNOWN', 404)),
  'history is away': failing(coded('FST_ERR_REALTIME_UNAVAILABLE', 503)),
  'unfit reply': { handler: () => ({ type: 'reply', value: 1n }) },
  relayed: { relay: { topic: 'rooms/1' } }
}

async function live (t: Test, log?: Log): Promise<FastifyInstance> {
  return await serve(t, {}, (app) => {
    const rooms = app.topic('rooms/:id', { authorize: (_request, { action, params }) => action === 'subscribe' && params.id === '1' })
    app.topic('hidden/:id', { authorize: () => false })
    app.channel('/', {
      topics: 'rooms/1',
      subscribe: rooms,
      messages: MESSAGES,
      binary: () => { throw new Error('broken') },
      limits: { faults: 5, burst: 10_000 }
    } as unknown as ChannelOptions<'/', object, object, never>)
  }, log)
}

t.test('whatever a client is refused, or makes fail, is a fault; an app\'s own answer and an outage are none', async (t) => {
  const app = await live(t)
  const rows: Array<[what: string, send: object | Buffer | string, code: string, fault: boolean]> = [
    ...(['fails', 'rejects', 'throws nothing', 'status only', 'unfit reply'] as const).map((event): [string, object, string, boolean] => [event, { event, ref: 1 }, 'INTERNAL', true]),
    ['refuses a right', { event: 'refuses a right' }, 'NOT_YOURS', true],
    ['knows nobody', { event: 'knows nobody' }, 'WHO', true],
    ['names no topic', { event: 'names no topic' }, 'FST_ERR_REALTIME_TOPIC_UNKNOWN', true],
    ['refuses in its own words', { event: 'refuses in its own words' }, 'OUTBID', false],
    ['is not there for now', { event: 'is not there for now' }, 'INTERNAL', false],
    ['no such message', { event: 'no such message' }, 'UNKNOWN_MESSAGE', true],
    ['a topic that is refused', { op: 'subscribe', topic: 'rooms/2' }, 'FORBIDDEN', true],
    ['a topic that is not offered', { op: 'subscribe', topic: 'hidden/1' }, 'UNKNOWN_TOPIC', true],
    ['a topic that is not there', { op: 'unsubscribe', topic: 'nowhere' }, 'UNKNOWN_TOPIC', true],
    ['a relay that is refused', { event: 'relayed', data: {} }, 'FORBIDDEN', true],
    ['binary', Buffer.of(1), 'INTERNAL', true],
    ['no JSON', '{', 'INVALID_JSON', true],
    ['a second open', { op: 'open' }, 'INVALID_FRAME', true]
  ]
  for (const [what, frame, code, fault] of rows) {
    const channel = await openEnvelope(t, app, '/')
    for (let n = 0; n < 5; n++) {
      channel.send(frame as Json)
      t.match(await channel.next({ op: 'error' }), { code }, what)
    }
    channel.send(frame as Json)
    t.match(await channel.next({ op: 'error' }), { code }, `${what}: the sixth is answered as well`)
    if (fault) t.equal((await channel.ended).code, 4400, what)
    else {
      channel.send({ op: 'ping' })
      await channel.next({ op: 'pong' })
    }
    await channel.leave()
  }
})

t.test('a plain-JSON client has the same count', async (t) => {
  const app = await live(t)
  const channel = await openChannel(t, app, '/')
  for (let n = 0; n < 6; n++) channel.send({ type: 'fails' })
  for (let n = 0; n < 6; n++) t.match(await channel.next({ type: 'error' }), { code: 'INTERNAL' })
  t.equal((await channel.ended).code, 4400)
})

t.test('150 probes of one client are a few log lines, and then one that says so', async (t) => {
  const log = new Log()
  const app = await serve(t, {}, (app) => {
    const rooms = app.topic('rooms/:id', { authorize: () => { throw new Error('no') } })
    app.channel('/', { subscribe: rooms, messages: { fails: failing(new Error('broken')) }, limits: { faults: 1000, burst: 10_000 } })
  }, log)
  const probe = async (channel: Channel, frame: (n: number) => Json): Promise<void> => {
    for (let n = 0; n < 150; n++) {
      channel.send(frame(n))
      await channel.next({ op: 'error' })
    }
  }
  for (const frame of [(n: number) => ({ op: 'subscribe', topic: `rooms/${n}` }), () => ({ event: 'fails' })]) {
    const channel = await openEnvelope(t, app, '/')
    const before = log.lines.length
    await probe(channel, frame)
    const lines = log.lines.slice(before).filter(({ msg }) => String(msg).startsWith('realtime:'))
    t.equal(lines.length, 11)
    t.match(lines.at(-1), { msg: /skipped for a minute/ })
  }
})

t.test('a reason that no close frame can carry is refused at the call, and the connection stays', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('news')
    app.channel('/', { messages: { echo: { handler: () => ({ type: 'echo' }) } } })
    app.stream('/stream', { topics: 'news' })
  })
  const channel = await openChannel(t, app, '/')
  const [connection] = connectionsOf(app) as [Connection]
  const reasons: unknown[] = [
    { text: 'x'.repeat(124) }, { text: '😀'.repeat(31) }, { text: 'é'.repeat(62) }, { text: 'x'.repeat(6000) }, { text: 'x'.repeat(50_000_000) },
    { text: '\ud83d' }, { text: 42 }, { text: null }, { text: {} }, { reconnect: 'yes' }, { reconnect: 1 }, { reconnect: null }
  ]
  for (const reason of reasons) {
    const what = JSON.stringify(reason).slice(0, 40)
    t.throws(() => connection.close(reason as object), { code: 'FST_ERR_REALTIME_CLOSE_REASON' }, what)
    t.equal(await codeOf(() => app.realtime.disconnect({ connection: connection.id }, reason as object)), 'FST_ERR_REALTIME_CLOSE_REASON', what)
  }
  for (const code of [Symbol('x'), Object.create(null), { toString () { throw new Error('no') } }, 1n]) {
    t.throws(() => connection.close({ code: code as number }), { code: 'FST_ERR_REALTIME_CLOSE_CODE' })
  }
  channel.send({ type: 'echo' })
  t.match(await channel.next(), { type: 'echo' })
  await app.realtime.disconnect({ connection: connection.id }, { code: 4001, text: 'x'.repeat(123) })
  t.same(await channel.ended, { code: 4001, reason: 'x'.repeat(123) })
  while (connectionsOf(app).length > 0) await turn()
})

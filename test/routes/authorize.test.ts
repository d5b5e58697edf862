/** Who may: closed by default. Only `true` lets a client into a topic, on both wires and on every way in. */
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import type { AuthorizeContext } from '../../lib/index.ts'
import { codeOf, live, refusalOf, talkTo } from '../helpers/app.ts'

interface Line { level: number, msg: string, topic?: string }

/** A logger that keeps its lines. */
function recorder (): { lines: Line[], logger: object } {
  const lines: Line[] = []
  return { lines, logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Line) } } } }
}

type Ask = (request: FastifyRequest, context: AuthorizeContext<{ id: string }>) => boolean | Promise<boolean>

/** Answers that are not `true`, as untyped apps give them. */
const REFUSALS: ReadonlyArray<[string, unknown]> = [
  ['undefined', undefined], ['null', null], ['0', 0], ['1', 1], ['-0', -0], ['NaN', NaN], ['0n', 0n], ['1n', 1n], ['an empty string', ''], ['"true"', 'true'],
  ['"anyone"', 'anyone'], ['an empty object', {}], ['an empty array', []], ['[true]', [true]], ['{ allowed: false }', { allowed: false }], ['{ allow: false }', { allow: false }], ['{ allow: 1 }', { allow: 1 }], ['{ allow: "true" }', { allow: 'true' }],
  ['an inherited allow', Object.create({ allow: true })], ['an array that allows', Object.assign([], { allow: true })], ['an expiry alone', { expiresAt: Date.now() + 60_000 }],
  ['an allow that throws', { get allow () { throw new Error('no') } }], ['an expiry that throws', { allow: true, get expiresAt () { throw new Error('no') } }],
  ['a revoked proxy', revoked()],
  ['a boxed true', Object(true)], ['a symbol', Symbol('yes')], ['a function', () => true], ['a Map', new Map([['allow', true]])], ['false', false], ['a Date', new Date(0)]
]

function revoked (): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

async function refused (t: Test, what: string, answer: () => unknown): Promise<void> {
  const app = await live(t)
  let asked = 0
  const room = app.topic('rooms/:id', { authorize: ((_request, { params }) => params.id === 'open' || (asked++, answer())) as Ask })
  app.stream('/stream/:id', { topics: room })
  app.channel('/channel/:id', {
    topics: room,
    subscribe: room,
    messages: { join: { handler: async (_data, { connection }) => await connection.subscribe(room.at({ id: 'closed' })).then(() => 'in', ({ code }: { code: string }) => code) } }
  })
  const forbidden = { statusCode: 403, body: { code: 'FST_ERR_REALTIME_FORBIDDEN' } }
  t.match(await refusalOf(connectStream(app, '/stream/closed', { t })), forbidden, `${what}: a stream`)
  t.match(await refusalOf(connectChannel(app, '/channel/closed', { t })), forbidden, `${what}: a channel`)
  t.equal((await app.inject({ method: 'HEAD', url: '/stream/closed' })).statusCode, 403, `${what}: HEAD`)
  const channel = await talkTo(app, '/channel/open', { t })
  channel.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/closed', ref: 1 }))
  t.match((await channel.next('realtime:reply:1')).data, { op: 'error', code: 'FORBIDDEN' }, `${what}: a subscribe`)
  t.equal(await channel.request('join'), 'FST_ERR_REALTIME_FORBIDDEN', `${what}: the app's own subscribe`)
  t.equal(asked, 5, `${what}: asked each time`)
  t.equal(app.realtime.countLocal('rooms/closed'), 0)
  await channel.close()
}

t.test('whatever is not true refuses, given at once or promised', async (t) => {
  for (const [what, answer] of REFUSALS) {
    await refused(t, what, () => answer)
    await refused(t, `a promise of ${what}`, async () => answer)
  }
  await refused(t, 'a thenable of false', () => ({ then: (resolve: (value: unknown) => void) => resolve(false) }))
  await refused(t, 'a throw', () => { throw new Error('no') })
  await refused(t, 'a rejection', async () => { throw new Error('no') })
})

t.test('true allows, and a promise of it', async (t) => {
  const app = await live(t)
  const answers: Record<string, () => unknown> = { plain: () => true, promised: async () => true, thenable: () => ({ then: (resolve: (value: unknown) => void) => resolve(true) }) }
  const room = app.topic('rooms/:id', { authorize: ((_request: FastifyRequest, { params }: AuthorizeContext<{ id: string }>) => answers[params.id]?.()) as Ask })
  app.stream('/stream/:id', { topics: room })
  for (const id of Object.keys(answers)) await (await connectStream(app, `/stream/${id}`, { t })).close()
})

t.test('undefined, the answer of a lookup that found nothing, is logged with its remedy, once for each declared topic', async (t) => {
  const { lines, logger } = recorder()
  const app = await live(t, {}, { logger })
  for (const name of ['rooms', 'halls']) {
    app.topic(`${name}/:id`, { authorize: ((_request: FastifyRequest, { params }: AuthorizeContext<{ id: string }>) => params.id === 'null' ? null : undefined) as unknown as Ask })
    app.stream(`/${name}/:id`, { topics: `${name}/:id` })
  }
  const warnings = (): Line[] => lines.filter(({ level, msg }) => level >= 40 && msg.startsWith('realtime:'))
  await refusalOf(connectStream(app, '/rooms/null', { t }))
  t.same(warnings(), [], 'null was written on purpose')
  for (const id of ['1', '2', '1']) await refusalOf(connectStream(app, `/rooms/${id}`, { t }))
  await refusalOf(connectStream(app, '/halls/1', { t }))
  t.same(warnings().map(({ topic }) => topic), ['rooms/:id', 'halls/:id'])
  t.match(warnings()[0]?.msg, /authorize returned undefined.*Return true/)
})

t.test('a topic without authorize is guarded by its route\'s hooks, and the app may join it to a connection', async (t) => {
  const app = await live(t)
  app.topic('news')
  const room = app.topic('rooms/:id')
  app.stream('/news', {
    topics: 'news',
    preHandler: async (request) => { if (request.headers.key !== 'fits') throw Object.assign(new Error('no'), { statusCode: 401 }) },
    onConnect: async (connection) => await connection.subscribe(room.at({ id: '1' }))
  })
  t.match(await refusalOf(connectStream(app, '/news', { t })), { statusCode: 401 })
  const stream = await connectStream(app, '/news', { t, headers: { key: 'fits' } })
  await room.publish({ id: '1' }, 'said', 1)
  t.equal((await stream.next('said')).data, 1)
})

t.test('a topic whose params a client chooses must say who may, where it is offered', async (t) => {
  const app = await live(t)
  const [bare, asked, open] = [app.topic('bare/:id'), app.topic('asked/:id', { authorize: () => true }), app.topic('open/:id', { authorize: 'anyone' })]
  const fixed = app.topic('fixed')
  for (const subscribe of [bare, [bare], [asked, bare], [open, asked, fixed]]) {
    const error = await Promise.resolve().then(() => app.channel('/wrong', { subscribe })).then(() => undefined, (error: Error & { code: string }) => error)
    t.match(error, { code: 'FST_ERR_REALTIME_ROUTE_INVALID', message: /"(bare\/:id|fixed)" for "subscribe".*authorize: 'anyone'/ })
  }
  app.channel('/wrong', { subscribe: [asked, open] })
  const channel = await connectChannel(app, '/wrong', { t, format: 'envelope' })
  await channel.next('realtime:open')
  for (const topic of ['asked/1', 'open/1', 'open/%2e%2e']) {
    channel.sendRaw(JSON.stringify({ op: 'subscribe', topic, ref: topic }))
    t.match((await channel.next('realtime:subscribed')).data, { ref: topic })
  }
  t.equal(await codeOf(() => app.topic('late', {})), 'FST_ERR_REALTIME_ALREADY_STARTED')
})

t.test('authorize: "anyone" is the only word that it may be', async (t) => {
  const app = await live(t)
  for (const authorize of ['any', 'Anyone', 'token', '', true, false, null, 1, {}, []]) {
    t.equal(await codeOf(() => app.topic('wrong', { authorize } as never)), 'FST_ERR_REALTIME_OPTION_INVALID', String(authorize))
  }
})

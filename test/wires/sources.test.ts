/** A source from its first word to its end: who waits for it, and what is told to whom. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { mock } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import t from 'tap'
import type { CloseReason, SourceEvent } from '../../lib/index.ts'
import { connectStream, StreamRefused } from '../../lib/testing/index.ts'
import { calls, dial, gate, listen, live } from '../helpers/app.ts'
import { type Source, logged, status, quiet, SSE, counted, ABORTED, hungAfter } from '../helpers/sources.ts'

async function refusal (connecting: Promise<unknown>): Promise<StreamRefused> {
  const error = await connecting.then(() => undefined, (error: unknown) => error)
  if (error instanceof StreamRefused) return error
  throw error ?? new Error('it was not refused')
}

// --- before the first word -----------------------------------------------------------

/** Sources that say nothing, and how their clients are answered. */
const MUTE: Array<[string, Source, number, string]> = [
  ['it throws', () => { throw status(429) }, 429, 'STATUS_429'],
  ['it rejects', async () => { throw status(402) }, 402, 'STATUS_402'],
  ['a generator throws', async function * () { throw status(429) }, 429, 'STATUS_429'],
  ['a generator throws after a while', async function * () {
    await pause(5)
    throw status(402)
  }, 402, 'STATUS_402'],
  ['a sync generator throws', function * () { throw status(403) }, 403, 'STATUS_403'],
  ['next() throws', () => ({ [Symbol.asyncIterator]: () => ({ next () { throw status(429) } }) }), 429, 'STATUS_429'],
  ['next() rejects', () => ({ [Symbol.asyncIterator]: () => ({ next: async () => { throw status(503) } }) }), 503, 'STATUS_503'],
  ['its iterator cannot be had', () => ({ [Symbol.asyncIterator] () { throw status(418) } }), 418, 'STATUS_418'],
  ['an error without a status', async function * () { throw Object.assign(new Error('a fault'), { code: 'FAULT' }) }, 500, 'FAULT'],
  ['an error with a status that is none', async function * () { throw Object.assign(new Error('a fault'), { statusCode: 200, code: 'FAULT' }) }, 500, 'FAULT'],
  ['it throws what is no Error', async function * () { throw { statusCode: 429, code: 'STATUS_429' } }, 429, 'STATUS_429'], // eslint-disable-line no-throw-literal
  ['it is not iterable', () => 5 as never, 500, 'FST_ERR_REALTIME_EVENT_DATA'],
  ['it is nothing', () => undefined as never, 500, 'FST_ERR_REALTIME_EVENT_DATA'],
  ['it yields what is no event', function * () { yield 'text' as SourceEvent }, 500, 'FST_ERR_REALTIME_EVENT_DATA'],
  ['it yields an event of a bad name', function * () { yield { event: 'a\nb' } }, 500, 'FST_ERR_REALTIME_EVENT_NAME_INVALID'],
  ['it yields what JSON has no word for', function * () { yield { data: 1n } }, 500, 'FST_ERR_REALTIME_EVENT_DATA']
]

for (const resumable of [undefined, { key: () => 'one' }]) {
  const kind = resumable ? 'a resumable source' : 'a source'
  t.test(`what ${kind} throws before its first event is the status of everybody who waits for it`, async (t) => {
    let source: Source
    const { app, log } = await logged(t)
    const [came, gone] = [calls(), calls<CloseReason>()]
    app.setErrorHandler((error: Error & { code?: string, statusCode?: number }, _request, reply) => { reply.code(error.statusCode ?? 500).send({ handled: error.code }) })
    app.addHook('onRequest', async (_request, reply: FastifyReply) => { reply.header('x-hook', 'set') })
    app.stream('/answers', {
      source: (request, context) => source(request, context),
      ...(resumable ? { resumable } : {}),
      onConnect: () => came.note(1),
      onDisconnect: (_connection, reason) => gone.note(reason)
    })
    await listen(app)
    let clients = 0
    for (const [name, mute, statusCode, code] of MUTE) {
      source = mute
      const refused = await Promise.all([1, 2].map(async () => await refusal(connectStream(app, '/answers', { t }))))
      for (const { statusCode: answered, headers, body } of refused) {
        t.same([answered, body], [statusCode, { handled: code }], name)
        t.match(headers, { 'content-type': /json/, 'x-hook': 'set' })
        t.notOk('x-accel-buffering' in headers)
      }
      clients += 2
    }
    t.same([came.all.length, (await gone.reach(clients)).length], [clients, clients])
    source = () => [{ event: 'word', data: 'Fish' }]
    const client = await connectStream(app, '/answers', { t })
    t.same((await client.next('word')).data, 'Fish', 'whoever asks then starts it anew')
    await client.close()
    t.notOk(client.events.some(({ event }) => event === 'realtime:aborted'), 'nothing was kept')
    t.same(log.errors(), [], 'an error that a client is answered with is logged by the app\'s error handler, if at all')
    await app.close()
    quiet(t, app)
  })
}

t.test('a status that a hook has set stays', async (t) => {
  const app = await live(t)
  app.stream('/answers', { preHandler: async (_request, reply) => { reply.code(402) }, async * source () { throw new Error('pay first') } })
  t.equal((await app.inject({ url: '/answers', headers: SSE })).statusCode, 402)
})

t.test('what is not an event is let go of: its source is returned', async (t) => {
  const app = await live(t)
  const returned = calls()
  for (const resumable of [false, { key: () => 'one' }]) {
    app.stream(resumable ? '/resumable' : '/plain', { resumable, source: () => counted(async () => ({ done: false, value: 7 }), () => returned.note(1)) })
  }
  await app.ready()
  t.equal((await refusal(connectStream(app, '/plain', { t }))).statusCode, 500)
  await returned.reach(1)
  t.equal((await refusal(connectStream(app, '/resumable', { t }))).statusCode, 500)
  await returned.reach(2)
  await app.close()
  t.equal(returned.all.length, 2)
})

t.test('what a source has ready leaves with the head', async (t) => {
  const app = await live(t)
  app.stream('/sync', { source: () => [{ data: 'first' }] })
  app.stream('/async', {
    async * source () {
      await pause(5)
      yield { data: 'first' }
      await new Promise(() => {})
    }
  })
  await listen(app)
  for (const url of ['/sync', '/async']) {
    const client = await dial(t, app)
    client.ask(`GET ${url}`, SSE)
    const [bytes] = await once(client.socket, 'data') as [string]
    t.match(bytes, /^HTTP\/1\.1 200 OK\r\n[^]*event: realtime:open[^]*data: first/)
    client.socket.destroy()
  }
})

t.test('the head waits for a second at most; a later failure is told, and is no end', async (t) => {
  const { app, log } = await logged(t)
  const asked: Array<ReturnType<typeof gate<Error | undefined>>> = []
  const source: Source = async function * () {
    const told = gate<Error | undefined>()
    asked.push(told)
    const failure = await told.passed
    if (failure) throw failure
    yield { data: 'first' }
  }
  app.stream('/plain', { source })
  app.stream('/late', { source: async (request, context) => { await asked[0]?.passed; return source(request, context) } })
  app.stream('/resumable', { source, resumable: { key: () => 'one' } })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /plain', SSE)
  await client.until('realtime:open')
  const late = await dial(t, app)
  late.ask('GET /late', SSE)
  await late.until('realtime:open')
  asked[0]?.open(status(429))
  await client.closed
  t.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
  t.ok(client.text.includes(ABORTED))
  t.same(log.errors(), ['STATUS_429'])

  const run = await connectStream(app, '/resumable', { t })
  await run.next('realtime:open')
  asked.at(-1)?.open(status(429))
  t.same((await run.next('realtime:aborted')).data, { reason: 'failed' })
  await run.ended
  const again = await connectStream(app, '/resumable', { t })
  t.same((await again.next('realtime:aborted')).data, { reason: 'failed' }, 'that was told, and is kept')
  t.same(log.errors(), ['STATUS_429', 'STATUS_429'])
})

t.test('a clock that a test has stopped holds no head back', async (t) => {
  const app = await live(t)
  app.stream('/next', { source: () => counted(() => new Promise(() => {}), () => {}) })
  await listen(app)
  const client = await dial(t, app)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  client.ask('GET /next', SSE)
  await client.until('realtime:open')
  client.socket.destroy()
})

t.test('a source runs in the context of its request to its end, whoever ends it', async (t) => {
  const app = await live(t)
  const tenants = new AsyncLocalStorage<string>()
  const seen = calls<[string, string | undefined]>()
  const note = (what: string): void => seen.note([what, tenants.getStore()])
  const source: Source = (_request, { signal }) => {
    note('source')
    signal.addEventListener('abort', () => note('abort'))
    const said = hungAfter('Fish')
    return { [Symbol.asyncIterator]: () => ({ next () { note('next'); return said() }, async return () { note('return'); return { done: true, value: undefined } } }) }
  }
  app.addHook('onRequest', (request, _reply, done) => tenants.run(String(request.headers['x-tenant']), done))
  app.stream('/plain', { source })
  app.stream('/resumable', { source, resumable: { key: () => 'one' } })
  await listen(app)
  const ends: Record<string, () => unknown> = {
    '/plain': () => app.realtime.connections()[0]?.close(),
    '/resumable': () => app.realtime.stop('one')
  }
  for (const [url, end] of Object.entries(ends)) {
    const before = seen.all.length
    const client = await dial(t, app)
    client.ask(`GET ${url}`, { ...SSE, 'x-tenant': 'ann' })
    await client.until('data: Fish')
    await seen.reach(before + 3)
    await tenants.run('bob', end)
    const heard = (await seen.reach(before + 5)).slice(before)
    t.same(heard, ['source', 'next', 'next', 'abort', 'return'].map((what) => [what, 'ann']), url)
  }
})

t.test('handlerTimeout answers for a source that takes too long to say something', async (t) => {
  const app = await live(t, {}, { handlerTimeout: 50 })
  const returned = calls()
  app.stream('/answers', { source: () => counted(() => new Promise(() => {}), () => returned.note(1)) })
  await listen(app)
  t.equal((await refusal(connectStream(app, '/answers', { t }))).statusCode, 503)
  await returned.reach(1)
  await app.close()
  t.equal(returned.all.length, 1)
  quiet(t, app)
})

t.test('a source that ends, or throws, by itself is not returned', async (t) => {
  const app = await live(t)
  let returned = 0
  const declare = (url: string, next: () => unknown) => {
    app.stream(`/plain${url}`, { source: () => counted(next, () => returned++) })
    app.stream(`/resumable${url}`, { source: () => counted(next, () => returned++), resumable: { key: () => 'one' } })
  }
  declare('/ends', async () => ({ done: true, value: undefined }))
  declare('/throws', async () => { throw status(404) })
  declare('/garbage', async () => undefined)
  await app.ready()
  for (const kind of ['/plain', '/resumable']) {
    const client = await connectStream(app, `${kind}/ends`, { t })
    await client.ended
    t.equal((await refusal(connectStream(app, `${kind}/throws`, { t }))).statusCode, 404)
    t.equal((await refusal(connectStream(app, `${kind}/garbage`, { t }))).statusCode, 500)
  }
  await app.close()
  t.equal(returned, 0)
})

t.test('HEAD asks no source anything', async (t) => {
  const app = await live(t)
  app.stream('/answers', { source: () => { throw new Error('asked') } })
  t.equal((await app.inject({ method: 'HEAD', url: '/answers', headers: SSE })).statusCode, 200)
})

/** A source from its first word to its end: what it throws, when it ends, and who leaves when, is told to whom it may concern. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { connect as connectHttp2, constants } from 'node:http2'
import { mock } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import type { CloseReason, RealtimeOptions, SourceContext, SourceEvent } from '../../lib/index.ts'
import { connectStream, StreamRefused } from '../../lib/testing/index.ts'
import { calls, dial, gate, listen, live, portOf, type RawClient, type ServerOptions } from '../helpers/app.ts'
import { Log } from '../conformance/clients.ts'

type Events = AsyncIterable<SourceEvent> | Iterable<SourceEvent>
type Source = (request: FastifyRequest, context: SourceContext) => Events | Promise<Events>

const SSE = { accept: 'text/event-stream' }
const ABORTED = 'event: realtime:aborted\ndata: {"reason":"failed"}\n\n'
const WARN = 40

async function logged (t: Test, options: RealtimeOptions = {}, server: ServerOptions = {}): Promise<{ app: FastifyInstance, log: Log }> {
  const log = new Log()
  const app = await live(t, options, { logger: { level: 'debug', stream: log }, ...server })
  return { app, log }
}

/** Nothing of a client is left. */
function quiet (t: Test, app: FastifyInstance): void {
  t.same(app.realtime.connections(), [])
  t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0 }, subscriptions: 0, topics: 0 })
}

const status = (statusCode: number): Error => Object.assign(new Error('not now'), { statusCode, code: `STATUS_${statusCode}` })

async function refusal (connecting: Promise<unknown>): Promise<StreamRefused> {
  const error = await connecting.then(() => undefined, (error: unknown) => error)
  if (error instanceof StreamRefused) return error
  throw error ?? new Error('it was not refused')
}

/** An iterator that counts how often it is let go of. */
function counted (next: () => unknown, returned: () => void): Events {
  return { [Symbol.asyncIterator]: () => ({ next: next as () => Promise<IteratorResult<SourceEvent>>, return: async () => ({ done: true, value: returned() }) }) }
}

// --- leaving ---------------------------------------------------------------------

/** What sources do once their client has left: none of it is an error. */
const LEFT: Record<string, Source> = {
  // As in docs/guides/streams.md.
  async * 'a pause is broken off' (_request, { signal }) {
    yield { event: 'word', data: 'Fish' }
    await pause(60_000, undefined, { signal })
  },
  async * 'a fetch is broken off' (request, { signal }) {
    yield { event: 'word', data: 'Fish' }
    await fetch(`http://127.0.0.1:${request.socket.localPort}/hangs`, { signal })
  },
  async * 'it throws for the signal' (_request, { signal }) {
    yield { event: 'word', data: 'Fish' }
    await once(signal, 'abort')
    signal.throwIfAborted()
  },
  async * 'it throws what is no Error' (_request, { signal }) {
    yield { event: 'word', data: 'Fish' }
    await once(signal, 'abort')
    throw null // eslint-disable-line no-throw-literal
  },
  async * 'its cleanup throws' (_request, { signal }) {
    try {
      yield { event: 'word', data: 'Fish' }
      await once(signal, 'abort')
    } finally {
      throw new Error('cleanup') // eslint-disable-line no-unsafe-finally
    }
  },
  'a sync return() throws': () => ({ [Symbol.asyncIterator]: () => ({ next: hungAfter('Fish'), return () { throw new Error('cleanup') } }) }),
  'a return() rejects': () => ({ [Symbol.asyncIterator]: () => ({ next: hungAfter('Fish'), async return () { throw new Error('cleanup') } }) }),
  'a return() never settles': () => ({ [Symbol.asyncIterator]: () => ({ next: hungAfter('Fish'), return: () => new Promise<never>(() => {}) }) }),
  'it has no return()': () => ({ [Symbol.asyncIterator]: () => ({ next: hungAfter('Fish') }) }),
  async * 'it goes on as if nothing were' () {
    for (;;) {
      yield { event: 'word', data: 'Fish' }
      await pause(1)
    }
  },
  * 'it is a sync generator without an end' () {
    for (;;) yield { event: 'word', data: 'Fish' }
  }
}

function hungAfter (data: string): () => Promise<IteratorResult<SourceEvent>> {
  let said = false
  return () => said ? new Promise<never>(() => {}) : Promise.resolve({ done: false, value: { event: 'word', data: (said = true) && data } })
}

for (const [name, source] of Object.entries(LEFT)) {
  t.test(`when a client leaves, no error is logged: ${name}`, async (t) => {
    const { app, log } = await logged(t)
    const gone = calls<CloseReason>()
    app.get('/hangs', () => new Promise(() => {}))
    app.stream('/answers', { source, onDisconnect: (_connection, reason) => gone.note(reason) })
    await listen(app)
    for (let i = 1; i <= 2; i++) {
      const client = await dial(t, app)
      client.ask('GET /answers', SSE)
      await client.until('data: Fish')
      client.socket.destroy()
      await gone.reach(i)
    }
    await app.close()
    t.same(log.lines.filter(({ level }) => Number(level) >= WARN), [])
    t.ok(gone.all.every(({ name }) => name === 'connection-lost'))
    quiet(t, app)
  })
}

t.test('a run that is stopped logs no error either', async (t) => {
  const { app, log } = await logged(t)
  const returned = calls()
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    async * source (_request, { signal }) {
      try {
        yield { event: 'word', data: 'Fish' }
        await pause(60_000, undefined, { signal })
      } finally {
        returned.note(1)
        throw new Error('cleanup') // eslint-disable-line no-unsafe-finally
      }
    }
  })
  await app.ready()
  const client = await connectStream(app, '/answers', { t })
  await client.next('word')
  t.equal(await app.realtime.stop('one'), true)
  t.same((await client.next('realtime:end')).data, { reason: 'stopped' })
  await returned.reach(1)
  await app.close()
  t.same(log.lines.filter(({ level }) => Number(level) >= WARN), [])
})

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

// --- in mid-stream ---------------------------------------------------------------------

/** Says one thing, and fails. */
const FAILING: Record<string, Source> = {
  async * 'it throws' () {
    yield { data: 'first' }
    throw status(429)
  },
  * 'it is sync, and throws' () {
    yield { data: 'first' }
    throw status(429)
  },
  async * 'it throws nothing' () {
    yield { data: 'first' }
    throw undefined // eslint-disable-line no-throw-literal
  },
  async * 'it yields what is no event' () {
    yield { data: 'first' }
    yield null as never
  }
}

async function failing (t: Test, source: Source, server: ServerOptions = {}) {
  const { app, log } = await logged(t, {}, server)
  const gone = calls<CloseReason>()
  app.stream('/answers', { source, onDisconnect: (_connection, reason) => gone.note(reason) })
  return { app, log, gone }
}

/** All bytes until the server has closed. */
async function textOf (t: Test, app: FastifyInstance, request: (client: RawClient) => void): Promise<string> {
  const client = await dial(t, app)
  request(client)
  await client.closed
  return client.text
}

for (const [name, source] of Object.entries(FAILING)) {
  t.test(`a source that fails in mid-stream is told so, and its response is cut: ${name}`, async (t) => {
    const { app, log, gone } = await failing(t, source)
    const url = await listen(app)
    const text = await textOf(t, app, (client) => client.ask('GET /answers', SSE))
    t.match(text, /data: first\n\n/)
    t.ok(text.endsWith(`${ABORTED}\r\n`), 'the last words are a chunk of their own, and no last chunk follows')
    await t.rejects((async () => await (await fetch(`${url}/answers`, { headers: SSE })).text())(), 'a client that reads it whole is told that it is not whole')
    t.match(await textOf(t, app, (client) => client.send('GET /answers HTTP/1.0\r\n\r\n')), ABORTED, 'HTTP/1.0 has no other word for it')
    await t.rejects(app.inject({ url: '/answers', headers: SSE }), { code: 'LIGHT_ECONNRESET' })
    for (const reason of await gone.reach(4)) t.equal(reason.name, 'internal-error')
    t.equal(log.errors().length, 4)
    await app.close()
    quiet(t, app)
  })
}

t.test('over HTTP/2 its stream is reset, behind all that was said', async (t) => {
  const { app, gone } = await failing(t, FAILING['it throws'] as Source, { http2: true })
  await listen(app)
  const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/answers', ...SSE })
  let text = ''
  stream.setEncoding('utf8').on('data', (part: string) => { text += part }).on('error', () => {})
  await new Promise((resolve) => stream.on('close', resolve))
  t.equal(stream.rstCode, constants.NGHTTP2_INTERNAL_ERROR)
  t.match(text, 'data: first')
  t.ok(text.endsWith(ABORTED))
  t.notOk(session.closed, 'the session goes on')
  await gone.reach(1)
  quiet(t, app)
})

t.test('a client that reads slowly gets what was said before the failure, and then hears of it', async (t) => {
  const load = 'x'.repeat(100_000)
  const { app } = await failing(t, function * () {
    for (let i = 0; i < 50; i++) yield { data: load }
    throw status(500)
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /answers', SSE)
  await client.until('realtime:open')
  client.socket.pause()
  await new Promise((resolve) => setImmediate(resolve))
  client.socket.resume()
  await client.closed
  t.equal(client.text.match(/x{100000}/g)?.length, 50)
  t.ok(client.text.includes(ABORTED))
})

// --- letting go --------------------------------------------------------------------------

/** Ways to end a client that waits for the first event. */
const ENDS: Record<string, (house: { app: FastifyInstance, client: RawClient }) => unknown> = {
  'the client leaves': ({ client }) => client.socket.destroy(),
  'the app closes': ({ app }) => app.close(),
  'the app closes the connection': ({ app }) => app.realtime.connections()[0]?.close()
}

for (const [name, end] of Object.entries(ENDS)) {
  t.test(`a source that has said nothing yet is let go of once when ${name}`, async (t) => {
    const { app, log } = await logged(t)
    const [asked, returned, gone] = [calls<AbortSignal>(), calls<string>(), calls()]
    const onDisconnect = (): void => gone.note(1)
    app.stream('/hung', {
      onDisconnect,
      source: (_request, { signal }) => {
        return counted(async () => { asked.note(signal); return await new Promise(() => {}) }, () => returned.note('hung'))
      }
    })
    app.stream('/heeding', {
      onDisconnect,
      async * source (_request, { signal }) {
        try {
          asked.note(signal)
          await pause(60_000, undefined, { signal })
          yield { data: 'never' }
        } finally {
          returned.note('heeding')
        }
      }
    })
    app.stream('/opening', {
      onDisconnect,
      async source (_request, { signal }) {
        asked.note(signal)
        await once(signal, 'abort')
        return counted(() => t.fail('nothing is asked of it any more'), () => returned.note('opening'))
      }
    })
    await listen(app)
    for (const [i, url] of ['/hung', '/heeding', '/opening'].entries()) {
      if (name === 'the app closes' && i > 0) continue
      const client = await dial(t, app)
      client.ask(`GET ${url}`, SSE)
      await asked.reach(i + 1)
      await end({ app, client })
      await returned.reach(i + 1)
      await gone.reach(i + 1)
      t.equal(returned.all[i], url.slice(1))
      t.ok(asked.all[i]?.aborted)
      if (name === 'the app closes the connection') t.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 204/)
      if (name === 'the app closes') await client.closed
      if (name === 'the app closes') t.match(client.text, /^HTTP\/1\.1 200 OK\r\n[^]*retry: \d+/)
    }
    const count = returned.all.length
    await app.close()
    t.equal(returned.all.length, count, 'once')
    t.same(log.lines.filter(({ level }) => Number(level) >= WARN), [])
    quiet(t, app)
  })
}

t.test('a source that never says anything has its client all the same, and is returned when that leaves', async (t) => {
  const app = await live(t)
  const returned = calls()
  app.stream('/next', { source: () => counted(() => new Promise(() => {}), () => returned.note(1)) })
  app.stream('/source', { source: () => new Promise<never>(() => {}) })
  await listen(app)
  const [next, source] = [await dial(t, app), await dial(t, app)]
  next.ask('GET /next', SSE)
  source.ask('GET /source', SSE)
  await Promise.all([next.until('realtime:open'), source.until('realtime:open')])
  next.socket.destroy()
  source.socket.destroy()
  await returned.reach(1)
  await app.close()
  quiet(t, app)
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

t.test('an HTTP/2 client that leaves before the first event leaves nothing', async (t) => {
  const app = await live(t, {}, { http2: true })
  const [asked, returned] = [calls(), calls()]
  app.stream('/answers', { source: () => counted(async () => { asked.note(1); return await new Promise(() => {}) }, () => returned.note(1)) })
  await listen(app)
  const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`)
  t.teardown(() => session.destroy())
  const stream = session.request({ ':path': '/answers', ...SSE })
  stream.on('error', () => {})
  await asked.reach(1)
  stream.close(constants.NGHTTP2_CANCEL)
  await returned.reach(1)
  await app.close()
  t.equal(returned.all.length, 1)
  quiet(t, app)
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

t.test('a pipelined source whose turn has not come fails without harm to the one before it', async (t) => {
  const app = await live(t)
  const last = gate()
  app.stream('/first', {
    async * source () {
      yield { data: 'first' }
      await last.passed
      yield { data: 'last' }
    }
  })
  app.stream('/fails', { async * source () { throw status(429) } })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /first', SSE).ask('GET /fails', SSE)
  await client.until('data: first')
  last.open()
  await client.until('data: last')
  t.notMatch(client.text, 'realtime:aborted')
  client.socket.destroy()
})

// --- runs --------------------------------------------------------------------------------

t.test('a run that is stopped before its first event has an end, and whoever waited for it is told', async (t) => {
  const app = await live(t)
  const asked = calls()
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    source: () => counted(async () => { asked.note(1); return await new Promise(() => {}) }, () => {})
  })
  await app.ready()
  const connecting = connectStream(app, '/answers', { t })
  await asked.reach(1)
  t.equal(await app.realtime.stop('one'), true)
  const client = await connecting
  t.same((await client.next('realtime:end')).data, { reason: 'stopped' })
  await client.ended
})

t.test('an app closes in time while a run has said nothing', async (t) => {
  const app = await live(t, { closeTimeout: 60_000 }, { pluginTimeout: 120_000 })
  const [asked, returned] = [calls(), calls()]
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    source: () => counted(async () => { asked.note(1); return await new Promise(() => {}) }, () => returned.note(1))
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /answers', SSE)
  await asked.reach(1)
  await app.close()
  t.equal(returned.all.length, 1)
  quiet(t, app)
})

t.test('whoever starts a run and leaves before it says anything leaves it running', async (t) => {
  const app = await live(t)
  const [asked, speak] = [calls(), gate()]
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    async * source () {
      asked.note(1)
      await speak.passed
      yield { event: 'word', data: 'Fish' }
    }
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /answers', SSE)
  await asked.reach(1)
  client.socket.destroy()
  await client.letGo()
  const connecting = connectStream(app, '/answers', { t })
  speak.open()
  t.equal((await (await connecting).next('word')).data, 'Fish')
  t.equal(asked.all.length, 1)
})

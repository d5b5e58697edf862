/** Clients that leave a source, and sources that are let go of. */
import { once } from 'node:events'
import { connect as connectHttp2, constants } from 'node:http2'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { fetch } from 'undici'
import type { CloseReason } from '../../lib/index.ts'
import { calls, dial, gate, listen, live, portOf, type RawClient } from '../helpers/app.ts'
import { type Source, logged, status, quiet, SSE, counted, hungAfter, WARN } from '../helpers/sources.ts'

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

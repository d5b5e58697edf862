import { once } from 'node:events'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import realtime from '../../lib/index.ts'
import type { SourceEvent, SourceContext, ResumableOptions } from '../../lib/index.ts'
import { connectStream, StreamRefused, type StreamClient } from '../../lib/testing/index.ts'
import { declareSwept, heardAfter, MICROTASKS, WORDS } from '../helpers/sweep.ts'

/** A source whose tokens are let out one by one. */
class Teller {
  runs = 0
  returned = 0
  signal: AbortSignal | undefined
  #next: Array<(token: string | null | Error) => void> = []
  #ready: Array<string | null | Error> = []

  /** A token; null ends, an error fails. */
  say (token: string | null | Error): void {
    const next = this.#next.shift()
    if (next) next(token)
    else this.#ready.push(token)
  }

  source = (_request: unknown, { signal }: SourceContext): AsyncIterable<SourceEvent> => {
    this.runs++
    this.signal = signal
    return this.#tell()
  }

  async * #tell (): AsyncGenerator<SourceEvent> {
    try {
      for (;;) {
        const token = await this.#token()
        if (token === null) return
        if (token instanceof Error) throw token
        yield { event: 'token', data: token }
      }
    } finally {
      this.returned++
    }
  }

  #token (): Promise<string | null | Error> {
    if (this.#ready.length > 0) return Promise.resolve(this.#ready.shift() as string)
    return new Promise((resolve) => this.#next.push(resolve))
  }
}

async function answers (t: Test, teller: Teller, resumable: Omit<ResumableOptions<never>, 'key'> = {}, method: 'GET' | 'POST' = 'GET'): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime, { maxEventBytes: 4096, maxBuffered: 8192 })
  app.stream('/answers/:id', { method, source: teller.source, resumable: { key: ({ params }) => params.id, ...resumable } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

async function tokens (client: StreamClient, count: number): Promise<unknown[]> {
  const got: unknown[] = []
  for (let i = 0; i < count; i++) got.push((await client.next('token')).data)
  return got
}

for (const method of ['GET', 'POST'] as const) {
  t.test(`a reader that is cut in mid-answer goes on where it was, and the source runs once (${method})`, async (t) => {
    const teller = new Teller()
    const app = await answers(t, teller, {}, method)
    const body = method === 'POST' ? { body: { prompt: 'hello' } } : {}
    const reader = await connectStream(app, '/answers/1', { t, method, ...body })
    teller.say('one')
    teller.say('two')
    t.same(await tokens(reader, 2), ['one', 'two'])
    await reader.drop()
    teller.say('three')
    await reader.resume()
    teller.say('four')
    t.same(await tokens(reader, 2), ['three', 'four'])
    teller.say(null)
    t.same((await reader.next('realtime:end')).data, { reason: 'done' })
    await reader.ended
    t.equal(teller.runs, 1)
    t.notOk(reader.events.some(({ event }) => event === 'realtime:reset'))
  })
}

t.test('a late reader gets what was said and then the rest, beside others, each at its own pace', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const first = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  await tokens(first, 1)
  const [second, third] = await Promise.all([connectStream(app, '/answers/1', { t }), connectStream(app, '/answers/1', { t })])
  teller.say('two')
  teller.say(null)
  for (const reader of [second, third]) t.same(await tokens(reader, 2), ['one', 'two'])
  t.same(await tokens(first, 1), ['two'])
  await Promise.all([first.ended, second.ended, third.ended])
  t.equal(teller.runs, 1)
  const afterwards = await connectStream(app, '/answers/1', { t })
  t.same(await tokens(afterwards, 2), ['one', 'two'], 'also when the answer is over')
  await afterwards.next('realtime:end')
  await afterwards.ended
  t.equal(teller.runs, 1)
})

t.test('whenever the source speaks first, whoever asked for it hears every event once', async (t) => {
  for (const clients of [1, 3]) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(realtime)
    declareSwept(app)
    await app.ready()
    for (const microtasks of MICROTASKS) {
      const heard = await heardAfter(t, [app], microtasks, clients)
      t.same(heard, Array(clients).fill(WORDS), `after ${microtasks} microtasks, ${clients} clients`)
    }
    t.match(app.realtime.stats(), { recovered: 0, resets: 0 }, 'nobody had a cursor')
  }
})

t.test('two keys are two answers; readers who ask at the same moment share one', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  await Promise.all(['1', '1', '1', '2'].map((id) => connectStream(app, `/answers/${id}`, { t })))
  t.equal(teller.runs, 2)
})

t.test('whoever has all of it is told not to come back', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const reader = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  teller.say(null)
  await reader.next('realtime:end')
  await reader.ended
  const refused = await reader.resume().then(() => undefined, (error: unknown) => error)
  t.ok(refused instanceof StreamRefused)
  t.equal((refused as StreamRefused).statusCode, 204)
})

t.test('a cursor of something else is told so, and gets the answer from its start', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const reader = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  await tokens(reader, 1)
  for (const lastEventId of ['124', '1-0.foreign', '9999999999999-0.future', 'v1~garbage']) {
    const other = await connectStream(app, '/answers/1', { t, lastEventId })
    t.match((await other.next('realtime:reset')).data, { reason: /unknown-cursor|expired/ })
    t.same(await tokens(other, 1), ['one'], lastEventId)
  }
})

t.test('the source goes on without any reader', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const reader = await connectStream(app, '/answers/1', { t })
  await reader.drop()
  for (const token of ['one', 'two', 'three']) teller.say(token)
  teller.say(null)
  const back = await connectStream(app, '/answers/1', { t })
  t.same(await tokens(back, 3), ['one', 'two', 'three'])
  await back.next('realtime:end')
  t.equal(teller.runs, 1)
})

t.test('stop ends it for every reader, returns the source, and tells its signal', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const reader = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  await tokens(reader, 1)
  const aborted = once(teller.signal as AbortSignal, 'abort')
  t.equal(await app.realtime.stop('1'), true)
  await aborted
  t.same((await reader.next('realtime:end')).data, { reason: 'stopped' })
  await reader.ended
  t.equal(await app.realtime.stop('1'), false, 'it does not run any more')
  // Still waiting for its next token, it is returned as soon as that comes.
  teller.say('never heard')
  while (teller.returned === 0) await new Promise((resolve) => setImmediate(resolve))
})

t.test('a source that fails is told to readers as aborted, also to late ones', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller)
  const reader = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  teller.say(new Error('the model is gone'))
  t.same(await tokens(reader, 1), ['one'])
  t.same((await reader.next('realtime:aborted')).data, { reason: 'failed' })
  await reader.ended
  const late = await connectStream(app, '/answers/1', { t })
  t.same(await tokens(late, 1), ['one'])
  await late.next('realtime:aborted')
})

t.test('a source that cannot start is an ordinary error, and may be asked for again', async (t) => {
  let tries = 0
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime)
  app.stream('/answers/:id', {
    resumable: { key: ({ params }) => params.id },
    source: () => {
      if (++tries === 1) throw Object.assign(new Error('no such prompt'), { statusCode: 404 })
      return [{ data: 'hello' }]
    }
  })
  const refused = await connectStream(app, '/answers/1', { t }).then(() => undefined, (error: unknown) => error)
  t.equal((refused as StreamRefused).statusCode, 404)
  const reader = await connectStream(app, '/answers/1', { t })
  t.equal((await reader.next('message')).data, 'hello')
})

t.test('a source that says too much is aborted, and what it said is not cut', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller, { maxBytes: 1000 })
  const reader = await connectStream(app, '/answers/1', { t })
  for (let i = 0; i < 11; i++) teller.say('x'.repeat(100))
  t.equal((await tokens(reader, 10)).length, 10)
  t.same((await reader.next('realtime:aborted')).data, { reason: 'too-large' })
})

t.test('a source much quicker than its reader loses nothing', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime, { maxBuffered: 128 * 1024 })
  const count = 4000
  const filler = 'y'.repeat(1000)
  app.stream('/answers/:id', {
    resumable: { key: ({ params }) => params.id, maxBytes: 8 << 20 },
    source: function * () { for (let n = 0; n < count; n++) yield { event: 'token', data: { n, filler } } }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const readers = await Promise.all([1, 2, 3].map(() => connectStream(app, '/answers/1', { t, timeout: 30_000 })))
  for (const reader of readers) {
    await reader.next('realtime:end')
    t.same(reader.events.filter(({ event }) => event === 'token').map(({ data }) => (data as { n: number }).n), Array.from({ length: count }, (_, n) => n))
  }
})

t.test('after its retention an answer is forgotten whole, and made anew', async (t) => {
  const teller = new Teller()
  const app = await answers(t, teller, { maxAge: 1 })
  const reader = await connectStream(app, '/answers/1', { t })
  teller.say('one')
  teller.say(null)
  await reader.ended
  await new Promise((resolve) => setTimeout(resolve, 5))
  const next = await connectStream(app, '/answers/1', { t })
  teller.say('another')
  t.same(await tokens(next, 1), ['another'])
  t.equal(teller.runs, 2)
})

t.test('resumable needs a source, and its options are checked', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime)
  app.topic('a')
  t.throws(() => app.stream('/a', { topics: 'a', resumable: true }), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' })
  t.throws(() => app.stream('/b', { source: () => [], resumable: { maxAge: -1 } }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  t.throws(() => app.stream('/c', { source: () => [], resumable: { colour: 'red' } as never }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
})

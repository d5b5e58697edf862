/** Sources in a format of others: what they yield is the data, and nobody takes what was broken off for the end. */
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import type { SourceEvent } from '../../../lib/index.ts'
import { answerOf, ask, said, type Answer } from '../../helpers/answers.ts'
import { calls, dial, gate, listen, live, portOf } from '../../helpers/app.ts'
import { logged, quiet } from '../../helpers/sources.ts'

const POST = { 'content-type': 'application/json' }
const hello = { type: 'text-delta', delta: 'Hello\nyou' }

// --- what is said ------------------------------------------------------------------------

t.test('what a source yields is the data, and nothing else is said', async (t) => {
  const app = await live(t)
  app.stream('/data', { format: 'data', source: () => [hello, 'as it is', 5, null, ['{"a":1}']] })
  app.stream('/ui', { format: 'ui-message-stream', source: () => [hello] })
  app.stream('/own', { format: { headers: { 'x-model': 'mock' }, end: { done: true } }, source: () => ['a', 'b'] })
  await listen(app)
  for (const accept of [undefined, 'application/json', '*/*', 'text/event-stream']) {
    const data = await ask(t, app, 'GET /data', accept ? { accept } : {})
    t.match(data, { status: 200, whole: true, headers: { 'content-type': 'text/event-stream' } })
    t.equal(said(data), 'data: {"type":"text-delta","delta":"Hello\\nyou"}\n\ndata: as it is\n\ndata: 5\n\ndata: null\n\ndata: ["{\\"a\\":1}"]\n\n')
  }
  const ui = await ask(t, app, 'GET /ui')
  t.match(ui, { whole: true, headers: { 'x-vercel-ai-ui-message-stream': 'v1' } })
  t.equal(said(ui), 'data: {"type":"text-delta","delta":"Hello\\nyou"}\n\ndata: [DONE]\n\n')
  const own = await ask(t, app, 'GET /own')
  t.match(own, { whole: true, headers: { 'x-model': 'mock' } })
  t.equal(said(own), 'data: a\n\ndata: b\n\ndata: {"done":true}\n\n')
})

t.test('the body of a POST, and the response up to the first yield', async (t) => {
  const app = await live(t)
  for (const [url, options] of [['/native', {}], ['/foreign', { format: 'data' as const }]] as const) {
    app.stream(url, {
      method: 'POST',
      ...options,
      async * source ({ body }, { reply }) {
        await new Promise((resolve) => setImmediate(resolve))
        reply.code(201).header('x-answer', 'a1').header('set-cookie', 'a=1')
        yield { data: (body as { prompt: string }).prompt }
        reply.header('x-late', 'nobody hears of it')
      }
    })
  }
  await listen(app)
  for (const url of ['/native', '/foreign']) {
    const body = JSON.stringify({ prompt: 'Fish?' })
    const answer = await ask(t, app, `POST ${url}`, { ...POST, accept: 'text/event-stream', 'content-length': String(body.length) }, body)
    t.match(answer, { status: 201, whole: true, headers: { 'x-answer': 'a1', 'set-cookie': 'a=1', 'x-late': undefined } })
    t.match(said(answer), /Fish\?/)
  }
})

t.test('a resumable source is repeated with its ids, and its end is told once to each', async (t) => {
  const app = await live(t)
  let runs = 0
  const second = gate()
  app.stream('/answers/:id', {
    format: 'ui-message-stream',
    resumable: { key: ({ params }) => params.id },
    async * source () {
      runs++
      yield { n: 1 }
      await second.passed
      yield { n: 2 }
    }
  })
  await listen(app)
  const first = await dial(t, app)
  first.ask('GET /answers/1', { connection: 'close' })
  await first.until('{"n":1}')
  const other = ask(t, app, 'GET /answers/1')
  second.open()
  await first.closed
  for (const answer of [answerOf(first.text), await other, await ask(t, app, 'GET /answers/1')]) {
    t.equal(answer.whole, true)
    t.equal(said(answer).replace(/^id: \S+\n/gm, ''), 'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n')
  }
  t.equal(runs, 1)
  const [, id = ''] = /^id: (\S+)\ndata: {"n":1}/m.exec(answerOf(first.text).body) ?? []
  t.equal(said(await ask(t, app, 'GET /answers/1', { 'last-event-id': id })).replace(/^id: \S+\n/gm, ''), 'data: {"n":2}\n\ndata: [DONE]\n\n')
})

// --- what was broken off -----------------------------------------------------------------

/** How a source is broken off, after its first word. */
const BROKEN: Record<string, (app: FastifyInstance) => unknown> = {
  'it throws': () => {},
  'the app closes': (app) => app.close(),
  'connection.close()': (app) => app.realtime.connections()[0]?.close(),
  'connection.close({ reconnect })': (app) => app.realtime.connections()[0]?.close({ reconnect: true })
}

for (const resumable of [false, true]) {
  for (const [what, breakOff] of Object.entries(BROKEN)) {
    for (const [format, words] of [['data', ''], ['ui-message-stream', 'data: {"type":"error","errorText":"The answer was broken off."}\n\n']] as const) {
      t.test(`nobody takes it for the end: ${what}, ${format}${resumable ? ', resumable' : ''}`, async (t) => {
        const app = await live(t)
        let fail = (_error: Error): void => {}
        app.stream('/answer', {
          format,
          ...resumable && { resumable: { key: () => 'one' } },
          async * source () {
            yield 'Fish'
            await new Promise((_resolve, reject) => { fail = reject })
          }
        })
        await listen(app)
        const client = await dial(t, app)
        client.ask('GET /answer', { connection: 'close' })
        await client.until('Fish')
        if (what === 'it throws') fail(new Error('the model is gone'))
        await breakOff(app)
        await client.closed
        const answer = answerOf(client.text)
        // Words would be final, and the source goes on.
        const last = resumable && what === 'connection.close({ reconnect })' ? '' : words
        t.equal(said(answer).replace(/^id: \S+\n/gm, ''), `data: Fish\n\n${last}`)
        t.equal(answer.whole, last !== '', 'without words it is cut')
      })
    }
  }
}

t.test('a run that was stopped has ended; one that is too large was broken off', async (t) => {
  const app = await live(t)
  app.stream('/stopped', {
    format: { end: '[DONE]', error: '[ERROR]' },
    resumable: { key: () => 'stopped' },
    async * source (_request, { signal }) {
      yield 'Fish'
      await once(signal, 'abort')
    }
  })
  app.stream('/large', {
    format: { end: '[DONE]', error: '[ERROR]' },
    resumable: { key: () => 'large', maxBytes: 10 },
    source: () => ['Fish', 'and much more of it']
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /stopped', { connection: 'close' })
  await client.until('Fish')
  t.equal(await app.realtime.stop('stopped', { space: '/stopped' }), true)
  await client.closed
  t.match(said(answerOf(client.text)), /data: Fish\n\ndata: \[DONE\]\n\n$/)
  for (let n = 0; n < 2; n++) t.match(said(await ask(t, app, 'GET /large')), /data: Fish\n\ndata: \[ERROR\]\n\n$/)
})

t.test('over HTTP/2 what was broken off is reset, and what has ended is ended', async (t) => {
  const app = await live(t, {}, { http2: true })
  app.stream('/ends', { format: 'data', source: () => ['Fish'] })
  app.stream('/fails', {
    format: 'data',
    async * source () {
      yield 'Fish'
      throw new Error('the model is gone')
    }
  })
  await listen(app)
  const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`)
  t.teardown(() => session.destroy())
  for (const [path, code] of [['/ends', 0], ['/fails', 2]] as const) {
    const stream = session.request({ ':path': path })
    stream.on('error', () => {})
    stream.setEncoding('utf8')
    let text = ''
    stream.on('data', (some: string) => { text += some })
    await new Promise((resolve) => stream.once('close', resolve))
    t.match(text, /^data: Fish\n\n/)
    t.equal(stream.rstCode, code)
  }
})

t.test('HTTP/1.0, where the end of the connection is that of the response, is refused', async (t) => {
  const app = await live(t)
  let asked = 0
  app.stream('/answer', { format: { error: '[ERROR]' }, source: () => [String(++asked)] })
  app.stream('/ours', { source: () => [{ data: 'Fish' }] })
  await listen(app)
  const client = await dial(t, app)
  client.send('GET /answer HTTP/1.0\r\n\r\n')
  await client.closed
  t.match(answerOf(client.text), { status: 505, body: /FST_ERR_REALTIME_HTTP_VERSION.*HTTP\/1\.1/ })
  t.equal(asked, 0)
  const ours = await dial(t, app)
  ours.send('GET /ours HTTP/1.0\r\naccept: text/event-stream\r\n\r\n')
  await ours.closed
  t.match(ours.text, /data: Fish/)
})

t.test('over HTTP/2 a client that does not read is reset with an error, in any format', async (t) => {
  for (const format of [undefined, 'data', 'ui-message-stream'] as const) {
    const app = await live(t, {}, { http2: true })
    const gone = calls<string>()
    async function * source (_request: unknown, { signal }: { signal: AbortSignal }): AsyncGenerator<SourceEvent> {
      while (!signal.aborted) {
        yield (format ? 'x'.repeat(20_000) : { data: 'x'.repeat(20_000) }) as SourceEvent
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    app.stream('/run', {
      ...format && { format },
      source,
      slow: 'close',
      maxBuffered: 100_000,
      resumable: { key: () => 'one', maxBytes: 1 << 30 },
      onDisconnect: (_connection, { name }) => gone.note(name)
    })
    await listen(app)
    const session = connectHttp2(`http://127.0.0.1:${portOf(app)}`)
    t.teardown(() => session.destroy())
    const stream = session.request({ ':path': '/run', accept: 'text/event-stream' })
    stream.on('error', () => {})
    stream.pause()
    await gone.reach(1)
    t.equal(gone.all[0], 'slow-client')
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.resume()
    await closed
    t.equal(stream.rstCode, 2, format ?? 'ours')
    session.destroy()
    await app.close()
  }
})

t.test('a source that yields undefined fails, whether it is kept or not', async (t) => {
  const app = await live(t)
  const source = function * (): Generator<unknown> {
    yield undefined
  }
  app.stream('/plain', { format: 'data', source })
  app.stream('/kept', { format: 'data', source, resumable: { key: () => 'one' } })
  await listen(app)
  for (const path of ['/plain', '/kept']) {
    const { status, body } = await ask(t, app, `GET ${path}`)
    t.equal(status, 500)
    t.match(body, /yielded undefined/)
  }
})

// --- who gets it -------------------------------------------------------------------------

t.test('accept tells clients apart: only true is a stream', async (t) => {
  const app = await live(t)
  const answers: Record<string, (request: { body: unknown }) => boolean> = {
    body: ({ body }) => (body as { stream?: unknown }).stream === true,
    truthy: () => 1 as never,
    throws: () => { throw null } // eslint-disable-line no-throw-literal
  }
  for (const [name, accept] of Object.entries(answers)) {
    app.stream(`/${name}`, { method: 'POST', format: { accept }, source: () => ['Fish'], handler: () => ({ whole: 'Fish' }) })
  }
  app.stream('/none', { format: { accept: () => false }, source: () => ['Fish'] })
  await listen(app)
  const post = async (path: string, body: object): Promise<Answer> => {
    const text = JSON.stringify(body)
    return await ask(t, app, `POST ${path}`, { ...POST, accept: 'application/json', 'content-length': String(text.length) }, text)
  }
  t.equal(said(await post('/body', { stream: true })), 'data: Fish\n\n')
  t.equal((await post('/body', {})).body, '{"whole":"Fish"}')
  t.equal((await post('/truthy', {})).body, '{"whole":"Fish"}')
  t.equal((await post('/throws', {})).status, 500)
  t.equal((await ask(t, app, 'GET /none')).status, 406)
})

t.test('a temporary refusal is a 503, whatever the client accepts', async (t) => {
  const app = await live(t, { maxConnections: 1 })
  app.stream('/answer', {
    format: 'data',
    source: () => ({
      async * [Symbol.asyncIterator] () {
        yield 'Fish'
        await new Promise(() => {})
      }
    })
  })
  await listen(app)
  const first = await dial(t, app)
  first.ask('GET /answer')
  await first.until('Fish')
  const refused = await ask(t, app, 'GET /answer', { accept: 'text/event-stream' })
  t.match(refused, { status: 503, headers: { 'retry-after': /^\d+$/ } })
  first.socket.destroy()
})

t.test('a client that leaves at any moment: finally has run, and nothing is logged', async (t) => {
  for (const words of [0, 1, 3]) {
    const { app, log } = await logged(t)
    let returned = 0
    const returns: Array<() => void> = []
    app.stream('/answer', {
      format: 'ui-message-stream',
      async * source (_request, { signal }) {
        try {
          for (let n = 0; n < words; n++) yield `word ${n}`
          await once(signal, 'abort')
        } finally {
          returned++
          for (const done of returns.splice(0)) done()
        }
      }
    })
    await listen(app)
    const client = await dial(t, app)
    client.ask('GET /answer')
    if (words > 0) await client.until(`word ${words - 1}`)
    else await once(app.server, 'request')
    client.socket.destroy()
    if (returned === 0) await new Promise<void>((resolve) => returns.push(resolve))
    await client.letGo()
    await new Promise((resolve) => setImmediate(resolve))
    quiet(t, app)
    t.same(log.lines.filter(({ level }) => Number(level) > 30), [])
  }
})

t.test('a wrong format is an error where it is declared', async (t) => {
  const app = await live(t)
  app.topic('news')
  const source = (): string[] => []
  const wrong: unknown[] = [
    'sse', true, null, [], { ends: 'x' }, { headers: { 'content-type': 'text/plain' } }, { headers: { 'a b': 'x' } },
    { headers: { a: 'x\r\nb: y' } }, { headers: { a: 5 } }, { headers: 'x' }, { accept: 'json' }
  ]
  for (const format of wrong) {
    t.throws(() => app.stream('/wrong', { format: format as 'data', source }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' }, JSON.stringify(format))
  }
  t.throws(() => app.stream('/wrong', { format: 'data', topics: 'news' } as never), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' })
})

/** A source that fails in mid-stream: its client hears of it, and behind all that was said. */
import { connect as connectHttp2, constants } from 'node:http2'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import type { CloseReason } from '../../lib/index.ts'
import { calls, dial, listen, portOf, type RawClient, type ServerOptions } from '../helpers/app.ts'
import { type Source, logged, status, quiet, SSE, ABORTED } from '../helpers/sources.ts'

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

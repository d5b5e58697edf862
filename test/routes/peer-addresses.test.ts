/** Clients are counted by their addresses, also those that leave early, and whatever the app's `trustProxy` does. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { connectStream } from '../../lib/testing/index.ts'
import { dial, HANDSHAKE, listen, live, type RawClient } from '../helpers/app.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** So many come, one after the other; each leaves once the server has begun on its request. */
async function comeAndGo (t: Test, app: FastifyInstance, count: number, line: string, headers = {}): Promise<void> {
  for (let n = 0; n < count; n++) {
    const client = await dial(t, app)
    const begun = once(app.server, 'upgrade' in headers ? 'upgrade' : 'request')
    client.ask(line, headers)
    await begun
    client.socket.resetAndDestroy()
    await Promise.all([client.closed, client.letGo()])
  }
}

t.test('a client that leaves while it is asked about counts for its address as long as the app is asked', async (t) => {
  const app = await live(t, { maxConnectionsPerAddress: 3, joinTimeout: 60_000 }, { trustProxy: true })
  let [asked, hangs] = [0, false]
  const ask = async (): Promise<boolean> => {
    if (!hangs) return true
    asked++
    return await new Promise(() => {})
  }
  app.stream('/asked', { topics: app.topic('asked', { authorize: ask }) })
  app.stream('/connecting', { topics: app.topic('connecting'), onConnect: ask })
  await listen(app)
  // More than are looked at from the start.
  await comeAndGo(t, app, 20, 'GET /asked')
  hangs = true
  for (const url of ['/asked', '/connecting']) {
    asked = 0
    await comeAndGo(t, app, 9, `GET ${url}`)
    t.ok(asked <= 3, `${url}: ${asked} of 3`)
  }
  t.equal(app.realtime.stats().arriving, 3)
})

t.test('a client whose socket is reset before its address is asked for cannot go uncounted', async (t) => {
  const app = await live(t, { maxConnectionsPerAddress: 3, joinTimeout: 60_000 }, { trustProxy: true })
  let asked = 0
  const topic = app.topic('asked', {
    authorize: () => {
      asked++
      return new Promise<boolean>(() => {})
    }
  })
  let client: RawClient | undefined
  const onRequest = async (): Promise<void> => { client?.socket.resetAndDestroy() }
  app.stream('/asked', { topics: topic, onRequest })
  app.channel('/talk', { topics: topic, onRequest })
  await listen(app)
  for (let n = 0; n < 12; n++) {
    const next = client = await dial(t, app)
    if (n % 2) next.ask('GET /asked')
    else next.ask('GET /talk', HANDSHAKE)
    await Promise.all([next.closed, next.letGo()])
  }
  t.ok(asked <= 3, `${asked} of 3`)
  t.ok(app.realtime.stats().arriving <= 3)
})

t.test('nothing is asked about a client that has left while hooks ran', async (t) => {
  const app = await live(t, {}, { trustProxy: true })
  let asked = 0
  const over: string[] = []
  const topic = app.topic('news', { authorize: () => ++asked > 0 })
  const onRequest = async ({ raw }: FastifyRequest): Promise<void> => {
    if (!raw.socket.closed) await new Promise((resolve) => raw.socket.once('close', resolve))
    over.push('a hook')
  }
  app.stream('/news', { topics: topic, onRequest })
  app.channel('/talk', { topics: topic, onRequest })
  await listen(app)
  await comeAndGo(t, app, 3, 'GET /news')
  await comeAndGo(t, app, 3, 'HEAD /news')
  await comeAndGo(t, app, 3, 'GET /talk', HANDSHAKE)
  while (over.length < 9) await pause(1)
  for (let turns = 0; turns < 10; turns++) await pause(0)
  t.equal(asked, 0)
  t.equal(app.realtime.stats().arriving, 0)
})

t.test('a trustProxy function that fails leaves nothing behind, and harms nobody else', async (t) => {
  const trustProxy = (address: string): boolean => {
    if (address === '10.0.0.1') throw new Error('what is that?')
    return true
  }
  const app = await live(t, { maxConnectionsPerAddress: 2 }, { trustProxy })
  app.stream('/news', { topics: app.topic('news') })
  const hostile = { 'x-forwarded-for': '1.2.3.4, 10.0.0.1' }
  const clients = []
  for (let n = 0; n < 2; n++) clients.push(await connectStream(app, '/news', { t, headers: hostile }))
  clients.push(await connectStream(app, '/news', { t, headers: { 'x-forwarded-for': '5.6.7.8' } }))
  for (const client of clients) await client.close()
  while (app.realtime.stats().connections.sse > 0) await pause(5)
  t.match(app.realtime.stats(), { arriving: 0, closing: 0, refused: 0 })
})

t.test('a logger that fails over the word about proxies keeps nobody out', async (t) => {
  const nothing = (): void => {}
  const loggerInstance = {
    level: 'info',
    ...Object.fromEntries(['fatal', 'error', 'warn', 'debug', 'trace', 'silent'].map((name) => [name, nothing])),
    info: (_details: unknown, message?: string) => { if (message?.includes('trustProxy')) throw new Error('full') },
    child: (): unknown => loggerInstance
  }
  const app = await live(t, {}, { loggerInstance })
  app.stream('/news', { topics: app.topic('news') })
  await (await connectStream(app, '/news', { t })).close()
  while (app.realtime.stats().connections.sse > 0) await pause(5)
  t.equal(app.realtime.stats().arriving, 0)
})

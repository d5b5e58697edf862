/** Servers and proxies that refuse, end, fall silent and hold back, over HTTP: what the client makes of each. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect, http, type ClientEvent, type ConnectOptions } from '../../lib/client/index.ts'
import { until } from '../helpers/redis.ts'

type Frame = Record<string, unknown>
interface Asked { headers: IncomingHttpHeaders, body: Frame, closed: boolean }

interface Play {
  /** A stream is asked for: the how manieth, from 0. */
  open: (response: ServerResponse, turn: number, asked: Asked) => void
  message?: (response: ServerResponse, asked: Asked) => void
}

async function scripted (t: Test, { open, message }: Play, options: ConnectOptions = {}) {
  const opens: Asked[] = []
  const posts: Asked[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => { text += part }).on('end', () => {
      const asked: Asked = { headers: request.headers, body: JSON.parse(text) as Frame, closed: false }
      response.on('close', () => { asked.closed = true })
      if (asked.body.op === 'open') open(response, opens.push(asked) - 1, asked)
      else if (posts.push(asked)) message?.(response, asked)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { wire: http, firstDelay: 10, ...options })
  t.teardown(() => client.close())
  const told: ClientEvent[] = []
  const numbers = () => told.filter(({ event }) => event === 'n').map(({ data }) => data)
  client.topic('news').on('*', (event) => told.push(event as ClientEvent))
  return { client, opens, posts, told, numbers }
}

const say = (response: ServerResponse, frame: Frame) => response.write(`data: ${JSON.stringify(frame)}\n\n`)
const event = (response: ServerResponse, n: number, prev = n - 1) => say(response, { topic: 'news', event: 'n', id: String(n), prev: String(prev), data: n })
const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)
const cursorOf = ({ body }: Asked): string | undefined => (body.cursors as Record<string, string>).news

function begin (response: ServerResponse, asked: Asked, heartbeat = 25_000): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  say(response, { op: 'open', connection: 'c', heartbeat })
  const cursor = cursorOf(asked)
  for (const topic of asked.body.topics as string[]) say(response, { op: 'subscribed', topic, id: topic === 'news' ? cursor ?? '0' : '0', ...cursor !== undefined && { recovered: true } })
}

/** A server that goes on where the client is. */
function honest (response: ServerResponse, asked: Asked, last: number): void {
  begin(response, asked)
  for (let n = Number(cursorOf(asked) ?? 0) + 1; n <= last; n++) event(response, n)
}

function refuse (response: ServerResponse, status: number, code?: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': code === undefined ? 'text/html' : 'application/json', ...headers })
  response.end(code === undefined ? '<h1>No</h1>' : JSON.stringify({ statusCode: status, code, error: 'x', message: 'no' }))
}

const faults: Record<string, (response: ServerResponse, asked: Asked) => void> = {
  'a gap': (response, asked) => { begin(response, asked); for (const n of [1, 2, 4, 5]) event(response, n) },
  'an event twice': (response, asked) => { begin(response, asked); event(response, 1); event(response, 1); response.end() },
  'half a frame': (response, asked) => { begin(response, asked); event(response, 1); response.end('data: {"topic":"news","event":"n","id"') },
  'a frame that is no frame': (response, asked) => { begin(response, asked); event(response, 1); response.write('data: null\n\n') },
  'an end without a word': (response, asked) => { begin(response, asked); event(response, 1); response.end() },
  'a cut': (response, asked) => { begin(response, asked); event(response, 1); setImmediate(() => response.destroy()) },
  'a bye': (response, asked) => { begin(response, asked); event(response, 1); say(response, { op: 'bye', code: 1012, reason: 'restart', reconnect: true, retry: 5 }) },
  502: (response) => refuse(response, 502),
  '503, in the server\'s own words': (response) => refuse(response, 503, 'FST_ERR_REALTIME_UNAVAILABLE', { 'retry-after': '0' }),
  '429, until later': (response) => refuse(response, 429, 'RATE_LIMITED', { 'retry-after': new Date(Date.now() - 1000).toUTCString() }),
  408: (response) => refuse(response, 408),
  'a page in place of a stream': (response) => refuse(response, 200)
}
for (const [what, fault] of Object.entries(faults)) {
  t.test(`${what}: it comes back, and each event is told once and in order`, async (t) => {
    const { told, numbers, opens } = await scripted(t, { open: (response, turn, asked) => turn === 0 ? fault(response, asked) : honest(response, asked, 6) })
    await until('all of them', () => numbers().length === 6)
    t.same(numbers(), upTo(6))
    t.same(told.filter(({ event }) => event !== 'n'), [])
    await until('the first is let go', () => opens[0]?.closed)
  })
}

t.test('how long it waits is the server\'s to say', async (t) => {
  const { client, opens } = await scripted(t, { open: (response) => refuse(response, 503, 'UNAVAILABLE', { 'retry-after': '600' }) })
  await until('waiting', () => client.state.get().is === 'waiting')
  const state = client.state.get()
  t.ok('retryAt' in state && state.retryAt > Date.now() + 500_000, JSON.stringify(state))
  t.equal(opens.length, 1)
})

t.test('who is not let in does not come back, and is told the server\'s word, or the status', async (t) => {
  const cases: Array<[status: number, code: string | undefined, told: string]> = [
    [204, undefined, '204'], [400, 'FST_ERR_REALTIME_INVALID_FRAME', 'INVALID_FRAME'], [403, 'FORBIDDEN', 'FORBIDDEN'], [404, undefined, '404'],
    [401, 'FST_ERR_REALTIME_TOKEN_MISSING', 'TOKEN_MISSING']
  ]
  for (const [status, word, code] of cases) {
    const { client, opens, told } = await scripted(t, { open: (response) => status === 204 ? response.writeHead(204).end() : refuse(response, status, word) })
    await until('refused', () => client.state.get().is === 'refused')
    t.same(client.state.get(), { is: 'refused', code })
    t.match(told, [{ event: 'error', data: { code } }])
    t.equal(opens.length, 1)
    await t.rejects(client.send('say', {}), { code })
  }
})

t.test('a bye that is final is the end', async (t) => {
  const { client, opens } = await scripted(t, { open: (response, _turn, asked) => { begin(response, asked); say(response, { op: 'bye', code: 1000, reason: 'closed-by-app', reconnect: false }) } })
  await until('refused', () => client.state.get().is === 'refused')
  t.same(client.state.get(), { is: 'refused', code: '1000' })
  t.equal(opens.length, 1)
})

t.test('a token that is refused is asked for once more, and then nothing is tried', async (t) => {
  const reasons: string[] = []
  const { client, opens } = await scripted(t, { open: (response) => refuse(response, 401, 'TOKEN_INVALID') }, {
    token: ({ reason }) => { reasons.push(reason); return `token-${reasons.length}` }
  })
  await until('refused', () => client.state.get().is === 'refused')
  t.same(client.state.get(), { is: 'refused', code: 'TOKEN_INVALID' })
  t.same(reasons, ['open', 'refused'])
  t.same(opens.map(({ headers }) => headers.authorization), ['Bearer token-1', 'Bearer token-2'])
})

t.test('comments are signs of life; behind silence another stream is asked for, and goes on where it was', async (t) => {
  const { numbers, opens } = await scripted(t, {
    open: (response, turn, asked) => {
      if (turn > 0) return honest(response, asked, 2)
      begin(response, asked, 400)
      event(response, 1)
      let comments = 0
      const beat = setInterval(() => {
        response.write(':\n\n')
        if (++comments === 75) clearInterval(beat)
      }, 20)
      response.on('close', () => { clearInterval(beat); if (comments < 75) t.fail('it was let go while it said something') })
    }
  })
  await until('2', () => numbers().length === 2)
  t.same(numbers(), [1, 2])
  t.equal(opens.length, 2)
  t.same(opens[1]?.body.cursors, { news: '1' })
  await until('the silent one is let go', () => opens[0]?.closed)
})

t.test('a stream of which nothing comes is given up, and asked for again', async (t) => {
  const { client, numbers, opens } = await scripted(t, {
    open: (response, turn, asked) => {
      // One proxy sends nothing on, another the head alone.
      if (turn === 1) response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
      if (turn > 1) honest(response, asked, 2)
    }
  }, { handshakeTimeout: 500 })
  const states: string[] = []
  client.state.subscribe(() => states.push(client.state.get().is))
  await until('2', () => numbers().length === 2)
  t.equal(opens.length, 3)
  t.same(states, ['waiting', 'connecting', 'waiting', 'connecting', 'open'])
})

t.test('a change that is refused is told to who asked for it, and what was heard is heard on', async (t) => {
  const { client, numbers, opens, told } = await scripted(t, {
    open: (response, _turn, asked) => {
      const topics = asked.body.topics as string[]
      if (topics.length > 2) refuse(response, 400, 'FST_ERR_REALTIME_INVALID_FRAME')
      else honest(response, asked, opens.length + 1)
    }
  })
  await until('the first', () => numbers().length > 0)
  const codes: unknown[] = []
  for (const name of ['b', 'c']) client.topic(name).on('error', ({ data }) => codes.push([name, data.code]))
  await until('both refusals', () => codes.length === 2)
  t.same(codes, [['b', 'INVALID_FRAME'], ['c', 'INVALID_FRAME']])
  await until('all', () => numbers().length === 4)
  t.same(numbers(), upTo(4))
  t.same(opens.map(({ body }) => body.topics), [['news'], ['news', 'b', 'c'], ['news']])
  t.equal(told.length, 4)
  t.equal(client.state.get().is, 'open')
})

t.test('a newer token that is refused changes nothing', async (t) => {
  const reasons: string[] = []
  const { client, numbers, opens } = await scripted(t, {
    open: (response, turn, asked) => {
      if (turn === 1) return refuse(response, 401, 'TOKEN_INVALID')
      honest(response, asked, turn + 1)
      if (turn === 0) say(response, { op: 'subscribed', topic: 'news', expires: 40 })
    }
  }, { token: ({ reason }) => { reasons.push(reason); return reason } })
  await until('3', () => numbers().length === 3)
  t.same(numbers(), upTo(3))
  t.same(opens.map(({ headers }) => headers.authorization), ['Bearer open', 'Bearer expiring', 'Bearer open'])
  t.same(reasons, ['open', 'expiring'])
  t.equal(client.state.get().is, 'open')
})

t.test('between two streams only what is in no history is heard of the older one', async (t) => {
  let older: ServerResponse | undefined
  let waiting = (): void => {}
  const { client, numbers, told } = await scripted(t, {
    open: (response, turn, asked) => {
      if (turn === 0) {
        older = response
        begin(response, asked)
        event(response, 1)
        return
      }
      // The next one is on its way: the older one says what this one will say as well, and a relay.
      if (older) {
        event(older, 2)
        event(older, 3)
        say(older, { topic: 'news', event: 'relayed', data: 'once' })
      }
      waiting = () => honest(response, asked, 4)
    }
  })
  await until('the first', () => numbers().length === 1)
  client.topic('b').on('*', () => {})
  await until('the relay', () => told.some(({ event }) => event === 'relayed'))
  t.same(numbers(), [1])
  waiting()
  await until('all', () => numbers().length === 4)
  t.same(told.map(({ event, data }) => event === 'n' ? data : event), [1, 'relayed', 2, 3, 4])
})

t.test('a message is answered by what comes, and who is cut off is told that nobody knows', async (t) => {
  const answers: Record<string, (response: ServerResponse) => void> = {
    page: (response) => refuse(response, 200),
    gateway: (response) => refuse(response, 502),
    own: (response) => refuse(response, 409, 'OUTBID'),
    ours: (response) => refuse(response, 429, 'FST_ERR_REALTIME_RATE_LIMITED'),
    cut: (response) => response.destroy(),
    nothing: (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('null')
  }
  const { client, posts } = await scripted(t, {
    open: (response, _turn, asked) => honest(response, asked, 1),
    message: (response, { body }) => answers[body.event as string]?.(response)
  }, { timeout: 1500 })
  for (const [event, code] of [['page', 'DISCONNECTED'], ['gateway', '502'], ['own', 'OUTBID'], ['ours', 'RATE_LIMITED'], ['cut', 'DISCONNECTED'], ['never', 'TIMEOUT']] as const) {
    await t.rejects(client.send(event, {}), { name: 'RealtimeError', code }, event)
  }
  t.equal(await client.send('nothing', { a: 1 }), null, 'and what comes behind it goes on its way')
  t.same(posts.at(-1)?.body, { event: 'nothing', data: { a: 1 }, connection: 'c' })
  await until('what was late is let go', () => posts.every(({ closed }) => closed))
})

t.test('a client that is closed leaves nothing open', async (t) => {
  const { client, opens, posts } = await scripted(t, { open: (response, _turn, asked) => honest(response, asked, 1) })
  await until('open', () => client.state.get().is === 'open')
  const answer = client.send('say', {})
  await until('the message', () => posts.length === 1)
  client.topic('b').on('*', () => {})
  client.close()
  await t.rejects(answer, { code: 'CLOSED' })
  await until('both are let go', () => [...opens, ...posts].every(({ closed }) => closed))
})

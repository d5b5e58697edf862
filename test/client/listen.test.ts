/** `listen()`: a stream's ends, its statuses, and what a lost connection changes. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect, listen, type ListenOptions, type StreamEvent } from '../../lib/client/index.ts'
import { EventStreamParser, type StreamBlock } from '../../lib/client/event-stream.ts'
import { settingsOf } from '../../lib/client/options.ts'
import { Random, seedOf } from '../random/random.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'

async function served (t: Test, answer: (request: IncomingMessage, response: ServerResponse, turn: number) => void) {
  let turn = 0
  const asked: IncomingMessage[] = []
  const server = createServer((request, response) => {
    asked.push(request)
    answer(request, response, turn++)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const states: unknown[] = []
  const heard: StreamEvent[] = []
  const start = (options: Partial<ListenOptions> = {}) => {
    const stop = listen(url, { firstDelay: 10, state: (state) => states.push(state.is === 'over' ? state : state.is), on: { n: (event) => heard.push(event) }, ...options })
    t.teardown(stop)
    return stop
  }
  return { asked, states, heard, start }
}

const stream = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' })

t.test('it comes back from the last id, after a lost connection and after 5xx, and parses JSON', async (t) => {
  const { asked, heard, start } = await served(t, (request, response, turn) => {
    if (turn === 0) stream(response).write('retry: 5\nid: 1\nevent: n\ndata: {"n":1}\n\n', () => response.destroy())
    else if (turn === 1) response.writeHead(502).end()
    else stream(response).write('id: 2\nevent: n\ndata: text\n\n')
  })
  const stop = start()
  await until('both', () => heard.length === 2)
  t.same(heard, [{ event: 'n', data: { n: 1 }, text: '{"n":1}', id: '1' }, { event: 'n', data: 'text', text: 'text', id: '2' }])
  t.same(asked.map(({ headers }) => headers['last-event-id']), [undefined, '1', '1'])
  stop()
})

t.test('an id that is not latin-1 is sent as the bytes of UTF-8, as an EventSource sends it', async (t) => {
  const { asked, heard, start } = await served(t, (_request, response, turn) => {
    stream(response).write(`retry: 5\nid: ${turn}-€uro\nevent: n\ndata: ${turn}\n\n`, () => { if (turn === 0) response.destroy() })
  })
  const stop = start()
  await until('both', () => heard.length === 2)
  t.equal(Buffer.from(String(asked[1]?.headers['last-event-id']), 'latin1').toString(), '0-€uro')
  stop()
})

t.test('nothing is tried again after 204, 401 or 404, nor when the source has said its end', async (t) => {
  for (const status of [204, 400, 401, 403, 404]) {
    const { asked, states, start } = await served(t, (_request, response) => { response.writeHead(status).end() })
    start()
    await until('over', () => states.length === 2)
    t.same(states, ['connecting', { is: 'over', status }])
    t.equal(asked.length, 1)
  }
  const { states, start } = await served(t, (_request, response) => { stream(response).end('event: realtime:end\ndata: {}\n\n') })
  start()
  await until('over', () => states.length === 3)
  t.same(states, ['connecting', 'open', { is: 'over', status: 200 }])
})

t.test('it can be stopped, by what it returns and by a signal, and is not heard any more', async (t) => {
  const { heard, states, start } = await served(t, (_request, response) => { stream(response).write('event: n\ndata: 1\n\n') })
  const stop = start()
  await until('one', () => heard.length === 1)
  stop()
  t.equal(states.at(-1), 'stopped')
  const signal = new AbortController()
  start({ signal: signal.signal })
  await until('two', () => heard.length === 2)
  signal.abort()
  t.equal(states.at(-1), 'stopped')
})

t.test('headers are asked for anew each time; wrong options are errors', async (t) => {
  const { asked, start } = await served(t, (_request, response, turn) => { turn < 2 ? response.writeHead(503).end() : response.writeHead(204).end() })
  let n = 0
  start({ headers: async () => ({ authorization: `Bearer ${n++}` }) })
  await until('three', () => asked.length === 3)
  t.same(asked.map(({ headers }) => headers.authorization), ['Bearer 0', 'Bearer 1', 'Bearer 2'])
  t.throws(() => listen('http://127.0.0.1/', { on: {}, retries: 3 } as unknown as ListenOptions), { message: /unknown option "retries"/ })
})

t.test('stopped while it says that it connects, or waits, it asks for nothing more; and before, it says so', async (t) => {
  const asked = { headers: 0, fetch: 0 }
  const failing: typeof fetch = async () => { asked.fetch++; throw new Error('down') }
  for (const [when, calls] of [['connecting', { headers: 0, fetch: 0 }], ['waiting', { headers: 1, fetch: 1 }]] as const) {
    Object.assign(asked, { headers: 0, fetch: 0 })
    const states: string[] = []
    const abort = new AbortController()
    const over = new Promise<void>((resolve) => {
      listen('http://127.0.0.1:9', {
        on: {},
        signal: abort.signal,
        firstDelay: 0,
        fetch: failing,
        headers: () => { asked.headers++; return {} },
        state: ({ is }) => {
          states.push(is)
          if (is === when) abort.abort()
          if (is === 'stopped') resolve()
        }
      })
    })
    await over
    await turn()
    t.same([states.at(-1), asked], ['stopped', calls], when)
  }
  const states: string[] = []
  listen('http://127.0.0.1:9', { on: {}, signal: AbortSignal.abort(), fetch: failing, state: ({ is }) => states.push(is) })
  t.same(states, ['stopped'])
})

t.test('a block is an event where it has data, be it empty, as for an EventSource; nothing is told behind the end', async (t) => {
  const { states, start } = await served(t, (_request, response) => {
    stream(response).write('event: none\n\ndata:\n\nevent: n\ndata\n\nevent: realtime:end\ndata: {}\n\nevent: n\ndata: late\n\n')
  })
  const told: unknown[] = []
  start({ on: Object.fromEntries(['none', 'message', 'n'].map((name) => [name, ({ event, text }) => told.push([event, text])])) })
  await until('the end', () => states.length === 3)
  t.same(told, [['message', ''], ['n', '']])
  t.same(states.at(-1), { is: 'over', status: 200 })
})

t.test('a number that is none is an error; one that no timer can have is as long as one can', (t) => {
  for (const value of [-1, NaN, '5', {}, true]) {
    for (const name of ['heartbeat', 'firstDelay', 'longestDelay']) {
      t.throws(() => listen('/', { on: {}, [name]: value }), { name: 'TypeError', message: `listen: "${name}" must be a number` })
    }
    for (const name of ['tokenTimeout', 'handshakeTimeout', 'timeout', 'offline', 'firstDelay', 'longestDelay', 'hiddenTimeout', 'maxQueued']) {
      t.throws(() => connect('http://127.0.0.1:9/', { [name]: value }), { name: 'TypeError', message: `connect: "${name}" must be a number` })
    }
  }
  t.equal(settingsOf('it', { ms: Infinity }, { ms: 1 }).ms, 2 ** 31 - 1)
  t.equal(settingsOf('it', { ms: 0 }, { ms: 1 }).ms, 0)
  t.end()
})

t.test('a stream of this plugin: what was published while it was away comes, each once', async (t) => {
  const app = await live(t, { retry: 10 })
  const news = app.topic('news')
  app.stream('/news', { topics: news })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const heard: unknown[] = []
  const stop = listen(`${url}/news`, { on: { n: ({ data }) => heard.push(data) } })
  t.teardown(stop)
  await until('it', () => app.realtime.stats().connections.sse === 1)
  for (let n = 0; n < 10; n++) {
    await news.publish({}, 'n', n)
    if (n % 3 === 0) await app.realtime.disconnect({ topic: 'news' }, { reconnect: true })
  }
  await until('all', () => heard.length === 10)
  t.same(heard, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

t.test('the parser gives the same, however the text is cut', (t) => {
  const text = '\uFEFFid: 1\r\nevent: a\r\ndata: x\r\ndata:y\r\n\r\n: comment\n\ndata\n\nid\ndata: z\n\nretry: 12\rdata:  two\r\rdata: never ended\n'
  const whole = parse([text])
  t.match(whole[0], { event: 'a', data: 'x\ny', id: '1' })
  t.match(whole.filter(({ data }) => data !== undefined).map(({ data }) => data), ['x\ny', '', 'z', ' two'])
  const random = new Random(seedOf())
  for (let i = 0; i < 300; i++) {
    const parts: string[] = []
    for (let at = 0; at < text.length;) {
      const size = random.int(1, 6)
      parts.push(text.slice(at, at += size))
    }
    t.same(parse(parts).filter(({ data, id, retry }) => data !== undefined || id !== undefined || retry !== undefined), whole.filter(({ data, id, retry }) => data !== undefined || id !== undefined || retry !== undefined))
  }
  t.end()
})

function parse (parts: string[]): StreamBlock[] {
  const blocks: StreamBlock[] = []
  const parser = new EventStreamParser((block) => blocks.push(block))
  for (const part of parts) parser.push(part)
  return blocks
}

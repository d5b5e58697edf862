/** `start: 'POST'`: a POST begins a run and ends the one before it; everything else joins the present one. */
import { EventEmitter, on, once } from 'node:events'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { memory, type RealtimeOptions } from '../../../lib/index.ts'
import { answerOf, ask, said, type Answer } from '../../helpers/answers.ts'
import { calls, dial, listen, live, type RawClient } from '../../helpers/app.ts'
import { checkCuts, declareChat } from '../../helpers/run-cuts.ts'
import { faulty } from '../../helpers/run-faults.ts'
import { Gates } from '../../helpers/run-states.ts'
import { turns } from '../../random/random.ts'

interface Body { chat: string, n: number }

/** A source that says which question it answers, and then each word that it is given, up to null. */
class Model {
  readonly asked: number[] = []
  readonly stopped: number[] = []
  #words: Array<string | null> = []
  #waiting: Array<() => void> = []

  say (...words: Array<string | null>): void {
    this.#words.push(...words)
    this.#wake()
  }

  #wake (): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  async * answer ({ n }: Body, signal: AbortSignal): AsyncGenerator<string> {
    this.asked.push(n)
    signal.addEventListener('abort', () => {
      this.stopped.push(n)
      this.#wake()
    })
    yield `answer ${n}`
    for (let at = 0; !signal.aborted;) {
      const word = this.#words[at]
      if (word === undefined) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      else if (word === null) return
      else {
        at++
        yield word
      }
    }
  }
}

async function chat (t: Test, model: Model, options: RealtimeOptions = {}): Promise<FastifyInstance> {
  const app = await live(t, options)
  const format = { end: '[DONE]', error: '[ERROR]' }
  app.stream('/chat', {
    method: 'POST',
    format,
    resumable: { start: 'POST', space: 'chat', key: ({ body }) => (body as Body).chat },
    source: ({ body }, { signal }) => model.answer(body as Body, signal)
  })
  app.stream('/chat/:id', { format, resumable: { start: 'POST', space: 'chat', key: ({ params }) => params.id } })
  app.stream('/both/:id', {
    method: ['GET', 'POST'],
    format,
    resumable: { start: 'POST', key: ({ params }) => params.id },
    source: ({ body }, { signal }) => model.answer(body as Body, signal)
  })
  await listen(app)
  return app
}

async function post (t: Test, app: FastifyInstance, n: number, path = '/chat', headers: Record<string, string> = {}): Promise<RawClient> {
  const client = await dial(t, app)
  const body = JSON.stringify({ chat: 'c1', n } satisfies Body)
  return client.ask(`POST ${path}`, { connection: 'close', 'content-type': 'application/json', 'content-length': String(body.length), ...headers }, body)
}

/** A second tab, once it has heard this. */
async function join (t: Test, app: FastifyInstance, path: string, heard: string): Promise<RawClient> {
  const client = await dial(t, app)
  client.ask(`GET ${path}`, { connection: 'close' })
  await client.until(heard)
  return client
}

const words = (answer: Answer): string => said(answer).replace(/^id: \S+\n/gm, '')
const over = async (client: RawClient): Promise<string> => {
  await client.closed
  return words(answerOf(client.text))
}

t.test('a POST begins a run, a GET joins it from its start, and both hear its end', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  t.equal((await ask(t, app, 'GET /chat/c1')).status, 204, 'a GET never starts a run')
  const client = await post(t, app, 1)
  await client.until('answer 1')
  model.say('one')
  await client.until('one')
  const tab = await join(t, app, '/chat/c1', 'one')
  t.equal((await ask(t, app, 'HEAD /chat/c1')).status, 200)
  model.say('two', null)
  const whole = 'data: answer 1\n\ndata: one\n\ndata: two\n\ndata: [DONE]\n\n'
  t.equal(await over(tab), whole)
  t.equal(await over(client), whole)
  t.equal((await ask(t, app, 'GET /chat/c1')).status, 204, 'it is over')
  t.equal((await ask(t, app, 'HEAD /chat/c1')).status, 204)
  t.equal((await ask(t, app, 'GET /chat/other')).status, 204)
  t.same(model.asked, [1])
})

t.test('the next POST ends the run before it, and is the one that others join', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  const first = await post(t, app, 1)
  await first.until('answer 1')
  const second = await post(t, app, 2)
  t.equal(await over(first), 'data: answer 1\n\ndata: [DONE]\n\n', 'who listened to it hears its end')
  await second.until('answer 2')
  const tab = await join(t, app, '/chat/c1', 'answer 2')
  model.say('two', null)
  t.equal(await over(tab), 'data: answer 2\n\ndata: two\n\ndata: [DONE]\n\n')
  await second.closed
  t.same(model.asked, [1, 2])
  t.equal(model.stopped[0], 1)
})

t.test('who comes with a cursor goes on, by GET or POST, also behind the end', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  const client = await post(t, app, 1)
  await client.until('answer 1')
  const [, id = ''] = /^id: (\S+)\ndata: answer 1/m.exec(answerOf(client.text).body) ?? []
  client.socket.destroy()
  const again = await post(t, app, 2, '/chat', { 'last-event-id': id })
  model.say('one', null)
  t.equal(await over(again), 'data: one\n\ndata: [DONE]\n\n')
  const late = await ask(t, app, 'GET /chat/c1', { 'last-event-id': id })
  t.equal(words(late), 'data: one\n\ndata: [DONE]\n\n')
  t.same(model.asked, [1], 'nothing was asked twice')
})

t.test('who comes with a place of an older run, or of none, is given the present one from its start', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  const first = await post(t, app, 1)
  await first.until('answer 1')
  const [, id = ''] = /^id: (\S+)\ndata: answer 1/m.exec(answerOf(first.text).body) ?? []
  const second = await post(t, app, 2)
  await second.until('answer 2')
  model.say('two', null)
  await second.closed
  for (const cursor of [id, 'zzz', '1-0.elsewhere', `v1~${id}`]) {
    const whole = 'data: answer 2\n\ndata: two\n\ndata: [DONE]\n\n'
    t.equal(words(await ask(t, app, 'GET /chat/c1', { 'last-event-id': cursor })), whole, cursor)
    t.equal(await over(await post(t, app, 3, '/chat', { 'last-event-id': cursor })), whole, cursor)
  }
  t.same(model.asked, [1, 2], 'nothing was asked for them')
})

t.test('a run is found, stopped and followed by another, however much is published, and however many begin at once', async (t) => {
  const app = await live(t, { adapter: memory({ maxBytes: 200_000 }) })
  const running = new Set<string>()
  const words = new EventEmitter()
  app.topic('noise/:n')
  app.stream('/chat/:id', {
    method: ['GET', 'POST'],
    format: { end: '[DONE]' },
    resumable: { start: 'POST', key: ({ params }) => params.id },
    async * source ({ query }, { signal }) {
      const { n } = query as { n: string }
      running.add(n)
      try {
        yield `answer ${n}`
        // What is said now and then is among what was published last.
        for await (const [word] of on(words, 'word', { signal })) yield word
      } finally {
        running.delete(n)
      }
    }
  })
  await listen(app)
  /** So much that memory() forgets which run is the present. */
  const flood = async (): Promise<void> => {
    for (let n = 0; n < 80; n++) {
      await app.realtime.publish(`noise/${n % 7}`, 'noise', 'x'.repeat(5000))
      words.emit('word', `word ${n}`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const first = await dial(t, app)
  first.ask('POST /chat/1?n=first', { connection: 'close' })
  await first.until('answer first')
  await flood()
  await join(t, app, '/chat/1', 'word 79')
  // Many more than are kept of those that have begun.
  const settled = calls<unknown>()
  for (let n = 0; n < 60; n++) {
    app.inject({ method: 'POST', url: `/chat/1?n=${n}` }).then((answer) => settled.note(answer), (error) => settled.note(error))
  }
  await Promise.all([settled.reach(59), first.closed])
  t.equal(running.size, 1, [...running].join(' '))
  t.notOk(running.has('first'))
  await flood()
  t.equal(await app.realtime.stop('1'), true)
  await settled.reach(60)
  t.equal(running.size, 0)
})

t.test('stop ends the present run', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  t.equal(await app.realtime.stop('c1', { space: 'chat' }), false)
  const client = await post(t, app, 1)
  await client.until('answer 1')
  t.equal(await app.realtime.stop('c1', { space: 'chat' }), true)
  t.equal(await over(client), 'data: answer 1\n\ndata: [DONE]\n\n')
  t.equal(await app.realtime.stop('c1', { space: 'chat' }), false)
  t.same(model.stopped, [1])
})

/** A POST that is begun, and held up before its source is asked for. */
async function heldUp (t: Test, model: Model) {
  const adapter = memory()
  const app = await chat(t, model, { adapter })
  const release = faulty(adapter, new Gates()).held()
  const client = await post(t, app, 1)
  const tab = await dial(t, app)
  // Nothing runs until the POST has got so far.
  while (!(await app.inject({ method: 'HEAD', url: '/chat/c1' })).headers['content-type']) await new Promise((resolve) => setImmediate(resolve))
  const arrived = once(app.server, 'request')
  tab.ask('GET /chat/c1', { connection: 'close' })
  await arrived
  // It has found the run, and waits with it.
  await turns(10)
  return { app, client, tab, release }
}

t.test('stop ends a run that is begun and not open yet: its source is never asked', async (t) => {
  const model = new Model()
  const { app, client, tab, release } = await heldUp(t, model)
  t.equal(await app.realtime.stop('c1', { space: 'chat' }), true)
  release()
  for (const one of [client, tab]) t.equal(await over(one), 'data: [DONE]\n\n')
  t.same(model.asked, [])
})

t.test('a client that leaves before its run is open leaves none behind: who joined is told, and nothing runs', async (t) => {
  const model = new Model()
  const { app, client, tab, release } = await heldUp(t, model)
  client.socket.destroy()
  await client.letGo()
  release()
  await tab.closed
  t.match(answerOf(tab.text).body, /^$|^data: \[ERROR\]/, 'nobody is told that it has ended')
  t.equal((await ask(t, app, 'GET /chat/c1')).status, 204)
  t.same(model.asked, [])
  const next = await post(t, app, 2)
  await next.until('answer 2')
})

checkCuts(t, async (t, model) => {
  const adapter = memory()
  const app = await live(t, { adapter })
  declareChat(app, model)
  await listen(app)
  return { owner: app, asker: app, adapter, model }
})

t.test('one route for both methods, and keys that are apart', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  const [one, other] = [await post(t, app, 1, '/both/1'), await post(t, app, 2, '/both/2')]
  await Promise.all([one.until('answer 1'), other.until('answer 2')])
  const tab = await join(t, app, '/both/1', 'answer 1')
  model.say(null)
  t.equal(await over(tab), 'data: answer 1\n\ndata: [DONE]\n\n')
  t.equal(await over(other), 'data: answer 2\n\ndata: [DONE]\n\n')
  t.same(model.stopped, [])
})

t.test('many POSTs at once: one answer is given to its end, each of the others is ended', async (t) => {
  const model = new Model()
  const app = await chat(t, model)
  const clients = await Promise.all(Array.from({ length: 8 }, async (_, n) => await post(t, app, n)))
  const endings = clients.map(over)
  const ended = calls<string>()
  for (const ending of endings) ending.then((text) => ended.note(text), () => {})
  await ended.reach(7)
  model.say('the rest', null)
  const answers = await Promise.all(endings)
  t.equal(answers.filter((text) => text.includes('the rest')).length, 1)
  t.ok(answers.every((text) => text.endsWith('data: [DONE]\n\n')), JSON.stringify(answers))
})

t.test('what a source throws before its first word is the POST\'s status, and the next POST begins anew', async (t) => {
  const app = await live(t)
  let fails = true
  app.stream('/chat/:id', {
    method: ['GET', 'POST'],
    format: 'data',
    resumable: { start: 'POST', key: ({ params }) => params.id },
    source () {
      if (fails) throw Object.assign(new Error('no credit'), { statusCode: 402 })
      return ['Fish']
    }
  })
  await listen(app)
  t.equal((await ask(t, app, 'POST /chat/1')).status, 402)
  t.equal((await ask(t, app, 'GET /chat/1')).status, 204)
  fails = false
  t.equal(words(await ask(t, app, 'POST /chat/1')), 'data: Fish\n\n')
})

t.test('a native EventSource joins such a run too', async (t) => {
  const app = await live(t)
  app.stream('/chat/:id', {
    method: ['GET', 'POST'],
    resumable: { start: 'POST', key: ({ params }) => params.id },
    async * source (_request, { signal }) {
      yield { event: 'word', data: 'Fish' }
      await once(signal, 'abort')
    }
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('POST /chat/1', { connection: 'close' })
  await client.until('Fish')
  const tab = await dial(t, app)
  tab.ask('GET /chat/1', { connection: 'close', accept: 'text/event-stream' })
  await tab.until('Fish')
  await app.realtime.stop('1')
  await Promise.all([client.closed, tab.closed])
  for (const { text } of [client, tab]) t.match(answerOf(text).body, /event: word\ndata: Fish\n\n[^]*event: realtime:end\ndata: \{"reason":"stopped"\}\n\n/)
})

t.test('a client that does not read is given the rest of a run later, never a run with gaps', async (t) => {
  const text = 'x'.repeat(20_000)
  for (const format of [undefined, 'data'] as const) {
    const app = await live(t, { slow: 'latest', maxBuffered: 200_000 })
    const said = calls<number>()
    const source = async function * () {
      for (let n = 0; n < 600; n++) {
        yield format ? `word ${n} ${text}` : { data: `word ${n} ${text}` }
        said.note(n)
      }
    }
    app.stream('/answer', { ...format && { format }, resumable: { key: () => 'one', maxBytes: 1 << 30 }, source } as { format: 'data', source: typeof source })
    t.throws(() => app.stream('/gaps', { slow: 'latest', resumable: { key: () => 'one' }, source: () => [] }), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' })
    await listen(app)
    const client = await dial(t, app)
    client.ask('GET /answer', { connection: 'close' })
    await client.until('word 0')
    client.socket.pause()
    await said.reach(600)
    client.socket.resume()
    await client.closed
    const answer = answerOf(client.text)
    t.same(Array.from(answer.body.matchAll(/word (\d+) /g), ([, n]) => Number(n)), Array.from({ length: 600 }, (_, n) => n))
    t.equal(answer.whole, true)
    await app.close()
  }
})

t.test('wrong options are errors where they are declared', async (t) => {
  const app = await live(t)
  const source = (): string[] => []
  const key = (): string => 'one'
  const invalid = { code: 'FST_ERR_REALTIME_OPTION_INVALID' }
  t.throws(() => app.stream('/a', { format: 'data', source, resumable: { start: 'POST' } }), invalid, 'no key')
  t.throws(() => app.stream('/a', { format: 'data', source, resumable: { start: 'GET' as 'POST', key } }), invalid)
  t.throws(() => app.stream('/b', { method: 'POST', format: 'data', resumable: { start: 'POST', key } }), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' }, 'a POST needs a source')
  t.throws(() => app.stream('/c', { resumable: { key } }), { code: 'FST_ERR_REALTIME_ROUTE_INVALID' })
  app.stream('/d', { source: () => [], resumable: { key, space: 'mixed' } })
  t.throws(() => app.stream('/e', { format: 'data', resumable: { start: 'POST', key, space: 'mixed' } }), invalid)
})

/** Whose run of a resumable source a request gets: never another user's, another route's, or another question's. */
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import realtime, { type SourceContext, type SourceEvent } from '../../../lib/index.ts'
import { connectStream, StreamRefused, type ConnectStreamOptions } from '../../../lib/testing/index.ts'
import { codeOf, dial, listen, type ServerOptions } from '../../helpers/app.ts'

/** A source that says which of its runs this is, and goes on until it is stopped. */
function teller () {
  const runs: number[] = []
  return {
    runs,
    async * source (_request: unknown, { signal }: SourceContext): AsyncGenerator<SourceEvent> {
      runs.push(runs.length)
      yield { event: 'run', data: `run ${runs.length}` }
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    }
  }
}

async function start (t: Test, declare: (app: FastifyInstance, asked: ReturnType<typeof teller>) => void | Promise<void>, server: ServerOptions = {}) {
  const app = Fastify(server as object) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(realtime, {
    closeTimeout: 500,
    identify: ({ headers }) => headers['x-user'] === undefined ? undefined : { id: headers['x-user'] === 'number' ? 42 as never : String(headers['x-user']) }
  })
  const asked = teller()
  await declare(app, asked)
  await app.ready()
  return { app, asked }
}

/** What is said first to whoever asks so. */
async function heard (t: Test, app: FastifyInstance, url: string, user?: string, options: ConnectStreamOptions = {}): Promise<unknown> {
  const client = await connectStream(app, url, { t, ...options, headers: { ...(user === undefined ? {} : { 'x-user': user }), ...options.headers } })
  const { data } = await client.next('run')
  await client.close()
  return data
}

async function refusal (t: Test, app: FastifyInstance, url: string, user?: string, options: ConnectStreamOptions = {}): Promise<unknown> {
  try {
    return await heard(t, app, url, user, options)
  } catch (error) {
    if (!(error instanceof StreamRefused)) throw error
    return [error.statusCode, (error.body as { code: string }).code]
  }
}

t.test('without a key each user has runs of their own', async (t) => {
  const { app, asked } = await start(t, (app, { source }) => {
    app.stream('/me/answer', { source, resumable: true })
    app.stream('/answers/:id', { source, resumable: {} })
  })
  t.equal(await heard(t, app, '/me/answer', 'ann'), 'run 1')
  t.equal(await heard(t, app, '/me/answer', 'bob'), 'run 2')
  t.equal(await heard(t, app, '/me/answer', 'ann'), 'run 1', 'and comes back to it')
  t.equal(await heard(t, app, '/answers/1', 'ann'), 'run 3')
  t.equal(await heard(t, app, '/answers/2', 'ann'), 'run 4')
  t.equal(await heard(t, app, '/answers/2', 'bob'), 'run 5')
  t.equal(await heard(t, app, '/answers/2', 'ann","string 2'), 'run 6')
  t.equal(await heard(t, app, '/me/answer', 'number'), 'run 7')
  t.equal(await heard(t, app, '/me/answer', '42'), 'run 7', 'an id is the same person as a number and as a string')
  t.equal(asked.runs.length, 7)
})

t.test('the cursor of another user\'s run gives nothing of it', async (t) => {
  const { app } = await start(t, (app, { source }) => { app.stream('/me/answer', { source, resumable: true }) })
  const ann = await connectStream(app, '/me/answer', { t, headers: { 'x-user': 'ann' } })
  await ann.next('run')
  const cursor = String(ann.lastEventId)
  for (const [url, lastEventId] of [['/me/answer', cursor], [`/me/answer?lastEventId=${encodeURIComponent(cursor)}`, undefined]] as const) {
    const bob = await connectStream(app, url, { t, ...(lastEventId === undefined ? {} : { lastEventId }), headers: { 'x-user': 'bob' } })
    t.match((await bob.next('realtime:reset')).data, { reason: /unknown-cursor|expired/ })
    t.equal((await bob.next('run')).data, 'run 2')
    await bob.close()
  }
})

t.test('whose run it is must be said for a POST, and for whoever is nobody', async (t) => {
  const { app, asked } = await start(t, (app, { source }) => {
    app.stream('/ask', { method: 'POST', source, resumable: true })
    app.stream('/both/:id', { method: ['GET', 'POST'], source, resumable: true })
    app.stream('/me', { source, resumable: true })
    app.stream('/objects/:id', {
      source,
      resumable: true,
      preHandler: async (request) => { request.params = { id: { toString: () => 'one' } as never } }
    })
  })
  const missing = [500, 'FST_ERR_REALTIME_RUN_KEY_MISSING']
  const post = { method: 'POST', body: { question: 'why?' } } as const
  for (const user of ['ann', undefined]) {
    t.same(await refusal(t, app, '/ask', user, post), missing)
    t.same(await refusal(t, app, '/both/1', user, post), missing)
    t.same(await refusal(t, app, '/objects/1', user), missing)
  }
  t.same(await refusal(t, app, '/me'), missing)
  t.same(await refusal(t, app, '/both/1'), missing)
  t.same(asked.runs, [])
  t.equal(await refusal(t, app, '/both/1', 'ann'), 'run 1')
  t.match(app.realtime.stats(), { connections: { sse: 0 }, subscriptions: 0 })
  t.same(app.realtime.connections(), [])
})

t.test('a question in a key is that question\'s', async (t) => {
  const { app } = await start(t, (app, { source }) => {
    app.stream('/ask', { method: 'POST', source, resumable: { key: async ({ body }) => (body as { question: string }).question } })
  })
  const ask = async (question: string) => await heard(t, app, '/ask', undefined, { method: 'POST', body: { question } })
  t.equal(await ask('why?'), 'run 1')
  t.equal(await ask('why'), 'run 2')
  t.equal(await ask('why?'), 'run 1')
})

t.test('two routes share nothing, however alike they are, unless they name one space', async (t) => {
  const key = ({ params }: { params: unknown }): string => (params as { id: string }).id
  const { app } = await start(t, async (app, { source }) => {
    const options = { source, resumable: { key } }
    app.stream('/a/:id', options)
    app.stream('/b/:id', options)
    app.stream('/b/:id', { ...options, method: 'POST' })
    app.stream('/c/:id', { ...options, constraints: { host: 'one.example' } })
    app.stream('/c/:id', { ...options, constraints: { host: 'two.example' } })
    app.stream('/c/:id', { ...options, constraints: { host: /three/ } })
    app.stream('/c/:id', { ...options, constraints: { host: /four/ } })
    for (const prefix of ['/d', '/e', '/f/:tenant']) await app.register(async (child) => { child.stream('/:id', options) }, { prefix })
    app.stream('/g/:id', { ...options, resumable: { ...options.resumable, space: 'shared' } })
    app.stream('/h/:id', { ...options, resumable: { ...options.resumable, space: 'shared' } })
    // In the same space too, and with a key that a client could write into the other's params.
    app.stream('/i/:id', { source, resumable: { space: 'shared' } })
    app.stream('/j/:id', { ...options, method: ['GET', 'POST'] })
  })
  const wanted: Array<[string, string, ConnectStreamOptions?]> = [
    ['/a/1', 'run 1'], ['/b/1', 'run 2'], ['/b/1', 'run 3', { method: 'POST' }],
    ...['one.example', 'two.example', 'three.example', 'four.example'].map((host, i): [string, string, ConnectStreamOptions] => ['/c/1', `run ${4 + i}`, { headers: { host } }]),
    ['/d/1', 'run 8'], ['/e/1', 'run 9'], ['/f/x/1', 'run 10'],
    ['/g/1', 'run 11'], ['/h/1', 'run 11'], ['/i/1', 'run 12'], ['/j/1', 'run 13'], ['/j/1', 'run 13', { method: 'POST' }],
    [`/g/${encodeURIComponent(JSON.stringify(['ann', [['id', 'string 1']]]))}`, 'run 14'], ['/a/1', 'run 1']
  ]
  for (const [url, run, options] of wanted) t.equal(await heard(t, app, url, 'ann', options), run, `${options?.method ?? 'GET'} ${url} ${JSON.stringify(options?.headers ?? {})}`)
})

t.test('another way to write a URL starts nothing anew', async (t) => {
  const { app, asked } = await start(t, async (app, { source }) => {
    app.stream('/answers/:id', { source, resumable: true })
    app.stream('/files/*', { source, resumable: true })
    await app.register(async (child) => { child.stream('/', { source, resumable: true }) }, { prefix: '/home' })
  }, { routerOptions: { caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, useSemicolonDelimiter: true } })
  await listen(app)
  const ways = {
    '/answers/1': ['/answers/%31', '/ANSWERS/1', '/answers/1/', '//answers//1', '/answers/1?x=1', '/answers/1;x', '/answers/1?lastEventId=', '/%61nswers/1', 'http://elsewhere.example/answers/1'],
    '/files/a/b%20c': ['/files/%61/b%20%63', '/FILES/a/b%20c'],
    '/home': ['/home/', '/Home?x']
  }
  let run = 0
  for (const [url, others] of Object.entries(ways)) {
    run++
    for (const one of [url, ...others]) {
      const raw = await dial(t, app)
      raw.ask(`GET ${one}`, { accept: 'text/event-stream', 'x-user': 'ann' })
      t.match(await raw.until(/data: run \d+/), `data: run ${run}`, one)
      raw.socket.destroy()
    }
  }
  t.equal(asked.runs.length, run)
})

t.test('params that would read the same put together are not the same', async (t) => {
  const { app, asked } = await start(t, (app, { source }) => {
    app.stream('/two/:a/:b', { source, resumable: true })
    app.stream('/wild/*', { source, resumable: true })
  })
  const urls = ['/two/a%2Fb/c', '/two/a/b%2Fc', '/two/a%252Fb/c', '/two/a,b/c', '/two/a/b,c', '/two/%22/%22', '/wild/a/b', '/wild/a%252Fb', '/wild/a%2Fb/']
  for (const [i, url] of urls.entries()) t.equal(await heard(t, app, url, 'ann'), `run ${i + 1}`, url)
  t.equal(asked.runs.length, urls.length)
})

t.test('a key may hold anything and be of any length', async (t) => {
  let key: unknown
  const { app, asked } = await start(t, (app, { source }) => { app.stream('/a', { source, resumable: { key: () => key as string } }) })
  const long = 'k'.repeat(50_000)
  const keys = ['realtime:runs/x', '..', '%2E%2E', 'a\r\nb', '\0', '\ud800', '\ud801', long, `${long}!`, 'k'.repeat(63), 'k'.repeat(64)]
  for (const [i, one] of keys.entries()) {
    key = one
    t.equal(await heard(t, app, '/a'), `run ${i + 1}`)
    t.equal(await heard(t, app, '/a'), `run ${i + 1}`)
    t.equal(await app.realtime.stop(one), true)
  }
  t.equal(asked.runs.length, keys.length)
})

t.test('what a key function gives, or throws, is checked before anything runs', async (t) => {
  let make: () => unknown
  const { app, asked } = await start(t, (app, { source }) => { app.stream('/a', { source, resumable: { key: () => make() as string } }) })
  const invalid = [500, 'FST_ERR_REALTIME_RUN_KEY_INVALID']
  for (const given of [undefined, null, '', 7, NaN, true, {}, [], ['a'], Symbol('a'), Promise.resolve(''), Promise.resolve(undefined)]) {
    make = () => given
    t.same(await refusal(t, app, '/a'), invalid)
  }
  const paid = Object.assign(new Error('pay first'), { statusCode: 402, code: 'PAY' })
  make = () => { throw paid }
  t.same(await refusal(t, app, '/a'), [402, 'PAY'])
  make = async () => { throw paid }
  t.same(await refusal(t, app, '/a'), [402, 'PAY'])
  t.same(asked.runs, [])
  t.same(app.realtime.connections(), [])
})

t.test('HEAD starts nothing', async (t) => {
  const { app, asked } = await start(t, (app, { source }) => { app.stream('/me', { source, resumable: true }) })
  t.equal((await app.inject({ method: 'HEAD', url: '/me', headers: { 'x-user': 'ann', accept: 'text/event-stream' } })).statusCode, 200)
  t.same(asked.runs, [])
})

t.test('stop finds a run by its key and space', async (t) => {
  const { app } = await start(t, (app, { source }) => { app.stream('/a/:id', { source, resumable: { key: ({ params }) => params.id } }) })
  await heard(t, app, '/a/1')
  t.equal(await app.realtime.stop('2'), false)
  t.equal(await app.realtime.stop('1', { space: '/b/:id' }), false)
  t.equal(await app.realtime.stop('1'), true, 'the only space there is')
  await heard(t, app, '/a/2')
  t.equal(await app.realtime.stop('2', { space: '/a/:id' }), true)
  for (const key of ['', undefined, null, 7, {}]) t.equal(await codeOf(() => app.realtime.stop(key as string)), 'FST_ERR_REALTIME_RUN_KEY_INVALID')
  for (const options of [{ spaces: 'a' }, { space: '' }, { space: 7 }, 7, []]) t.equal(await codeOf(() => app.realtime.stop('1', options as never)), 'FST_ERR_REALTIME_OPTION_INVALID')
})

t.test('where there are several spaces, stop must be told which', async (t) => {
  const { app } = await start(t, (app, { source }) => {
    const resumable = { key: () => 'one' }
    app.stream('/a', { source, resumable })
    app.stream('/b', { source, resumable, method: 'POST' })
  })
  await heard(t, app, '/a')
  await heard(t, app, '/b', undefined, { method: 'POST' })
  t.equal(await codeOf(() => app.realtime.stop('one')), 'FST_ERR_REALTIME_RUN_SPACE')
  t.equal(await app.realtime.stop('one', { space: '/b' }), true, 'a pattern is enough where one space has it')
  t.equal(await app.realtime.stop('one', { space: '/a' }), true)
})

t.test('without a resumable route there is nothing to stop, unless another node has one', async (t) => {
  const { app } = await start(t, () => {})
  t.equal(await codeOf(() => app.realtime.stop('one')), 'FST_ERR_REALTIME_RUN_SPACE')
  t.equal(await app.realtime.stop('one', { space: 'elsewhere' }), false)
})

t.test('a space is a non-empty string', async (t) => {
  await start(t, (app, { source }) => {
    for (const space of ['', 7, null, {}]) {
      t.throws(() => app.stream('/a', { source, resumable: { space: space as string } }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
    }
  })
})

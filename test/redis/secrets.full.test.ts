/** The password of Redis stands in no log and in no error, and a client is told of no server. */
import { inspect } from 'node:util'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import realtime from '../../lib/index.ts'
import { cleanerOf, RedisError } from '../../lib/adapters/redis/driver-error.ts'
import { redis, type RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import { RedisServer, until } from '../helpers/redis.ts'

const SECRET = 'hunter2/of all@things'
const WRONG = 'swordfish?wrong#one'
const OTHER = 'changed-meanwhile'
/** As they stand, and as they stand in a URL. */
const FORMS = [SECRET, WRONG, OTHER].flatMap((secret) => [secret, encodeURIComponent(secret), encodeURI(secret), JSON.stringify(secret).slice(1, -1)])
/** What only a driver's error has. */
const INSIDES = /"command"|"args"|previousErrors|lastNodeError|_RETRY|_COMMAND/

const showsSecret = (text: string): string | undefined => FORMS.find((form) => text.includes(form))
const everythingOf = (error: unknown): string => [inspect(error, { depth: 20, showHidden: true, getters: true }), JSON.stringify(error), String((error as Error).stack)].join('\n')

function appOf (t: Test, options: RedisAdapterOptions): { app: FastifyInstance, logs: string[] } {
  const logs: string[] = []
  const app = Fastify({ logger: { level: 'trace', stream: { write: (line: string) => { logs.push(line) } } }, forceCloseConnections: true }) as unknown as FastifyInstance
  t.teardown(async () => await app.close())
  app.register(realtime, { adapter: redis(options), closeTimeout: 200, joinTimeout: 300 })
  app.register(async (app) => {
    app.topic('news', { authorize: () => true })
    app.stream('/news', { topics: 'news' })
    app.channel('/channel', { topics: 'news' })
    app.post('/news', async () => await app.realtime.publish('news', 'said', {}))
    app.get('/history', async () => await app.realtime.history('news'))
  })
  return { app, logs }
}

/** As somebody who knows the password. */
async function asOwner (password: string, run: (own: Redis) => Promise<unknown>): Promise<void> {
  const own = new Redis({ host, port, password })
  try {
    await run(own)
  } finally {
    own.disconnect()
  }
}

/** Nothing that was logged tells the secret, or holds an error of the driver's. */
function clean (t: Test, what: string, logs: readonly string[]): void {
  const text = logs.join('\n')
  t.equal(showsSecret(text), undefined, `${what}: no secret in the log`)
  t.notMatch(text, INSIDES, `${what}: no driver's error in the log`)
}

const locked = await RedisServer.start(t, ['--requirepass', SECRET])
/** One that knows no AUTH, and repeats what it was sent. */
const echoing = await RedisServer.start(t, ['--rename-command', 'AUTH', ''])
const { port } = locked
const host = '127.0.0.1'

const WRONGLY: Record<string, RedisAdapterOptions> = {
  'a URL': { url: `redis://:${encodeURIComponent(WRONG)}@${host}:${port}` },
  'a URL with a user': { url: `redis://somebody:${encodeURIComponent(WRONG)}@${host}:${port}` },
  options: { connection: { host, port, password: WRONG } },
  'no password': { url: locked.url },
  'a server that repeats what it is sent': { connection: { host, port: echoing.port, password: SECRET } },
  'a cluster': { cluster: { nodes: [{ host, port }], options: { redisOptions: { password: WRONG } } } },
  'a cluster, by URL': { cluster: { nodes: [`redis://:${encodeURIComponent(WRONG)}@${host}:${port}`] } },
  'a cluster that repeats what it is sent': { cluster: { nodes: [{ host, port: echoing.port }], options: { redisOptions: { password: SECRET } } } },
  Sentinel: { connection: { sentinels: [{ host, port }], name: 'mymaster', sentinelPassword: WRONG, password: SECRET } },
  'a Sentinel that repeats what it is sent': { connection: { sentinels: [{ host, port: echoing.port }], name: 'mymaster', sentinelPassword: SECRET } }
}

for (const [what, options] of Object.entries(WRONGLY)) {
  t.test(`a wrong password at the start, by ${what}`, async (t) => {
    const { app, logs } = appOf(t, { ...options, connectTimeout: 500 })
    const error = await app.ready().then(() => undefined, (error: unknown) => error)
    t.match(error, { code: 'FST_ERR_REALTIME_UNAVAILABLE' })
    t.equal(showsSecret(everythingOf(error)), undefined, 'no secret in the error')
    t.notMatch(everythingOf(error), /\bargs: \[|previousErrors|lastNodeError/, 'none of the driver\'s objects beneath it')
    app.log.error({ err: error }, 'as an app would log it')
    clean(t, what, logs)
  })
}

t.test('the start says what is wrong, in the server\'s words', async (t) => {
  const { app } = appOf(t, { connection: { host, port, password: WRONG }, connectTimeout: 500 })
  await t.rejects(async () => { await app.ready() }, { message: /WRONGPASS/ })
})

t.test('a password that is changed while the app runs: clients are told a fixed text, and the log no secret', async (t) => {
  const { app, logs } = appOf(t, { connection: { host, port, password: SECRET }, connectTimeout: 3000, publishTimeout: 3000 })
  await app.ready()
  t.equal((await app.inject({ method: 'POST', url: '/news' })).statusCode, 200)
  await asOwner(SECRET, async (own) => {
    await own.config('SET', 'requirepass', OTHER)
    await own.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await own.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes')
  })
  await until('the outage', () => logs.some((line) => line.includes('the adapter is not available')))
  const answers = [
    await app.inject({ method: 'POST', url: '/news' }),
    await app.inject({ url: '/history' }),
    await app.inject({ url: '/news', headers: { accept: '*/*' } })
  ]
  for (const { statusCode, payload } of answers) {
    t.equal(statusCode, 503)
    t.match(JSON.parse(payload), { code: 'FST_ERR_REALTIME_UNAVAILABLE', message: /^not available now(; whether it was done is not known)?$/ })
    t.notMatch(payload, /WRONGPASS|NOAUTH|ECONN|127\.0\.0\.1|Redis/i, 'of no server')
  }
  const error = await app.realtime.publish('news', 'said', {}).then(() => undefined, (error: unknown) => error)
  t.equal(showsSecret(everythingOf(error)), undefined)
  t.match((error as Error).cause, Error, 'why is its cause')
  clean(t, 'the change', logs)
  t.ok(logs.some((line) => /WRONGPASS|NOAUTH/.test(line)), 'the log says why, in the server\'s words')
  await asOwner(OTHER, async (own) => await own.config('SET', 'requirepass', SECRET))
  await until('the way back', () => logs.some((line) => line.includes('the adapter is back')))
  t.equal((await app.inject({ method: 'POST', url: '/news' })).statusCode, 200)
})

t.test('a server that is gone: clients are told of no address', async (t) => {
  const own = await RedisServer.start(t)
  const { app, logs } = appOf(t, { url: own.url, connectTimeout: 3000, publishTimeout: 3000 })
  await app.ready()
  await own.kill()
  await until('the outage', () => logs.some((line) => line.includes('the adapter is not available')))
  for (const request of [{ method: 'POST', url: '/news' }, { url: '/history' }, { url: '/news', headers: { accept: '*/*' } }] as const) {
    const { statusCode, payload } = await app.inject(request)
    t.equal(statusCode, 503)
    t.notMatch(payload, /ECONN|127\.0\.0\.1|Redis|\d{4,5}/i)
  }
})

t.test('a password with a malformed escape or a lone surrogate stands in no error, and ends no process', async (t) => {
  for (const password of ['%zz-secret', '\ud800-secret', '%']) {
    const client = { options: { password, redisOptions: { password } }, startupNodes: [`redis://:${password}@host:1`, { password }] }
    const error = cleanerOf(client)(new Error(`at ${password}!`))
    t.type(error, RedisError)
    if (password.length > 1) t.notMatch(error.message, 'secret')
  }
  const { app, logs } = appOf(t, { cluster: { nodes: ['redis://:%zz-secret@127.0.0.1:1'] } })
  await t.rejects(async () => await app.ready(), { code: 'FST_ERR_REALTIME_UNAVAILABLE' })
  t.notMatch(logs.join(), 'secret')
})

t.test('what is left of a driver\'s error', async (t) => {
  const client = { options: { password: SECRET, sentinelPassword: WRONG, redisOptions: { password: OTHER } } }
  const clean = cleanerOf(client)
  const insides = { command: { name: 'auth', args: [SECRET] }, previousErrors: [new Error(SECRET)], lastNodeError: Object.assign(new Error(`at ${WRONG}`), { command: { args: [OTHER] } }) }
  const shapes: unknown[] = [
    Object.assign(new Error(`ERR unknown command 'auth', with args beginning with: '${SECRET}'`), insides),
    Object.assign(new Error(`connect to redis://:${encodeURIComponent(SECRET)}@host`), { code: 'ECONNREFUSED', ...insides }),
    new AggregateError([Object.assign(new Error(`one: ${OTHER}`), insides)], ''),
    Object.assign(new Error('x', { cause: new Error(SECRET) }), { stack: SECRET }),
    SECRET, undefined, null, 42, {}, { message: 7, code: 7 }, Object.freeze(Object.assign(new Error(SECRET), insides))
  ]
  for (const shape of shapes) {
    const error = clean(shape)
    t.type(error, RedisError)
    t.equal(showsSecret(everythingOf(error)), undefined)
    t.same(Object.keys(error).filter((key) => key !== 'code' && key !== 'name'), [], 'message and code alone')
    t.equal(clean(error), error)
  }
  t.match(clean(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })), { message: 'connect ECONNREFUSED', code: 'ECONNREFUSED' })
  const again = new Error('the same')
  t.equal(clean(again), clean(again), 'made once')
})

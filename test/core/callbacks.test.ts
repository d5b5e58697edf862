// What the app's code throws becomes an Error that can be read, logged and sent, whatever it was.

import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import { call, callApart, Patience, quiet, statusAsked, statusOf, toError, within } from '../../lib/core/callbacks.ts'

const throwing = (property: string): Error => Object.defineProperty(new Error('with a getter'), property, { get () { throw new Error('the getter') }, enumerable: true })

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

const thrown: Array<[string, unknown, number, string]> = [
  ['an Error', new Error('plain'), 500, 'plain'],
  ['an Error with a status', Object.assign(new Error('no'), { statusCode: 403 }), 403, 'no'],
  ['an Error with "status"', Object.assign(new Error('no'), { status: 404 }), 404, 'no'],
  ['an Error with a status that is none', Object.assign(new Error('fine?'), { statusCode: 200 }), 500, 'fine?'],
  ['an Error with a status out of range', Object.assign(new Error('odd'), { statusCode: 99999 }), 500, 'odd'],
  ['an Error with a status of another type', Object.assign(new Error('odd'), { statusCode: '403' }), 500, 'odd'],
  ['a frozen Error', Object.freeze(new Error('frozen')), 500, 'frozen'],
  ['a frozen Error with a status', Object.freeze(Object.assign(new Error('frozen'), { statusCode: 409 })), 409, 'frozen'],
  ['an Error whose message throws', throwing('message'), 500, 'the app\'s code threw an object, which is not an Error'],
  ['an Error whose status throws', throwing('statusCode'), 500, 'with a getter'],
  ['an Error with any other getter that throws', throwing('details'), 500, 'with a getter'],
  ['a string', 'forbidden', 500, 'forbidden'],
  ['an empty string', '', 500, ''],
  ['undefined', undefined, 500, 'the app\'s code threw undefined, which is not an Error'],
  ['null', null, 500, 'the app\'s code threw null, which is not an Error'],
  ['a number', 42, 500, 'the app\'s code threw 42, which is not an Error'],
  ['a symbol', Symbol('s'), 500, 'the app\'s code threw Symbol(s), which is not an Error'],
  ['a function', () => {}, 500, 'the app\'s code threw a function, which is not an Error'],
  ['a plain object', { a: 1 }, 500, 'the app\'s code threw an object, which is not an Error'],
  ['an object with a status and a message', { statusCode: 402, message: 'pay' }, 402, 'pay'],
  ['a frozen object', Object.freeze({ statusCode: 418, message: 'tea' }), 418, 'tea'],
  ['an object without a prototype', Object.create(null), 500, 'the app\'s code threw an object, which is not an Error'],
  ['a revoked proxy', revoked(), 500, 'the app\'s code threw an object, which is not an Error']
]

for (const [what, value, status, message] of thrown) {
  t.test(`${what} becomes an Error with its status and message`, async (t) => {
    const error = toError(value)
    t.ok(error instanceof Error)
    t.equal(error.message, message)
    t.equal(statusOf(error), status)
    t.equal(toError(error), error, 'which is left as it is the second time')
    t.ok(Object.isExtensible(error))
  })

  t.test(`${what} can be logged and sent`, async (t) => {
    const app = Fastify({ logger: { level: 'trace', stream: new Writable({ write (_chunk, _encoding, done) { done() } }) } })
    app.get('/', (request, reply) => {
      const error = toError(value)
      request.log.error({ err: error }, 'thrown')
      reply.send(error)
    })
    const response = await app.inject('/')
    t.equal(response.statusCode, status)
    t.equal(response.json().message, message)
  })
}

t.test('an ordinary Error stays itself, with its class and what it carries', async (t) => {
  class Own extends Error {}
  const error = Object.assign(new Own('own'), { details: { a: 1 } })
  t.equal(toError(error), error)
})

t.test('work that is over in time is what it resolves with', async (t) => {
  t.equal(await within(60_000, Promise.resolve('done'), () => new Error('late')), 'done')
  await t.rejects(within(60_000, Promise.reject(new Error('failed')), () => new Error('late')), { message: 'failed' })
})

t.test('work that is never over is given up', async (t) => {
  await t.rejects(within(1, new Promise(() => {}), () => new Error('late')), { message: 'late' })
})

const nested: Array<[string, Error]> = [
  ['a frozen cause', new Error('outer', { cause: Object.freeze(new Error('inner')) })],
  ['a frozen error among others', new AggregateError([Object.freeze(new Error('inner'))], 'outer')],
  ['a frozen error as a property', Object.assign(new Error('outer'), { inner: Object.freeze({ message: 'inner' }) })],
  ['a property whose message throws', Object.assign(new Error('outer'), { inner: { get message () { throw new Error('the getter') } } })],
  ['a cause that throws when it is called', Object.assign(new Error('outer'), { cause: () => { throw new Error('the cause') } })],
  ['a long chain of causes', Array.from({ length: 100 }).reduce<Error>((cause) => new Error('outer', { cause }), new Error('inner'))]
]

for (const [what, error] of nested) {
  t.test(`an Error with ${what} becomes one that can be logged and sent`, async (t) => {
    const made = toError(error)
    t.not(made, error)
    t.equal(made.message, 'outer')
    t.equal(made.stack, error.stack)
    const lines: string[] = []
    const app = Fastify({ logger: { stream: new Writable({ write (chunk, _encoding, done) { lines.push(String(chunk)); done() } }) } })
    quiet(app.log).error({ err: error }, 'thrown')
    t.equal(JSON.parse(lines[0] as string).err.message, 'outer')
  })
}

t.test('an Error whose causes go in a circle, or are many, stays itself', async (t) => {
  const first = new Error('first')
  first.cause = new Error('second', { cause: first })
  t.equal(toError(first), first)
  const all = new AggregateError([new Error('a'), 'text', null], 'all')
  t.equal(toError(all), all)
})

t.test('an Error behind a proxy is remade: what it says may change', async (t) => {
  const made = toError(new Proxy(Object.assign(new Error('proxied'), { statusCode: 409 }), {}))
  t.equal(made.message, 'proxied')
  t.equal(statusOf(made), 409)
})

t.test('only a status that was thrown along counts as asked for', async (t) => {
  t.equal(statusAsked(Object.assign(new Error('no'), { statusCode: 403 })), 403)
  for (const value of [new Error('no'), 'no', undefined, toError('no'), { statusCode: 200 }]) t.equal(statusAsked(value), undefined)
})

const calls: Array<[string, (code: () => unknown) => unknown]> = [
  ['call', call],
  ['patience', (code) => new Patience(60_000).call('"x"', code)]
]

for (const [name, run] of calls) {
  t.test(`${name}: a value is there in the same turn, and a promise's is waited for`, async (t) => {
    t.equal(run(() => 5), 5)
    t.equal(await run(async () => 5), 5)
    t.equal(await run(() => ({ then: (resolve: (value: number) => void) => resolve(5) })), 5, 'also that of another kind of promise')
  })

  for (const [what, value, , message] of thrown) {
    t.test(`${name}: ${what} is an Error, thrown or rejected with`, async (t) => {
      const throwsIt = (): never => { throw value }
      t.throws(() => run(throwsIt), Error)
      const rejected = await Promise.resolve(run(async () => throwsIt())).then(() => undefined, (error: Error) => error)
      t.ok(rejected instanceof Error)
      t.equal(rejected?.message, message)
      await t.rejects(async () => await run(() => ({ then: throwsIt })), Error, 'or thrown by "then"')
      await t.rejects(async () => await run(() => ({ get then () { return throwsIt() } })), Error, 'or by its getter')
    })
  }
}

t.test('patience: what does not settle is given up by its name, and what becomes of it later is nobody\'s concern', async (t) => {
  const { promise, reject } = withResolvers()
  await t.rejects(async () => await new Patience(1).call('"topics"', () => promise), { code: 'FST_ERR_REALTIME_CALLBACK_TIMEOUT', statusCode: 503, message: /^"topics" did not settle within 1 ms/ })
  reject(null)
  await new Promise((resolve) => setImmediate(resolve))
})

t.test('patience: when it ends, nobody waits any more', async (t) => {
  const patience = new Patience(60_000)
  const waiting = [patience.call('"a"', () => new Promise(() => {})), patience.wait(new Promise(() => {}), () => new Error('late'))]
  await new Promise((resolve) => setImmediate(resolve))
  patience.end(() => new Error('closing'))
  for (const one of waiting) await t.rejects(async () => await one, { message: 'closing' })
  await t.rejects(async () => await patience.call('"b"', () => new Promise(() => {})), { message: 'closing' }, 'nor waits anew')
  t.equal(patience.call('"c"', () => 5), 5)
})

function withResolvers (): { promise: Promise<void>, reject: (error: unknown) => void } {
  let reject!: (error: unknown) => void
  const promise = new Promise<void>((_resolve, _reject) => { reject = _reject })
  return { promise, reject }
}

t.test('callApart: whatever it throws is logged, and nothing else', async (t) => {
  for (const [, value, , message] of thrown) {
    const lines: Array<{ err: Error }> = []
    const log = { error: (details: object) => { lines.push(details as { err: Error }) }, warn () {}, info () {}, debug () {} }
    callApart(log, 'failed', () => { throw value })
    callApart(log, 'failed', async () => { throw value })
    await new Promise((resolve) => setImmediate(resolve))
    t.strictSame(lines.map(({ err }) => err.message), [message, message])
  }
})

t.test('a logger that throws loses a line, and nothing else', async (t) => {
  const broken = { error () { throw null }, warn () { throw null }, info () { throw null }, debug () { throw null } } // eslint-disable-line no-throw-literal
  for (const level of ['error', 'warn', 'info', 'debug'] as const) {
    quiet(broken)[level]({ err: new Error('x') }, 'text')
    quiet(broken)[level]({}, 'text')
  }
  callApart(broken, 'failed', async () => { throw undefined }) // eslint-disable-line no-throw-literal
  await new Promise((resolve) => setImmediate(resolve))
})

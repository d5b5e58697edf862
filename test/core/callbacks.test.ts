// What the app's code throws becomes an Error that can be read, logged and sent, whatever it was.

import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import { statusOf, toError, within } from '../../lib/core/callbacks.ts'

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

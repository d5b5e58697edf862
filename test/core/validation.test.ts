// Whatever a validator says, whichever compiler made it, is read as Fastify reads it.

import t from 'tap'
import { check, describe, type Checked, type Validator } from '../../lib/core/validation.ts'

const given = { amount: 5 }

/** A validator of Ajv's kind: the faults are on the function. */
const withErrors = (said: unknown, errors: unknown): Validator => Object.assign(() => said, { errors })
const revoked = Proxy.revocable({}, {})
revoked.revoke()

const fitting: Array<[string, unknown, unknown]> = [
  ['true', true, given],
  ['undefined', undefined, given],
  ['null', null, given],
  ['0', 0, given],
  ['an empty text', '', given],
  ['a text', 'fine', given],
  ['an empty object', {}, given],
  ['no error', { error: undefined }, given],
  ['an error that is null', { error: null }, given],
  ['an error that is false', { error: false }, given],
  ['an error that is an empty text', { error: '' }, given],
  ['a value', { value: { amount: 6 } }, { amount: 6 }],
  ['a value and no error', { value: { amount: 6 }, error: undefined }, { amount: 6 }],
  ['a value that is undefined', { value: undefined }, undefined],
  ['a value that is null', { value: null }, null],
  ['a value that is 0', { value: 0 }, 0],
  ['a value that is false', { value: false }, false],
  ['a value that is a text', { value: '' }, ''],
  ['a value that is inherited', Object.create({ value: 1 }), 1]
]

t.test('data that fits is used as it came, or as the validator gives it back', async (t) => {
  for (const [what, said, value] of fitting) t.same(await check(() => said, given), { value }, what)
})

const refusing: Array<[string, Validator, string | RegExp]> = [
  ['false, with errors', withErrors(false, [{ instancePath: '/amount', message: 'must be number' }]), 'data/amount must be number'],
  ['false, with several', withErrors(false, [{ instancePath: '/a', message: 'is odd' }, { instancePath: '', message: 'is late' }]), 'data/a is odd, data is late'],
  ['false, without errors', () => false, 'data does not match its schema'],
  ['false, with none', withErrors(false, []), 'data does not match its schema'],
  ['an Error', () => ({ error: new Error('"amount" is required') }), '"amount" is required'],
  ['an Error beside a value', () => ({ value: { amount: 1 }, error: new Error('no') }), 'no'],
  ['an Error that asks for 403', () => ({ error: Object.assign(new Error('no'), { statusCode: 403 }) }), 'no'],
  ['an array of issues', () => ({ error: [{ instancePath: '/amount', message: 'Invalid input' }] }), 'data/amount Invalid input'],
  ['an empty array', () => ({ error: [] }), 'data does not match its schema'],
  ['issues with paths', () => ({ error: { issues: [{ path: ['a', 0, { key: 'b' }], message: 'Required' }] } }), 'data/a/0/b Required'],
  ['a text', () => ({ error: 'too small' }), 'too small'],
  ['an array of texts', () => ({ error: ['too small', 'too late'] }), 'too small, too late'],
  ['true', () => ({ error: true }), 'data does not match its schema'],
  ['a number', () => ({ error: 1 }), 'data does not match its schema'],
  ['an object with a message', () => ({ error: { message: 'odd' } }), 'odd'],
  ['an object without', () => ({ error: {} }), 'data does not match its schema'],
  ['a getter that throws', () => ({ error: Object.defineProperty({}, 'issues', { get () { throw new Error('the getter') } }) }), 'data does not match its schema'],
  ['issues that are nothing', () => ({ error: [null, undefined, 5] }), /^data does not match its schema, /],
  ['more issues than anybody reads', () => ({ error: Array.from({ length: 1000 }, () => ({ message: 'x'.repeat(100) })) }), /^.{1,500}$/],
  ['an error on a function', () => Object.assign(() => {}, { error: 'said by a function' }), 'said by a function'],
  ['a promise of false', Object.assign(async () => false, { errors: [{ message: 'is late' }] }), 'data is late'],
  ['a promise of false, without errors', async () => false, 'data does not match its schema'],
  ['a promise that rejects', async () => { throw new Error('validation failed') }, 'validation failed'],
  ['a promise that rejects with issues', () => Promise.reject([{ message: 'is late' }]), 'data is late'], // eslint-disable-line prefer-promise-reject-errors -- as some do
  ['a promise that rejects with nothing', () => Promise.reject(), 'data does not match its schema'] // eslint-disable-line prefer-promise-reject-errors -- as some do
]

t.test('data that does not fit is refused, with a reason that can be read', async (t) => {
  for (const [what, validator, fault] of refusing) {
    const checked = await check(validator, given)
    t.ok(checked.fault, what)
    t.match(checked, { fault }, what)
  }
})

t.test('a promise says yes or no; what else it gives is data', async (t) => {
  for (const said of [true, undefined, given, { error: 'a member of the data' }, { value: 'another' }]) {
    t.same(await check(async () => said, given), { value: given })
  }
  t.same(await check(() => ({ then: (done: (said: unknown) => void) => done(true) }), given), { value: given }, 'any thenable')
})

t.test('a validator that fails is a failure of the server\'s', async (t) => {
  const failing: Array<[string, Validator]> = [
    ['throws', () => { throw new Error('a bug') }],
    ['throws with a status', () => { throw Object.assign(new Error('a bug'), { statusCode: 400, code: 'BAD' }) }],
    ['throws nothing', () => { throw undefined }], // eslint-disable-line no-throw-literal -- as some do
    ['says an error of status 503', () => ({ error: Object.assign(new Error('a bug'), { statusCode: 503 }) })],
    ['rejects with status 500', async () => { throw Object.assign(new Error('a bug'), { statusCode: 500 }) }]
  ]
  for (const [what, validator] of failing) {
    await t.rejects((async (): Promise<Checked> => await check(validator, given))(), { message: /^the validator failed: /, statusCode: 500 }, what)
  }
})

t.test('data that is not there is null to the validator, as a body that is not there', async (t) => {
  const seen: unknown[] = []
  t.same(await check((data) => { seen.push(data) }, undefined), { value: undefined })
  t.same(seen, [null])
})

t.test('a validator of Ajv\'s may replace the data as a whole', async (t) => {
  const validator: Validator = Object.assign((_data: unknown, context?: { parentData: object, parentDataProperty: string }) => {
    Object.assign(context?.parentData ?? {}, { [context?.parentDataProperty ?? '']: 5 })
    return true
  }, { schemaEnv: {} })
  t.same(await check(validator, '5'), { value: 5 })
})

t.test('whatever an error is, it can be described', async (t) => {
  for (const error of [undefined, null, 0, Symbol('s'), () => {}, revoked.proxy, [revoked.proxy], Object.create(null)]) t.type(describe(error), 'string')
})

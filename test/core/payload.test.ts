// What cannot be encoded fails whoever asked for it, with a code; everything that leaves is JSON on one line, or bytes.

import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { SourceEvent } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { calls, gate, live } from '../helpers/app.ts'

const CODE = 'FST_ERR_REALTIME_EVENT_DATA'

const circle: Record<string, unknown> = {}
circle.self = circle
const thrower = (value: unknown) => ({ toJSON () { throw value } })
const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** What no JSON can be made of. */
const impossible: Array<[string, unknown]> = [
  ['a circle', circle],
  ['a BigInt', 1n],
  ['a BigInt inside', { n: 1n }],
  ['a toJSON that throws an Error', thrower(new Error('no'))],
  ['a toJSON that throws undefined', thrower(undefined)],
  ['a toJSON that throws null', { deep: [thrower(null)] }],
  ['a toJSON that throws a frozen object', thrower(Object.freeze({ a: 1 }))],
  ['a getter that throws', Object.defineProperty({}, 'x', { enumerable: true, get () { throw new Error('the getter') } })],
  ['a revoked proxy', revoked()],
  ['a proxy that throws', new Proxy({}, { ownKeys () { throw undefined } })] // eslint-disable-line no-throw-literal -- as some do
]

async function code (work: () => unknown): Promise<unknown> {
  try {
    await work()
    return 'no error'
  } catch (error) {
    return (error as { code?: unknown } | undefined)?.code
  }
}

/** An app whose serializer compiler gives what the event's schema says. */
async function serializing (t: Test, write: (data: unknown) => unknown, validate: boolean): Promise<FastifyInstance> {
  const app = await live(t, { validate })
  app.setSerializerCompiler(() => write as never)
  app.topic('news', { events: { said: {}, told: {} } })
  app.topic('plain')
  app.stream('/news', { topics: ['news', 'plain'] })
  app.channel('/talk', { topics: ['news', 'plain'] })
  await app.ready()
  return app
}

/** An event without a schema, and one with one that takes any object; a client that hears both, and its connection. */
async function anyAndTyped (t: Test) {
  const app = await live(t)
  const sending = gate<{ send (event: string, data: unknown): void }>()
  app.topic('any')
  app.topic('typed', { events: { said: { type: 'object', additionalProperties: true } } })
  app.stream('/stream', { topics: ['any', 'typed'], onConnect: (connection) => sending.open(connection) })
  await app.ready()
  const stream = await connectStream(app, '/stream', { t })
  const connection = await sending.passed
  return { app, stream, connection }
}

t.test('data that cannot be JSON fails its publish, and nothing else', async (t) => {
  const { app, stream, connection } = await anyAndTyped(t)
  for (const [what, data] of impossible) {
    t.equal(await code(() => app.realtime.publish('any', 'said', data)), CODE, what)
    t.equal(await code(() => app.realtime.publish('typed', 'said', { data })), CODE, `${what}, with a schema`)
    t.equal(await code(() => connection.send('said', data)), CODE, `${what}, sent to one`)
  }
  await app.realtime.publish('any', 'said', 'still there')
  t.same((await stream.next()).data, 'still there')
})

t.test('bytes are a Uint8Array: other buffers are refused, of which JSON would make an empty object', async (t) => {
  const { app, stream, connection } = await anyAndTyped(t)
  const buffers = [new ArrayBuffer(4), new SharedArrayBuffer(4), new DataView(new ArrayBuffer(4)), new Float32Array(2), new Uint16Array(2)]
  for (const data of buffers) {
    const what = data.constructor.name
    t.equal(await code(() => app.realtime.publish('any', 'said', data)), CODE, what)
    t.equal(await code(() => app.realtime.publish('typed', 'said', data)), CODE, `${what}, with a schema`)
    t.equal(await code(() => connection.send('said', data)), CODE, `${what}, sent to one`)
  }
  for (const bytes of [new Uint8Array([1, 2]), Buffer.from([1, 2])]) {
    await app.realtime.publish('any', 'said', bytes)
    t.equal((await stream.next()).data, 'AQI=')
  }
})

t.test('a serializer that gives no JSON fails its publish alone: its neighbours in the turn are delivered', async (t) => {
  const wrong: Array<[string, () => unknown]> = [
    ['half of it', () => '{"a":'],
    ['two of it', () => '{}{}'],
    ['nothing', () => ''],
    ['spaces', () => '  '],
    ['plain text', () => 'hello'],
    ['NaN', () => 'NaN'],
    ['undefined in it', () => '{"a":undefined}'],
    ['a line break in a string', () => '"a\nid: forged"'],
    ['a NUL in a string', () => '"a\0"'],
    ['half a character', () => '"\ud800"'],
    ['a byte order mark', () => '\ufeff{}'],
    ['undefined', () => undefined],
    ['null', () => null],
    ['a number', () => 5],
    ['bytes', () => Buffer.from('{}')],
    ['a String', () => Object('{}')],
    ['an object', () => ({})],
    ['a promise', async () => '{}'],
    ['a promise that rejects', async () => { throw new Error('too late') }],
    ['a throw', () => { throw new Error('no') }],
    ['a throw of nothing', () => { throw undefined }] // eslint-disable-line no-throw-literal -- as some do
  ]
  for (const validate of [true, false]) {
    let write: (data: unknown) => unknown = JSON.stringify
    const app = await serializing(t, (data) => write(data), validate)
    const stream = await connectStream(app, '/news', { t })
    const flat = await connectChannel(app, '/talk', { t })
    const envelope = await connectChannel(app, '/talk', { t, format: 'envelope' })
    await envelope.next('realtime:subscribed')
    await envelope.next('realtime:subscribed')
    for (const [what, output] of wrong) {
      const before = app.realtime.publish('plain', 'before', {})
      write = output
      const failed = code(() => app.realtime.publish('news', 'said', {}))
      write = JSON.stringify
      const after = app.realtime.publish('news', 'told', { what })
      t.equal(await failed, CODE, what)
      await Promise.all([before, after])
      for (const client of [stream, flat, envelope]) {
        t.match([await client.next(), await client.next()], [{ event: 'before' }, { event: 'told', data: { what } }], what)
      }
    }
    t.same(stream.events.filter(({ event }) => event === 'realtime:reset'), [])
  }
})

t.test('JSON over several lines is sent on one: none of its line breaks ends a line of the stream', async (t) => {
  const app = await serializing(t, (data) => JSON.stringify(data, null, '\r\n '), false)
  const stream = await connectStream(app, '/news', { t })
  const channel = await connectChannel(app, '/talk', { t })
  await app.realtime.publish('news', 'said', { a: [1, { b: 'x\ny' }] })
  for (const client of [stream, channel]) t.same((await client.next()).data, { a: [1, { b: 'x\ny' }] })
})

t.test('what fast-json-stringify would write as no JSON fails too', async (t) => {
  for (const validate of [true, false]) {
    const app = await live(t, { validate })
    app.topic('news', {
      events: {
        untyped: { type: 'object', properties: { x: {} } },
        list: { type: 'array' },
        unsafe: { type: 'object', properties: { x: { type: 'string', format: 'unsafe' } } },
        integer: { type: 'integer' },
        number: { type: 'number' },
        any: {}
      }
    })
    app.stream('/news', { topics: 'news' })
    await app.ready()
    const stream = await connectStream(app, '/news', { t })
    const wrong: Array<[string, unknown]> = [
      ['untyped', { x: () => {} }], ['untyped', { x: Symbol('s') }], ['untyped', { x: { toJSON () {} } }], ['list', [undefined]], ['list', [() => {}]],
      ['unsafe', { x: 'a"b' }], ['unsafe', { x: 'a\nb' }], ['integer', NaN], ['integer', 'x'], ['number', NaN]
    ]
    for (const [event, data] of wrong) t.equal(await code(() => app.realtime.publish('news', event, data)), CODE, `${event}, ${validate}`)
    const right: Array<[string, unknown, unknown]> = [
      ['untyped', { x: 'undefined' }, { x: 'undefined' }], ['unsafe', { x: 'ab' }, { x: 'ab' }], ['integer', 5n, 5], ['any', undefined, null], ['any', () => {}, null]
    ]
    for (const [event, data, read] of right) {
      await app.realtime.publish('news', event, data)
      t.same((await stream.next(event)).data, read)
    }
  }
})

t.test('development accepts and sends what production does, with a schema', async (t) => {
  const date = new Date('2026-01-02T03:04:05.678Z')
  const events = {
    time: { type: 'object', properties: { at: { type: 'string', format: 'date-time' } } },
    day: { type: 'object', properties: { at: { type: 'string', format: 'date' } } },
    dates: { type: 'array', items: { type: 'string', format: 'date-time' } },
    integer: { type: 'object', properties: { n: { type: 'integer' } } },
    closed: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: false },
    defaults: { type: 'object', required: ['a'], properties: { a: { type: 'string', default: 'x' } } },
    nullable: { type: 'object', properties: { a: { type: 'string', nullable: true } } },
    made: { type: 'object', properties: { a: { type: 'number' } } }
  }
  const published: Array<[keyof typeof events, unknown]> = [
    ['time', { at: date }], ['time', { at: date.toISOString() }], ['day', { at: '2026-01-02' }], ['dates', [date, date]], ['integer', { n: 5n }],
    ['closed', { a: 'x', secret: 1 }], ['closed', { a: undefined }], ['defaults', {}], ['nullable', { a: null }], ['made', { toJSON: () => ({ a: 1 }) }],
    ['made', Object.assign(Object.create({ inherited: 1 }), { a: 1 })], ['made', { a: '7' }]
  ]
  const sent: unknown[][] = []
  for (const validate of [true, false]) {
    const app = await live(t, { validate })
    app.topic('news', { events })
    app.stream('/news', { topics: 'news' })
    await app.ready()
    const stream = await connectStream(app, '/news', { t })
    const received: unknown[] = []
    for (const [event, data] of published) {
      await app.realtime.publish('news', event, data)
      received.push((await stream.next(event)).data)
    }
    sent.push(received)
  }
  t.same(sent[0], sent[1])
  t.same(sent[0]?.[0], { at: date.toISOString() })
})

t.test('a snapshot with an event is checked and written by its schema as what is published', async (t) => {
  for (const [state, read] of [[{ n: 5n, secret: 1 }, { n: 5 }], [{ n: -1 }, undefined], [{ n: 'x' }, undefined], [circle, undefined]] as const) {
    const app = await live(t, { validate: true })
    app.topic('count', { events: { count: { type: 'object', required: ['n'], properties: { n: { type: 'integer', minimum: 0 } } } }, snapshot: () => ({ data: state, event: 'count' }) })
    app.stream('/count', { topics: 'count' })
    await app.ready()
    const stream = await connectStream(app, '/count', { t })
    if (read) t.same((await stream.next('count')).data, read)
    else t.equal(await stream.ended, undefined, 'the client is cut, and may come back')
  }
})

t.test('the app may go on writing into the bytes that it published', async (t) => {
  const app = await live(t)
  app.topic('feed')
  app.stream('/feed', { topics: 'feed' })
  const stream = await connectStream(app, '/feed', { t })
  for (const bytes of [new Uint8Array([1, 2, 3]), Buffer.from([1, 2, 3]), new Uint8Array(new SharedArrayBuffer(3)).fill(1)]) {
    const before = Buffer.from(bytes).toString('base64')
    const done = app.realtime.publish('feed', 'raw', bytes)
    bytes.fill(9)
    await done
    t.equal((await stream.next('raw')).data, before)
  }
})

t.test('what a source yields, and a handler returns, is encoded by the same rule', async (t) => {
  const errors = calls<{ code?: string }>()
  const app = await live(t)
  const logger = { ...app.log, error: (details: { err: { code?: string } }) => { errors.note(details.err) } }
  const yielding = (data: unknown) => () => [{ event: 'first', data: 'there' }, { event: 'bad', data }] as SourceEvent[]
  app.addHook('onRequest', async (request) => { Object.assign(request, { log: { ...request.log, ...logger } }) })
  app.stream('/source', { source: yielding(1n) })
  app.stream('/resumable', { source: yielding(circle), resumable: { key: () => 'a' } })
  app.channel('/talk', { messages: { bad: { handler: () => ({ n: 1n }) }, nothing: { handler: () => () => {} } } })
  const source = await connectStream(app, '/source', { t })
  t.same((await source.next('first')).data, 'there')
  await source.ended
  const resumable = await connectStream(app, '/resumable', { t })
  t.same((await resumable.next('realtime:aborted')).data, { reason: 'failed' })
  const channel = await connectChannel(app, '/talk', { t, format: 'envelope' })
  await t.rejects(channel.request('bad'), { code: 'INTERNAL' })
  t.equal(await channel.request('nothing'), null)
})

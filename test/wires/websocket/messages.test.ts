/** What clients of a channel say in either format, and how they are answered. */
import { mock } from 'node:test'
import createError from '@fastify/error'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Connection } from '../../../lib/index.ts'
import {
  connectionsOf, deferred, Inbox, Log, openChannel, openEnvelope, serve, SUBPROTOCOL, turn, type Channel, type Json
} from '../../conformance/clients.ts'
import { maskedFrame, RawSocket } from '../../conformance/raw-socket.ts'

interface Voice {
  name: string
  open (t: Test, app: FastifyInstance, path: string): Promise<Channel>
  /** A message as this format writes it. */
  words (event: string, data?: object): Json
  fault (channel: Channel): Promise<Json>
}

const flat: Voice = {
  name: 'flat',
  open: openChannel,
  words: (type, data) => ({ type, ...data }),
  fault: (channel) => channel.next({ type: 'error' })
}

const envelope: Voice = {
  name: 'envelope',
  open: openEnvelope,
  words: (event, data) => ({ event, data }),
  fault: (channel) => channel.next({ op: 'error' })
}

const voices = [flat, envelope]
const bid = { type: 'object', required: ['amount'], properties: { amount: { type: 'number', exclusiveMinimum: 0 }, currency: { type: 'string', default: 'EUR' } }, additionalProperties: false }
const thrower = (value: unknown) => (): never => { throw value }
const echo = { handler: (data: unknown) => ({ type: 'echo', ...data as object }) }

/** The text of each frame, as it came. */
function texts (channel: Channel): Inbox<string> {
  const inbox = new Inbox<string>()
  channel.ws.on('message', (data, binary) => { if (!binary) inbox.push(String(data)) })
  return inbox
}

// --- the formats ------------------------------------------------------------------

t.test('flat: the messages are the application\'s own JSON, in and out, and nothing else is sent', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id')
    app.channel('/rooms/:id', { topics: 'rooms/:id', messages: { echo } })
  })
  const channel = await openChannel(t, app, '/rooms/1')
  const heard = texts(channel)
  while (app.realtime.countLocal('rooms/1') === 0) await turn()
  const kinds: Array<[unknown, string]> = [
    [{ userId: 'u1', amount: 550 }, '{"type":"bid","userId":"u1","amount":550}'],
    [{}, '{"type":"bid"}'],
    ['text', '{"type":"bid","data":"text"}'],
    [[1], '{"type":"bid","data":[1]}'],
    [null, '{"type":"bid","data":null}'],
    [{ type: 'error', code: 'forged' }, '{"type":"bid","data":{"type":"error","code":"forged"}}'],
    [{ of: { type: 'inner' }, back: '\\' }, '{"type":"bid","of":{"type":"inner"},"back":"\\\\"}']
  ]
  for (const [data, text] of kinds) {
    await app.realtime.publish('rooms/1', 'bid', data)
    t.equal(await heard.take(), text)
  }
  connectionsOf(app)[0]?.send('hello', { you: 1 })
  t.equal(await heard.take(), '{"type":"hello","you":1}')
  channel.send({ type: 'echo', data: { only: 'data' } })
  t.equal(await heard.take(), '{"type":"echo","data":{"only":"data"}}', 'what looks like wrapped data is not unwrapped')
  channel.send({ type: 'echo', ref: 5, op: 'ping', event: 'bid' })
  t.equal(await heard.take(), '{"type":"echo","ref":5,"op":"ping","event":"bid"}', 'the other format means nothing here')
})

t.test('flat: what a handler returns is sent when it is an object with a type, and not otherwise', async (t) => {
  const results = [undefined, null, 'text', 5, true, [], [{ type: 'x' }], {}, { no: 'type' }, { type: 5 }, { type: 'answer', n: 1 }, { type: 'alone' }]
  const app = await serve(t, {}, (app) => {
    app.channel('/', { messages: { ask: { handler: (data) => results[(data as { n: number }).n] }, later: { handler: async () => ({ type: 'later' }) } } })
  })
  const channel = await openChannel(t, app, '/')
  for (const n of results.keys()) channel.send({ type: 'ask', n })
  channel.send({ type: 'later' })
  await channel.next({ type: 'later' })
  t.same(channel.inbox.all, [{ type: 'answer', n: 1 }, { type: 'alone' }, { type: 'later' }])
})

t.test('envelope: nothing is sent before `open`; then the connection, each topic\'s position, and linked events', async (t) => {
  const app = await serve(t, { heartbeat: 20_000 }, (app) => {
    app.topic('rooms/:id')
    app.topic('halls/:id', { history: false })
    app.channel('/both', { topics: ['rooms/1', 'halls/1'], messages: { echo }, binary: () => {}, onConnect: (connection) => connection.send('early', { n: 1 }) })
  })
  const channel = await openChannel(t, app, '/both', { protocols: [SUBPROTOCOL] })
  t.equal(channel.ws.protocol, SUBPROTOCOL)
  while (connectionsOf(app).length === 0) await turn()
  await app.realtime.publish('rooms/1', 'missed', {})
  for (const early of [{ event: 'echo', data: {} }, { op: 'subscribe', topic: 'rooms/1' }, { op: 'unsubscribe', topic: 'rooms/1' }, Buffer.of(1)]) {
    channel.send(early)
    t.match(await channel.next(), { op: 'error', code: 'INVALID_FRAME', message: /open/ })
  }
  channel.send({ op: 'open', unknown: 'members', are: ['ignored'] })
  const [opened, room, hall] = [await channel.next(), await channel.next(), await channel.next()]
  t.same(opened, { op: 'open', connection: connectionsOf(app)[0]?.id, heartbeat: 20_000 })
  t.same(room, { op: 'subscribed', topic: 'rooms/1', id: room?.id })
  t.match(room?.id, /^\S+$/)
  t.same(hall, { op: 'subscribed', topic: 'halls/1' }, 'no position where there is no history')
  t.same(await channel.next(), { event: 'early', data: { n: 1 } }, 'what onConnect said comes behind the opening')

  const { id } = await app.realtime.publish('rooms/1', 'bid', { amount: 5 })
  t.same(await channel.next(), { topic: 'rooms/1', event: 'bid', id, prev: room?.id, data: { amount: 5 } })
  await app.realtime.publish('halls/1', 'noise', 'loud')
  t.same(await channel.next(), { topic: 'halls/1', event: 'noise', data: 'loud' })
  const bytes = await app.realtime.publish('rooms/1', 'picture', Buffer.of(7, 8, 9))
  const framed = await channel.bytes.take()
  const length = framed.readUInt32BE(0)
  t.same(JSON.parse(framed.subarray(4, 4 + length).toString()), { topic: 'rooms/1', event: 'picture', id: bytes.id, prev: id })
  t.same(framed.subarray(4 + length), Buffer.of(7, 8, 9))
  channel.send({ op: 'open' })
  t.match(await channel.next(), { op: 'error', code: 'INVALID_FRAME', message: /already/ })
  channel.send({ op: 'ping' })
  t.same(await channel.next(), { op: 'pong' })
})

t.test('envelope: a client that never says open is let go', async (t) => {
  const app = await serve(t, {}, (app) => { app.channel('/', { messages: { echo } }) })
  const quick = await openEnvelope(t, app, '/')
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const channel = await openChannel(t, app, '/', { protocols: [SUBPROTOCOL] })
  while (connectionsOf(app).length < 2) await turn()
  await turn()
  mock.timers.tick(9_999)
  t.equal(connectionsOf(app).length, 2, 'not before its time')
  mock.timers.tick(1)
  t.match(await channel.ended, { code: 4408 })
  t.same(channel.inbox.all, [])
  t.equal(connectionsOf(app).length, 1)
  mock.timers.reset()
  quick.send({ event: 'echo', data: {}, ref: 1 })
  t.match(await quick.next({ op: 'reply' }), { ref: 1 }, 'who has said it stays')
})

t.test('envelope: a message with a ref is answered, whatever the handler returns; one without is not', async (t) => {
  const results: unknown[] = [{ accepted: true }, [], 'text', '', 0, false, null, undefined, { type: 'no special meaning' }]
  const app = await serve(t, {}, (app) => { app.channel('/', { messages: { ask: { handler: async (data) => results[data as number] } } }) })
  const channel = await openEnvelope(t, app, '/')
  const refs = ['a', '', 0, -1.5, 'ref', 'a', 'x'.repeat(300), 7, 8]
  for (const n of results.keys()) {
    channel.send({ event: 'ask', data: n })
    channel.send({ event: 'ask', data: n, ref: refs[n] })
    t.same(await channel.next(), { op: 'reply', ref: refs[n], data: results[n] ?? null })
  }
  for (const ref of [null, {}, [], true]) {
    channel.send({ event: 'ask', data: 0, ref })
    t.match(await channel.next(), { op: 'error', code: 'INVALID_FRAME' })
  }
})

// --- handlers ----------------------------------------------------------------------

for (const voice of voices) {
  t.test(`${voice.name}: a handler has its scope, the connection, the request and the params, and checked data`, async (t) => {
    const seen: unknown[] = []
    const app = await serve(t, { identify: () => ({ id: 'ann' }) }, (app) => {
      app.decorate('shop', 'the shop')
      app.channel('/rooms/:id', {
        messages: {
          bid: {
            schema: bid,
            handler (this: FastifyInstance, data, { connection, request, params }) {
              seen.push([data, (this as unknown as { shop: string }).shop, connection.identity.id, request.headers.host !== undefined, params])
            }
          },
          plain: { handler: (data) => { seen.push(data) } }
        }
      })
    })
    const channel = await voice.open(t, app, '/rooms/a%2Fb')
    channel.send(voice.words('bid', { amount: 5, extra: 'gone' }))
    channel.send(voice.words('plain', { any: ['thing'] }))
    channel.send(voice.words('plain'))
    channel.send(voice.words('nope'))
    await voice.fault(channel)
    t.same(seen, [[{ amount: 5, currency: 'EUR' }, 'the shop', 'ann', true, { id: 'a/b' }], { any: ['thing'] }, voice === flat ? {} : undefined])
  })

  t.test(`${voice.name}: one message of a client after the other, and no client waits for another`, async (t) => {
    const log: string[] = []
    const held = deferred<undefined>()
    const app = await serve(t, {}, (app) => {
      app.channel('/', {
        messages: {
          slow: {
            async handler () {
              log.push('slow begins')
              await held.promise
              log.push('slow ends')
            }
          },
          quick: { handler: (data) => { log.push(`quick ${(data as { n: number }).n}`) } }
        }
      })
    })
    const [one, other] = [await voice.open(t, app, '/'), await voice.open(t, app, '/')]
    one.send(voice.words('slow'))
    for (let n = 1; n <= 3; n++) one.send(voice.words('quick', { n }))
    one.send(voice.words('nope'))
    while (log.length === 0) await turn()
    other.send(voice.words('quick', { n: 9 }))
    other.send(voice.words('nope'))
    await voice.fault(other)
    held.resolve(undefined)
    await voice.fault(one)
    t.same(log, ['slow begins', 'quick 9', 'slow ends', 'quick 1', 'quick 2', 'quick 3'])
  })

  t.test(`${voice.name}: what a client says wrong is answered by its code, reaches no handler, and leaves the connection`, async (t) => {
    const handled: unknown[] = []
    const app = await serve(t, {}, (app) => {
      app.channel('/', { messages: { bid: { schema: bid, handler: (data) => { handled.push(data) } }, echo } })
    })
    const channel = await voice.open(t, app, '/')
    const key = voice === flat ? 'type' : 'event'
    const wrong: Array<[code: string, message: unknown, text?: RegExp]> = [
      ...['', 'bid', '{', '[]', '"text"', '5', 'null', 'true', `{"${key}":"bid"}x`, '{"a":NaN}', `{'${key}':'bid'}`].map((text): [string, string] => ['INVALID_JSON', text]),
      ['INVALID_JSON', `{"${key}":"bid","data":{"amount":1},"amount":1,"__proto__":{"admin":true}}`],
      ['INVALID_JSON', `{"${key}":"bid","data":{"amount":1,"deep":[{"__proto__":null}]}}`],
      ['INVALID_JSON', `{"${key}":"bid","data":{"constructor":{"prototype":{"admin":true}}}}`],
      ['INVALID_JSON', `{"${key}":"bid","\\u005f_proto__":{"admin":true}}`],
      ['INVALID_FRAME', {}],
      ['INVALID_FRAME', { [key]: 5 }],
      ['INVALID_FRAME', { [key]: null }],
      ['INVALID_FRAME', { [voice === flat ? 'event' : 'type']: 'bid' }],
      ['UNKNOWN_MESSAGE', voice.words('nope'), /"nope"/],
      ['UNKNOWN_MESSAGE', voice.words('')],
      ['UNKNOWN_MESSAGE', voice.words('toString')],
      ['UNKNOWN_MESSAGE', voice.words('constructor')],
      ['UNKNOWN_MESSAGE', `{"${key}":"__proto__"}`],
      ['UNKNOWN_MESSAGE', voice.words('x'.repeat(5000)), /^.{1,300}$/],
      ['INVALID_DATA', voice.words('bid'), voice === flat ? /amount/ : /object/],
      ['INVALID_DATA', voice.words('bid', { amount: 0 }), /^data\/amount /],
      ['INVALID_DATA', voice.words('bid', { amount: '5' }), /^data\/amount .*number/],
      ['BINARY_UNSUPPORTED', Buffer.from('{"type":"bid","event":"bid","amount":1,"data":{"amount":1}}')]
    ]
    if (voice === envelope) {
      for (const op of ['refresh', '', 5, {}, 'constructor']) wrong.push(['INVALID_FRAME', { op, event: 'bid', data: { amount: 1 } }])
      for (const data of [null, [], 5, 'text']) wrong.push(['INVALID_DATA', { event: 'bid', data }])
    }
    for (const [code, message, text = /./] of wrong) {
      channel.send(message)
      const frame = await channel.next()
      t.match(frame, voice === flat ? { type: 'error', code, message: text } : { op: 'error', code, message: text }, JSON.stringify(message)?.slice(0, 80))
      t.same(Object.keys(frame), voice === flat ? ['type', 'code', 'message'] : ['op', 'code', 'message'])
    }
    t.same(handled, [])
    t.equal(({} as Json).admin, undefined)
    channel.send(voice.words('bid', { amount: 1 }))
    channel.send(voice.words('nope'))
    await voice.fault(channel)
    t.same(handled, [{ amount: 1, currency: 'EUR' }], 'it is heard as ever')
  })

  t.test(`${voice.name}: a handler that fails is answered, logged where it is the server's fault, and harms nobody`, async (t) => {
    const TooLow = createError('BID_TOO_LOW', 'bid more than %s', 409)
    const secret = 'secret at db:5432'
    const throwers: Array<[code: string, message: RegExp, logged: boolean, thrown: () => unknown]> = [
      ['BID_TOO_LOW', /^bid more than 5$/, false, () => { throw new TooLow(5) }],
      ['BID_TOO_LOW', /^bid more than 6$/, false, async () => { throw new TooLow(6) }],
      ['NO_STATUS', /^fine$/, false, () => { throw Object.assign(new Error('fine'), { code: 'NO_STATUS', statusCode: 400 }) }],
      ['INTERNAL', /^the server failed$/, true, () => { throw new Error(secret) }],
      ['INTERNAL', /^the server failed$/, true, async () => { throw Object.assign(new Error(secret), { code: 'ECONNREFUSED' }) }],
      ['INTERNAL', /^the server failed$/, true, () => { throw Object.assign(new Error(secret), { code: 'DB', statusCode: 500 }) }],
      ['INTERNAL', /^the server failed$/, true, () => { throw Object.assign(new Error(secret), { statusCode: 400 }) }],
      ['INTERNAL', /^the server failed$/, true, thrower(secret)],
      ['INTERNAL', /^the server failed$/, true, thrower(undefined)],
      ['INTERNAL', /^the server failed$/, true, async () => thrower(null)()],
      ['INTERNAL', /^the server failed$/, true, () => ({ type: 'circle', self: 1n })]
    ]
    const log = new Log()
    const app = await serve(t, {}, (app) => {
      app.channel('/', {
        messages: { fail: { handler: (data) => (throwers[(data as { n: number }).n] as typeof throwers[0])[3]() }, echo },
        binary: () => { throw new TooLow(7) }
      })
    }, log)
    const [channel, other] = [await voice.open(t, app, '/'), await voice.open(t, app, '/')]
    for (const [n, [code, message, logged]] of throwers.entries()) {
      const before = log.errors().length
      channel.send({ ...voice.words('fail', { n }), ...voice === envelope ? { ref: n } : {} })
      const frame = await voice.fault(channel)
      t.match(frame, { code, message, ...voice === envelope ? { ref: n } : {} })
      t.notOk(JSON.stringify(frame).match(/secret|stack/))
      t.equal(log.errors().length - before, logged ? 1 : 0, `${n} is ${logged ? 'logged' : 'not logged'}`)
    }
    channel.send(Buffer.of(1))
    t.match(await voice.fault(channel), { code: 'BID_TOO_LOW', message: 'bid more than 7' })
    for (const one of [channel, other]) {
      one.send({ ...voice.words('echo', { n: 1 }), ref: 'again' })
      t.match(await one.next(voice === flat ? { type: 'echo' } : { op: 'reply' }), voice === flat ? { n: 1 } : { ref: 'again' })
    }
  })

  for (const fails of [false, true]) {
    t.test(`${voice.name}: a handler that outlives its client ${fails ? 'and then fails ' : ''}ends in peace`, async (t) => {
      const [started, held, over] = [deferred<Connection>(), deferred<undefined>(), deferred<undefined>()]
      const log = new Log()
      const app = await serve(t, {}, (app) => {
        app.channel('/', {
          messages: {
            stay: {
              async handler (_data, { connection }) {
                started.resolve(connection)
                await held.promise
                connection.send('late', {})
                setImmediate(() => over.resolve(undefined))
                if (fails) throw createError('TOO_LATE', 'too late', 400)()
                return { type: 'late' }
              }
            },
            echo: { handler: () => t.fail('what waits for a client that has left is let go') }
          }
        })
      }, log)
      const channel = await voice.open(t, app, '/')
      channel.send({ ...voice.words('stay'), ref: 1 })
      channel.send(voice.words('echo'))
      const connection = await started.promise
      await channel.leave()
      while (!connection.closed) await turn()
      held.resolve(undefined)
      await over.promise
      t.same(log.errors(), [])
    })
  }

  t.test(`${voice.name}: binary messages reach the binary handler whole, between the others`, async (t) => {
    const heard = new Inbox<unknown>()
    const app = await serve(t, {}, (app) => {
      app.channel('/rooms/:id', {
        messages: { text: { handler: (data) => { heard.push(data) } } },
        binary (this: FastifyInstance, bytes, { connection, request, params }) {
          heard.push([Buffer.from(bytes).toString('hex'), connection.kind, request.routeOptions.url, params, typeof this.channel])
        }
      })
    })
    const channel = await voice.open(t, app, '/rooms/1')
    const context = ['websocket', '/rooms/:id', { id: '1' }, 'function']
    for (const bytes of [Buffer.alloc(0), Buffer.from([0, 255, 0x7b]), Buffer.alloc(60_000, 9)]) {
      channel.send(bytes)
      t.same(await heard.take(), [bytes.toString('hex'), ...context])
    }
    channel.send(voice.words('text', { n: 1 }))
    channel.send(Buffer.of(1))
    channel.send(voice.words('text', { n: 2 }))
    t.same([await heard.take(), await heard.take(), await heard.take()], [{ n: 1 }, ['01', ...context], { n: 2 }])

    const raw = await RawSocket.open(t, app, '/rooms/1', { protocol: voice === flat ? '' : SUBPROTOCOL })
    if (voice === envelope) raw.send(1, '{"op":"open"}')
    raw.socket.write(Buffer.concat([maskedFrame(2, Buffer.of(1, 2), false), maskedFrame(9, 'between'), maskedFrame(0, Buffer.of(3), false), maskedFrame(0, Buffer.of(4))]))
    t.same(await heard.take(), ['01020304', ...context], 'in fragments, with a ping between them')
    t.same((await raw.frames.take(({ opcode }) => opcode === 10)).payload, Buffer.from('between'), 'the ping is answered')
  })
}

/** What a channel bears from its clients, and how it ends. */
import t, { type Test } from 'tap'
import type { CloseReason, Connection } from '../../../lib/index.ts'
import {
  connectionsOf, deferred, Inbox, Log, openChannel, openEnvelope, serve, SUBPROTOCOL, turn, type Json
} from '../../conformance/clients.ts'
import { maskedFrame, RawSocket } from '../../conformance/raw-socket.ts'

/** Time stands still for the limits, until it is moved on. */
function stopTheClock (t: Test): (ms: number) => void {
  let now = Math.ceil(performance.now())
  t.intercept(performance, 'now', { value: () => now })
  return (ms) => { now += ms }
}

const echo = { handler: (data: unknown) => ({ type: 'echo', ...data as object }) }

// --- rate and faults ---------------------------------------------------------------------

t.test('beyond the burst a message is refused, until the rate allows another', async (t) => {
  const pass = stopTheClock(t)
  const app = await serve(t, { limits: { messagesPerSecond: 10 } }, (app) => {
    app.channel('/', { messages: { echo }, binary: () => {}, limits: { burst: 3 } })
  })
  const [one, other] = [await openChannel(t, app, '/'), await openChannel(t, app, '/')]
  for (let n = 1; n <= 5; n++) one.send({ type: 'echo', n })
  const limited = { type: 'error', code: 'RATE_LIMITED', message: /slow down/ }
  t.match(await one.next({ type: 'error' }), limited)
  t.match(await one.next({ type: 'error' }), limited)
  for (let n = 1; n <= 3; n++) t.match(await one.next(), { type: 'echo', n })
  other.send({ type: 'echo', n: 9 })
  t.match(await other.next(), { n: 9 }, 'each client has a rate of its own')

  pass(100)
  one.send(Buffer.of(1))
  one.send({ type: 'echo', n: 6 })
  t.match(await one.next(), limited, 'binary messages count too')
  pass(90)
  one.send('not even JSON')
  t.match(await one.next(), limited)
  pass(20)
  one.send({ type: 'echo', n: 7 })
  t.match(await one.next(), { n: 7 })
  pass(3_600_000)
  for (let n = 1; n <= 4; n++) one.send({ type: 'echo', n })
  t.match(await one.next({ type: 'error' }), limited, 'what was not used is not saved beyond the burst')
  t.equal(connectionsOf(app).length, 2)
})

for (const [name, protocol] of [['flat', ''], ['envelope', SUBPROTOCOL]] as const) {
  t.test(`${name}: a rate overrun again and again closes with 4429, other faults with 4400, each fault answered before`, async (t) => {
    stopTheClock(t)
    const gone = new Inbox<CloseReason>()
    const app = await serve(t, {}, (app) => {
      app.channel('/', { messages: { echo }, limits: { faults: 2, burst: 10 }, onDisconnect: (_connection, reason) => gone.push(reason) })
    })
    const open = async () => protocol ? await openEnvelope(t, app, '/') : await openChannel(t, app, '/')
    const isError = (frame: Json): boolean => frame.type === 'error' || frame.op === 'error'
    for (const [message, code, count, reason] of [['{', 4400, 3, 'too-many-faults'], ['{"type":"echo","event":"echo","data":{}}', 4429, 13, 'rate-limited']] as const) {
      const channel = await open()
      for (let n = 0; n < count + 5; n++) channel.send(message)
      t.equal((await channel.ended).code, code)
      t.match(await gone.take(), { name: reason, code, reconnect: code === 4429 })
      const codes = channel.inbox.all.filter(isError).map((frame) => frame.code)
      t.same(codes, Array.from({ length: 3 }, () => code === 4400 ? 'INVALID_JSON' : 'RATE_LIMITED'))
      if (protocol) t.match(channel.inbox.all.at(-1), { op: 'bye', code, reconnect: code === 4429 })
    }
    t.equal(gone.all.length, 2)
  })
}

t.test('topics are joined at once up to maxTopics, then at a rate; more are refused, and count as faults', async (t) => {
  const pass = stopTheClock(t)
  const app = await serve(t, { maxTopics: 4 }, (app) => {
    const room = app.topic('rooms/:id', { authorize: 'anyone' })
    app.channel('/', { subscribe: room, limits: { topicsPerMinute: 2, faults: 2, burst: 1000 } })
  })
  const channel = await openEnvelope(t, app, '/')
  let n = 0
  /** Joins a topic that it was never in, and leaves it. */
  const visit = async (): Promise<Json> => {
    const topic = `rooms/${n++}`
    channel.send({ op: 'subscribe', topic, ref: n })
    const answer = await channel.next({ ref: n })
    channel.send({ op: 'unsubscribe', topic, ref: `left ${n}` })
    await channel.next({ ref: `left ${n}` })
    return answer
  }
  for (let i = 0; i < 4; i++) t.match(await visit(), { op: 'subscribed' })
  t.match(await visit(), { op: 'error', code: 'RATE_LIMITED', message: /too many topics/ })
  pass(29_000)
  t.match(await visit(), { op: 'error', code: 'RATE_LIMITED' })
  pass(2000)
  t.match(await visit(), { op: 'subscribed' }, 'one more every half minute')
  channel.send({ op: 'subscribe', topic: 'rooms/last' })
  t.equal((await channel.ended).code, 4429, 'once too often')
})

t.test('faults of more than a minute ago are forgotten, and what a handler refuses in its own words is none', async (t) => {
  const pass = stopTheClock(t)
  const app = await serve(t, {}, (app) => {
    app.topic('rooms/:id', { authorize: () => false })
    app.channel('/', {
      limits: { faults: 2, burst: 1000 },
      messages: { no: { handler: () => { throw Object.assign(new Error('no'), { code: 'NO', statusCode: 409 }) } }, broken: { handler: () => { throw new Error('broken') } } }
    })
  })
  const channel = await openChannel(t, app, '/')
  for (let minute = 0; minute < 3; minute++) {
    for (let n = 0; n < 2; n++) {
      channel.send('{')
      t.match(await channel.next(), { code: 'INVALID_JSON' })
    }
    pass(60_001)
  }
  for (const type of ['no', 'broken', 'no', 'broken']) {
    channel.send({ type })
    await channel.next({ type: 'error' })
  }
  t.equal(connectionsOf(app).length, 1)
})

// --- size and number ---------------------------------------------------------------------

t.test('a message of messageBytes passes, a larger one closes with 1009, also in fragments', async (t) => {
  const gone = new Inbox<CloseReason>()
  const app = await serve(t, {}, (app) => {
    app.channel('/', { messages: { echo }, limits: { messageBytes: 100 }, onDisconnect: (_connection, reason) => gone.push(reason) })
  })
  const channel = await openChannel(t, app, '/')
  const fitting = JSON.stringify({ type: 'echo', x: '' }).length
  channel.send({ type: 'echo', x: 'x'.repeat(100 - fitting) })
  t.match(await channel.next(), { type: 'echo' })
  channel.send({ type: 'echo', x: 'x'.repeat(101 - fitting) })
  t.equal((await channel.ended).code, 1009)
  t.match(await gone.take(), { name: 'message-too-big', code: 1009, reconnect: false })
  const raw = await RawSocket.open(t, app, '/')
  raw.socket.write(Buffer.concat([maskedFrame(1, 'x'.repeat(60), false), maskedFrame(0, 'x'.repeat(41))]))
  t.equal((await raw.frames.take(({ opcode }) => opcode === 8)).payload.readUInt16BE(0), 1009)
  t.match(await gone.take(), { name: 'message-too-big' })
  const huge = await RawSocket.open(t, app, '/')
  huge.socket.write(Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]))
  t.equal((await huge.frames.take(({ opcode }) => opcode === 8)).payload.readUInt16BE(0), 1009, 'announced, and not waited for')
})

t.test('while messages wait for a handler the socket is not read; then all come, in order', async (t) => {
  const held = deferred<undefined>()
  const heard: number[] = []
  const app = await serve(t, {}, (app) => {
    app.channel('/', {
      limits: { queue: 2, burst: 1e6, messagesPerSecond: 1e6 },
      messages: {
        put: {
          async handler (data) {
            await held.promise
            heard.push((data as { n: number }).n)
          }
        },
        end: { handler: () => ({ type: 'ended' }) }
      }
    })
    app.channel('/other', { messages: { echo } })
  })
  const channel = await openChannel(t, app, '/')
  const other = await openChannel(t, app, '/other')
  const load = 'x'.repeat(60_000)
  let sent = 0
  // The kernel takes some megabytes. What stays with the client after that is what the server leaves unread.
  for (; channel.ws.bufferedAmount < 4_000_000 && sent < 2000; sent++) {
    channel.send({ type: 'put', n: sent, load })
    await turn()
  }
  t.ok(sent < 2000, `${sent} messages of 60 kB were sent until nobody took them`)
  other.send({ type: 'echo', n: 1 })
  t.match(await other.next(), { n: 1 }, 'others are heard')
  held.resolve(undefined)
  channel.send({ type: 'end' })
  await channel.next({ type: 'ended' })
  t.same(heard, Array.from({ length: sent }, (_, n) => n))
})

t.test('more early messages than the queue holds wait for onConnect, and none is lost', async (t) => {
  const held = deferred<undefined>()
  const app = await serve(t, {}, (app) => {
    app.channel('/', { messages: { echo }, limits: { queue: 1 }, onConnect: () => held.promise })
  })
  const channel = await openChannel(t, app, '/')
  for (let n = 0; n < 20; n++) {
    channel.send({ type: 'echo', n })
    await turn()
  }
  t.same(channel.inbox.all, [])
  held.resolve(undefined)
  for (let n = 0; n < 20; n++) t.same(await channel.next(), { type: 'echo', n })
})

// --- heartbeats ----------------------------------------------------------------------------

for (const [name, protocol, opening] of [['flat', '', ''], ['envelope', SUBPROTOCOL, '{"op":"open"}'], ['envelope that never says open', SUBPROTOCOL, '']] as const) {
  t.test(`a half-open peer (${name}) is gone within two beats from every count; one that answers, or speaks, stays`, async (t) => {
    const gone = new Inbox<{ connection: Connection, reason: CloseReason }>()
    const app = await serve(t, { heartbeat: 60, maxConnectionsPerAddress: 3 }, (app) => {
      app.topic('rooms/:id')
      app.channel('/', { topics: 'rooms/1', messages: { echo }, onDisconnect: (connection, reason) => gone.push({ connection, reason }) })
    })
    // ws answers pings by itself; the other one only ever speaks.
    const answers = await openChannel(t, app, '/')
    const speaks = await RawSocket.open(t, app, '/')
    const opened = connectionsOf(app)
    const silent = await RawSocket.open(t, app, '/', { protocol })
    if (opening) silent.send(1, opening)
    const listeners = protocol && !opening ? 2 : 3
    while (connectionsOf(app).length < 3 || app.realtime.countLocal('rooms/1') < listeners) await turn()
    const speaking = speaks.frames.take(({ opcode }) => opcode === 9)
    speaking.then(async function speak (): Promise<void> {
      speaks.send(1, '{"type":"echo"}')
      await speaks.frames.take(({ opcode }) => opcode === 9).then(speak)
    }).catch(() => {})

    const { connection, reason } = await gone.take()
    t.notOk(opened.includes(connection), 'it is the silent one')
    t.match(reason, { name: 'connection-lost', code: 1006, reconnect: true })
    t.same(connectionsOf(app), opened)
    t.equal(app.realtime.countLocal('rooms/1'), 2)
    t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 2 }, subscriptions: 2 })
    await silent.closed
    t.equal(silent.frames.all.filter(({ opcode }) => opcode === 9).length, 1, 'one beat asked, the next found no answer')
    await openChannel(t, app, '/').then((next) => next.leave())
    await gone.take()
    // Beats go on for those who stay.
    await speaks.frames.take(({ opcode }) => opcode === 1)
    t.same(connectionsOf(app), opened)
    answers.send({ type: 'echo', n: 1 })
    t.match(await answers.next(), { n: 1 })
  })
}

t.test('a ping of the client\'s is answered, and counts as a sign of life', async (t) => {
  const app = await serve(t, { heartbeat: 60 }, (app) => { app.channel('/', { messages: { echo } }) })
  const pings = await RawSocket.open(t, app, '/')
  const silent = await RawSocket.open(t, app, '/')
  const test = { over: false }
  const pinging = (async () => {
    while (!test.over) {
      pings.send(9, 'still here')
      await pings.frames.take(({ opcode, payload }) => opcode === 10 && payload.equals(Buffer.from('still here')))
      await turn()
    }
  })()
  await silent.closed
  for (let beat = 0; beat < 2; beat++) await pings.frames.take(({ opcode }) => opcode === 9)
  test.over = true
  await pinging
  t.equal(connectionsOf(app).length, 1)
})

// --- ends ------------------------------------------------------------------------------------

t.test('connection.close says its code and text; an envelope client hears whether and when to come back', async (t) => {
  const app = await serve(t, { retry: 1000 }, (app) => { app.channel('/', { messages: { echo } }) })
  const closing: Array<[Parameters<Connection['close']>[0], number, string, boolean]> = [
    [undefined, 1000, 'closed by the application', false],
    [{ code: 4001, text: 'enough' }, 4001, 'enough', false],
    [{ code: 3000, text: '' }, 3000, '', false],
    [{ code: 1001, reconnect: true }, 1001, 'closed by the application', true],
    [{ code: 4999, text: '😀'.repeat(30) + 'abc', reconnect: true }, 4999, '😀'.repeat(30) + 'abc', true]
  ]
  for (const [reason, code, text, reconnect] of closing) {
    const [flat, envelope] = [await openChannel(t, app, '/'), await openEnvelope(t, app, '/')]
    const unopened = await openChannel(t, app, '/', { protocols: [SUBPROTOCOL] })
    while (connectionsOf(app).length < 3) await turn()
    await turn()
    for (const connection of connectionsOf(app)) connection.close(reason)
    for (const channel of [flat, envelope, unopened]) t.same(await channel.ended, { code, reason: text })
    t.same(flat.inbox.all, [])
    t.same(unopened.inbox.all, [], 'nothing is sent before open')
    const bye = await envelope.next({ op: 'bye' }).catch(() => envelope.inbox.all.at(-1)) as Json
    t.match(bye, { op: 'bye', code, reason: reason?.text ?? text, reconnect })
    t.equal('retry' in bye, reconnect)
    if (reconnect) t.ok(Number(bye.retry) >= 500 && Number(bye.retry) <= 1500, `retry after ${String(bye.retry)} ms`)
  }
})

t.test('a code that may not be sent is refused, and the connection stays', async (t) => {
  const app = await serve(t, {}, (app) => { app.channel('/', { messages: { echo } }) })
  const channel = await openChannel(t, app, '/')
  const [connection] = connectionsOf(app) as [Connection]
  for (const code of [0, 999, 1004, 1005, 1006, 1010, 1014, 1015, 1016, 2000, 2999, 5000, 65_536, 1000.5, -1, Number.NaN, '4000', null]) {
    t.throws(() => connection.close({ code: code as number }), { code: 'FST_ERR_REALTIME_CLOSE_CODE' }, String(code))
  }
  channel.send({ type: 'echo', n: 1 })
  t.match(await channel.next(), { n: 1 })
})

t.test('when the app closes, everybody is told 1012, and envelope clients when to come back, spread', async (t) => {
  const app = await serve(t, { retry: 1000 }, (app) => { app.channel('/', { messages: { echo } }) })
  const flat = await openChannel(t, app, '/')
  const unopened = await openChannel(t, app, '/', { protocols: [SUBPROTOCOL] })
  const envelopes = await Promise.all(Array.from({ length: 8 }, () => openEnvelope(t, app, '/')))
  await app.close()
  for (const channel of [flat, unopened, ...envelopes]) t.equal((await channel.ended).code, 1012)
  t.same([...flat.inbox.all, ...unopened.inbox.all], [])
  const byes = envelopes.map(({ inbox }) => inbox.all.at(-1) as Json)
  for (const bye of byes) t.match(bye, { op: 'bye', code: 1012, reason: 'the server is shutting down', reconnect: true, retry: Number })
  t.ok(new Set(byes.map(({ retry }) => retry)).size > 1, 'not all at the same moment')
})

t.test('onConnect may refuse: 4403, or 1013 for now; it may close with a code of its own', async (t) => {
  const log = new Log()
  const gone = new Inbox()
  const app = await serve(t, {}, (app) => {
    app.channel('/', {
      messages: { echo: { handler: () => t.fail('a client that was refused is not heard') } },
      onDisconnect: gone.push.bind(gone),
      async onConnect (connection, request) {
        const { how } = request.query as { how: string }
        connection.send('never', {})
        await turn()
        if (how === 'close') return connection.close({ code: 4010, text: 'wrong door' })
        throw Object.assign(new Error('no'), how === 'later' ? { statusCode: 503 } : {})
      }
    })
  }, log)
  for (const protocols of [[], [SUBPROTOCOL]]) {
    for (const [how, code] of [['refuse', 4403], ['later', 1013], ['close', 4010]] as const) {
      const channel = await openChannel(t, app, `/?how=${how}`, { protocols })
      channel.send('{"type":"echo","op":"open"}')
      t.equal((await channel.ended).code, code, how)
      t.same(channel.inbox.all, [])
    }
  }
  t.same(log.errors(), [], 'a refusal is no error of the server')
  t.same(connectionsOf(app), [])
})

t.test('a peer that breaks the protocol ends its own connection only, and is no error line', async (t) => {
  const log = new Log()
  const gone = new Inbox<CloseReason>()
  const app = await serve(t, {}, (app) => {
    app.channel('/', { messages: { echo }, onDisconnect: (_connection, reason) => gone.push(reason) })
  }, log)
  const other = await openChannel(t, app, '/')
  const broken: Array<[string, Uint8Array, number]> = [
    ['an unmasked frame', Buffer.from([0x81, 0x01, 0x78]), 1002],
    ['a reserved bit', Buffer.from([0xc1, 0x80, 0, 0, 0, 0]), 1002],
    ['a reserved opcode', Buffer.from([0x83, 0x80, 0, 0, 0, 0]), 1002],
    ['a continuation of nothing', maskedFrame(0, 'x'), 1002],
    ['a ping in fragments', maskedFrame(9, 'x', false), 1002],
    ['a close with a code that may not be sent', maskedFrame(8, Buffer.from([0x03, 0xee])), 1002],
    ['a close with half a code', maskedFrame(8, Buffer.from([0x03])), 1002],
    ['text that is not UTF-8', maskedFrame(1, Buffer.from([0xc3, 0x28])), 1007],
    ['a reason that is not UTF-8', maskedFrame(8, Buffer.from([0x03, 0xe8, 0xff])), 1007]
  ]
  for (const [what, bytes, code] of broken) {
    const raw = await RawSocket.open(t, app, '/')
    raw.socket.write(bytes)
    t.equal((await raw.frames.take(({ opcode }) => opcode === 8)).payload.readUInt16BE(0), code, what)
    t.match(await gone.take(), { code, reconnect: false }, what)
    await raw.closed
  }
  other.send({ type: 'echo', n: 1 })
  t.match(await other.next(), { n: 1 })
  t.same(log.errors(40), [])
  t.equal(connectionsOf(app).length, 1)
})

/** `propagateToClients`: event frames of the envelope format say where an event was published, and nothing else does. */
import { createTraceState, trace, TraceFlags, type SpanContext, type TracerProvider } from '@opentelemetry/api'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import t, { type Test } from 'tap'
import type { Adapter, LogEvent, Sink, TraceContext } from '../../lib/core/adapter.ts'
import { durableEntry } from '../../lib/core/event.ts'
import type { HeardTopic } from '../../lib/core/wire.ts'
import { memory, type MemoryAdapter } from '../../lib/adapters/memory.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import tracing, { type TracingOptions } from '../../lib/tracing/index.ts'
import { envelopeFor } from '../../lib/wires/http/frames.ts'
import { envelope } from '../../lib/wires/websocket/protocols/envelope.ts'
import { connectionsOf, openEnvelope, type Json } from '../conformance/clients.ts'
import { live, listen } from '../helpers/app.ts'
import { openFrames } from '../helpers/posts.ts'
import { RedisServer, until } from '../helpers/redis.ts'

const TRACED = { propagateToClients: true }
const TRACE = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: TraceFlags.SAMPLED }
const PARENT = `00-${TRACE.traceId}-${TRACE.spanId}-01`

interface Options extends TracingOptions { adapter?: Adapter, traced?: boolean }

/** `traced: false`: without the tracing plugin. */
async function appOf (t: Test, { adapter, traced = true, ...options }: Options = {}) {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const app = await live(t, { retry: 0, ...(adapter && { adapter }) })
  if (traced) await app.register(tracing, { tracerProvider: provider, ...options })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  const board = app.topic('board', { keyed: true, authorize: () => true })
  const loose = app.topic('loose', { history: false, authorize: () => true })
  app.stream('/rooms/:room', { topics: room })
  app.channel('/ws/:room', {
    http: true,
    presence: true,
    topics: [room, board, loose],
    messages: {
      wave: { relay: { topic: 'loose' } },
      greet: { handler: (_data, { connection }) => { connection.send('greeted', 1) } }
    }
  })
  await listen(app)
  /** Of the span with this name, as the wire writes it. */
  const parentOf = (name: string): string => {
    const found = exporter.getFinishedSpans().filter((span) => span.name === name)
    if (found.length !== 1) throw new Error(`${found.length} spans ${name}`)
    const { traceId, spanId } = (found[0] as { spanContext: () => SpanContext }).spanContext()
    return `00-${traceId}-${spanId}-01`
  }
  return { app, room, board, loose, parentOf }
}

/** Both of the carriages, once they hear the three topics. */
async function bothOf (t: Test, app: Awaited<ReturnType<typeof appOf>>['app'], room = '1') {
  const channel = await openEnvelope(t, app, `/ws/${room}`)
  const frames = await openFrames(t, app, `/ws/${room}`)
  for (const client of [channel, frames]) await client.next({ op: 'subscribed', topic: 'loose' })
  return { channel, frames, both: [channel, frames] as const }
}

const tracesOf = (frames: readonly Json[]): unknown[] => frames.flatMap(({ traceparent, tracestate }) => traceparent ?? tracestate ?? [])

t.test('an event frame says where its event was published, over a WebSocket and over HTTP', async (t) => {
  const { app, room, board, loose, parentOf } = await appOf(t, TRACED)
  const { both } = await bothOf(t, app)
  const { id } = await room.publish({ room: '1' }, 'said', { text: 'x' })
  await loose.publish({}, 'blip', 1)
  await board.publish({}, 'put', 1, { key: 'k' })
  await board.remove({}, 'k')
  for (const client of both) {
    const said = await client.next({ event: 'said' })
    t.same(said, { topic: 'rooms/1', event: 'said', id, prev: said.prev, traceparent: parentOf('publish rooms/:room'), data: { text: 'x' } })
    t.same(await client.next({ event: 'blip' }), { topic: 'loose', event: 'blip', traceparent: parentOf('publish loose'), data: 1 })
    t.match(await client.next({ event: 'put' }), { key: 'k', traceparent: parentOf('publish board') })
    t.match(await client.next({ event: 'realtime:removed' }), { traceparent: parentOf('remove board') })
  }
})

t.test('an event of bytes says it in the head of its frame', async (t) => {
  const { app, room, parentOf } = await appOf(t, TRACED)
  const { channel, frames } = await bothOf(t, app)
  await room.publish({ room: '1' }, 'picture', Buffer.of(7, 8, 9))
  const traceparent = parentOf('publish rooms/:room')
  const bytes = await channel.bytes.take()
  const end = 4 + bytes.readUInt32BE()
  t.match(JSON.parse(bytes.subarray(4, end).toString()), { event: 'picture', traceparent })
  t.same(bytes.subarray(end), Buffer.of(7, 8, 9))
  t.match(await frames.next({ event: 'picture' }), { traceparent, encoding: 'base64', data: 'BwgJ' })
})

t.test('a stream and plain JSON have no place for it', async (t) => {
  const { app, room } = await appOf(t, TRACED)
  const stream = await connectStream(app, '/rooms/1', { t })
  const flat = await connectChannel(app, '/ws/1', { t })
  await until('both listen', () => app.realtime.countLocal('rooms/1') === 2)
  const { id } = await room.publish({ room: '1' }, 'said', { text: 'x' })
  t.same(await stream.next('said'), { event: 'said', data: { text: 'x' }, id })
  t.same(await flat.next('said'), { event: 'said', data: { text: 'x' } })
})

/** An adapter that reports each event as `change` makes it. */
function reporting (change: (topic: string, event: LogEvent) => LogEvent | undefined): Adapter {
  const adapter = memory() as MemoryAdapter
  const start = adapter.start.bind(adapter)
  adapter.start = async (sink: Sink) => await start(Object.assign(Object.create(sink) as Sink, {
    event: (topic: string, event: LogEvent) => {
      const changed = change(topic, event)
      if (changed) sink.event(topic, changed)
    }
  }))
  return adapter
}

t.test('presence, snapshots, answers and what is for one connection say nothing of a trace', async (t) => {
  // Of members there is none, unless an adapter makes one up.
  const adapter = reporting((topic, event) => topic.startsWith('realtime:presence/') ? { ...event, trace: { traceparent: PARENT } } : event)
  const { app, board } = await appOf(t, { ...TRACED, adapter })
  await board.publish({}, 'put', 1, { key: 'k' })
  const { both: [channel, frames] } = await bothOf(t, app)
  await channel.next({ op: 'snapshot', topic: 'board' })
  await openEnvelope(t, app, '/ws/1')
  await channel.next({ event: 'realtime:presence' })
  channel.send({ event: 'greet', data: {}, ref: 1 })
  await channel.next({ event: 'greeted' })
  await channel.next({ op: 'reply' })
  await frames.next({ event: 'realtime:presence' })
  t.same(tracesOf([...channel.inbox.all, ...frames.inbox.all]), [])
})

t.test('what a client says of a trace counts for nothing: its relayed event has that of the relay', async (t) => {
  const { app, parentOf } = await appOf(t, TRACED)
  const { channel: sender } = await bothOf(t, app, '1')
  const { both } = await bothOf(t, app, '2')
  sender.send({ event: 'wave', data: { n: 1 }, traceparent: PARENT, tracestate: 'forged=1' })
  for (const client of both) {
    const wave = await client.next({ event: 'wave' })
    t.same(wave, { topic: 'loose', event: 'wave', traceparent: parentOf('relay loose'), data: { n: 1 } })
    t.not(wave.traceparent, PARENT)
  }
})

t.test('by default, and with false, no frame says anything of a trace', async (t) => {
  for (const options of [{}, { propagateToClients: false }]) {
    const { app, room, parentOf } = await appOf(t, options)
    const { both } = await bothOf(t, app)
    const { id } = await room.publish({ room: '1' }, 'said', 1)
    t.ok(parentOf('publish rooms/:room'), 'there is one')
    for (const client of both) {
      const said = await client.next({ event: 'said' })
      t.same(said, { topic: 'rooms/1', event: 'said', id, prev: said.prev, data: 1 })
    }
  }
})

const topicOf = (own: Partial<HeardTopic> = {}): HeardTopic => ({
  name: 'news', pattern: 'news', durable: true, keyed: false, tracesTold: true, position: '', derived: new Map(), ...own
})
const eventOf = (given?: unknown): LogEvent => ({
  id: '1-0.a', prev: '0-0.g', name: 'said', data: Buffer.from('1'), format: 'json', ...(given === undefined ? {} : { trace: given as TraceContext })
})
const encoders = [envelope.encoder, envelopeFor(true).encoder, envelopeFor(false).encoder]
const bytesOf = (encoder: typeof encoders[number], given: unknown, tracesTold: boolean, format: 'json' | 'binary' = 'json'): string =>
  Buffer.from(encoder.encode([durableEntry({ ...eventOf(given), format })], topicOf({ tracesTold }))).toString('latin1')

t.test('where clients are not told, the bytes of an event with a trace are those of one without', async (t) => {
  for (const encoder of encoders) {
    for (const format of ['json', 'binary'] as const) {
      const plain = bytesOf(encoder, undefined, false, format)
      t.equal(bytesOf(encoder, { traceparent: PARENT, tracestate: 'a=1' }, false, format), plain)
      t.equal(bytesOf(encoder, undefined, true, format), plain)
      t.not(bytesOf(encoder, { traceparent: PARENT }, true, format), plain)
    }
  }
})

/** What an adapter may hand out in place of a trace. */
const rubbish: Record<string, unknown> = {
  'a text': PARENT,
  'a number': 7,
  null: null,
  'no traceparent': { tracestate: 'a=1' },
  'a number as traceparent': { traceparent: 7 },
  'an object with a text of its own': { traceparent: { length: 55, toString: () => PARENT } },
  'a trace of zeros': { traceparent: `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01` },
  'a span of zeros': { traceparent: `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01` },
  'another version': { traceparent: `01${PARENT.slice(2)}` },
  'capital letters': { traceparent: PARENT.toUpperCase() },
  'a line more': { traceparent: `${PARENT}\n` },
  'a line in place of its last character': { traceparent: `${PARENT.slice(0, -1)}\n` },
  'members of the frame': { traceparent: `${PARENT}","op":"bye` },
  'a header more': { traceparent: `${PARENT}\r\nset-cookie: a=b` },
  'a quote': { traceparent: `${PARENT.slice(0, -1)}"` }
}

t.test('nothing but a traceparent of W3C\'s grammar is written into a frame', (t) => {
  for (const [what, given] of Object.entries(rubbish)) {
    for (const encoder of encoders) t.equal(bytesOf(encoder, given, true), bytesOf(encoder, undefined, true), what)
  }
  t.end()
})

t.test('a tracestate is written where it fits W3C\'s grammar and 512 characters, and is left out otherwise', (t) => {
  const long = `a=${'x'.repeat(251)},b=${'x'.repeat(256)}`
  const kept = [
    'a=1', 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE', 'tenant@vendor=1', '1a@b=2', 'a=1 , b=2', 'a=1,,b=2', 'a_-*/=1',
    'a="quoted \\ and {braced}"', 'a=</script>', long, Array.from({ length: 32 }, (_, i) => `k${i}=v`).join(',')
  ]
  const left: unknown[] = [
    '', ' ', ',', 'x', 'a=', 'a= ', '=1', 'A=1', '1a=1', 'a=b=c', 'a=1\r\nb=2', 'a=1\tb', 'a=\u0000', 'a=é', 'a=\u2028', 'a@b@c=1', '@v=1', 't@V=1',
    `a=${'x'.repeat(257)}`, `${long},c=1`, Array.from({ length: 33 }, (_, i) => `k${i}=v`).join(','), 7, {}, null, ['a=1']
  ]
  for (const encoder of encoders) {
    for (const tracestate of kept) {
      const text = bytesOf(encoder, { traceparent: PARENT, tracestate }, true)
      const frame = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as Json
      t.match(frame, { traceparent: PARENT, data: 1 })
      t.equal(frame.tracestate, tracestate)
    }
    for (const [i, tracestate] of left.entries()) {
      t.equal(bytesOf(encoder, { traceparent: PARENT, tracestate }, true), bytesOf(encoder, { traceparent: PARENT }, true), `number ${i}`)
    }
  }
  t.equal(long.length, 512)
  t.end()
})

/** A provider whose spans are at whatever place it is given. */
const at = (spanContext: () => SpanContext): TracerProvider => {
  const span = { ...trace.wrapSpanContext(TRACE), spanContext, setAttributes: () => span, end: () => {}, recordException: () => {}, setStatus: () => span, isRecording: () => true }
  return { getTracer: () => ({ startSpan: () => span as never, startActiveSpan: () => { throw new Error('unused') } }) }
}
const fail = (): never => { throw new Error('the tracer is broken') }

t.test('a tracer that throws or makes rubbish costs an event its trace, and no event', async (t) => {
  const wrong: Record<string, [() => SpanContext, string | undefined]> = {
    'it throws': [fail, undefined],
    'nothing at all': [() => undefined as never, undefined],
    'capital letters': [() => ({ ...TRACE, traceId: 'A'.repeat(32) }), undefined],
    'another member in its id': [() => ({ ...TRACE, spanId: '","op":"bye"' + 'b'.repeat(4) }), undefined],
    'flags beyond a byte': [() => ({ ...TRACE, traceFlags: 0x1ff }), `${PARENT.slice(0, -2)}ff`],
    'a state that throws': [() => ({ ...TRACE, traceState: { serialize: fail } as never }), undefined],
    'a state that is no text': [() => ({ ...TRACE, traceState: { serialize: () => ({}) } as never }), PARENT],
    'a state of 10 MB': [() => ({ ...TRACE, traceState: { serialize: () => `a=${'x'.repeat(10 << 20)}` } as never }), PARENT],
    'a state with a header in it': [() => ({ ...TRACE, traceState: { serialize: () => 'a=1\r\nset-cookie: a=b' } as never }), PARENT]
  }
  for (const [what, [spanContext, traceparent]] of Object.entries(wrong)) {
    const { app, room } = await appOf(t, { ...TRACED, tracerProvider: at(spanContext) })
    const { both } = await bothOf(t, app)
    await room.publish({ room: '1' }, 'said', 1)
    for (const client of both) {
      const said = await client.next({ event: 'said' })
      t.equal(said.traceparent, traceparent, what)
      t.equal(said.tracestate, undefined, what)
    }
    await app.close()
  }
})

t.test('a vendor\'s state goes with it', async (t) => {
  const state = 'rojo=00f067aa0ba902b7,congo="t61\\rcW"'
  const { app, room } = await appOf(t, { ...TRACED, tracerProvider: at(() => ({ ...TRACE, traceState: createTraceState(state) })) })
  const { both } = await bothOf(t, app)
  await room.publish({ room: '1' }, 'said', 1)
  for (const client of both) t.match(await client.next({ event: 'said' }), { traceparent: PARENT, tracestate: state })
})

t.test('a client that comes back is told the traces of what it missed', async (t) => {
  const { app, room, parentOf } = await appOf(t, TRACED)
  const { channel } = await bothOf(t, app)
  await room.publish({ room: '1' }, 'said', 1)
  const { prev, traceparent } = await channel.next({ event: 'said' })
  const again = await openEnvelope(t, app, '/ws/1', { 'rooms/1': prev as string })
  t.match(await again.next({ event: 'said' }), { data: 1, traceparent })
  const overHttp = await openFrames(t, app, '/ws/1', { cursors: { 'rooms/1': prev as string } })
  t.match(await overHttp.next({ event: 'said' }), { data: 1, traceparent })
  t.equal(traceparent, parentOf('publish rooms/:room'))
})

t.test('an event that a node did not hear and repairs has the trace of its publish', async (t) => {
  let deaf = false
  const adapter = reporting((_topic, event) => deaf ? undefined : event)
  const { app, room, parentOf } = await appOf(t, { ...TRACED, adapter })
  const { both } = await bothOf(t, app)
  deaf = true
  await room.publish({ room: '1' }, 'said', 'unheard')
  const traceparent = parentOf('publish rooms/:room')
  deaf = false
  await room.publish({ room: '1' }, 'said', 'heard')
  for (const client of both) {
    t.match(await client.next({ event: 'said' }), { data: 'unheard', traceparent })
    t.match(await client.next({ event: 'said' }), { data: 'heard', traceparent: /^00-/ })
  }
})

t.test('over Redis each node tells its own clients, or not; what others published without a trace has none', async (t) => {
  const server = await RedisServer.start(t)
  const node = async (options: Options) => await appOf(t, { adapter: redis({ url: server.url }), ...options })
  // A node without the plugin publishes what one of an older version does.
  const [telling, silent, untraced] = [await node(TRACED), await node({}), await node({ traced: false })]
  const clients = [await bothOf(t, telling.app), await bothOf(t, silent.app), await bothOf(t, untraced.app)]
  await silent.room.publish({ room: '1' }, 'said', 'traced')
  await untraced.room.publish({ room: '1' }, 'said', 'untraced')
  const traceparent = silent.parentOf('publish rooms/:room')
  for (const [i, { both }] of clients.entries()) {
    for (const client of both) {
      t.equal((await client.next({ data: 'traced' })).traceparent, i === 0 ? traceparent : undefined, `node ${i}`)
      t.equal((await client.next({ data: 'untraced' })).traceparent, undefined, `node ${i}`)
    }
  }
  // Nobody has heard this topic here: it is read from Redis.
  const from = clients[0]?.channel.inbox.all.find(({ data }) => data === 'traced')?.prev as string
  const late = await node(TRACED)
  const again = await openEnvelope(t, late.app, '/ws/1', { 'rooms/1': from })
  t.equal((await again.next({ data: 'traced' })).traceparent, traceparent)
  t.equal((await again.next({ data: 'untraced' })).traceparent, undefined)
})

t.test('a trace that was forged in Redis is not told; its event is', async (t) => {
  const server = await RedisServer.start(t)
  const { app } = await appOf(t, { ...TRACED, adapter: redis({ url: server.url, prefix: 'forged:' }) })
  const { both } = await bothOf(t, app)
  const forged = [`${PARENT}","op":"bye`, PARENT.toUpperCase(), `${PARENT}%22`, '%0d%0a', `01${PARENT.slice(2)}`]
  const said = (n: number, fields: string): string => `! - j 4 - ${fields}\nsaid${n}`
  await server.ask(async (stranger) => {
    for (const [n, parent] of forged.entries()) await stranger.publish('forged:{loose}', said(n, `t=${parent} s=a%3D1`))
    await stranger.publish('forged:{loose}', said(forged.length, `t=${PARENT} s=a%3D1%22%2C%22op%22%3A%22bye`))
  })
  for (const client of both) {
    for (const n of forged.keys()) t.same(await client.next({ event: 'said' }), { topic: 'loose', event: 'said', data: n })
    t.same(await client.next({ event: 'said' }), { topic: 'loose', event: 'said', traceparent: PARENT, data: forged.length })
  }
})

t.test('two apps in one process tell their clients each by its own option', async (t) => {
  const [telling, silent] = [await appOf(t, TRACED), await appOf(t)]
  for (const [{ app, room }, told] of [[telling, true], [silent, false]] as const) {
    const { both } = await bothOf(t, app)
    await room.publish({ room: '1' }, 'said', 1)
    for (const client of both) t.equal('traceparent' in await client.next({ event: 'said' }), told)
  }
})

t.test('a crowd costs one look at a trace for each kind of frames, and none where clients are not told', async (t) => {
  for (const propagateToClients of [true, false]) {
    let looks = 0
    const watched = { get traceparent () { looks++; return PARENT } }
    const adapter = reporting((topic, event) => topic === 'rooms/1' ? { ...event, trace: watched } : event)
    const { app, room } = await appOf(t, { propagateToClients, adapter })
    const clients = []
    for (let n = 0; n < 4; n++) clients.push(...(await bothOf(t, app)).both)
    t.equal(connectionsOf(app).length, 8)
    await room.publish({ room: '1' }, 'said', 1)
    for (const client of clients) await client.next({ event: 'said' })
    t.equal(looks, propagateToClients ? 2 : 0)
  }
})

t.test('an option that is no boolean, or is misspelt, is refused', async (t) => {
  const code = 'FST_ERR_REALTIME_OPTION_INVALID'
  const register = async (options: object): Promise<void> => { await (await live(t)).register(tracing, options) }
  for (const wrong of ['yes', 1, null, {}]) {
    await t.rejects(register({ propagateToClients: wrong }), { code, message: /propagateToClients.*true or false/ })
  }
  await t.rejects(register({ propagateToClient: true }), { code, message: /propagateToClients/ })
  await register({ propagateToClients: undefined })
})

/** Traces by OpenTelemetry: a span for each publish, links where an event is consumed, none for a connection. */
import { context, createTraceState, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags, type TracerProvider } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base'
import fastifyOtel from '@fastify/otel'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Adapter, LogEvent } from '../../lib/core/adapter.ts'
import { memory, type MemoryAdapter } from '../../lib/adapters/memory.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import realtime from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import tracing, { consume, linkTo, type TracingOptions } from '../../lib/tracing/index.ts'
import { RedisServer } from '../helpers/redis.ts'

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
t.teardown(() => context.disable())

function exported (): { provider: BasicTracerProvider, spans: () => ReadableSpan[], named: (name: string) => ReadableSpan } {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const spans = (): ReadableSpan[] => exporter.getFinishedSpans()
  const named = (name: string): ReadableSpan => {
    const found = spans().filter((span) => span.name === name)
    if (found.length !== 1) throw new Error(`${found.length} spans "${name}" of ${spans().map(({ name }) => name).join(', ')}`)
    return found[0] as ReadableSpan
  }
  return { provider, spans, named }
}

async function appOf (t: Test, { adapter, otel, ...options }: TracingOptions & { adapter?: Adapter, otel?: boolean } = {}) {
  const { provider, ...made } = exported()
  const app = Fastify()
  t.teardown(async () => await app.close())
  if (otel) {
    const instrumentation = new fastifyOtel.FastifyOtelInstrumentation()
    instrumentation.setTracerProvider(provider)
    await app.register(instrumentation.plugin())
  }
  await app.register(realtime, { retry: 0, ...(adapter && { adapter }) })
  await app.register(tracing, { tracerProvider: provider, ...options })
  const schema = { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] } as const
  const room = app.topic('rooms/:room', { authorize: () => true })
  const board = app.topic('board', { keyed: true, authorize: () => true })
  const strict = app.topic('strict/:id', { events: { said: schema } })
  const loose = app.topic('loose', { history: false, authorize: () => true })
  app.stream('/rooms/:room', { topics: room })
  app.post('/rooms/:room', async (request) => await room.publish(request.params as { room: string }, 'said', { text: 'hello' }))
  app.channel('/ws/:room', {
    topics: [room, loose],
    messages: {
      say: { handler: async (data, { params }) => await room.publish(params as { room: string }, 'said', data) },
      fail: { handler: () => { throw Object.assign(new Error('outbid'), { code: 'OUTBID' }) } },
      wave: { relay: { topic: 'loose' } }
    },
    binary: () => {}
  })
  await app.ready()
  return { app, room, board, strict, loose, provider, ...made }
}

const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId
const linksOf = (span: ReadableSpan): string[] => span.links.map(({ context }) => `${context.traceId}/${context.spanId}`)
const placeOf = (span: ReadableSpan): string => `${span.spanContext().traceId}/${span.spanContext().spanId}`

t.test('a publish is one PRODUCER span, named by the pattern, with the topic, the id and the size', async (t) => {
  const { room, spans, provider } = await appOf(t)
  const parent = provider.getTracer('app').startSpan('work')
  const { id } = await context.with(trace.setSpan(ROOT_CONTEXT, parent), async () => await room.publish({ room: 'secret-name' }, 'said', { text: 'x' }))
  const [span, ...others] = spans() as [ReadableSpan]
  t.same(others, [])
  t.match(span, { name: 'publish rooms/:room', kind: SpanKind.PRODUCER, status: { code: SpanStatusCode.UNSET } })
  t.equal(parentOf(span), parent.spanContext().spanId, 'its parent is the active span')
  t.same(span.attributes, {
    'messaging.system': 'fastify_realtime',
    'messaging.operation.name': 'publish',
    'messaging.operation.type': 'send',
    'messaging.destination.name': 'rooms/secret-name',
    'messaging.destination.template': 'rooms/:room',
    'messaging.message.id': id,
    'messaging.message.body.size': 12,
    'fastify_realtime.event': 'said'
  })
})

t.test('a publish that fails has a span with an error status and the exception, whatever was wrong', async (t) => {
  const { app, room, strict, loose, spans } = await appOf(t)
  const failures: Array<() => Promise<unknown>> = [
    async () => await strict.publish({ id: '1' }, 'said', {} as never),
    async () => await strict.publish({} as never, 'said', { text: 'x' }),
    async () => await strict.publish({ id: '1' }, 'unknown' as never, {} as never),
    async () => await loose.publish({}, 'said', 1, { expect: null }),
    async () => await room.publish({ room: '1' }, 'said', 1, { expect: '1-1.unknown' }),
    async () => await room.remove({ room: '1' }, 'key'),
    async () => await app.realtime.publish('rooms/1', 7 as never, 1)
  ]
  for (const fail of failures) await t.rejects(fail())
  t.equal(spans().length, failures.length)
  const codes = spans().map(({ attributes, status, events, ended }) => {
    t.same([status.code, events.map(({ name }) => name), ended], [SpanStatusCode.ERROR, ['exception'], true])
    return String(attributes['error.type']).replace('FST_ERR_REALTIME_', '')
  })
  t.same(codes, ['EVENT_DATA', 'TOPIC_PARAMS', 'EVENT_UNKNOWN', 'PUBLISH_OPTION', 'CONFLICT', 'NOT_KEYED', 'EVENT_NAME_INVALID'])
  t.equal(spans()[1]?.attributes['messaging.destination.name'], undefined, 'params that name no topic')
})

t.test('a publish that was made before under its key has the id of the first, and the history has the first one\'s trace', async (t) => {
  const { app, room, spans } = await appOf(t)
  const first = await room.publish({ room: '1' }, 'said', 1, { dedupe: 'k' })
  t.same(await room.publish({ room: '1' }, 'said', 1, { dedupe: 'k' }), first)
  t.same(spans().map(({ attributes }) => attributes['messaging.message.id']), [first.id, first.id])
  const { events } = await room.history({ room: '1' })
  t.equal(events.length, 1)
  t.equal(linkTo(app, events[0] as object)?.context.spanId, spans()[0]?.spanContext().spanId)
})

t.test('a removal is a span, and its event leads to it; a removal of nothing has no id', async (t) => {
  const { app, board, spans, named } = await appOf(t)
  await board.publish({}, 'put', 1, { key: 'a' })
  const items = board.subscribe({})
  t.equal((await items.next()).value?.event, 'realtime:snapshot')
  const { id } = await board.remove({}, 'a')
  const removed = named('remove board')
  t.match(removed.attributes, { 'messaging.message.id': id, 'fastify_realtime.event': 'realtime:removed', 'messaging.operation.type': 'send' })
  const { value: item } = await items.next()
  t.equal(linkTo(app, item as object)?.context.spanId, removed.spanContext().spanId)
  await items.return()
  await board.remove({}, 'a')
  t.equal(spans().at(-1)?.attributes['messaging.message.id'], undefined)
})

t.test('a subscriber consumes an item in a span that is linked to its publish, with what the item says', async (t) => {
  const { app, room, loose, spans, named } = await appOf(t)
  const items = room.subscribe({ room: '1' })
  await items.ready
  const { id } = await room.publish({ room: '1' }, 'said', { text: 'x' })
  const { value: item } = await items.next()
  t.same(item, { id, event: 'said', data: { text: 'x' } }, 'the item says nothing of a trace')
  t.same(Reflect.ownKeys(item as object), ['id', 'event', 'data'])
  let within: string | undefined
  const answer = await consume(app, item as object, async () => {
    await Promise.resolve()
    within = trace.getActiveSpan()?.spanContext().spanId
    return 'done'
  })
  t.equal(answer, 'done')
  const consumed = named('process rooms/:room')
  t.equal(within, consumed.spanContext().spanId, 'it is the active span of what runs in it')
  t.match(consumed, { kind: SpanKind.CONSUMER, status: { code: SpanStatusCode.UNSET } })
  t.equal(parentOf(consumed), undefined)
  t.same(linksOf(consumed), [placeOf(named('publish rooms/:room'))])
  t.same(consumed.attributes, {
    'messaging.system': 'fastify_realtime',
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.destination.name': 'rooms/1',
    'messaging.destination.template': 'rooms/:room',
    'messaging.message.id': id,
    'fastify_realtime.event': 'said'
  })
  await items.return()

  const untold = loose.subscribe({})
  await untold.ready
  await loose.publish({}, 'blip', 1)
  const { value: blip } = await untold.next()
  t.ok(linkTo(app, blip as object), 'without history too')
  await untold.return()
  t.throws(() => consume(app, blip as object, () => { throw new Error('broken') }), { message: 'broken' })
  await t.rejects(consume(app, blip as object, async () => await Promise.reject(new Error('late'))), { message: 'late' })
  t.equal(consume(app, blip as object, () => 7), 7)
  t.same(spans().slice(-3).map(({ status, name }) => [name, status.code, status.message]), [
    ['process loose', SpanStatusCode.ERROR, 'broken'], ['process loose', SpanStatusCode.ERROR, 'late'], ['process loose', SpanStatusCode.UNSET, undefined]
  ])
})

t.test('an item that was copied is linked to nothing, and is consumed all the same', async (t) => {
  const { app, room, named } = await appOf(t)
  await room.publish({ room: '1' }, 'said', 1)
  const { events: [event] } = await room.history({ room: '1' })
  t.equal(linkTo(app, { ...event }), undefined)
  t.equal(consume(app, { ...event }, () => 'ran'), 'ran')
  t.same(linksOf(named('process')), [])
})

t.test('no span is made for a stream or a channel, and no byte of a trace reaches a client', async (t) => {
  const { app, room, loose, spans, named } = await appOf(t)
  const stream = await connectStream(app, '/rooms/1', { t })
  const flat = await connectChannel(app, '/ws/1', { t })
  const envelope = await connectChannel(app, '/ws/1', { t, format: 'envelope' })
  for (let topics = 0; topics < 2; topics++) await envelope.next('realtime:subscribed')
  t.same(spans(), [])
  await room.publish({ room: '1' }, 'said', { text: 'x' })
  await loose.publish({}, 'blip', { text: 'y' })
  const { traceId } = named('publish rooms/:room').spanContext()
  const heard = [await stream.next('said'), await flat.next('said'), await envelope.next('said'), await flat.next('blip'), await envelope.next('blip')]
  t.notMatch(JSON.stringify([heard, stream.events, flat.events, envelope.events]), new RegExp(`${traceId}|traceparent`))
  await Promise.all([stream, flat, envelope].map(async (client) => await client.close()))
  t.same(spans().map(({ name }) => name), ['publish rooms/:room', 'publish loose'])
})

t.test('a message of a channel is a span of its own, linked to the upgrade, and what its handler publishes is its child', async (t) => {
  const { app, spans, named } = await appOf(t, { otel: true })
  const client = await connectChannel(app, '/ws/1', { t })
  const listener = await connectChannel(app, '/ws/2', { t })
  client.send('say', { text: 'x' })
  await client.next('said')
  client.send('wave', { n: 1 })
  await listener.next('wave')
  client.send('fail')
  await client.next('error')
  client.send('unknown', {})
  await client.next('error')
  const say = named('process /ws/:room say')
  t.match(say, { kind: SpanKind.CONSUMER, attributes: { 'messaging.destination.template': '/ws/:room', 'fastify_realtime.message': 'say' } })
  t.equal(parentOf(say), undefined, 'a trace of its own')
  t.equal(say.links.length, 1, 'linked to the upgrade')
  const upgrade = say.links[0]?.context.traceId
  t.not(upgrade, say.spanContext().traceId)
  t.equal(parentOf(named('publish rooms/:room')), say.spanContext().spanId)
  t.equal(parentOf(named('relay loose')), named('process /ws/:room wave').spanContext().spanId)
  t.match(named('process /ws/:room fail'), { status: { code: SpanStatusCode.ERROR, message: 'outbid' }, attributes: { 'error.type': 'OUTBID' } })
  const ours = spans().filter(({ instrumentationScope }) => instrumentationScope.name === 'fastify-realtime').map(({ name }) => name)
  t.same(ours.sort(), [
    'process /ws/:room fail', 'process /ws/:room say', 'process /ws/:room wave', 'publish rooms/:room', 'relay loose'
  ], 'none for a name that a client made up')
})

t.test('with messages: false a handler runs in its request\'s span', async (t) => {
  const { app, spans, named } = await appOf(t, { otel: true, messages: false })
  const client = await connectChannel(app, '/ws/1', { t })
  client.send('say', { text: 'x' })
  await client.next('said')
  t.notMatch(spans().map(({ name }) => name).join(), /process/)
  t.ok(parentOf(named('publish rooms/:room')), 'the upgrade\'s')
})

t.test('with @fastify/otel a publish of a route is a child of its handler', async (t) => {
  const { app, spans, named } = await appOf(t, { otel: true })
  const response = await app.inject({ method: 'POST', url: '/rooms/1' })
  t.equal(response.statusCode, 200)
  const publish = named('publish rooms/:room')
  const handler = spans().find((span) => span.spanContext().spanId === parentOf(publish))
  t.equal(handler?.instrumentationScope.name, '@fastify/otel')
  t.equal(handler?.spanContext().traceId, publish.spanContext().traceId)
})

t.test('the trace goes over Redis, with its state, to another node\'s subscriber and into the history', async (t) => {
  const server = await RedisServer.start(t)
  const nodes = [await appOf(t, { adapter: redis({ url: server.url }) }), await appOf(t, { adapter: redis({ url: server.url }) })] as const
  const [one, other] = nodes
  const items = other.room.subscribe({ room: '1' })
  const loose = other.loose.subscribe({})
  await Promise.all([items.ready, loose.ready])
  const state = 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE'
  const parent = trace.wrapSpanContext({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: TraceFlags.SAMPLED, traceState: createTraceState(state) })
  await context.with(trace.setSpan(ROOT_CONTEXT, parent), async () => {
    await one.room.publish({ room: '1' }, 'said', { text: 'x' }, { key: 'k' })
    await one.loose.publish({}, 'blip', Buffer.from('bytes'))
  })
  const { value: item } = await items.next()
  const { value: blip } = await loose.next()
  const { events: [past] } = await other.room.history({ room: '1' })
  for (const [found, name] of [[item, 'publish rooms/:room'], [past, 'publish rooms/:room'], [blip, 'publish loose']] as const) {
    const link = linkTo(other.app, found as object)
    t.match(link?.context, { traceId: 'a'.repeat(32), spanId: one.named(name).spanContext().spanId, traceFlags: 1, isRemote: true })
    t.equal(link?.context.traceState?.serialize(), state)
  }
  await Promise.all([items.return(), loose.return()])
})

t.test('an adapter that carries no traces, or something else in their place, gives events that are linked to nothing', async (t) => {
  const wrong: unknown[] = [undefined, 'text', { traceparent: 7 }, { traceparent: `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01` }, { traceparent: 'x\r\ny' }, { traceparent: `01-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }]
  for (const trace of wrong) {
    const adapter = memory() as MemoryAdapter
    const start = adapter.start.bind(adapter)
    adapter.start = async (sink) => await start(Object.assign(Object.create(sink) as typeof sink, {
      event: (topic: string, event: LogEvent) => sink.event(topic, { ...event, trace } as LogEvent)
    }))
    const { app, room } = await appOf(t, { adapter })
    const items = room.subscribe({ room: '1' })
    await items.ready
    await room.publish({ room: '1' }, 'said', 1)
    const { value: item } = await items.next()
    t.equal(linkTo(app, item as object), undefined, JSON.stringify(trace))
    t.equal(consume(app, item as object, () => 'ran'), 'ran')
    await items.return()
  }
})

/** Whatever it is asked, it throws. */
const throwing = (at: 'start' | 'end'): TracerProvider => ({
  getTracer: () => ({
    startSpan: () => {
      if (at === 'start') throw new Error('the sampler is broken')
      const fail = (): never => { throw new Error('the processor is broken') }
      return { spanContext: fail, setAttributes: fail, end: fail, recordException: fail, setStatus: fail } as never
    },
    startActiveSpan: () => { throw new Error('unused') }
  })
})

t.test('a tracer that throws breaks nothing, and is logged once', async (t) => {
  for (const at of ['start', 'end'] as const) {
    const lines: string[] = []
    const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } })
    t.teardown(async () => await app.close())
    await app.register(realtime)
    await app.register(tracing, { tracerProvider: throwing(at) })
    const topic = app.topic('news', { authorize: () => true })
    app.channel('/ws', { topics: topic, messages: { say: { handler: () => ({ type: 'ok' }) } } })
    await app.ready()
    const items = topic.subscribe({})
    await items.ready
    for (let n = 0; n < 3; n++) t.ok((await topic.publish({}, 'said', n)).id)
    await t.rejects(topic.publish({}, 'bad\nname', 1), { code: 'FST_ERR_REALTIME_EVENT_NAME_INVALID' })
    const { value: item } = await items.next()
    t.equal(await consume(app, item as object, async () => 'ran'), 'ran')
    const client = await connectChannel(app, '/ws', { t })
    client.send('say')
    await client.next('ok')
    await items.return()
    t.equal(lines.filter((line) => line.includes('OpenTelemetry failed')).length, 1, at)
  }
})

t.test('without an SDK nothing is carried; without the plugin the code of consume() runs, and that is all', async (t) => {
  const noSdk = await appOf(t, { tracerProvider: trace.getTracerProvider() })
  await noSdk.room.publish({ room: '1' }, 'said', 1)
  t.equal(linkTo(noSdk.app, (await noSdk.room.history({ room: '1' })).events[0] as object), undefined)

  const app = Fastify()
  t.teardown(async () => await app.close())
  await app.register(realtime)
  t.equal(consume(app, {}, () => 7), 7)
  t.equal(linkTo(app, {}), undefined)
})

t.test('two apps in one process are traced each by its own, and a closed one no more', async (t) => {
  const [one, other] = [await appOf(t), await appOf(t)]
  await one.room.publish({ room: '1' }, 'said', 1)
  t.same([one.spans().length, other.spans().length], [1, 0])
  await one.app.close()
  await t.rejects(one.room.publish({ room: '1' }, 'said', 1), { code: 'FST_ERR_REALTIME_CLOSED' })
  t.equal(one.spans().length, 1)
})

t.test('what is registered wrongly is refused', async (t) => {
  const register = async (options: object, before?: (app: FastifyInstance) => Promise<void>): Promise<void> => {
    const app = Fastify()
    t.teardown(async () => await app.close().catch(() => {}))
    await app.register(realtime)
    await before?.(app)
    await app.register(tracing, options)
  }
  const code = 'FST_ERR_REALTIME_OPTION_INVALID'
  await t.rejects(register({ tracerprovider: {} }), { code, message: /tracerProvider/ })
  await t.rejects(register({ tracerProvider: {} }), { code, message: /TracerProvider of OpenTelemetry/ })
  await t.rejects(register({ messages: 'yes' }), { code, message: /true or false/ })
  await t.rejects(register({}, async (app) => { await app.register(tracing) }), { code, message: /already registered/ })
})

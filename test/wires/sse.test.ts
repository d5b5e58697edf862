/** Event streams: the encoder, and what a client of a stream is told. */
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { memory, type SourceEvent } from '../../lib/index.ts'
import { durableEntry } from '../../lib/core/event.ts'
import { eventNameFault } from '../../lib/core/event-name.ts'
import type { Adapter, Sink } from '../../lib/core/adapter.ts'
import { wantsEventStream } from '../../lib/wires/sse/accept.ts'
import { block, chunk, dataLines, eventBlock } from '../../lib/wires/sse/encode.ts'
import { insidesOf } from '../helpers/insides.ts'
import { answer, connectionsOf, deferred, Log, openStream, readEventStream, request, serve, turn, type Json, type Stream, type Ends, type StreamEvent } from '../conformance/clients.ts'
import type { WireClient, WireEvent } from '../../lib/conformance/index.ts'
import { wireConformance } from '../helpers/suites.ts'

async function connect (t: Ends, app: FastifyInstance): Promise<WireClient> {
  const stream = await openStream(t, app, '/stream')
  const understood = ({ type, data }: StreamEvent): WireEvent => ({ event: type, data: parsed(data) })
  return {
    next: async (event) => understood(await stream.next(event)),
    nextBytes: async (event) => Buffer.from((await stream.next(event)).data, 'base64'),
    heard: () => stream.inbox.all.map(understood),
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    leave: () => stream.leave(),
    ended: stream.ended
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

wireConformance('SSE', connect)

// --- the encoder ----------------------------------------------------------------

t.test('dataLines: one line for each line of the text, whichever way it ends', async (t) => {
  const lines = new Map([
    ['', 'data: '],
    ['one', 'data: one'],
    ['a\nb', 'data: a\ndata: b'],
    ['a\rb', 'data: a\ndata: b'],
    ['a\r\nb', 'data: a\ndata: b'],
    ['a\n\rb', 'data: a\ndata: \ndata: b'],
    ['\n', 'data: \ndata: '],
    ['a\r\n\r\nb\r', 'data: a\ndata: \ndata: b\ndata: '],
    [' padded', 'data:  padded'],
    ['\u2028\u0085\v\f', 'data: \u2028\u0085\v\f']
  ])
  for (const [text, expected] of lines) t.equal(dataLines(text), expected)
})

t.test('a chunk of nothing is nothing: as a chunk it would end the response', async (t) => {
  t.equal(chunk(Buffer.alloc(0)).byteLength, 0)
  t.equal(chunk(Buffer.from('a')).toString(), '1\r\na\r\n')
})

t.test('block: fields where there are any, and an empty line', async (t) => {
  const blocks: Array<[Parameters<typeof block>[0], string]> = [
    [{}, '\n'],
    [{ data: '' }, 'data: \n\n'],
    [{ id: '0', data: 'x' }, 'id: 0\ndata: x\n\n'],
    [{ id: '' }, 'id: \n\n'],
    [{ retry: 0 }, 'retry: 0\n\n'],
    [{ event: 'message', data: 'x' }, 'data: x\n\n'],
    [{ retry: 5, id: '1', event: 'e', data: 'a\rb', comment: 'c\nd' }, ': c\n: d\nretry: 5\nid: 1\nevent: e\ndata: a\ndata: b\n\n']
  ]
  for (const [fields, expected] of blocks) t.equal(block(fields).toString(), expected)
})

t.test('eventBlock: JSON as the bytes it is, text line by line, bytes as base64', async (t) => {
  const entry = (name: string, data: string | Uint8Array, format: 'json' | 'text' | 'binary') =>
    durableEntry({ id: '1-0.a', prev: '0-0.g', name, data: Buffer.from(data as string), format })
  t.equal(eventBlock(entry('bid', '{"a":1}', 'json'), '1-0.a').toString(), 'id: 1-0.a\nevent: bid\ndata: {"a":1}\n\n')
  t.equal(eventBlock(entry('message', '{}', 'json'), undefined).toString(), 'data: {}\n\n')
  t.equal(eventBlock(entry('message', 'a\r\nb\rc', 'text'), undefined).toString(), 'data: a\ndata: b\ndata: c\n\n')
  t.equal(eventBlock(entry('p', Uint8Array.of(0, 10, 13, 255), 'binary'), '').toString(), 'id: \nevent: p\ndata: AAoN/w==\n\n')
  t.equal(eventBlock(entry('p', '', 'binary'), undefined).toString(), 'event: p\ndata: \n\n')
})

t.test('chunk: the framing of HTTP/1.1', async (t) => {
  t.equal(chunk(Buffer.from('x'.repeat(26))).toString(), `1a\r\n${'x'.repeat(26)}\r\n`)
  t.equal(chunk(Buffer.from('é')).toString(), '2\r\né\r\n')
})

/** The same numbers in every run. */
function random (seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

const HOSTILE = ['\n', '\r', '\r\n', '\n\n', '\r\r', '\0', ':', ' ', 'data:', 'data: x', 'event: forged', 'id: forged', 'retry: 1', '\u2028', '\u2029', '\u0085',
  '\ufeff', '😀', '\ud800', 'é', '"', '\\', '{', '}', 'a', 'message', '\t', '\x7f']

t.test('nothing can be injected: hostile text stays where it was put, for two parsers', async (t) => {
  const next = random(20_251_121)
  const hostile = (): string => Array.from({ length: Math.floor(next() * 9) }, () => HOSTILE[Math.floor(next() * HOSTILE.length)]).join('')
  const faults: unknown[] = []
  for (let i = 0; i < 3000; i++) {
    const [name, text, comment] = [hostile(), hostile(), hostile()]
    const event = eventNameFault(name) === undefined ? name : 'message'
    const fields = i % 2 === 0
      ? { bytes: block({ id: 'own', event, data: text, comment }), data: text.replace(/\r\n|\r|\n/g, '\n').toWellFormed() }
      : { bytes: eventBlock(durableEntry({ id: 'own', prev: '', name: event, data: Buffer.from(JSON.stringify({ [text]: comment })), format: 'json' }), 'own'), data: JSON.stringify({ [text]: comment }) }
    const wire = Buffer.concat([block({ retry: 7 }), fields.bytes, block({ id: 'last', event: 'sentinel', data: 'x' })]).toString()
    const strict = readEventStream(wire)
    const heard: EventSourceMessage[] = []
    const retries: number[] = []
    createParser({ onEvent: (one) => heard.push(one), onRetry: (ms) => retries.push(ms) }).feed(wire)
    const expected = [{ type: event, data: fields.data, lastEventId: 'own' }, { type: 'sentinel', data: 'x', lastEventId: 'last' }]
    const others = heard.map(({ event = 'message', data, id }) => ({ type: event, data, lastEventId: id }))
    const ok = JSON.stringify([strict.events, strict.retry]) === JSON.stringify([expected, 7]) && JSON.stringify([others, retries]) === JSON.stringify([expected, [7]])
    if (!ok) faults.push({ name, text, comment, strict: strict.events, others })
  }
  t.same(faults, [])
})

t.test('names, keys and ids that hold CR, LF or NUL are refused where they are given', async (t) => {
  const log = new Log()
  let yielded: SourceEvent = {}
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
    app.stream('/source', {
      source: async function * () {
        yield { data: 'before' }
        yield yielded
        yield { data: 'after' }
      }
    })
  }, log)
  const stream = await openStream(t, app, '/feed')
  for (const control of ['\r', '\n', '\r\n', '\0', '\x01', '\x7f']) {
    const evil = `a${control}id: 1`
    await t.rejects(app.realtime.publish('feed', evil, {}), { code: 'FST_ERR_REALTIME_EVENT_NAME_INVALID' })
    await t.rejects(app.realtime.publish('feed', 'ok', {}, { key: evil }), { code: 'FST_ERR_REALTIME_PUBLISH_OPTION', statusCode: 400 })
    await t.rejects(app.realtime.publish('feed', 'ok', {}, { dedupe: evil }), { code: 'FST_ERR_REALTIME_PUBLISH_OPTION', statusCode: 400 })
  }
  for (const name of ['', 'error', 'open', 'realtime:open', 'realtime:x', '\ud800', 'x'.repeat(256)]) {
    await t.rejects(app.realtime.publish('feed', name, {}), { code: 'FST_ERR_REALTIME_EVENT_NAME_INVALID' })
  }
  for (const key of ['', 'x'.repeat(256)]) await t.rejects(app.realtime.publish('feed', 'ok', {}, { key }), { code: 'FST_ERR_REALTIME_PUBLISH_OPTION' })
  await app.realtime.publish('feed', 'x'.repeat(255), {}, { key: 'k'.repeat(255), dedupe: 'd' })
  t.equal((await stream.next()).type, 'x'.repeat(255), 'nothing of the refused was sent')

  const refused: Array<[SourceEvent, string]> = [
    [{ id: 'a\nb' }, 'FST_ERR_REALTIME_EVENT_DATA'], [{ id: 'a\rb' }, 'FST_ERR_REALTIME_EVENT_DATA'], [{ id: 'a\0b' }, 'FST_ERR_REALTIME_EVENT_DATA'],
    [{ event: 'a\nb' }, 'FST_ERR_REALTIME_EVENT_NAME_INVALID'], [{ event: 'realtime:open' }, 'FST_ERR_REALTIME_EVENT_NAME_INVALID'],
    [{ retry: -1 }, 'FST_ERR_REALTIME_EVENT_DATA'], [{ retry: 1.5 }, 'FST_ERR_REALTIME_EVENT_DATA'],
    ['text' as SourceEvent, 'FST_ERR_REALTIME_EVENT_DATA'], [null as unknown as SourceEvent, 'FST_ERR_REALTIME_EVENT_DATA'],
    [{ id: 7 as unknown as string }, 'FST_ERR_REALTIME_EVENT_DATA'], [{ comment: 7 as unknown as string }, 'FST_ERR_REALTIME_EVENT_DATA']
  ]
  for (const [event, code] of refused) {
    yielded = event
    const before = log.errors().length
    const source = await openStream(t, app, '/source')
    await source.ended
    t.same(source.inbox.all.filter(({ type }) => type === 'message').map(({ data }) => data), ['before'], 'the stream ends at what is refused')
    t.same(log.errors().slice(before), [code], JSON.stringify(event))
  }
})

t.test('accept: who wants a stream', async (t) => {
  const other = ['text/html', 'text/html,application/xhtml+xml,*/*;q=0.8', 'application/json, text/event-stream;q=0.5', 'text/event-stream;q=0.9, a/b']
  const neither = ['application/json', 'text/event-stream;q=0', 'text/*;q=0, */*', '*/*;q=0', 'text/event-stream;q=0,*/*', 'text/event-streams', 'x/*', 'q=1', ';', 'text/event-stream;q=0.000', 'TEXT/HTML']
  const stream = [undefined, '', ' ', '*/*', 'text/*', 'text/event-stream', 'TEXT/Event-Stream', 'text/event-stream; charset=utf-8', 'a/b;q=0.1, text/event-stream;q=0.2',
    ' text/event-stream ;q=0.1', 'text/event-stream, application/json', '*/*;q=0.1', 'text/event-stream;q=1.000', 'text/*;q=0.2, x/y;q=0.1', 'text/html;q=0, */*']
  for (const accept of stream) {
    t.equal(wantsEventStream(accept, false), true, `${accept} takes a stream`)
    t.equal(wantsEventStream(accept, true), true, `${accept} takes it before anything else`)
  }
  for (const accept of other) t.equal(wantsEventStream(accept, true), false, `${accept} would rather have something else`)
  for (const accept of other.slice(1)) t.equal(wantsEventStream(accept, false), true, `${accept} takes a stream where there is nothing else`)
  for (const accept of neither) {
    t.equal(wantsEventStream(accept, false), false, `${accept} does not take a stream`)
    t.equal(wantsEventStream(accept, true), false)
  }
  t.equal(wantsEventStream('x/y,'.repeat(20_000) + 'text/event-stream', false), false, 'an endless list is cut')
})

t.test('a client that wants no stream gets the handler\'s answer, or 406', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/either', { topics: 'feed', handler: () => ({ page: 1 }) })
    app.stream('/only', { topics: 'feed' })
  })
  t.match(await answer(t, app, '/either', { accept: 'application/json' }), { status: 200, text: '{"page":1}' })
  t.match(await answer(t, app, '/only', { accept: 'application/json' }), { status: 406, text: /FST_ERR_REALTIME_NOT_ACCEPTABLE/ })
  const stream = await openStream(t, app, '/either', { accept: '*/*' })
  t.match(stream.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' })
  t.equal((await stream.next('realtime:open')).data, '{}')
})

// --- the opening, and coming back -----------------------------------------------

const publish = async (app: FastifyInstance, topic: string, data: unknown, event = 'said'): Promise<string> =>
  (await app.realtime.publish(topic, event, data)).id as string

t.test('the opening block: an event, an id, or neither; its id is where the stream starts', async (t) => {
  const app = await serve(t, { retry: 1000 }, (app) => {
    app.topic('feed')
    app.topic('fleeting', { history: false })
    app.stream('/event', { topics: 'feed' })
    app.stream('/id', { topics: 'feed', open: 'id' })
    app.stream('/none', { topics: 'feed', open: false, retry: 50_000 })
    app.stream('/fleeting', { topics: 'fleeting' })
    app.stream('/several', { topics: ['feed', 'fleeting'] })
  })
  const head = await publish(app, 'feed', 'first')
  const blockOf = async (path: string): Promise<{ stream: Stream, fields: Json, retry: number }> => {
    const stream = await openStream(t, app, path)
    const { retry, ...fields } = Object.fromEntries(await stream.blocks.take())
    return { stream, fields, retry: Number(retry) }
  }
  for (const [path, expected, about] of [
    ['/event', { id: head, event: 'realtime:open', data: '{}' }, 1000],
    ['/id', { id: head }, 1000],
    ['/none', {}, 50_000],
    ['/fleeting', { event: 'realtime:open', data: '{}' }, 1000],
    ['/several', { id: head, event: 'realtime:open', data: '{}' }, 1000]
  ] as const) {
    const { fields, retry } = await blockOf(path)
    t.same(fields, expected, path)
    t.ok(retry >= about * 0.8 && retry <= about * 1.2, `retry ${retry} is within a fifth of ${about}`)
  }
  const retries = await Promise.all(Array.from({ length: 8 }, async () => (await blockOf('/none')).retry))
  t.ok(new Set(retries).size > 1, 'clients that come together are not told to come back together')
  const { stream } = await blockOf('/event')
  await stream.leave()
  await publish(app, 'feed', 'missed')
  const back = await openStream(t, app, '/event', { lastEventId: stream.lastEventId })
  t.equal(await back.json('said'), 'missed', 'cut before its first event, a client has lost nothing')
  t.equal(back.inbox.all.some(({ type }) => type === 'realtime:reset'), false)
})

t.test('a stream of one topic resumes after its last event id, from the header or the query', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const first = await openStream(t, app, '/feed')
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push(await publish(app, 'feed', i))
  for (let i = 0; i < 5; i++) t.match(await first.next(), { data: String(i), lastEventId: ids[i] }, 'the id of an event is its own')
  await first.leave()
  const ways = [
    openStream(t, app, '/feed', { lastEventId: ids[1] as string }),
    openStream(t, app, `/feed?a=b&lastEventId=${ids[1]}`),
    openStream(t, app, `/feed?lastEventId=garbage&lastEventId=${ids[1]}`),
    openStream(t, app, '/feed?lastEventId=garbage', { lastEventId: ids[1] as string })
  ]
  for (const back of await Promise.all(ways)) {
    t.equal((await back.next('realtime:open')).lastEventId, ids[1], 'it opens where the client was')
    for (let i = 2; i < 5; i++) t.match(await back.next(), { data: String(i), lastEventId: ids[i] })
    await back.leave()
  }
  const level = await openStream(t, app, '/feed', { lastEventId: ids[4] as string })
  await publish(app, 'feed', 'live')
  t.equal(await level.json(), 'live', 'from the head nothing is repeated')
  t.match(app.realtime.stats(), { recovered: 5, resets: 0 })
})

t.test('a stream of several topics resumes all of them from one id', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('a/:id')
    app.topic('fleeting', { history: false })
    app.stream('/several', { topics: ['a/1', 'a/2', 'a/3', 'fleeting'] })
    app.stream('/fewer', { topics: ['a/2', 'a/3'] })
  })
  const all = ['a/1', 'a/2', 'a/1', 'a/3', 'a/3', 'a/2', 'a/1']
  const stream = await openStream(t, app, '/several')
  await stream.next('realtime:open')
  for (const [i, topic] of all.entries()) await publish(app, topic, i)
  const heard: StreamEvent[] = []
  for (let i = 0; i < all.length; i++) heard.push(await stream.next())
  t.equal(new Set(heard.map(({ lastEventId }) => lastEventId)).size, all.length, 'each block has an id of its own')
  t.ok(heard.every(({ lastEventId }) => /^[\x21-\x7e]{1,2048}$/.test(lastEventId)))
  await app.realtime.publish('fleeting', 'said', 'x')
  const fleeting = await stream.next()
  t.equal(fleeting.lastEventId, heard.at(-1)?.lastEventId, 'an event without an id leaves the last one standing')
  t.equal(stream.blocks.all.at(-1)?.some(([field]) => field === 'id'), false)

  for (const [n, { lastEventId }] of heard.entries()) {
    const back = await openStream(t, app, '/several', { lastEventId })
    const expected = all.map((_, i) => i).filter((i) => !heard.slice(0, n + 1).some(({ data }) => Number(data) === i))
    const again: number[] = []
    for (let i = 0; i < expected.length; i++) again.push(await back.json() as number)
    t.same(again.sort((a, b) => a - b), expected, `after event ${n}: neither a gap nor a repeat`)
    await back.leave()
  }
  const last = heard.at(-1) as StreamEvent
  await publish(app, 'a/1', 'one')
  await publish(app, 'a/3', 'three')
  const fewer = await openStream(t, app, '/fewer', { lastEventId: last.lastEventId })
  t.equal(await fewer.json(), 'three', 'a stream of fewer topics takes the id as well')
  t.match(app.realtime.stats(), { resets: 0 })
})

/** A memory adapter whose log can be lost, as a server's can. */
function fragile (): { adapter: Adapter, lose: () => Promise<void> } {
  let inner = memory()
  let sink: Sink | undefined
  const subscribed = new Set<string>()
  const adapter: Adapter = {
    name: 'fragile',
    start (given) {
      sink = given
      return inner.start(given)
    },
    publish: (...args) => inner.publish(...args),
    ephemeral: (...args) => inner.ephemeral(...args),
    subscribe (topic, durable) {
      subscribed.add(topic)
      return inner.subscribe(topic, durable)
    },
    unsubscribe (topic) {
      subscribed.delete(topic)
      inner.unsubscribe(topic)
    },
    read: (...args) => inner.read(...args),
    heads: (topics) => inner.heads(topics),
    close: () => inner.close()
  }
  const lose = async (): Promise<void> => {
    await inner.close()
    inner = memory()
    await inner.start(sink as Sink)
    for (const topic of subscribed) await inner.subscribe(topic, true)
  }
  return { adapter, lose }
}

t.test('a cursor that cannot be recovered is answered with a reset, its reason, and the snapshot', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed', { history: { limit: 3 } })
    app.topic('other')
    app.topic('state', { history: { limit: 3 }, snapshot: () => ({ all: 'of it' }) })
    app.stream('/feed', { topics: 'feed' })
    app.stream('/state', { topics: 'state' })
    app.stream('/two', { topics: ['feed', 'other'] })
  })
  const old = await publish(app, 'feed', 'old')
  const foreign = await publish(app, 'other', 'x')
  const expired = await publish(app, 'state', 'old')
  for (let i = 0; i < 6; i++) {
    await publish(app, 'feed', i)
    await publish(app, 'state', i)
  }
  const future = `${Date.now() + 86_400_000}-0.${old.split('.')[1]}`
  const cases: Array<[path: string, cursor: string, topic: string, reason: string]> = [
    ['/feed', old, 'feed', 'expired'],
    ['/feed', future, 'feed', 'unknown-cursor'],
    ['/feed', 'garbage', 'feed', 'unknown-cursor'],
    ['/feed', '0', 'feed', 'unknown-cursor'],
    ['/feed', 'v1~', 'feed', 'unknown-cursor'],
    ['/feed', 'v1~AAAAA~!!~+', 'feed', 'unknown-cursor'],
    ['/feed', 'v1~' + '~'.repeat(500), 'feed', 'unknown-cursor'],
    ['/feed', 'x'.repeat(2049), 'feed', 'unknown-cursor'],
    ['/feed', '../../etc passwd', 'feed', 'unknown-cursor'],
    ['/state', expired, 'state', 'expired'],
    ['/state', foreign.replace(/^\d+/, (ms) => String(Number(ms) + 60_000)), 'state', 'unknown-cursor']
  ]
  for (const [path, lastEventId, topic, reason] of cases) {
    const stream = await openStream(t, app, path, { lastEventId })
    t.same(await stream.json('realtime:reset'), { topic, reason }, `${lastEventId.slice(0, 30)} is ${reason}`)
    if (topic === 'state') t.same(await stream.json('realtime:snapshot'), { topic, data: { all: 'of it' } })
    const id = await publish(app, topic, 'live')
    t.match(await stream.next(), { data: '"live"', lastEventId: id }, 'it goes on')
    t.same(stream.inbox.all.filter(({ type }) => type === 'said').length, 1)
    await stream.leave()
    const back = await openStream(t, app, path, { lastEventId: stream.lastEventId })
    await publish(app, topic, 'again')
    t.equal(await back.json(), 'again')
    t.notOk(back.inbox.all.some(({ type }) => type === 'realtime:reset'), 'and resumes from there: no error loop')
    await back.leave()
  }
  const two = await openStream(t, app, '/two', { lastEventId: foreign })
  t.same([await two.json('realtime:reset'), await two.json('realtime:reset')], [
    { topic: 'feed', reason: 'unknown-cursor' }, { topic: 'other', reason: 'unknown-cursor' }
  ], 'a bare id says nothing of a stream of several')
})

t.test('a log that was lost resets its listeners once, with its reason', async (t) => {
  const { adapter, lose } = fragile()
  const app = await serve(t, { adapter }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const stream = await openStream(t, app, '/feed')
  await publish(app, 'feed', 1)
  t.equal(await stream.json(), 1)
  const before = stream.lastEventId
  await lose()
  const id = await publish(app, 'feed', 2)
  t.same(await stream.json('realtime:reset'), { topic: 'feed', reason: 'lost' })
  t.equal(stream.lastEventId, id)
  const next = await publish(app, 'feed', 3)
  t.match(await stream.next(), { data: '3', lastEventId: next })
  t.equal(stream.inbox.all.filter(({ type }) => type === 'realtime:reset').length, 1)
  const back = await openStream(t, app, '/feed', { lastEventId: before })
  t.match(await back.json('realtime:reset'), { topic: 'feed' }, 'a cursor of the lost log is none of this one')
})

// --- snapshots ------------------------------------------------------------------

t.test('a snapshot comes first to a client without a usable cursor, and not to one that resumes', async (t) => {
  let state = 0
  const app = await serve(t, {}, (app) => {
    app.topic('count/:id', { snapshot: ({ id }) => ({ id, state }) })
    app.topic('named', { snapshot: () => ({ data: { state }, event: 'state' }) })
    app.topic('nothing', { snapshot: () => undefined })
    app.stream('/count', { topics: 'count/7' })
    app.stream('/named', { topics: 'named' })
    app.stream('/nothing', { topics: 'nothing' })
  })
  state = 1
  const id = await publish(app, 'count/7', { state })
  const stream = await openStream(t, app, '/count')
  const snapshot = await stream.next('realtime:snapshot')
  t.same(JSON.parse(snapshot.data), { topic: 'count/7', data: { id: '7', state: 1 } })
  t.equal(snapshot.lastEventId, id, 'its id is where the live events start')
  state = 2
  await publish(app, 'count/7', { state })
  t.same(await stream.json('said'), { state: 2 })
  await stream.leave()
  const back = await openStream(t, app, '/count', { lastEventId: stream.lastEventId })
  await publish(app, 'count/7', 'live')
  t.equal(await back.json(), 'live')
  t.notOk(back.inbox.all.some(({ type }) => type === 'realtime:snapshot'))

  const named = await openStream(t, app, '/named')
  t.same(await named.json('state'), { state: 2 }, 'as an event of the topic, where it says so')
  t.notOk(named.inbox.all.some(({ type }) => type === 'realtime:snapshot'))
  t.same(await (await openStream(t, app, '/nothing')).json('realtime:snapshot'), { topic: 'nothing', data: null })
})

t.test('while an async snapshot is taken, publishes go on: what follows its start comes after it', async (t) => {
  let finish = (_: unknown): void => {}
  let taken = 0
  const started: Array<() => void> = []
  const app = await serve(t, {}, (app) => {
    app.topic('plain', {
      snapshot: () => new Promise((resolve) => {
        taken++
        finish = resolve
        started.shift()?.()
      })
    })
    app.stream('/plain', { topics: 'plain' })
  })
  const start = new Promise<void>((resolve) => { started.push(resolve) })
  await publish(app, 'plain', 'before')
  const stream = await openStream(t, app, '/plain')
  const open = await stream.next('realtime:open')
  t.equal(open.lastEventId, '', 'until then the client has no position')
  await start
  const during = [await publish(app, 'plain', 1), await publish(app, 'plain', 2)]
  const joiners = await Promise.all(Array.from({ length: 20 }, () => openStream(t, app, '/plain')))
  await Promise.all(joiners.map((one) => one.next('realtime:open')))
  finish('state')
  for (const one of [stream, ...joiners]) {
    t.same(await one.json('realtime:snapshot'), { topic: 'plain', data: 'state' })
    t.match([await one.next(), await one.next()], during.map((lastEventId, i) => ({ data: String(i + 1), lastEventId })))
  }
  t.equal(taken, 1, 'those who join meanwhile share one')
  for (const one of [stream, ...joiners]) {
    t.same(one.inbox.all.map(({ type }) => type), ['realtime:open', 'realtime:snapshot', 'said', 'said'], 'nothing goes ahead of it')
  }
  const late = await openStream(t, app, '/plain')
  await late.next('realtime:open')
  await turn()
  finish('later')
  t.same(await late.json('realtime:snapshot'), { topic: 'plain', data: 'later' })
  t.equal(taken, 2)
})

t.test('a snapshot that says how far it reaches is joined exactly', async (t) => {
  let finish = (_: unknown): void => {}
  const started: Array<() => void> = []
  const app = await serve(t, {}, (app) => {
    app.topic('exact', { snapshot: () => new Promise((resolve) => { finish = resolve; started.shift()?.() }) })
    app.stream('/exact', { topics: 'exact' })
  })
  const ids: string[] = []
  const join = async (at: (ids: string[]) => string): Promise<string[]> => {
    const start = new Promise<void>((resolve) => { started.push(resolve) })
    const stream = await openStream(t, app, '/exact')
    await start
    for (let i = 0; i < 4; i++) ids.push(await publish(app, 'exact', ids.length))
    finish({ data: 'state', at: at(ids) })
    const snapshot = await stream.next('realtime:snapshot')
    t.same(JSON.parse(snapshot.data), { topic: 'exact', data: 'state' })
    const last = await publish(app, 'exact', 'last')
    const heard: string[] = [snapshot.lastEventId]
    while (heard.at(-1) !== last) heard.push((await stream.next()).lastEventId)
    ids.push(last)
    await stream.leave()
    return heard
  }
  t.same(await join((known) => known[1] as string), ids.slice(1), 'what it contains does not come again')
  t.same((await join((known) => known.at(-1) as string)), ids.slice(-2), 'also when it contains everything so far')
  t.same((await join((known) => known[0] as string)).at(0), ids[0], 'also when it was older than the client')
  const start = ids.length - 1
  t.same(await join(() => '1-0.unknown'), ids.slice(start), 'an id that is not in the log says nothing: it joins at its start')
})

t.test('a snapshot that fails ends the stream, not the process; the client may come back', async (t) => {
  const log = new Log()
  let broken: unknown = Object.assign(new Error('no database'), { code: 'NO_DATABASE' })
  const app = await serve(t, {}, (app) => {
    app.topic('state', {
      async snapshot () {
        if (broken !== undefined) throw broken
        return 'well'
      }
    })
    app.stream('/state', { topics: 'state' })
  }, log)
  const stream = await openStream(t, app, '/state')
  await stream.ended
  t.same(stream.inbox.all.map(({ type }) => type), ['realtime:open'])
  t.same(log.errors(), ['NO_DATABASE'])
  broken = undefined
  t.same(await (await openStream(t, app, '/state')).json('realtime:snapshot'), { topic: 'state', data: 'well' })
})

// --- sources --------------------------------------------------------------------

t.test('a source\'s empty data, id "0", retry 0 and comments arrive as they are', async (t) => {
  const cursors: Array<string | undefined> = []
  const app = await serve(t, {}, (app) => {
    app.stream('/source', {
      source: async function * (_request, { cursor }) {
        cursors.push(cursor)
        yield { data: '' }
        yield { id: '0', data: 0 }
        yield { retry: 0 }
        yield { comment: 'just\nsaying' }
        yield { event: 'lines', data: 'a\r\nb\rc\nd' }
        yield { event: 'json', data: { a: [1] } }
        yield { event: 'bytes', data: Uint8Array.of(1, 2, 3) }
        yield { id: 'é 😀', data: null }
        yield { data: undefined }
        yield {}
        yield { event: 'end', data: 'end' }
      }
    })
  })
  const stream = await openStream(t, app, '/source')
  await stream.ended
  t.same(stream.inbox.all.filter(({ type }) => type !== 'realtime:open'), [
    { type: 'message', data: '', lastEventId: '' },
    { type: 'message', data: '0', lastEventId: '0' },
    { type: 'lines', data: 'a\nb\nc\nd', lastEventId: '0' },
    { type: 'json', data: '{"a":[1]}', lastEventId: '0' },
    { type: 'bytes', data: 'AQID', lastEventId: '0' },
    { type: 'message', data: 'null', lastEventId: 'é 😀' },
    { type: 'end', data: 'end', lastEventId: 'é 😀' }
  ])
  t.equal(stream.reader.retry, 0)
  t.same(stream.comments.all, [' just', ' saying'])
  await (await openStream(t, app, '/source', { lastEventId: '0' })).ended
  await (await openStream(t, app, '/source', { lastEventId: Buffer.from('é 😀').toString('latin1') })).ended
  await (await openStream(t, app, `/source?lastEventId=${encodeURIComponent('é 😀')}`)).ended
  t.same(cursors, [undefined, '0', 'é 😀', 'é 😀'], 'and come back as the cursor')
})

t.test('a source that yields for ever is pulled as far as its client reads, and returned when it leaves', async (t) => {
  let yielded = 0
  let ended = 0
  const load = 'x'.repeat(16_384)
  let settled = deferred<void>()
  const app = await serve(t, {}, (app) => {
    app.stream('/async', {
      source: async function * () {
        try {
          while (true) {
            yielded++
            yield { data: load }
          }
        } finally {
          ended++
          settled.resolve()
        }
      }
    })
    app.stream('/sync', {
      source: function * () {
        try {
          while (true) {
            yielded++
            yield { data: load }
          }
        } finally {
          ended++
          settled.resolve()
        }
      }
    })
  })
  for (const path of ['/async', '/sync']) {
    settled = deferred<void>()
    yielded = 0
    const stream = await openStream(t, app, path)
    stream.pause()
    await stalled(() => yielded)
    t.ok(yielded < 2000, `${path}: ${yielded} events are out, and no more while nobody reads`)
    const before = yielded
    stream.resume()
    while (stream.inbox.all.length < before + 50) await nextTurn()
    t.ok(yielded > before, 'it goes on when the client reads')
    await stream.leave()
    await settled.promise
  }
  t.equal(ended, 2)
  await stalled(() => yielded)
  t.same(connectionsOf(app), [])
})

/** Resolves when a number has stopped growing. */
async function stalled (value: () => number): Promise<void> {
  for (let same = 0, last = value(); same < 300; await nextTurn()) {
    same = value() === last ? same + 1 : 0
    last = value()
  }
}

t.test('a source that never waits leaves the others their turns', async (t) => {
  const turns = { left: 20 }
  const app = await serve(t, {}, (app) => {
    app.stream('/sync', {
      source: function * () {
        while (turns.left > 0) yield { comment: '' }
      }
    })
  })
  const stream = await openStream(t, app, '/sync')
  while (turns.left-- > 0) await nextTurn()
  await stream.ended
  t.pass('the event loop turned while it ran')
})

t.test('a source that waits for something of its own is told at once that its client has left', async (t) => {
  const told = deferred<string>()
  const waiting = deferred<void>()
  const app = await serve(t, {}, (app) => {
    app.stream('/waits', {
      source: async function * (_request, { signal }) {
        try {
          yield { data: 'first' }
          waiting.resolve()
          await once(signal, 'abort')
          yield { data: 'too late' }
        } finally {
          told.resolve(String(signal.aborted))
        }
      }
    })
  })
  const stream = await openStream(t, app, '/waits')
  t.equal((await stream.next()).data, 'first')
  await waiting.promise
  await stream.leave()
  t.equal(await told.promise, 'true')
})

t.test('a source\'s cleanup may fail in any way once its client has left: that is no error, and the process goes on', async (t) => {
  const log = new Log()
  const app = await serve(t, {}, (app) => {
    const events = { next: () => new Promise<never>(() => {}) }
    app.stream('/sync', { source: () => ({ [Symbol.iterator]: () => ({ next: () => ({ done: false, value: { data: 'x'.repeat(100_000) } }), return () { throw new Error('sync cleanup') } }) }) })
    app.stream('/async', { source: () => ({ [Symbol.asyncIterator]: () => ({ ...events, async return () { throw new Error('async cleanup') } }) }) })
    app.stream('/none', { source: () => ({ [Symbol.asyncIterator]: () => events }) })
  }, log)
  for (const path of ['/sync', '/async', '/none']) {
    const stream = await openStream(t, app, path)
    await stream.next('realtime:open')
    stream.pause()
    await turn()
    await stream.leave()
    while (connectionsOf(app).length > 0) await nextTurn()
    await turn()
  }
  t.same(log.errors(), [])
})

t.test('any iterable is a source; what a source throws before it starts is an ordinary error', async (t) => {
  const log = new Log()
  const app = await serve(t, {}, (app) => {
    app.stream('/array', { source: () => [{ data: 'a' }, { data: 'b' }] })
    app.stream('/promised', { source: async () => new Set([{ data: 'c' }]) })
    app.stream('/throws', { source: () => { throw Object.assign(new Error('no such answer'), { statusCode: 404, code: 'NO_ANSWER' }) } })
    app.stream('/rejects', { source: async () => { throw new Error('failed') } })
    app.stream('/wrong', { source: () => 7 as unknown as Iterable<SourceEvent> })
    app.stream('/later', {
      source: async function * () {
        yield { data: 'first' }
        throw Object.assign(new Error('in the middle'), { code: 'MIDDLE' })
      }
    })
    app.stream('/nothing', {
      source: async function * () {
        yield { data: 'first' }
        throw undefined // eslint-disable-line no-throw-literal
      }
    })
  }, log)
  const dataOf = async (path: string): Promise<string[]> => {
    const stream = await openStream(t, app, path)
    await stream.ended
    return stream.inbox.all.filter(({ type }) => type === 'message').map(({ data }) => data)
  }
  t.same(await dataOf('/array'), ['a', 'b'])
  t.same(await dataOf('/promised'), ['c'])
  t.match(await answer(t, app, '/throws'), { status: 404, text: /NO_ANSWER/, headers: { 'content-type': /json/ } })
  t.match(await answer(t, app, '/rejects'), { status: 500 })
  t.match(await answer(t, app, '/wrong'), { status: 500, text: /FST_ERR_REALTIME_EVENT_DATA/ })
  const before = log.errors().length
  t.same(await dataOf('/later'), ['first'], 'one in mid-stream ends it')
  t.same(log.errors().slice(before), ['MIDDLE'])
  t.same(await dataOf('/nothing'), ['first'])
  t.same(connectionsOf(app), [])
})

// --- what may be published --------------------------------------------------------

t.test('published data is checked against its schema, serialized by it, and left as it was', async (t) => {
  const declare = (app: FastifyInstance): void => {
    const typed = app.withTypeProvider<TypeBoxTypeProvider>()
    typed.topic('typed', {
      events: {
        bid: Type.Object({ amount: Type.Number({ minimum: 1 }), note: Type.Optional(Type.String({ default: 'none' })) }, { additionalProperties: false }),
        message: Type.String()
      }
    })
    typed.stream('/typed', { topics: 'typed' })
  }
  const app = await serve(t, { validate: true }, declare)
  const stream = await openStream(t, app, '/typed')
  await t.rejects(app.realtime.publish('typed', 'sold', {}), { code: 'FST_ERR_REALTIME_EVENT_UNKNOWN' })
  for (const amount of ['five', '0', 0, NaN]) await t.rejects(app.realtime.publish('typed', 'bid', { amount }), { code: 'FST_ERR_REALTIME_EVENT_DATA' }, String(amount))
  await t.rejects(app.realtime.publish('typed', 'bid', {}), { code: 'FST_ERR_REALTIME_EVENT_DATA', message: /amount/ })
  await t.rejects(app.realtime.publish('typed', 'bid', undefined), { code: 'FST_ERR_REALTIME_EVENT_DATA' })
  const data = Object.freeze({ amount: 5 })
  await app.realtime.publish('typed', 'bid', data)
  await app.realtime.publish('typed', 'bid', { amount: '7', secret: 1 })
  await app.realtime.publish('typed', 'message', 'hello')
  t.match(await stream.next(), { type: 'bid', data: '{"amount":5,"note":"none"}' }, 'as the schema writes it, its defaults with it')
  t.match(await stream.next(), { type: 'bid', data: '{"amount":7,"note":"none"}' }, 'what is checked is what is sent, as in production')
  t.match(await stream.next(), { type: 'message', data: '"hello"' }, 'an unnamed event has a schema like any other')
  t.same(data, { amount: 5 })

  const production = await serve(t, { validate: false }, declare)
  const bold = await openStream(t, production, '/typed')
  const loose = { amount: 7, secret: 'not in the schema' }
  await production.realtime.publish('typed', 'bid', loose)
  t.equal((await bold.next()).data, '{"amount":7,"note":"none"}', 'unchecked, and still what the schema says')
  t.same(loose, { amount: 7, secret: 'not in the schema' }, 'the app\'s own object is untouched')
  await t.rejects(production.realtime.publish('typed', 'sold', {}), { code: 'FST_ERR_REALTIME_EVENT_UNKNOWN' })
})

t.test('what cannot be JSON, or is too large, is refused at publish', async (t) => {
  const app = await serve(t, { maxEventBytes: 100 }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const stream = await openStream(t, app, '/feed')
  const circle: Json = {}
  circle.self = circle
  for (const data of [circle, 1n]) await t.rejects(app.realtime.publish('feed', 'said', data), { code: 'FST_ERR_REALTIME_EVENT_DATA' })
  await t.rejects(app.realtime.publish('feed', 'said', 'x'.repeat(99)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE', statusCode: 413 })
  await t.rejects(app.realtime.publish('feed', 'said', new Uint8Array(101)), { code: 'FST_ERR_REALTIME_EVENT_TOO_LARGE' })
  await t.rejects(app.realtime.publish('nowhere', 'said', {}), { code: 'FST_ERR_REALTIME_TOPIC_UNKNOWN', statusCode: 404 })
  await app.realtime.publish('feed', 'said', new Uint8Array(100))
  t.equal((await stream.next()).data.length, 136)
  for (const nothing of [undefined, () => {}]) {
    await app.realtime.publish('feed', 'said', nothing)
    t.equal(await stream.json(), null, 'what JSON has no word for is null')
  }
})

// --- staying and leaving ------------------------------------------------------------

t.test('a heartbeat is a comment, and only on a stream that was quiet', async (t) => {
  const app = await serve(t, { heartbeat: 300_000 }, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
    app.stream('/often', { topics: 'feed', heartbeat: 20 })
  })
  const stream = await openStream(t, app, '/feed')
  await stream.next('realtime:open')
  const beat = (): void => insidesOf(app)[0]?.output.beat()
  beat()
  await publish(app, 'feed', 1)
  t.equal(await stream.json(), 1)
  t.same(stream.comments.all, [], 'the opening was a sign of life')
  beat()
  await publish(app, 'feed', 2)
  t.equal(await stream.json(), 2)
  t.same(stream.comments.all, [], 'an event is one as well')
  beat()
  beat()
  t.equal(await stream.comments.take(), '')
  beat()
  t.equal(await stream.comments.take(), '')
  await publish(app, 'feed', 3)
  t.equal(await stream.json(), 3)
  t.equal(stream.comments.all.length, 2)
  const often = await openStream(t, app, '/often')
  for (let i = 0; i < 3; i++) t.equal(await often.comments.take(), '', 'they come by themselves')
})

t.test('a refusal for now is a stream that ends after its retry; any other client is told when to come back', async (t) => {
  const app = await serve(t, { maxConnections: 1, retry: 1000 }, (app) => {
    app.topic('feed')
    app.topic('secret', { authorize: () => false })
    app.stream('/feed', { topics: 'feed' })
    app.stream('/secret', { topics: 'secret' })
  })
  t.match(await answer(t, app, '/secret'), { status: 403, text: /FST_ERR_REALTIME_FORBIDDEN/ }, 'what is refused for good is an ordinary answer')
  const first = await openStream(t, app, '/feed')
  const second = await openStream(t, app, '/feed')
  await second.ended
  t.same(second.inbox.all, [])
  t.equal(second.blocks.all.length, 1)
  t.ok((second.reader.retry as number) >= 500)
  t.match(second.response.headers, { 'content-type': 'text/event-stream' })
  const plain = await answer(t, app, '/feed', { accept: '*/*' })
  t.match(plain, { status: 503, text: /FST_ERR_REALTIME_TOO_MANY_CONNECTIONS/ })
  t.ok(Number(plain.headers['retry-after']) >= 1)
  await first.leave()
  while (connectionsOf(app).length > 0) await nextTurn()
  const third = await openStream(t, app, '/feed')
  await third.next('realtime:open')
  const opened = third.reader.retry
  await Promise.all([app.close(), third.ended])
  t.ok(third.reader.retry !== opened && (third.reader.retry as number) >= 500, 'who was there when the server closes is told when to come back')
})

t.test('HEAD answers with the headers of a stream, and ends', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('feed')
    app.stream('/feed', { topics: 'feed' })
  })
  const { statusCode, headers, body } = await app.inject({ method: 'HEAD', url: '/feed' })
  t.match({ statusCode, headers, body }, { statusCode: 200, headers: { 'content-type': 'text/event-stream' }, body: '' })
  t.same(connectionsOf(app), [])
  const response = await request(t, app, '/feed', { 'last-event-id': '' })
  t.equal(response.statusCode, 200)
})

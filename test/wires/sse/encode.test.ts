/** The encoder of event streams, and what hostile text it may be given. */
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import t from 'tap'
import type { SourceEvent } from '../../../lib/index.ts'
import { durableEntry } from '../../../lib/core/event.ts'
import { eventNameFault } from '../../../lib/core/event-name.ts'
import { wantsEventStream } from '../../../lib/wires/sse/accept.ts'
import { block, chunk, dataLines, eventBlock } from '../../../lib/wires/sse/encode.ts'
import { Log, openStream, readEventStream, serve } from '../../conformance/clients.ts'

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

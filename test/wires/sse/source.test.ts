/** A source, pulled as far as its client reads. */
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { SourceEvent } from '../../../lib/index.ts'
import { answer, connectionsOf, deferred, Log, openStream, serve, turn } from '../../conformance/clients.ts'

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

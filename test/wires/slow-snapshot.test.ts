// A snapshot that takes its time, or never comes, holds up its own topic and nothing else.

import t, { type Test } from 'tap'
import { connectionsOf, deferred, Log, openChannel, openEnvelope, openStream, serve, turn, type Deferred, type StreamEvent } from '../conformance/clients.ts'

/** An app whose boards have snapshots that the test lets go of, one after the other. */
async function slowBoards (t: Test, { joinTimeout = 60_000, log }: { joinTimeout?: number, log?: Log } = {}) {
  const asked: Array<{ board: string, given: Deferred<unknown> }> = []
  let look = (): void => {}
  const app = await serve(t, { joinTimeout, retry: 0 }, (app) => {
    app.topic('news')
    app.topic('other-news')
    app.topic('cursors', { history: false })
    app.topic('boards/:id', {
      snapshot: ({ id }) => {
        const given = deferred<unknown>()
        asked.push({ board: id, given })
        look()
        return given.promise
      }
    })
    const topics = (request: { query: unknown }): string[] => String((request.query as { topics: string }).topics).split(',')
    app.stream('/stream', { topics })
    app.channel('/channel', { topics })
  }, log)
  const snapshot = async (nth: number): Promise<Deferred<unknown>> => {
    while (asked.length < nth) await new Promise<void>((resolve) => { look = resolve })
    return asked[nth - 1]?.given as Deferred<unknown>
  }
  return { app, asked, snapshot }
}

const said = ({ type, data }: StreamEvent): string => `${type} ${data}`

t.test('envelope: the other topics are heard meanwhile, and no event of its own comes before the snapshot', async (t) => {
  const { app, snapshot } = await slowBoards(t)
  const channel = await openEnvelope(t, app, '/channel?topics=news,boards/1,cursors')
  const given = await snapshot(1)
  await app.realtime.publish('boards/1', 'moved', { n: 1 })
  await app.realtime.publish('news', 'item', { n: 2 })
  await app.realtime.publish('cursors', 'at', { n: 3 })
  t.match(await channel.next({ event: 'item' }), { topic: 'news', data: { n: 2 } })
  t.match(await channel.next({ event: 'at' }), { topic: 'cursors', data: { n: 3 } })
  given.resolve({ state: 1 })
  t.match(await channel.next({ op: 'snapshot' }), { topic: 'boards/1', data: { state: 1 } })
  t.match(await channel.next({ event: 'moved' }), { data: { n: 1 } })
  await app.realtime.publish('boards/1', 'moved', { n: 4 })
  await app.realtime.publish('news', 'item', { n: 5 })
  t.match(await channel.next({ event: 'moved' }), { data: { n: 4 } })
  t.match(await channel.next({ event: 'item' }), { data: { n: 5 } })
  const order = channel.inbox.all.map(({ op, event }) => String(event ?? op)).filter((what) => ['snapshot', 'moved'].includes(what))
  t.strictSame(order, ['snapshot', 'moved', 'moved'])
})

t.test('flat: the same', async (t) => {
  const { app, snapshot } = await slowBoards(t)
  const channel = await openChannel(t, app, '/channel?topics=boards/1,news')
  const given = await snapshot(1)
  await app.realtime.publish('news', 'item', { n: 1 })
  t.strictSame(await channel.next(), { type: 'item', n: 1 })
  given.resolve({ data: { n: 2 }, event: 'state' })
  t.strictSame(await channel.next(), { type: 'state', n: 2 })
})

t.test('a stream with one topic of its own and one without history hears the latter', async (t) => {
  const { app, snapshot } = await slowBoards(t)
  const stream = await openStream(t, app, '/stream?topics=boards/1,cursors')
  const given = await snapshot(1)
  await app.realtime.publish('cursors', 'at', 1)
  t.match(await stream.next(), { type: 'at', data: '1', lastEventId: '' })
  given.resolve('state')
  t.equal((await stream.next('realtime:snapshot')).data, '{"topic":"boards/1","data":"state"}')
})

t.test('a stream hears the others, with ids that do not count what it waits for', async (t) => {
  const { app, snapshot, asked } = await slowBoards(t)
  const path = '/stream?topics=news,boards/1,boards/2,other-news'
  const stream = await openStream(t, app, path)
  const first = await snapshot(2)
  const firstOf = (board: string): Deferred<unknown> => asked.find((one) => one.board === board)?.given as Deferred<unknown>
  t.ok(first)
  await app.realtime.publish('boards/1', 'moved', 0)
  await app.realtime.publish('news', 'item', 1)
  const early = await stream.next()
  t.equal(said(early), 'item 1')
  await app.realtime.publish('other-news', 'item', 2)
  t.equal(said(await stream.next()), 'item 2')
  firstOf('2').resolve('second')
  t.equal((await stream.next('realtime:snapshot')).data, '{"topic":"boards/2","data":"second"}')
  await app.realtime.publish('boards/2', 'moved', 3)
  const later = await stream.next()
  t.equal(said(later), 'moved 3', 'the one board does not wait for the other')

  const back = await openStream(t, app, path, { lastEventId: later.lastEventId })
  firstOf('1').resolve('first')
  t.equal((await stream.next('realtime:snapshot')).data, '{"topic":"boards/1","data":"first"}')
  t.equal(said(await stream.next()), 'moved 0')
  t.equal((await back.next('realtime:snapshot')).data, '{"topic":"boards/1","data":"first"}', 'who comes back with such an id gets the snapshot it had not')
  t.equal(said(await back.next()), 'moved 0')
  await app.realtime.publish('news', 'item', 4)
  const last = await back.next()
  t.equal(said(last), 'item 4', 'and nothing of what it had')
  t.strictSame(back.inbox.all.map(({ type }) => type), ['realtime:open', 'realtime:snapshot', 'moved', 'item'])

  const fresh = await openStream(t, app, path, { lastEventId: early.lastEventId })
  for (const given of asked.slice(2)) given.given.resolve('again')
  t.same(new Set([said(await fresh.next()), said(await fresh.next())]), new Set(['item 2', 'item 4']), 'who was cut earlier gets all that followed')
  await fresh.next('realtime:snapshot')
  const whole = await openStream(t, app, path, { lastEventId: last.lastEventId })
  await app.realtime.publish('news', 'item', 5)
  t.equal(said(await whole.next()), 'item 5')
  t.strictSame(whole.inbox.all.map(({ type }) => type), ['realtime:open', 'item'], 'and who has all of them needs none')
})

t.test('a client that leaves the topic meanwhile is not disturbed by what becomes of its snapshot', async (t) => {
  const { app, snapshot } = await slowBoards(t)
  const channel = await openEnvelope(t, app, '/channel?topics=news,boards/1,boards/2')
  const [first, second] = [await snapshot(1), await snapshot(2)]
  for (const id of ['boards/1', 'boards/2']) connectionsOf(app)[0]?.unsubscribe(id)
  first.resolve('state')
  second.reject(undefined)
  await turn()
  await app.realtime.publish('news', 'item', { n: 1 })
  t.match(await channel.next({ event: 'item' }), { data: { n: 1 } })
  t.notOk(channel.inbox.all.some(({ op }) => op === 'snapshot'))
})

t.test('one that never comes ends those who wait for it, so that they come back; it is logged once, and the next one is asked for', async (t) => {
  const log = new Log()
  const { app, asked, snapshot } = await slowBoards(t, { joinTimeout: 50, log })
  const channels = await Promise.all([1, 2, 3].map(async () => await openEnvelope(t, app, '/channel?topics=news,boards/1')))
  const stream = await openStream(t, app, '/stream?topics=news,boards/1')
  for (const channel of channels) {
    t.match(await channel.next({ op: 'bye' }), { code: 1013, reconnect: true, retry: Number })
    t.equal((await channel.ended).code, 1013)
  }
  await stream.ended
  const lines = log.lines.filter(({ err }) => (err as { code?: string } | undefined)?.code === 'FST_ERR_REALTIME_CALLBACK_TIMEOUT')
  t.ok(lines.length <= asked.length)
  t.equal(lines[0]?.msg, 'realtime: a snapshot took too long')
  t.match((lines[0]?.err as { message: string }).message, '"snapshot" of topic "boards/1" did not settle within 50 ms')
  t.strictSame(app.realtime.stats().connections, { sse: 0, websocket: 0, process: 0 })
  t.equal(app.realtime.countLocal('boards/1') + app.realtime.countLocal('news'), 0)

  const count = asked.length
  const channel = await openEnvelope(t, app, '/channel?topics=boards/1')
  const given = await snapshot(count + 1)
  given.resolve('there')
  for (const { given } of asked) given.reject(null)
  t.match(await channel.next({ op: 'snapshot' }), { data: 'there' }, 'and what becomes of the old one later is nobody\'s concern')
})

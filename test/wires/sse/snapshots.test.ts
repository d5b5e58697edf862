/** A snapshot and what follows it, on a stream. */
import t from 'tap'
import { Log, openStream, serve, turn } from '../../conformance/clients.ts'
import { publish } from '../../helpers/sse.ts'

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

t.test('a client hears reset behind a snapshot that lacks events which are gone; where they are kept it hears them', async (t) => {
  let at = ''
  const app = await serve(t, {}, (app) => {
    app.topic('short', { history: { limit: 2 }, snapshot: () => ({ data: 'state', at }) })
    app.stream('/short', { topics: 'short' })
  })
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push(await publish(app, 'short', n))
  for (const [n, after] of [[0, 'expired'], [1, 'expired'], [2, [3, 4]], [3, [4]], [4, []]] as const) {
    at = ids[n] as string
    const stream = await openStream(t, app, '/short')
    const snapshot = await stream.next('realtime:snapshot')
    if (after === 'expired') {
      t.match(await stream.json('realtime:reset'), { reason: 'expired' })
    } else {
      t.equal(snapshot.lastEventId, at)
      for (const data of after) t.same(await stream.json('said'), data)
    }
    await stream.leave()
  }
  at = '1-0.unknown'
  const idle = await openStream(t, app, '/short')
  await idle.next('realtime:snapshot')
  t.match(await idle.json('realtime:reset'), { reason: 'expired' }, 'it may be any event that is gone')
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

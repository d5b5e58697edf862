// Async context: what the app is called for in one client's name runs in that request's context, and what many share in none.

import { AsyncLocalStorage } from 'node:async_hooks'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RealtimeOptions, SourceEvent } from '../../lib/index.ts'
import { insidesOf } from '../helpers/insides.ts'
import {
  connectionsOf, deferred, Inbox, openChannel, openEnvelope, openStream, serve, turn, type Json
} from '../conformance/clients.ts'
import { maskedFrame, RawSocket } from '../conformance/raw-socket.ts'

interface Heard { what: string, tenant: string | undefined }

/** An app whose requests carry their tenant, and a note of who was called in whose name. */
async function tenants (t: Test, options: RealtimeOptions, declare: (app: FastifyInstance, note: (what: string) => void) => void) {
  const als = new AsyncLocalStorage<string>()
  const notes = new Inbox<Heard>()
  const note = (what: string): void => notes.push({ what, tenant: als.getStore() })
  const app = await serve(t, options, (app) => {
    app.addHook('onRequest', (request, _reply, done) => { als.run(String((request.query as { tenant?: string }).tenant), done) })
    declare(app, note)
  })
  const heard = async (what: string): Promise<string | undefined> => (await notes.take((one) => one.what === what, what)).tenant
  return { app, als, heard, notes }
}

const tenantOf = (request: FastifyRequest): string => String((request.query as { tenant?: string }).tenant)

for (const wire of ['sse', 'websocket'] as const) {
  const open = async (t: Test, app: FastifyInstance, path: string) => wire === 'sse' ? await openStream(t, app, path) : await openEnvelope(t, app, path)
  const declareOn = (app: FastifyInstance) => wire === 'sse' ? app.stream.bind(app) : app.channel.bind(app) as unknown as FastifyInstance['stream']

  t.test(`${wire}: what is asked while a client comes in runs in its request's context, also after something was waited for`, async (t) => {
    const { app, heard } = await tenants(t, { identify: async () => { await turn(); return null } }, (app, note) => {
      app.topic('rooms/:id', { authorize: async () => { note('authorize'); await turn(); note('authorize, later'); return true } })
      declareOn(app)('/', {
        topics: async () => { note('topics'); await turn(); return 'rooms/1' },
        onConnect: async () => { note('onConnect'); await turn(); note('onConnect, later') }
      })
    })
    await open(t, app, '/?tenant=a')
    for (const what of ['topics', 'authorize', 'authorize, later', 'onConnect', 'onConnect, later']) t.equal(await heard(what), 'a', what)
  })

  t.test(`${wire}: onDisconnect and the signal's listeners run in it, however the end came`, async (t) => {
    const { app, als, heard } = await tenants(t, {}, (app, note) => {
      app.topic('news')
      declareOn(app)('/', {
        topics: 'news',
        onConnect: (connection) => connection.signal.addEventListener('abort', () => note('abort'), { once: true }),
        onDisconnect: () => note('onDisconnect')
      })
    })
    const ends: Array<[string, (client: Awaited<ReturnType<typeof open>>) => unknown]> = [
      ['the client leaves', (client) => client.leave()],
      ['the app closes it, in another name', () => als.run('other', () => connectionsOf(app)[0]?.close())],
      ['an order ends it', () => als.run('other', () => app.realtime.disconnect({ topic: 'news' }))]
    ]
    for (const [how, end] of ends) {
      const client = await open(t, app, '/?tenant=a')
      await end(client)
      t.equal(await heard('onDisconnect'), 'a', how)
      t.equal(await heard('abort'), 'a', how)
      await client.ended
    }
  })

  t.test(`${wire}: authorize of a topic joined later runs in the context of the client it is asked for`, async (t) => {
    const { app, als, heard } = await tenants(t, {}, (app, note) => {
      app.topic('news', { authorize: () => true })
      app.topic('rooms/:id', { authorize: async () => { note('authorize'); return true } })
      declareOn(app)('/', { topics: 'news' })
    })
    await open(t, app, '/?tenant=a')
    while (connectionsOf(app).length === 0) await turn()
    await als.run('other', () => connectionsOf(app)[0]?.subscribe('rooms/1'))
    t.equal(await heard('authorize'), 'a')
    als.run('other', () => insidesOf(app)[0]?.judgeAnew(0))
    t.equal(await heard('authorize'), 'a', 'and when it is asked again')
  })

  t.test(`${wire}: a snapshot that many share is made in nobody's name`, async (t) => {
    const taken = deferred<void>()
    let names = 0
    const { app, als, notes, heard } = await tenants(t, {}, (app, note) => {
      app.topic('board', {
        snapshot: async () => {
          note('snapshot')
          await taken.promise
          note('snapshot, later')
          return { toJSON: () => { note('toJSON'); return { made: ++names } } }
        }
      })
      declareOn(app)('/', { topics: 'board' })
    })
    const clients = await Promise.all(['a', 'b'].map(async (tenant) => await open(t, app, `/?tenant=${tenant}`)))
    while (app.realtime.countLocal('board') < 2) await turn()
    als.run('c', () => taken.resolve())
    for (const what of ['snapshot', 'snapshot, later', 'toJSON']) t.equal(await heard(what), undefined, what)
    for (const client of clients) {
      if ('reader' in client) t.same(await client.json('realtime:snapshot'), { topic: 'board', data: { made: 1 } })
      else t.same((await client.next({ op: 'snapshot' })).data, { made: 1 })
    }
    t.equal(notes.all.filter(({ what }) => what === 'snapshot').length, 1, 'and once for both')
  })

  t.test(`${wire}: a snapshot that follows a loss is not made in the name of whoever resumes or publishes`, async (t) => {
    const { app, als, heard } = await tenants(t, {}, (app, note) => {
      app.topic('board', { snapshot: () => { note('snapshot'); return {} } })
      declareOn(app)('/', { topics: 'board' })
    })
    const cursor = '1-1.unknown'
    if (wire === 'sse') await openStream(t, app, '/?tenant=a', { lastEventId: cursor })
    else await openEnvelope(t, app, '/?tenant=a', { board: cursor })
    t.equal(await heard('snapshot'), undefined)
    await als.run('b', () => app.realtime.publish('board', 'x', {}))
  })
}

t.test('messages, binary ones and relays of a client are handled in the context of its upgrade', async (t) => {
  const { app, als, heard } = await tenants(t, {}, (app, note) => {
    app.topic('rooms/:id', { authorize: (_request, { action }) => { note(action); return true } })
    app.channel('/rooms/:id', {
      topics: 'rooms/:id',
      subscribe: [],
      messages: {
        ask: { handler: async () => { note('handler'); await turn(); note('handler, later') } },
        wave: { relay: () => { note('relay'); return {} } }
      },
      binary: async () => note('binary')
    })
  })
  const channel = await openEnvelope(t, app, '/rooms/1?tenant=a')
  const other = await openChannel(t, app, '/rooms/1?tenant=b')
  for (const round of [1, 2]) {
    channel.send({ event: 'ask' })
    channel.send({ event: 'wave' })
    channel.send(Buffer.from([round]))
    for (const what of ['handler', 'handler, later', 'publish', 'relay', 'binary']) t.equal(await heard(what), 'a', `${what}, round ${round}`)
    als.run('publisher', () => app.realtime.publish('rooms/1', 'x', {}))
  }
  other.send({ type: 'ask' })
  t.equal(await heard('handler'), 'b')
})

t.test('a topic that a client subscribes to is asked for in its context', async (t) => {
  const { app, heard } = await tenants(t, {}, (app, note) => {
    const rooms = app.topic('rooms/:id', { authorize: async () => { note('authorize'); return true } })
    app.channel('/', { subscribe: rooms })
  })
  const [a, b] = await Promise.all(['a', 'b'].map(async (tenant) => await openEnvelope(t, app, `/?tenant=${tenant}`)))
  for (const [channel, tenant] of [[a, 'a'], [b, 'b'], [a, 'a']] as const) {
    channel?.send({ op: 'subscribe', topic: `rooms/${Math.random()}` })
    t.equal(await heard('authorize'), tenant)
  }
})

t.test('messages that come in one packet with the upgrade are handled in its context', async (t) => {
  const { app, heard } = await tenants(t, {}, (app, note) => {
    app.channel('/', { messages: { ask: { handler: () => note('handler') } } })
  })
  await RawSocket.open(t, app, '/?tenant=a', { early: Buffer.concat([maskedFrame(1, '{"type":"ask"}'), maskedFrame(1, '{"type":"ask"}')]) })
  t.equal(await heard('handler'), 'a')
  t.equal(await heard('handler'), 'a')
})

t.test('a cut WebSocket is told to onDisconnect in its context', async (t) => {
  const { app, heard } = await tenants(t, {}, (app, note) => {
    app.channel('/', { messages: {}, onDisconnect: () => note('onDisconnect') })
  })
  const raw = await RawSocket.open(t, app, '/?tenant=a')
  while (connectionsOf(app).length === 0) await turn()
  raw.socket.destroy()
  t.equal(await heard('onDisconnect'), 'a')
})

/** Says in whose name it is pulled and let go of. */
function iterator (note: (what: string) => void, next: () => Promise<SourceEvent>): AsyncIterable<SourceEvent> {
  return {
    [Symbol.asyncIterator]: () => ({
      async next () { note('next'); return { done: false, value: await next() } },
      async return () { note('return'); return { done: true, value: undefined } }
    })
  }
}

t.test('a source is opened, pulled and let go of in its request\'s context', async (t) => {
  const events = new Inbox<SourceEvent>()
  const { app, als, heard } = await tenants(t, {}, (app, note) => {
    app.stream('/', { source: () => { note('source'); return iterator(note, () => events.take()) } })
  })
  events.push({ data: '0' })
  const stream = await openStream(t, app, '/?tenant=a')
  t.equal(await heard('source'), 'a')
  for (const n of ['0', '1', '2']) {
    als.run('other', () => { if (n !== '0') events.push({ data: n }) })
    t.equal(await heard('next'), 'a')
    t.equal((await stream.next()).data, n)
  }
  als.run('other', () => connectionsOf(app)[0]?.close())
  t.equal(await heard('return'), 'a')
  events.push({})
})

t.test('a resumable source runs in the context of the request that started it, whoever listens and stops it', async (t) => {
  const events = new Inbox<SourceEvent>()
  const { app, als, heard } = await tenants(t, {}, (app, note) => {
    app.stream('/run', {
      source: (_request, { signal }) => {
        note('source')
        signal.addEventListener('abort', () => note('abort'), { once: true })
        return iterator(note, () => events.take())
      },
      resumable: { key: () => { note('key'); return 'run' } }
    })
  })
  events.push({ data: '0' })
  const first = await openStream(t, app, '/run?tenant=a')
  t.equal(await heard('key'), 'a')
  t.equal(await heard('source'), 'a')
  t.equal((await first.next()).data, '0')
  const second = await openStream(t, app, '/run?tenant=b')
  t.equal(await heard('key'), 'b')
  als.run('other', () => events.push({ data: '1' }))
  t.equal((await second.next()).data, '0')
  t.equal((await second.next()).data, '1')
  await first.leave()
  await als.run('other', () => app.realtime.stop('run'))
  t.equal(await heard('abort'), 'a')
  t.equal(await heard('return'), 'a')
  for (let i = 0; i < 2; i++) t.equal(await heard('next'), 'a')
  events.push({})
})

t.test('a context that a hook has entered, instead of run, is kept as well', async (t) => {
  const als = new AsyncLocalStorage<Json>()
  const notes = new Inbox<unknown>()
  const app = await serve(t, {}, (app) => {
    app.addHook('onRequest', (request, _reply, done) => {
      als.enterWith({ tenant: tenantOf(request) })
      done()
    })
    app.channel('/', { messages: { ask: { handler: () => notes.push(als.getStore()?.tenant) } }, onDisconnect: () => notes.push(als.getStore()?.tenant) })
  })
  const [a, b] = await Promise.all(['a', 'b'].map(async (tenant) => await openChannel(t, app, `/?tenant=${tenant}`)))
  a?.send({ type: 'ask' })
  t.equal(await notes.take(), 'a')
  b?.send({ type: 'ask' })
  t.equal(await notes.take(), 'b')
  await a?.leave()
  t.equal(await notes.take(), 'a')
})

t.test('the clock of all does not keep the context of the first', async (t) => {
  const { app, als } = await tenants(t, { heartbeat: 50 }, (app) => { app.topic('news'); app.stream('/', { topics: 'news' }) })
  await openStream(t, app, '/?tenant=a')
  while (connectionsOf(app).length === 0) await turn()
  const beaten = deferred<string | undefined>()
  for (const { output } of insidesOf(app)) output.beat = () => beaten.resolve(als.getStore())
  t.equal(await beaten.promise, undefined)
})

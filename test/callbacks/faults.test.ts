/** Every callback of a route or a topic × everything it can do wrong: it is answered, and nothing of it stays. */
import { get } from 'node:http'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { RealtimeOptions, SourceEvent } from '../../lib/index.ts'
import { hubOf, insidesOf } from '../helpers/insides.ts'
import { connectionsOf, portOf, turn } from '../conformance/clients.ts'
import {
  crashed, crashes, type Fault, stream, HEADERS, channel, type Talk, route, codeOf, foreignSchema, newRun,
  appOf, nothingLeft, faults
} from '../helpers/callbacks.ts'

// --- the table ------------------------------------------------------------------

/** The outcome wanted: where it throws, where that asks for the status 409, and where it never settles. */
interface Wanted { thrown: string, asked?: string, hung?: string }

interface Row extends Wanted {
  /** Only what is thrown at once: nothing waits for this callback. */
  readonly sync?: boolean
  readonly options?: (fail: () => unknown) => RealtimeOptions
  declare? (app: FastifyInstance, fail: () => unknown): void
  /** Has it called, and says what came of it. */
  provoke (app: FastifyInstance, fault: Fault): Promise<string>
}

const refusal = (thrown: string, hung: string): Wanted => ({ thrown, asked: '409', hung })
const later: Wanted = { thrown: 'INTERNAL', asked: 'INTERNAL', hung: 'left' }

/** A talk that ends by itself where nothing answers. */
const heardOrLeft = (fault: Fault, ...messages: unknown[]) => async (client: Talk): Promise<string> => {
  if (!fault.hangs) return await codeOf(...messages)(client)
  for (const message of messages) client.send(message)
  await client.next()
  return 'left'
}

/** What a stream or a channel calls on the way in, alike for both. */
function onTheWayIn (name: string, declare: (app: FastifyInstance, fail: () => unknown, path: '/stream' | '/channel') => void, wanted: { stream: Wanted, channel: Wanted }, options?: Row['options']): Array<[string, Row]> {
  const row = (path: '/stream' | '/channel', provoke: Row['provoke'], wanted: Wanted): Row => ({ ...wanted, ...options && { options }, declare: (app, fail) => declare(app, fail, path), provoke })
  return [
    [`${name}, of a stream`, row('/stream', async (app) => await stream(app), wanted.stream)],
    [`${name}, of a channel`, row('/channel', async (app) => await channel(app), wanted.channel)],
    [`${name}, of a flat channel`, row('/channel', async (app) => await channel(app, { flat: true }), wanted.channel)]
  ]
}

const before = { stream: refusal('500', 'retry'), channel: refusal('500', '503') }

/** An iterable whose iterator does this at one of its steps. */
function iterable (kind: 'async' | 'sync', step: 'iterator' | 'next' | 'return', fail: () => unknown, ended: () => void = () => {}): Iterable<SourceEvent> & AsyncIterable<SourceEvent> {
  const iterator = {
    // Where it is to be let go of, it goes on until then.
    next: () => step === 'next' ? fail() : { done: false, value: { data: 'x' } },
    return: () => {
      ended()
      return step === 'return' ? fail() : { done: true, value: undefined }
    }
  }
  const made = (): unknown => step === 'iterator' ? fail() : iterator
  return (kind === 'async' ? { [Symbol.asyncIterator]: made } : { [Symbol.iterator]: made }) as never
}

const sourceRows = (['async', 'sync'] as const).flatMap((kind): Array<[string, Row]> => [
  [`the ${kind} iterator of a source`, { thrown: '500', asked: '409', sync: true, declare: (app, fail) => app.stream('/stream', { source: () => iterable(kind, 'iterator', fail) }), provoke: async (app) => await stream(app) }],
  [`next of a source's ${kind} iterator`, { thrown: '500|ended', asked: '409|ended', hung: 'left', declare: (app, fail) => app.stream('/stream', { source: () => iterable(kind, 'next', fail) }), provoke: sourceOutcome }],
  [`return of a source's ${kind} iterator`, {
    thrown: 'ended',
    declare: (app, fail) => app.stream('/stream', { source: () => iterable(kind, 'return', fail) }),
    provoke: async (app) => await stream(app, '/stream', { until: 'data: x' })
  }]
])

/** A source may be silent for as long as it likes: whoever asked leaves. */
async function sourceOutcome (app: FastifyInstance, fault: Fault): Promise<string> {
  if (!fault.hangs) return await stream(app)
  const asked = get({ host: '127.0.0.1', port: portOf(app), path: '/stream', agent: false, headers: { accept: 'text/event-stream', ...HEADERS } })
  asked.on('error', () => {})
  while (connectionsOf(app).length === 0) await turn()
  asked.destroy()
  return 'left'
}

function syncOnly ([name, row]: [string, Row]): [string, Row] {
  return [name, { ...row, sync: true }]
}

const rows: Array<[string, Row]> = [
  ...onTheWayIn('topics', (app, fail, path) => route(app, path, { topics: () => fail() ?? 'news' }), before),
  ...onTheWayIn('authorize', (app, fail, path) => {
    app.topic('room', { authorize: () => fail() as boolean })
    route(app, path, { topics: 'room' })
  }, { stream: refusal('403', 'retry'), channel: refusal('403', '503') }),
  ...onTheWayIn('identify', (app, _fail, path) => route(app, path, { topics: 'news' }), before, (fail) => ({ identify: () => fail() as never })),
  ...onTheWayIn('what topics returns', (app, fail, path) => route(app, path, { topics: () => [{ get topic () { return fail() } }] }), before).map(syncOnly),
  ...onTheWayIn('what identify returns', (app, _fail, path) => route(app, path, { topics: 'news' }), before, (fail) => ({ identify: () => ({ get id () { return fail() as string | undefined ?? 'u1' } }) })).map(syncOnly),
  ...onTheWayIn('onConnect', (app, fail, path) => route(app, path, { topics: 'news', onConnect: fail }), { stream: before.stream, channel: { thrown: 'closed 4403', hung: 'closed 1013' } }),
  ...onTheWayIn('snapshot', (app, fail, path) => {
    app.topic('board', { snapshot: fail })
    route(app, path, { topics: ['news', 'board'] })
  }, { stream: { thrown: 'ended', hung: 'ended' }, channel: { thrown: 'closed 1011', hung: 'closed 1013' } }),
  ['topics, of a stream that is asked for as */*', {
    ...refusal('500', '503'),
    declare: (app, fail) => app.stream('/stream', { topics: () => fail() as string }),
    provoke: async (app) => await stream(app, '/stream', { accept: '*/*' })
  }],
  ['topics, of a stream that is asked for its head', {
    ...refusal('HEAD 500', 'HEAD 503'),
    asked: 'HEAD 409',
    declare: (app, fail) => app.stream('/stream', { topics: () => fail() as string }),
    provoke: async (app) => `HEAD ${(await app.inject({ method: 'HEAD', url: '/stream', headers: { accept: '*/*' } })).statusCode}`
  }],
  ['accept of a format', {
    thrown: '500|406',
    asked: '409|406',
    hung: '406',
    declare: (app, fail) => app.stream('/stream', { format: { accept: fail as never }, source: () => [] }),
    provoke: async (app) => await stream(app)
  }],
  ...['data', undefined].map((format): [string, Row] => [`key of runs that a POST begins, in ${format ?? 'our'} format`, {
    ...refusal('500', format ? '503' : 'retry'),
    declare: (app, fail) => app.stream('/stream', { ...format && { format: format as 'data' }, resumable: { start: 'POST', key: fail as never } }),
    provoke: async (app) => await stream(app)
  }]),
  ['authorize of a topic that is heard in the process for a request', {
    ...refusal('403', '503'),
    declare: (app, fail) => {
      const room = app.topic('room', { authorize: () => fail() as boolean })
      app.get('/stream', async (request) => await room.subscribe({}, { request }).ready)
    },
    provoke: async (app) => await stream(app)
  }],
  ['identify of whom a topic is heard for in the process', {
    ...refusal('500', '503'),
    options: (fail) => ({ identify: () => fail() as never }),
    declare: (app) => {
      const room = app.topic('room')
      app.get('/stream', async (request) => await room.subscribe({}, { request }).next())
    },
    provoke: async (app) => await stream(app)
  }],
  ['snapshot of a topic that is heard in the process', {
    thrown: '503',
    hung: '503',
    declare: (app, fail) => {
      const board = app.topic('board', { snapshot: fail })
      app.get('/stream', async () => await board.subscribe({}).next())
    },
    provoke: async (app) => await stream(app)
  }],
  ['onDisconnect, of a stream', {
    thrown: 'ended',
    declare: (app, fail) => app.stream('/stream', { topics: 'news', onDisconnect: fail }),
    provoke: async (app) => await stream(app, '/stream', { until: 'realtime:open' })
  }],
  ['onDisconnect, of a channel', {
    thrown: 'left',
    declare: (app, fail) => app.channel('/channel', { topics: 'news', onDisconnect: fail }),
    provoke: async (app) => await channel(app, { talk: async (client) => { await client.next(); return 'left' } })
  }],
  ['authorize of a topic that a client subscribes to', {
    thrown: 'FORBIDDEN',
    asked: 'INTERNAL',
    hung: 'UNAVAILABLE',
    declare: (app, fail) => app.channel('/channel', { subscribe: app.topic('room', { authorize: () => fail() as boolean }) }),
    provoke: async (app) => await channel(app, { talk: codeOf({ op: 'subscribe', topic: 'room', ref: 1 }) })
  }],
  ['authorize of a topic that the app subscribes a client to', {
    thrown: '403',
    asked: '409',
    hung: '503',
    declare: (app, fail) => {
      app.topic('room', { authorize: () => fail() as boolean })
      app.channel('/channel', { topics: 'news' })
    },
    provoke: async (app) => await channel(app, {
      talk: async (client) => {
        await client.next()
        return await connectionsOf(app)[0]?.subscribe('room').then(() => 'joined', (error: { statusCode?: number }) => String(error instanceof Error && error.statusCode))
      }
    })
  }],
  ['authorize, asked again', {
    thrown: 'closed 4403',
    hung: 'closed 1013',
    declare: (app, fail) => {
      app.topic('room', { authorize: (request) => asksAgain.has(request) ? fail() as boolean : asksAgain.add(request) && true })
      app.channel('/channel', { topics: 'room' })
    },
    provoke: async (app) => await channel(app, {
      talk: async (client) => {
        while ((await client.next()).op !== 'subscribed');
        insidesOf(app)[0]?.judgeAnew(0)
        return undefined
      }
    })
  }],
  ['authorize of a relay', {
    thrown: 'FORBIDDEN',
    asked: 'INTERNAL',
    hung: 'UNAVAILABLE',
    declare: (app, fail) => {
      app.topic('room', { authorize: (_request, { action }) => action === 'publish' ? fail() as boolean : true })
      app.channel('/channel', { topics: 'room', messages: { wave: { relay: true } } })
    },
    provoke: async (app) => await channel(app, {
      talk: async (client) => {
        while ((await client.next()).op !== 'subscribed');
        return await codeOf({ event: 'wave', ref: 1 })(client)
      }
    })
  }],
  ...(['envelope', 'flat'] as const).flatMap((format): Array<[string, Row]> => {
    const flat = format === 'flat'
    const message = (name: string): object => flat ? { type: name } : { event: name, ref: 1 }
    const talk = (fault: Fault, ...messages: unknown[]) => async (client: Talk): Promise<string> => {
      if (flat && fault.hangs) {
        for (const one of messages) client.send(one)
        await turn()
        return 'left'
      }
      return await heardOrLeft(fault, ...messages)(client)
    }
    return [
      [`the handler of a message, ${format}`, {
        ...later,
        declare: (app, fail) => app.channel('/channel', { messages: { ask: { handler: fail } } }),
        provoke: async (app, fault) => await channel(app, { flat, talk: talk(fault, message('ask')) })
      }],
      [`what a relay sends instead, ${format}`, {
        ...later,
        declare: (app, fail) => app.channel('/channel', { topics: 'news', messages: { wave: { relay: fail } } }),
        provoke: async (app, fault) => await channel(app, { flat, talk: talk(fault, message('wave')) })
      }],
      [`binary, ${format}`, {
        ...later,
        declare: (app, fail) => app.channel('/channel', { binary: fail }),
        provoke: async (app, fault) => await channel(app, { flat, talk: talk(fault, Buffer.from('x')) })
      }],
      [`toJSON of a handler's reply, ${format}`, {
        ...later,
        sync: true,
        declare: (app, fail) => app.channel('/channel', { messages: { ask: { handler: () => ({ type: 'answer', data: { toJSON: fail } }) } } }),
        provoke: async (app) => await channel(app, { flat, talk: codeOf(message('ask')) })
      }],
      [`a getter of a handler's reply, ${format}`, {
        ...later,
        sync: true,
        declare: (app, fail) => app.channel('/channel', { messages: { ask: { handler: () => ({ get type () { return fail() } }) } } }),
        provoke: async (app) => await channel(app, { flat, talk: codeOf(message('ask')) })
      }],
      [`the app's validator of a message, ${format}`, {
        thrown: 'INVALID_DATA|INTERNAL',
        hung: 'left',
        declare: (app, fail) => {
          app.setValidatorCompiler(() => fail as never)
          app.channel('/channel', { messages: { ask: { schema: foreignSchema(), handler: () => {} } } })
        },
        provoke: async (app, fault) => await channel(app, { flat, talk: talk(fault, message('ask')) })
      }]
    ]
  }),
  ['toJSON of a snapshot', {
    thrown: 'ended',
    sync: true,
    declare: (app, fail) => {
      app.topic('board', { snapshot: () => ({ toJSON: fail }) })
      app.stream('/stream', { topics: 'board' })
    },
    provoke: async (app) => await stream(app)
  }],
  ['a getter of a snapshot', {
    thrown: 'ended',
    sync: true,
    declare: (app, fail) => {
      app.topic('board', { snapshot: () => ({ get data () { return fail() }, at: '1-1.x' }) })
      app.stream('/stream', { topics: 'board' })
    },
    provoke: async (app) => await stream(app)
  }],
  ['source', { thrown: '500', asked: '409', hung: 'left', declare: (app, fail) => app.stream('/stream', { source: fail as never }), provoke: async (app, fault) => fault.hangs ? await sourceOutcome(app, fault) : await stream(app) }],
  ...sourceRows,
  ['toJSON of what a source yields', {
    thrown: '500|ended',
    asked: '409|500|ended',
    sync: true,
    declare: (app, fail) => app.stream('/stream', { source: function * () { yield { data: { toJSON: fail } } } }),
    provoke: async (app) => await stream(app)
  }],
  ['a getter of what a source yields', {
    thrown: '500|ended',
    asked: '409|500|ended',
    sync: true,
    declare: (app, fail) => app.stream('/stream', { source: function * () { yield { get event () { return fail() as string } } } }),
    provoke: async (app) => await stream(app)
  }],
  ['a resumable source', { thrown: '500', asked: '409', hung: 'left', declare: (app, fail) => app.stream('/stream', { source: fail as never, resumable: { key: newRun } }), provoke: async (app, fault) => fault.hangs ? await sourceOutcome(app, fault) : await stream(app) }],
  ['next of a resumable source', {
    thrown: '500|ended',
    asked: '409|ended',
    hung: 'left',
    declare: (app, fail) => app.stream('/stream', { source: () => iterable('async', 'next', fail), resumable: { key: newRun } }),
    provoke: sourceOutcome
  }],
  ['return of a resumable source that yields too much', {
    thrown: 'ended',
    hung: 'ended',
    declare: (app, fail) => app.stream('/stream', { source: () => iterable('sync', 'return', fail), resumable: { key: newRun, maxBytes: 5 } }),
    provoke: async (app) => await stream(app)
  }],
  ['toJSON of what a resumable source yields', {
    thrown: '500|ended',
    asked: '409|500|ended',
    sync: true,
    declare: (app, fail) => app.stream('/stream', { source: function * () { yield { data: { toJSON: fail } } }, resumable: { key: newRun } }),
    provoke: async (app) => await stream(app)
  }],
  ['the key of a resumable source', {
    ...before.stream,
    declare: (app, fail) => app.stream('/stream', { source: function * () {}, resumable: { key: fail as never } }),
    provoke: async (app) => await stream(app)
  }]
]

const asksAgain = new WeakSet<object>()

process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)

t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

const wantedOf = ({ thrown, asked = thrown, hung = thrown }: Wanted, { status, hangs }: Fault): string => hangs ? hung : status ? asked : thrown

for (const [name, row] of rows) {
  t.test(`whatever ${name} does, it is answered, and nothing of it stays`, async (t) => {
    let fault: Fault | undefined
    const fail = (): unknown => fault?.run()
    const app = await appOf(t, row.options?.(fail) ?? {}, (app) => row.declare?.(app, fail))
    const hub = hubOf(app)
    await nothingLeft(app, hub)
    for (fault of faults) {
      if (row.sync && !fault.sync) continue
      const outcome = await row.provoke(app, fault)
      t.ok(wantedOf(row, fault).split('|').includes(outcome), `${fault.name}: ${wantedOf(row, fault)}`, { outcome })
      await nothingLeft(app, hub)
    }
    await turn()
    t.strictSame(crashes.splice(0), [])
    await app.close()
  })
}

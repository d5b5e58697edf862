// Every callback of the public API × everything it can do wrong. Whatever it does, the process lives, the client is answered
// or ended with a listed code, and nothing of it stays. A new callback is one more row of `rows`, or of `calls` where the app
// itself hears of the failure.

import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import realtime, { memory, type Adapter, type RealtimeOptions, type SourceEvent } from '../lib/index.ts'
import type { Hub } from '../lib/core/hub.ts'
import { hubOf, insidesOf } from './helpers/insides.ts'
import { connectionsOf, Inbox, portOf, SUBPROTOCOL, turn, type Json } from './conformance/clients.ts'

// --- what can go wrong -----------------------------------------------------------

interface Fault {
  readonly name: string
  /** Throws, or returns what the callback returns. */
  run (): unknown
  /** Throws it, for callbacks that are not waited for. */
  readonly sync: boolean
  /** What was thrown asks for this status. */
  readonly status?: number
  readonly hangs?: boolean
}

const withGetter = (property: string): Error => Object.defineProperty(new Error('with a getter'), property, { get () { throw new Error('the getter') }, enumerable: true })
const trap = (): never => { throw null } // eslint-disable-line no-throw-literal
const hostile = (target: object): object => new Proxy(target, { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap, getOwnPropertyDescriptor: trap })

const thrown: Array<[name: string, value: () => unknown, status?: number]> = [
  ['an Error', () => new Error('plain')],
  ['an Error with a status', () => Object.assign(new Error('conflict'), { statusCode: 409 }), 409],
  ['an Error with a status that is none', () => Object.assign(new Error('fine?'), { statusCode: 200 })],
  ['a string', () => 'forbidden'],
  ['undefined', () => undefined],
  ['null', () => null],
  ['an object', () => ({ some: 'object' })],
  ['a frozen object', () => Object.freeze({ message: 'frozen', statusCode: 409 }), 409],
  ['a frozen Error', () => Object.freeze(new Error('frozen'))],
  ['an Error with a getter that throws', () => withGetter('details')],
  ['an Error whose message throws', () => withGetter('message')],
  ['an Error with a frozen cause', () => new Error('outer', { cause: Object.freeze(new Error('inner')) })],
  ['a proxy that throws', () => hostile(new Error('proxied'))],
  ['a symbol', () => Symbol('thrown')]
]

const raise = (value: unknown): never => { throw value }

const faults: Fault[] = [
  ...thrown.map(([name, value, status]): Fault => ({ name: `throws ${name}`, sync: true, run: () => raise(value()), ...status && { status } })),
  ...thrown.map(([name, value, status]): Fault => ({ name: `rejects with ${name}`, sync: false, run: () => Promise.reject(value()), ...status && { status } })),
  { name: 'returns a thenable that throws', sync: false, run: () => ({ then: () => raise(null) }) },
  { name: 'returns a thenable whose getter throws', sync: false, run: () => ({ get then () { return raise(undefined) } }) },
  { name: 'returns a proxy that throws', sync: false, run: () => hostile({}) },
  { name: 'never settles', sync: false, hangs: true, run: () => new Promise(() => {}) }
]

// --- clients that say how they were answered -------------------------------------------

/** Of a public address: those are counted. */
const HEADERS = { 'x-forwarded-for': '203.0.113.7' }

/** `500`, `retry` (a stream that says when to come back, and ends), or `ended`: it had begun. Rejects on a body of another shape. */
async function stream (app: FastifyInstance, path = '/stream', { accept = 'text/event-stream', until = '' } = {}): Promise<string> {
  const asked = get({ host: '127.0.0.1', port: portOf(app), path, agent: false, headers: { accept, ...HEADERS } })
  asked.on('error', () => {})
  const [response] = await once(asked, 'response')
  response.setEncoding('utf8')
  let text = ''
  response.on('data', (part: string) => {
    text += part
    if (until !== '' && text.includes(until)) asked.destroy()
  })
  response.on('error', () => {})
  await new Promise((resolve) => response.once('close', resolve))
  if (response.statusCode === 200) return text.includes('realtime:open') || text.includes('data:') ? 'ended' : /^retry: \d+\n\n$/.test(text) ? 'retry' : `200 with ${JSON.stringify(text)}`
  return answered(response.statusCode, text)
}

/** In Fastify's own shape of an error. */
function answered (status: number, text: string): string {
  const { statusCode, error, message } = JSON.parse(text) as Json
  return statusCode === status && typeof error === 'string' && typeof message === 'string' ? String(status) : `${status} with ${text}`
}

interface Talk { send (message: unknown): void, next (): Promise<Json>, leave (): void }

/** `500`, or the code with which it was closed. */
async function channel (app: FastifyInstance, { path = '/channel', flat = false, talk = async (_client: Talk): Promise<string | undefined> => undefined } = {}): Promise<string> {
  const ws = new WebSocket(`ws://127.0.0.1:${portOf(app)}${path}`, flat ? [] : [SUBPROTOCOL], { headers: HEADERS, perMessageDeflate: false })
  const inbox = new Inbox<Json>()
  ws.on('error', () => {})
  ws.on('message', (data) => inbox.push(JSON.parse(String(data)) as Json))
  const closed = new Promise<string>((resolve) => ws.once('close', (code) => {
    inbox.end(`closed with ${code}`)
    resolve(`closed ${code}`)
  }))
  const response = await new Promise<IncomingMessage | undefined>((resolve) => {
    ws.once('unexpected-response', (_request, response) => resolve(response))
    ws.once('open', () => resolve(undefined))
  })
  if (response) {
    let text = ''
    for await (const part of response) text += String(part)
    ws.terminate()
    return answered(response.statusCode ?? 0, text)
  }
  if (!flat) ws.send('{"op":"open"}')
  const said = await talk({ send: (message) => ws.send(message instanceof Uint8Array ? message : JSON.stringify(message)), next: () => inbox.take(), leave: () => ws.close(1000) })
  if (said === undefined) return await closed
  ws.close(1000)
  await closed
  return said
}

/** The code of the error frame that answers this message. */
const codeOf = (...messages: unknown[]) => async (client: Talk): Promise<string> => {
  for (const message of messages) client.send(message)
  for (;;) {
    const frame = await client.next()
    if (frame.op === 'error' || frame.type === 'error') return String(frame.code)
    if (frame.op === 'reply') return 'reply'
  }
}

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

const route = (app: FastifyInstance, path: '/stream' | '/channel', options: object): void => {
  if (path === '/stream') app.stream(path, options as never)
  else app.channel(path, options as never)
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

/** Each request starts a run of its own. */
let runs = 0
const newRun = (): string => `run ${runs++}`

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

/** A schema of no library that this one knows: it goes to the app's own compilers. */
class ForeignSchema {
  readonly type = 'foreign'
}
const foreignSchema = (): object => new ForeignSchema()

// --- walking it -------------------------------------------------------------------

const crashes: unknown[] = []
const crashed = (error: unknown): void => { crashes.push(error) }
process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)
t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

const wantedOf = ({ thrown, asked = thrown, hung = thrown }: Wanted, { status, hangs }: Fault): string => hangs ? hung : status ? asked : thrown

/** An app with little room, so that whatever is left behind makes the next one fail. */
async function appOf (t: Test, options: RealtimeOptions, declare: (app: FastifyInstance) => void, { lines = [], ...server }: { lines?: Json[], [option: string]: unknown } = {}): Promise<FastifyInstance> {
  const write = (line: string): void => { lines.push(JSON.parse(line) as Json) }
  const app = Fastify({ trustProxy: true, logger: { level: 'trace', stream: { write } }, ...server }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(realtime, { joinTimeout: 30, closeTimeout: 2000, retry: 0, maxConnections: 2, maxConnectionsPerAddress: 2, ...options })
  app.topic('news')
  app.stream('/probe', { topics: 'news' })
  declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** Waits until nothing is left of any client. Hangs where something stays: then the test does not pass. */
async function nothingLeft (app: FastifyInstance, hub: Hub): Promise<void> {
  const stays = (): boolean => {
    const { connections, subscriptions, topics } = app.realtime.stats()
    const rooms = ['news', 'board', 'room'].map((name) => hub.active.get(name))
    return connections.sse + connections.websocket + subscriptions + topics + hub.clients.size > 0 || rooms.some((room) => room && (room.holds > 0 || room.listeners > 0))
  }
  while (stays()) await turn()
}

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

// --- what never settles ------------------------------------------------------------------

interface Hanging {
  readonly name: string
  /** What the log says of it. */
  readonly told: string
  readonly options?: (hang: () => Promise<never>) => RealtimeOptions
  declare (app: FastifyInstance, hang: () => Promise<never>, path: '/stream' | '/channel'): void
}

const hanging: Hanging[] = [
  { name: 'topics', told: '"topics"', declare: (app, hang, path) => route(app, path, { topics: hang }) },
  { name: 'authorize', told: '"authorize" of topic "room"', declare: (app, hang, path) => { app.topic('room', { authorize: hang }); route(app, path, { topics: 'room' }) } },
  { name: 'identify', told: '"identify"', options: (hang) => ({ identify: hang }), declare: (app, _hang, path) => route(app, path, { topics: 'news' }) },
  { name: 'onConnect', told: '"onConnect"', declare: (app, hang, path) => route(app, path, { topics: 'news', onConnect: hang, onDisconnect: () => raise('it was never accepted') }) },
  { name: 'snapshot', told: '"snapshot" of topic "board"', declare: (app, hang, path) => { app.topic('board', { snapshot: hang }); route(app, path, { topics: 'board' }) } }
]

const ask = async (app: FastifyInstance, path: '/stream' | '/channel'): Promise<string> => path === '/stream' ? await stream(app) : await channel(app)

for (const { name, told, options, declare } of hanging) {
  for (const path of ['/stream', '/channel'] as const) {
    const start = async (t: Test, more: RealtimeOptions, server: object = {}): Promise<{ app: FastifyInstance, asked: Inbox<(error: unknown) => void>, lines: Json[], mend: () => void }> => {
      let mended = false
      const asked = new Inbox<(error: unknown) => void>()
      const lines: Json[] = []
      const hang = async (): Promise<never> => mended ? undefined as never : await new Promise<never>((_resolve, reject) => asked.push(reject))
      const app = await appOf(t, { ...options?.(hang), ...more }, (app) => declare(app, hang, path), { ...server, lines })
      return { app, asked, lines, mend: () => { mended = true } }
    }

    t.test(`${name} that never settles is logged once, by its name, ${path}`, async (t) => {
      const { app, asked, lines } = await start(t, { joinTimeout: 30 })
      const hub = hubOf(app)
      const outcome = await ask(app, path)
      t.ok(['retry', '503', 'closed 1013', 'ended'].includes(outcome), outcome)
      await nothingLeft(app, hub)
      const about = lines.filter(({ err }) => (err as Json | undefined)?.code === 'FST_ERR_REALTIME_CALLBACK_TIMEOUT')
      t.equal(about.filter(({ err }) => String((err as Json).message).startsWith(`${told} did not settle within 30 ms`)).length, 1)
      for (const reject of asked.drain()) reject(null)
      await turn()
      t.strictSame(crashes.splice(0), [], 'and what becomes of it later is nobody\'s concern')
      t.equal(connectionsOf(app).length, 0)
    })

    t.test(`${name} that does not settle does not keep the app from closing, ${path}`, async (t) => {
      const { app, asked } = await start(t, { joinTimeout: 300_000, closeTimeout: 5000 })
      const outcome = ask(app, path)
      await asked.take()
      const since = performance.now()
      await app.close()
      t.ok(performance.now() - since < 5000, 'nobody had to be cut')
      t.ok(['retry', '503', 'closed 1012', 'ended'].includes(await outcome), await outcome)
    })

    t.test(`a client that leaves while ${name} does not settle leaves nothing behind, ${path}`, async (t) => {
      const { app, asked, mend } = await start(t, { joinTimeout: 50 })
      for (let i = 0; i < 2; i++) {
        const headers = path === '/stream' ? {} : { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
        const request = get({ host: '127.0.0.1', port: portOf(app), path, agent: false, headers: { accept: 'text/event-stream', ...HEADERS, ...headers } })
        request.on('error', () => {})
        while (asked.all.length === 0 && !request.destroyed) await turn()
        await turn()
        request.destroy()
      }
      mend()
      // There is room for two, so it takes until both are forgotten.
      while (await stream(app, '/probe', { until: 'realtime:open' }) !== 'ended');
      while (app.realtime.connections().length > 0) await turn()
      t.strictSame(crashes.splice(0), [])
    })
  }

  if (name === 'snapshot') continue
  t.test(`an app whose handlerTimeout is shorter answers by itself while ${name} does not settle`, async (t) => {
    const asked = new Inbox<(error: unknown) => void>()
    const hang = async (): Promise<never> => await new Promise<never>((_resolve, reject) => asked.push(reject))
    const app = await appOf(t, { ...options?.(hang), joinTimeout: 100, maxConnections: 10, maxConnectionsPerAddress: 10 }, (app) => declare(app, hang, '/stream'), { handlerTimeout: 20 })
    for (let i = 0; i < 3; i++) t.equal(await stream(app), '503')
    for (const reject of asked.drain()) reject(undefined)
    await turn()
    while (app.realtime.connections().length > 0) await turn()
    t.strictSame(crashes.splice(0), [])
  })
}

t.test('a source that never opens does not keep the app from closing', async (t) => {
  for (const resumable of [false, { key: newRun }]) {
    const asked = new Inbox<true>()
    const app = await appOf(t, { joinTimeout: 300_000, closeTimeout: 5000 }, (app) => app.stream('/stream', {
      resumable,
      source: async () => {
        asked.push(true)
        return await new Promise<never>(() => {})
      }
    }))
    const outcome = stream(app)
    await asked.take()
    await app.close()
    t.equal(await outcome, resumable ? 'ended' : 'retry')
  }
})

// --- what the app itself is told ------------------------------------------------------

interface Call {
  readonly options?: (fail: () => unknown) => RealtimeOptions
  declare? (app: FastifyInstance, fail: () => unknown): void
  /** Rejects or throws. */
  call (app: FastifyInstance, fail: () => unknown): unknown
  readonly sync?: boolean
}

/** A memory adapter one of whose methods does what it likes once the app listens. */
function adapterThat (method: keyof Adapter, fail: () => unknown): Adapter {
  return new Proxy(memory(), {
    get (target, key) {
      const value: unknown = Reflect.get(target, key)
      const own = typeof value === 'function' ? (...args: unknown[]): unknown => value.apply(target, args) : value
      return key === method ? (...args: unknown[]) => fail() ?? (own as (...args: unknown[]) => unknown)(...args) : own
    }
  })
}

const durable = async (app: FastifyInstance): Promise<unknown> => await app.realtime.publish('news', 'x', {})

const calls: Array<[string, Call]> = [
  ['toJSON of what is published', { sync: true, call: async (app, fail) => await app.realtime.publish('news', 'x', { toJSON: fail }) }],
  ['a getter of what is published', { sync: true, call: async (app, fail) => await app.realtime.publish('news', 'x', { get x () { return fail() } }) }],
  ['the app\'s serializer of an event', {
    declare: (app, fail) => {
      app.setValidatorCompiler(() => () => true)
      app.setSerializerCompiler(() => fail as never)
      app.topic('typed', { events: { x: foreignSchema() } })
    },
    call: async (app) => await app.realtime.publish('typed', 'x', {})
  }],
  ['the app\'s validator of an event', {
    sync: true,
    options: () => ({ validate: true }),
    declare: (app, fail) => {
      app.setSerializerCompiler(() => () => '{}')
      app.setValidatorCompiler(() => fail as never)
      app.topic('typed', { events: { x: foreignSchema() } })
    },
    call: async (app) => await app.realtime.publish('typed', 'x', {})
  }]
]

for (const [name, { options, declare, call, sync }] of calls) {
  t.test(`whatever ${name} does, the app is told by an Error`, async (t) => {
    let fault: Fault | undefined
    const fail = (): unknown => fault?.run()
    const app = await appOf(t, options?.(fail) ?? {}, (app) => declare?.(app, fail))
    for (fault of faults) {
      if (fault.hangs || (sync && !fault.sync)) continue
      const error = await Promise.resolve().then(() => call(app, fail)).then(() => undefined, (error: unknown) => error)
      t.ok(error instanceof Error, fault.name)
    }
    await turn()
    t.strictSame(crashes.splice(0), [])
  })
}

t.test('connection.send of what cannot be JSON throws an Error, and the connection stays', async (t) => {
  let fault: Fault | undefined
  const app = await appOf(t, {}, () => {})
  const asked = get({ host: '127.0.0.1', port: portOf(app), path: '/probe', agent: false, headers: { accept: 'text/event-stream' } })
  t.teardown(() => asked.destroy())
  asked.on('error', () => {})
  await once(asked, 'response')
  const connection = connectionsOf(app)[0]
  for (fault of faults) if (fault.sync) t.throws(() => connection?.send('x', { toJSON: fault?.run }), Error, fault.name)
  for (const data of [1n, Object.assign([] as unknown[], { 0: 1n })]) t.throws(() => connection?.send('x', data), Error)
  const circular: Json = {}
  circular.self = circular
  t.throws(() => connection?.send('x', circular), Error)
  t.equal(connection?.closed, false)
})

// --- an adapter is the app's as well ------------------------------------------------------

const adapterCalls: Array<[keyof Adapter, (app: FastifyInstance) => Promise<unknown>]> = [
  ['publish', durable],
  ['ephemeral', async (app) => await app.realtime.publish('cursors', 'x', {})],
  ['read', async (app) => await app.realtime.history('news')],
  ['nodes', async (app) => await app.realtime.count('news')],
  ['subscribe', async (app) => await stream(app, '/fresh')]
]

for (const [method, use] of adapterCalls) {
  t.test(`whatever the ${method} of an adapter does, the process lives, and the app closes`, async (t) => {
    let fault: Fault | undefined
    const adapter = adapterThat(method, () => fault?.run())
    const app = await appOf(t, { adapter }, (app) => {
      app.topic('cursors', { history: false })
      app.topic('fresh/:n')
      app.stream('/fresh', { topics: () => `fresh/${runs++}` })
    })
    for (fault of faults) {
      const outcome = await Promise.race([Promise.resolve(use(app)).then(String, () => 'rejected'), ...fault.hangs && method !== 'subscribe' ? [turn().then(() => 'rejected')] : []])
      t.ok(['rejected', '500', '409', 'retry'].includes(outcome), fault.name, { outcome })
    }
    fault = undefined
    t.equal(app.realtime.connections().length, 0)
    await turn()
    t.strictSame(crashes.splice(0), [])
    await app.close()
  })
}

t.test('whatever the unsubscribe of an adapter does, other topics are let go of', async (t) => {
  let fault: Fault | undefined
  let asked = 0
  const adapter = adapterThat('unsubscribe', () => {
    asked++
    return fault?.run()
  })
  const app = await appOf(t, { adapter }, (app) => {
    app.topic('rooms/:n')
    app.stream('/rooms', { topics: ['rooms/1', 'rooms/2'].map((name) => name) })
  })
  const hub = hubOf(app)
  for (fault of faults) {
    await stream(app, '/rooms', { until: 'realtime:open' })
    await nothingLeft(app, hub)
    asked = 0
    hub.active.sweep(0)
    t.ok(asked >= 2, fault.name)
  }
  await turn()
  t.strictSame(crashes.splice(0), [])
})

for (const method of ['start', 'close'] as const) {
  t.test(`whatever the ${method} of an adapter throws, the app is told by an Error`, async (t) => {
    for (const fault of faults) {
      if (fault.hangs) continue
      const app = Fastify()
      let failing = false
      app.register(realtime, { adapter: adapterThat(method, () => failing ? fault.run() : undefined) })
      failing = method === 'start'
      const ready = await app.ready().then(() => undefined, (error: unknown) => error)
      failing = true
      const closed = await app.close().then(() => undefined, (error: unknown) => error)
      if (fault.name === 'returns a proxy that throws') continue
      t.ok((method === 'start' ? ready : closed) instanceof Error, fault.name)
    }
    t.strictSame(crashes.splice(0), [])
  })
}

// --- the app's logger and error handler ----------------------------------------------------

t.test('a logger that throws ends nothing', async (t) => {
  let broken = false
  const say = (): void => { if (broken) raise(null) }
  const logger = { level: 'trace', fatal: say, error: say, warn: say, info: say, debug: say, trace: say, silent: say, child: (): unknown => logger }
  const app = Fastify({ loggerInstance: logger as never, logController: undefined as never }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(realtime, { joinTimeout: 20 })
  app.topic('news')
  app.topic('board', { snapshot: () => raise('no') })
  app.channel('/channel', { topics: 'news', messages: { ask: { handler: () => raise('no') } }, onDisconnect: () => raise(undefined) })
  app.channel('/hung', { topics: 'news', onConnect: () => new Promise(() => {}) })
  app.channel('/board', { topics: 'board' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const open = async (path: string, talk: (client: Talk) => Promise<string | undefined>): Promise<string> => await channel(app, {
    path,
    talk: async (client) => {
      broken = true
      return await talk(client)
    }
  }).finally(() => { broken = false })
  t.equal(await open('/channel', codeOf({ event: 'ask', ref: 1 })), 'INTERNAL')
  t.equal(await open('/hung', async () => undefined), 'closed 1013')
  t.equal(await open('/board', async () => undefined), 'closed 1011')
  await turn()
  t.strictSame(crashes.splice(0), [])
})

t.test('an app\'s error handler gets an Error: the very one that was thrown, where that was one', async (t) => {
  let fault: (() => unknown) | undefined
  const seen: unknown[] = []
  const app = await appOf(t, {}, (app) => {
    app.setErrorHandler((error, _request, reply) => {
      seen.push(error)
      reply.code(418).send({ statusCode: 418, error: 'teapot', message: 'own' })
    })
    app.stream('/stream', { topics: () => fault?.() as string })
    app.channel('/channel', { topics: () => fault?.() as string })
  })
  for (const [name, value] of thrown) {
    for (const ask of [stream, channel] as const) {
      const one = value()
      fault = () => raise(one)
      t.equal(await ask(app), '418')
      const got = seen.pop()
      t.ok(got instanceof Error, name)
      if (name === 'an Error') t.equal(got, one)
    }
  }
  t.strictSame(crashes.splice(0), [])
})

t.test('an error handler that fails as well ends nothing', async (t) => {
  let fault: Fault | undefined
  const app = await appOf(t, {}, (app) => {
    app.setErrorHandler(() => fault?.run())
    app.stream('/stream', { topics: () => raise('no') })
  })
  for (fault of faults) {
    if (fault.hangs || fault.name.includes('proxy')) continue
    const asked = get({ host: '127.0.0.1', port: portOf(app), path: '/stream', agent: false, headers: { accept: 'text/event-stream' } })
    const end = await Promise.race([once(asked, 'response').then(([{ statusCode }]) => statusCode as number, () => 'cut'), once(asked, 'error').then(() => 'cut')])
    t.ok(end === 'cut' || Number(end) >= 200, fault.name, { end })
    asked.destroy()
  }
  await turn()
  t.strictSame(crashes.splice(0), [])
})

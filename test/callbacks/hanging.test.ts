/** Callbacks whose promise never settles: given up, and logged once. */
import { get } from 'node:http'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { RealtimeOptions } from '../../lib/index.ts'
import { hubOf } from '../helpers/insides.ts'
import { connectionsOf, Inbox, portOf, turn, type Json } from '../conformance/clients.ts'
import {
  crashed, crashes, stream, HEADERS, route, newRun, appOf, nothingLeft, raise, ask
} from '../helpers/callbacks.ts'

process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)

t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

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
    const app = await appOf(t, { ...options?.(hang), joinTimeout: 300_000, maxConnections: 10, maxConnectionsPerAddress: 10 }, (app) => declare(app, hang, '/stream'), { handlerTimeout: 20 })
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

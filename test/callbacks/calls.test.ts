/** What the app calls with something wrong tells it so by an Error. */
import { once } from 'node:events'
import { get } from 'node:http'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { RealtimeOptions } from '../../lib/index.ts'
import { connectionsOf, portOf, turn, type Json } from '../conformance/clients.ts'
import { crashed, crashes, type Fault, foreignSchema, appOf, faults } from '../helpers/callbacks.ts'

process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)

t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

// --- what the app itself is told ------------------------------------------------------

interface Call {
  readonly options?: (fail: () => unknown) => RealtimeOptions
  declare? (app: FastifyInstance, fail: () => unknown): void
  /** Rejects or throws. */
  call (app: FastifyInstance, fail: () => unknown): unknown
  readonly sync?: boolean
}

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

/** Every method of an adapter × everything it can do wrong. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import realtime, { memory, type Adapter } from '../../lib/index.ts'
import { hubOf } from '../helpers/insides.ts'
import { turn } from '../conformance/clients.ts'
import { crashed, crashes, type Fault, stream, appOf, nothingLeft, faults } from '../helpers/callbacks.ts'

process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)

t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

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
    let fresh = 0
    const adapter = adapterThat(method, () => fault?.run())
    const app = await appOf(t, { adapter }, (app) => {
      app.topic('cursors', { history: false })
      app.topic('fresh/:n')
      app.stream('/fresh', { topics: () => `fresh/${fresh++}` })
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

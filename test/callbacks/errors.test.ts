/** Loggers and error handlers that fail as well, and the error that they are given. */
import { once } from 'node:events'
import { get } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import realtime from '../../lib/index.ts'
import { portOf, turn } from '../conformance/clients.ts'
import {
  crashed, crashes, type Fault, stream, channel, type Talk, thrown, codeOf, appOf, faults, raise
} from '../helpers/callbacks.ts'

process.on('unhandledRejection', crashed)
process.on('uncaughtException', crashed)

t.teardown(() => {
  process.off('unhandledRejection', crashed)
  process.off('uncaughtException', crashed)
})

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

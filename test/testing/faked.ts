/**
 * An app and its test clients in a process whose timers are a test's own. argv: which clock, and when it is put there.
 * Prints what was heard.
 */
import { mock } from 'node:test'
import nodeTimers from 'node:timers'

/** A clock that stands still, as test runners put it in the place of everything that knows the time. */
function stop (targets: object[]): void {
  const never = (): object => ({ ref () {}, unref () {}, hasRef: () => true, refresh () {} })
  for (const target of targets) {
    for (const name of ['setTimeout', 'setInterval', 'setImmediate'] as const) Object.assign(target, { [name]: never })
    for (const name of ['clearTimeout', 'clearInterval', 'clearImmediate'] as const) Object.assign(target, { [name]: () => {} })
  }
  Object.assign(performance, { now: () => 0 })
  globalThis.Date = class extends Date { static override now (): number { return 0 } } as DateConstructor
}

const clocks: Record<string, () => void> = {
  'node:test': () => mock.timers.enable(),
  globals: () => stop([globalThis]),
  'globals and node:timers': () => stop([globalThis, nodeTimers])
}

const [clock = '', when = ''] = process.argv.slice(2)
if (when === 'before it is loaded') clocks[clock]?.()

const { default: Fastify } = await import('fastify')
const { default: realtime } = await import('../../lib/index.ts')
const { connectChannel, connectStream } = await import('../../lib/testing/index.ts')
if (when === 'once it is loaded') clocks[clock]?.()

/** For what comes: a busy machine takes its time. */
const PATIENCE_MS = 60_000
const heard: unknown[] = []
const app = Fastify()
await app.register(realtime)
const news = app.topic('news')
app.stream('/stream', { topics: news })
app.stream('/source', {
  async * source () {
    for (let n = 1; n <= 200; n++) yield { event: 'n', data: n }
  }
})
app.channel('/channel', { topics: news, messages: { ask: { handler: () => 'answer' } } })
if (process.argv[4] === 'listening') await app.listen({ port: 0, host: '127.0.0.1' })

const stream = await connectStream(app, '/stream', { timeout: PATIENCE_MS })
const channel = await connectChannel(app, '/channel', { format: 'envelope', timeout: PATIENCE_MS })
await channel.next('realtime:subscribed')
if (when === 'once clients are there') clocks[clock]?.()
for (let n = 1; n <= 300; n++) await news.publish({}, 'said', n)
heard.push((await stream.next('said')).data, (await channel.next('said')).data, await channel.request('ask'))
await stream.drop()
await news.publish({}, 'missed', 1)
await stream.open()
heard.push((await stream.next('missed')).data)
const source = await connectStream(app, '/source', { timeout: PATIENCE_MS })
for (let n = 1; n < 200; n++) await source.next('n')
heard.push((await source.next('n')).data)
// Those that wait in vain, under the clock that stands still.
const idle = [await connectStream(app, '/stream', { timeout: 50 }), await connectChannel(app, '/channel', { timeout: 50 })]
for (const one of idle) heard.push(await one.next('never').then(() => 'it came', ({ message }: Error) => message.split(';')[0]))
await Promise.all([stream, channel, source, ...idle].map((one) => one.close()))
await app.close()
console.log(JSON.stringify(heard))
process.exit(0)

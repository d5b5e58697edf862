/**
 * The client where there is no page and no Node: what React Native's Hermes has, and nothing else. That is a WebSocket, timers
 * whose ids are numbers, and the language's own; no document, no events of a window, no streams, no crypto.
 */
import t from 'tap'
import { createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import { WebSocket } from 'ws'
import type { Client } from '../../lib/client/index.ts'
import { live } from '../helpers/app.ts'
import { root } from '../helpers/docs.ts'
import { until } from '../helpers/redis.ts'

const { outputFiles: [bundle] } = await build({
  entryPoints: [`${root}lib/client/index.ts`], bundle: true, format: 'iife', globalName: 'client', target: 'es2022', write: false
})

/** Numbers, as in Hermes: nothing can be asked of one. */
function timers () {
  const running = new Map<number, NodeJS.Timeout>()
  let id = 0
  const start = (make: (run: () => void, ms?: number) => NodeJS.Timeout) => (run: () => void, ms?: number) => {
    running.set(++id, make(run, ms))
    return id
  }
  const stop = (id: number) => {
    clearTimeout(running.get(id))
    running.delete(id)
  }
  return { setTimeout: start(setTimeout), setInterval: start(setInterval), clearTimeout: stop, clearInterval: stop }
}

/** It takes a URL as it is given, resolves no dots, and cannot be asked for its parts. */
class PartialURL {
  readonly href: string
  constructor (url: string) { this.href = String(url) }
  toString (): string { return this.href }
}

function hermes () {
  const context = createContext({ WebSocket, URL: PartialURL, ...timers() })
  runInContext('globalThis.window = globalThis.self = globalThis; globalThis.navigator = { product: "ReactNative" }; delete Symbol.dispose; delete Symbol.asyncDispose', context)
  runInContext(bundle?.text ?? '', context)
  t.same(runInContext('[typeof document, typeof window.addEventListener, typeof crypto, typeof TextDecoder, typeof fetch, typeof Symbol.dispose, typeof process].join()', context),
    Array(7).fill('undefined').join())
  return (runInContext('client', context) as { connect: (url: string, options: object) => Client<unknown> }).connect
}

t.test('it connects, is answered, comes back after a cut with all that was missed, and closes', async (t) => {
  const app = await live(t, { retry: 20, identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  app.channel('/realtime', { subscribe: room, presence: true, messages: { say: { handler: (text) => ({ said: String(text).length }) } } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const rt = hermes()(`${url}/realtime`, { firstDelay: 20, offline: 5 })
  t.teardown(() => rt.close())
  const heard: unknown[] = []
  const states: string[] = []
  rt.state.subscribe(() => states.push(rt.state.get().is))
  const topic = rt.topic('rooms/:room', { room: '1' })
  topic.on('n', ({ data }) => heard.push(data))
  topic.members.subscribe(() => {})
  await until('the client', () => topic.members.get().length === 1)
  t.same(await rt.send('say', 'hello'), { said: 5 })

  let n = 0
  const publish = async () => { for (let i = 0; i < 3; i++) await room.publish({ room: '1' }, 'n', n++) }
  await publish()
  await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
  await publish()
  await until('all of them', () => heard.length >= n)
  t.same(heard, Array.from({ length: n }, (_, i) => i))
  t.ok(states.includes('waiting'))

  rt.close()
  await until('nobody', () => app.realtime.stats().connections.websocket === 0)
  t.equal(states.at(-1), 'closed')
})

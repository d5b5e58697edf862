/** The client in what React Native's Hermes has: test/helpers/bare-context.ts. */
import t from 'tap'
import { BareContext } from '../helpers/bare-context.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'

t.test('nothing of a page or of Node is there', async (t) => {
  const names = ['document', 'window.addEventListener', 'crypto', 'TextDecoder', 'fetch', 'Symbol.dispose', 'process']
  const context = new BareContext()
  for (const name of names) t.equal(context.run(`typeof ${name}`), 'undefined', name)
})

t.test('it connects, is answered, comes back after a cut with all that was missed, and closes', async (t) => {
  const app = await live(t, { retry: 20, identify: () => ({ id: 'ada' }) }, { routerOptions: { ignoreTrailingSlash: true } })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  app.channel('/realtime', { subscribe: room, presence: true, messages: { say: { handler: (text) => ({ said: String(text).length }) } } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const rt = new BareContext().connect(`${url}/realtime`, { firstDelay: 20, offline: 5 })
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

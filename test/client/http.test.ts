/** The client over HTTP against a real server: it hears, asks and comes back as over a WebSocket. */
import t, { type Test } from 'tap'
import { connect, http, type ConnectOptions } from '../../lib/client/index.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { live } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'

async function start (t: Test, options: RealtimeOptions = {}) {
  const app = await live(t, { identify: (request) => ({ id: String(request.headers.user ?? 'ada') }), retry: 20, ...options })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  const board = app.topic('boards/:board', { authorize: () => true, keyed: true })
  app.channel('/realtime', {
    http: true,
    subscribe: [room, board],
    presence: true,
    messages: {
      say: { handler: async (data) => ({ said: (data as { text: string }).text.length }) },
      fail: { handler: () => { throw Object.assign(new Error('no'), { code: 'OUTBID', statusCode: 409 }) } },
      cursor: { relay: { topic: room } }
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const open = (own: ConnectOptions = {}) => {
    const client = connect(`${url}/realtime`, { wire: http, ...own })
    t.teardown(() => client.close())
    return client
  }
  return { app, room, board, url, open }
}

t.test('events come in order, each once, also behind streams that were cut', async (t) => {
  const { app, room, open } = await start(t)
  const client = open()
  const heard: number[] = []
  const leave = client.topic('rooms/:room', { room: '1' }).on('said', ({ data }) => heard.push((data as { n: number }).n))
  await until('the client', () => app.realtime.connections()[0]?.topics.length)
  let n = 0
  const say = async (count: number) => { for (let i = 0; i < count; i++) await room.publish({ room: '1' }, 'said', { n: n++ }) }
  await say(5)
  for (let cuts = 0; cuts < 5; cuts++) {
    await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
    await say(5)
  }
  await until('all of them', () => heard.length >= n)
  t.same(heard, Array.from({ length: n }, (_, i) => i))
  leave()
  await until('idle', () => client.state.get().is === 'idle')
  await until('nobody', () => app.realtime.connections().length === 0)
})

t.test('a message is answered, or refused with the handler\'s code', async (t) => {
  const { open } = await start(t)
  const client = open()
  t.same(await client.send('say', { text: 'hello' }), { said: 5 })
  await t.rejects(client.send('fail', {}), { name: 'RealtimeError', code: 'OUTBID', message: 'no' })
  await t.rejects(client.send('none', {}), { code: 'UNKNOWN_MESSAGE' })
  await t.rejects(client.topic('rooms/:room', { room: '1' }).show({ away: true }), { name: 'RealtimeError', code: 'NOT_OVER_HTTP' })
  await until('idle', () => client.state.get().is === 'idle')
})

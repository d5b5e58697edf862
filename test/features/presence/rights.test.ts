// Who may be seen: tokens that come with the upgrade or with `open`, what they say of a member, and when they end.
import t, { type Test } from 'tap'
import type { RealtimeOptions } from '../../../lib/index.ts'
import { connectChannel, type ChannelClient } from '../../../lib/testing/index.ts'
import { live } from '../../helpers/app.ts'
import { Roster } from '../../helpers/roster.ts'

const SECRET = 'a secret of thirty-two bytes, or more'

async function start (t: Test, more: RealtimeOptions = {}) {
  const app = await live(t, { tokens: { secret: SECRET }, ...more })
  const room = app.topic('rooms/:room', { authorize: 'token', presence: { grace: 0 } })
  app.channel('/rooms/:room', { topics: room, presence: true })
  app.channel('/lobby', { subscribe: room, presence: true })
  await app.ready()
  const tokenOf = async (sub: string, info?: object, expiresIn = 60_000) =>
    await app.realtime.sign({ sub, subscribe: [room.at({ room: '1' })], expiresIn, ...(info && { info }) })
  const join = async (token: string, path = '/rooms/1'): Promise<ChannelClient> => await connectChannel(app, path, { t, format: 'envelope', token })
  return { app, room, tokenOf, join }
}

t.test('a member is the bearer of the token, whether that comes with the upgrade or with open', async (t) => {
  const { app, room, tokenOf, join } = await start(t)
  const late = new Roster(await join(await tokenOf('ada', { name: 'Ada' })))
  await late.untilIds('ada')
  const early = await connectChannel(app, '/rooms/1', { t, format: 'envelope', headers: { authorization: `Bearer ${await tokenOf('bob')}` } })
  for (const roster of [late, new Roster(early)]) await roster.untilIds('ada', 'bob')
  t.same((await room.presence({ room: '1' })).members, [{ id: 'ada', info: { name: 'Ada' } }, { id: 'bob' }], 'with what the token says of her')
})

t.test('whose token ends has left, and so has who brings a narrower one', async (t) => {
  const { app, room, tokenOf, join } = await start(t, { expiryGrace: 0 })
  const watcher = new Roster(await join(await tokenOf('eve')))
  await watcher.untilIds('eve')
  await join(await tokenOf('ada', undefined, 1500))
  await watcher.untilIds('ada', 'eve')
  await watcher.untilIds('eve')
  const bob = await join(await tokenOf('bob'))
  await watcher.untilIds('bob', 'eve')
  bob.sendRaw(JSON.stringify({ op: 'refresh', token: await app.realtime.sign({ sub: 'bob', subscribe: [room.at({ room: '2' })], expiresIn: 60_000 }) }))
  await watcher.untilIds('eve')
  t.same(watcher.changes.filter((change) => !/eve/.test(change)), ['+ada', '-ada', '+bob', '-bob'])
})

t.test('who is known by other means brings what opens the room with open', async (t) => {
  const { tokenOf, app } = await start(t, { identify: () => ({ id: 'ada' }) })
  const token = await tokenOf('ada')
  const roster = new Roster(await connectChannel(app, '/rooms/1', { t, format: 'envelope', token }))
  await roster.untilIds('ada')
})

t.test('a topic that the app adds before the client says who it is, is heard once', async (t) => {
  const app = await live(t, { tokens: { secret: SECRET } })
  const room = app.topic('rooms/:room', { authorize: 'anyone', presence: { grace: 0 } })
  app.channel('/added', { messages: {}, presence: true, onConnect: async (connection) => await connection.subscribe(room.at({ room: '1' })) })
  await app.ready()
  const token = app.realtime.sign({ sub: 'ada', subscribe: [room.at({ room: '1' })], expiresIn: 60_000 })
  const ada = await connectChannel(app, '/added', { t, format: 'envelope', token })
  await new Roster(ada).untilIds('ada')
  const bob = await connectChannel(app, '/added', { t, format: 'envelope', token: app.realtime.sign({ sub: 'bob', subscribe: [room.at({ room: '1' })], expiresIn: 60_000 }) })
  await new Roster(bob).untilIds('ada', 'bob')
  const roster = new Roster(ada)
  await roster.untilIds('ada', 'bob')
  await room.publish({ room: '1' }, 'last', 1)
  await ada.next('last')
  t.same(roster.changes.filter((change) => change === '+bob'), ['+bob'])
  t.same(ada.events.filter(({ event }) => event === 'realtime:subscribed').map(({ topic }) => topic).sort(), ['realtime:presence/rooms/1', 'rooms/1'])
})

t.test('who has no token for the room is not shown there, and not told who is', async (t) => {
  const { tokenOf, join } = await start(t)
  const watcher = new Roster(await join(await tokenOf('eve')))
  await watcher.untilIds('eve')
  await t.rejects(async () => {
    const mallory = await connectChannel((await start(t)).app, '/rooms/1', { t, format: 'envelope' })
    await mallory.next('realtime:subscribed')
  }, /40[13]|closed/)
  t.same(watcher.ids, ['eve'])
})

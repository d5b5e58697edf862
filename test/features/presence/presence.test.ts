// Who is there, on one node: members by identity over several connections, what watchers are told, and in which order.
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { PresenceOptions } from '../../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../../lib/testing/index.ts'
import { calls, live } from '../../helpers/app.ts'
import { Roster } from '../../helpers/roster.ts'

interface Said { topic: string, type: string, members?: Array<{ id: string }>, ids?: string[], reason?: string, part?: number, more?: boolean, count?: number }

async function start (t: Test, presence: boolean | PresenceOptions, declare?: (app: FastifyInstance) => void) {
  const app = await live(t, { identify: (request) => ({ id: String(request.headers.user ?? 'nobody') }) })
  const room = app.topic('rooms/:room', { presence, authorize: 'anyone' })
  app.channel('/rooms/:room', { topics: room, presence: true })
  app.channel('/watch/:room', { topics: room, presence: 'watch' })
  app.channel('/plain/:room', { topics: room })
  app.channel('/lobby', { subscribe: room, presence: true })
  app.stream('/sse/:room', { topics: room, presence: true })
  app.stream('/sse-watch/:room', { topics: room, presence: 'watch' })
  declare?.(app)
  await app.ready()
  const join = async (user: string, path = '/rooms/1') => await connectChannel(app, path, { t, format: 'envelope', headers: { user } })
  return { app, room, join }
}

/** The next thing that a client is told of who is there. */
async function said (client: ChannelClient | StreamClient): Promise<Said> {
  return (await client.next('realtime:presence')).data as Said
}

/** The first list; a channel's comes as a snapshot. */
async function first (client: ChannelClient): Promise<Said> {
  const { data } = await client.next('realtime:snapshot') as { data: { event: string, data: Said } }
  return data.data
}

t.test('who joins is told who is there, and the others are told of it', async (t) => {
  const { room, join } = await start(t, { grace: 0 })
  const ada = await join('ada')
  t.match(await first(ada), { topic: 'rooms/1', type: 'members', part: 0, more: false })
  await new Roster(ada).untilIds('ada')
  const bob = await join('bob')
  for (const client of [ada, bob]) await new Roster(client).untilIds('ada', 'bob')
  t.same(await said(ada), { topic: 'rooms/1', type: 'join', members: [{ id: 'bob' }] })
  t.same(await room.presence({ room: '1' }), { members: [{ id: 'ada' }, { id: 'bob' }], size: 2, more: false })
  await bob.close()
  t.same(await said(ada), { topic: 'rooms/1', type: 'leave', ids: ['bob'], reason: 'left' })
})

t.test('several connections of one identity are one member, who leaves with the last', async (t) => {
  const { app, join } = await start(t, { grace: 0 })
  const watcher = await join('eve', '/watch/1')
  await first(watcher)
  const tabs = [await join('ada'), await join('ada')]
  const stream = await connectStream(app, '/sse/1', { t, headers: { user: 'ada' } })
  t.match(await said(watcher), { type: 'join', members: [{ id: 'ada' }] })
  for (const tab of tabs) await tab.close()
  const bob = await join('bob')
  t.match(await said(watcher), { type: 'join', members: [{ id: 'bob' }] }, 'nothing in between')
  await bob.close()
  t.match(await said(watcher), { type: 'leave', ids: ['bob'] })
  await stream.close()
  t.match(await said(watcher), { type: 'leave', ids: ['ada'], reason: 'left' })
})

t.test('who only watches is not shown, and who has no part in it is told nothing', async (t) => {
  const { room, join } = await start(t, true)
  const [watcher, plain] = [await join('eve', '/watch/1'), await join('mallory', '/plain/1')]
  await first(watcher)
  await join('ada')
  t.match(await said(watcher), { type: 'join', members: [{ id: 'ada' }] })
  await room.publish({ room: '1' }, 'hello', 1)
  await plain.next('hello')
  t.same(plain.events.filter(({ event, topic }) => event === 'realtime:presence' || topic?.startsWith('realtime:')), [])
  t.same((await room.presence({ room: '1' })).members, [{ id: 'ada' }])
})

t.test('who reloads within the grace has never been away', async (t) => {
  const { join } = await start(t, { grace: 60_000 })
  const watcher = await join('eve', '/watch/1')
  await first(watcher)
  const ada = await join('ada')
  await said(watcher)
  await ada.drop()
  await ada.resume()
  await join('bob')
  t.match(await said(watcher), { type: 'join', members: [{ id: 'bob' }] }, 'nothing in between')
})

t.test('a client that comes back is told what has changed, and no list', async (t) => {
  const { join } = await start(t, { grace: 0 })
  const watcher = await join('eve', '/watch/1')
  await first(watcher)
  await join('ada')
  await said(watcher)
  await watcher.drop()
  const bob = await join('bob')
  await first(bob)
  await said(bob)
  await watcher.resume()
  t.match(await said(watcher), { type: 'join', members: [{ id: 'bob' }] })
  t.equal(watcher.events.filter(({ event }) => event === 'realtime:snapshot').length, 1)
})

t.test('over SSE it is an event of its own, with its place in the stream\'s cursor', async (t) => {
  const { app, join } = await start(t, { grace: 0 })
  const stream = await connectStream(app, '/sse-watch/1', { t })
  t.match(await said(stream), { type: 'members', members: [] })
  await join('ada')
  t.match(await said(stream), { type: 'join', members: [{ id: 'ada' }] })
  await stream.drop()
  await join('bob')
  await stream.resume()
  t.match(await said(stream), { type: 'join', members: [{ id: 'bob' }] })
})

t.test('who leaves the topic by itself, or is put out of it, leaves at once', async (t) => {
  const { app, join } = await start(t, { grace: 60_000 })
  const watcher = await join('eve', '/watch/1')
  await first(watcher)
  const ada = await join('ada', '/lobby')
  ada.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/1' }))
  t.match(await said(watcher), { type: 'join', members: [{ id: 'ada' }] })
  ada.sendRaw(JSON.stringify({ op: 'unsubscribe', topic: 'rooms/1' }))
  t.match(await said(watcher), { type: 'leave', ids: ['ada'], reason: 'left' })
  ada.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/1' }))
  t.match(await said(watcher), { type: 'join', members: [{ id: 'ada' }] })
  await app.realtime.revoke({ identity: 'ada' }, 'rooms/1')
  t.match(await said(watcher), { type: 'leave', ids: ['ada'], reason: 'removed' })
  const bob = await join('bob')
  t.match(await said(watcher), { type: 'join', members: [{ id: 'bob' }] })
  await app.realtime.disconnect({ identity: 'bob' })
  t.match(await said(watcher), { type: 'leave', ids: ['bob'], reason: 'removed' })
  await bob.ended
})

t.test('who sends rubbish until it is closed leaves at once', async (t) => {
  const { join } = await start(t, { grace: 60_000 }, (app) => {
    app.channel('/strict/:room', { topics: app.topic('strict/:room', { presence: { grace: 60_000 } }), presence: true, limits: { faults: 3 } })
  })
  const watcher = await join('eve', '/strict/1')
  await first(watcher)
  const ada = await join('ada', '/strict/1')
  const roster = new Roster(watcher, 'strict/1')
  await roster.untilIds('ada', 'eve')
  for (let n = 0; n < 5; n++) ada.sendRaw('rubbish')
  t.match(await ada.ended, { code: 4400 })
  await roster.untilIds('eve')
  t.match(watcher.events.at(-1)?.data, { type: 'leave', ids: ['ada'], reason: 'removed' })
})

t.test('authorize is asked with the action presence; who is refused hears the topic alone', async (t) => {
  const asked = calls<string>()
  const app = await live(t, { identify: (request) => ({ id: String(request.headers.user) }) })
  const room = app.topic('rooms/:room', {
    presence: { grace: 0 },
    authorize: (request, { topic, action }) => {
      asked.note(`${String(request.headers.user)} ${topic} ${action}`)
      return action === 'subscribe' || request.headers.user !== 'guest'
    }
  })
  app.channel('/rooms/:room', { topics: room, presence: true })
  const join = async (user: string) => await connectChannel(app, '/rooms/1', { t, format: 'envelope', headers: { user } })
  await new Roster(await join('ada')).untilIds('ada')
  const guest = await join('guest')
  await guest.next('realtime:subscribed')
  t.same(asked.all, ['ada rooms/1 subscribe', 'ada rooms/1 presence', 'guest rooms/1 subscribe', 'guest rooms/1 presence'])
  await room.publish({ room: '1' }, 'hello', 1)
  await guest.next('hello')
  t.equal(guest.events.some(({ topic }) => topic?.startsWith('realtime:')), false)
  t.same((await room.presence({ room: '1' })).members, [{ id: 'ada' }])
})

t.test('public ids, info of the server, and what a client says of itself', async (t) => {
  const { join } = await start(t, {
    grace: 0,
    id: ({ id }) => id === 'ghost' ? null : `u-${id}`,
    info: ({ id }, request) => ({ name: id.toUpperCase(), agent: request.headers.agent ?? null }),
    state: { type: 'object', properties: { typing: { type: 'boolean' } }, required: ['typing'], additionalProperties: false },
    maxStateBytes: 40
  })
  const watcher = await join('eve', '/watch/1')
  await first(watcher)
  await join('ghost')
  const ada = await join('ada')
  t.same((await said(watcher)).members, [{ id: 'u-ada', info: { name: 'ADA', agent: null } }], 'nobody hears of a ghost')
  const state = (value: unknown, ref: number): void => ada.sendRaw(JSON.stringify({ op: 'presence', topic: 'rooms/1', state: value, ref }))
  state({ typing: true }, 1)
  t.match((await ada.next('realtime:presence')).data, { type: 'join' })
  t.same((await said(watcher)), { topic: 'rooms/1', type: 'update', members: [{ id: 'u-ada', info: { name: 'ADA', agent: null }, state: { typing: true } }] })
  state({ typing: 'x'.repeat(9) }, 2)
  t.match((await ada.next('realtime:reply:2')).data, { op: 'error', code: 'INVALID_DATA' })
  watcher.sendRaw(JSON.stringify({ op: 'presence', topic: 'rooms/1', state: { typing: true }, ref: 3 }))
  t.match((await watcher.next('realtime:reply:3')).data, { op: 'error', code: 'FORBIDDEN' }, 'who only watches has nothing to say')
})

t.test('onJoin and onLeave are called once for each that comes and goes', async (t) => {
  const heard = calls<string>()
  const { join } = await start(t, {
    grace: 0,
    onJoin: ({ id }, { topic }) => heard.note(`+${id} ${topic}`),
    onLeave: ({ id }, { topic, reason }) => heard.note(`-${id} ${topic} ${reason}`)
  })
  const [one, two] = [await join('ada'), await join('ada')]
  await one.close()
  await two.close()
  await heard.reach(2)
  await join('bob')
  t.same(await heard.reach(3), ['+ada rooms/1', '-ada rooms/1 left', '+bob rooms/1'])
})

t.test('one whose public id is another each time is gone under each of them', async (t) => {
  let ids = 0
  const { room, join } = await start(t, { grace: 0, id: () => `guest ${++ids}` })
  const ada = await join('ada', '/lobby')
  for (let n = 0; n < 2; n++) ada.sendRaw(JSON.stringify({ op: 'subscribe', topic: 'rooms/1' }))
  await new Roster(ada).until('one', ({ ids }) => ids.length === 1)
  const watcher = new Roster(await join('eve', '/watch/1'))
  await watcher.until('one', ({ told, ids }) => told && ids.length === 1)
  await ada.close()
  await watcher.untilIds()
  t.same((await room.presence({ room: '1' })).members, [])
})

t.test('a topic whose name leaves no room for the prefix is heard, and has no presence', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'ada' }) })
  const room = app.topic('rooms/:room', { presence: true })
  const name = 'x'.repeat(240)
  app.channel('/plain', { topics: room.at({ room: name }) })
  app.channel('/shown', { topics: room.at({ room: name }), presence: true })
  await app.ready()
  const plain = await connectChannel(app, '/plain', { t, format: 'envelope' })
  await plain.next('realtime:subscribed')
  await room.publish({ room: name }, 'hello', 1)
  await plain.next('hello')
  await plain.close()
  while (app.realtime.countLocal(`rooms/${name}`) > 0) await new Promise((resolve) => setImmediate(resolve))
  t.same([app.realtime.connections().length, app.realtime.stats().closing], [0, 0])
  await t.rejects(connectChannel(app, '/shown', { t, format: 'envelope' }), /400/)
})

t.test('mode count: how many, and not who', async (t) => {
  const { room, join } = await start(t, { grace: 0, mode: 'count' })
  const watcher = await join('eve', '/watch/1')
  t.same(await first(watcher), { topic: 'rooms/1', type: 'count', count: 0 })
  const ada = await join('ada')
  t.same(await said(watcher), { topic: 'rooms/1', type: 'count', count: 1 })
  await join('bob')
  t.same(await said(watcher), { topic: 'rooms/1', type: 'count', count: 2 })
  await ada.close()
  t.same(await said(watcher), { topic: 'rooms/1', type: 'count', count: 1 })
  const late = await join('eve', '/watch/1')
  t.same(await first(late), { topic: 'rooms/1', type: 'count', count: 1 })
  t.same((await room.presence({ room: '1' })).members, [{ id: 'bob' }], 'the app knows who')
  t.equal(watcher.events.some(({ data }) => JSON.stringify(data).includes('ada')), false)
})

t.test('more than maxMembers are not shown, and watch; as soon as others leave, those who came first are shown', async (t) => {
  const joined: string[] = []
  const { app, room, join } = await start(t, { grace: 0, maxMembers: 2, onJoin: ({ id }) => joined.push(id) })
  const ada = await join('ada')
  const bob = await join('bob')
  const carl = await join('carl')
  const dora = await join('dora')
  await join('eve')
  const roster = new Roster(carl)
  await roster.untilIds('ada', 'bob')
  t.equal((await room.presence({ room: '1' })).size, 2)
  await dora.close()
  while (app.realtime.connections().length > 4) await new Promise((resolve) => setImmediate(resolve))
  await ada.close()
  await roster.untilIds('bob', 'carl')
  await bob.close()
  await roster.untilIds('carl', 'eve')
  t.same(roster.changes.slice(-4), ['-ada', '+carl', '-bob', '+eve'], 'who has left while waiting for room is not shown')
  t.same((await room.presence({ room: '1' })).members.map(({ id }) => id).sort(), ['carl', 'eve'])
  t.same(joined, ['ada', 'bob', 'carl', 'eve'])
})

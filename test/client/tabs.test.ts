/** Tabs that share one connection, in a browser of Node's: who leads, who follows, and what each is told. */
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, http, type Client, type ConnectOptions } from '../../lib/client/index.ts'
import { sharedBy, sharedTabs } from '../../lib/client/tabs.ts'
import type { Untyped } from '../../lib/client/types.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'
import type { RealtimeOptions } from '../../lib/index.ts'
import { live } from '../helpers/app.ts'
import { FakeBrowser, type FakePage } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'

type Any = Client<Untyped>

interface OpenOptions extends ConnectOptions { key?: string, patience?: number, recent?: number, page?: FakePage }

async function start (t: Test, options: RealtimeOptions = {}) {
  const app = await live(t, { identify: () => ({ id: 'ada' }), retry: 20, ...options })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  const board = app.topic('boards/:board', { authorize: () => true, keyed: true })
  let count = 0
  const tally = app.topic('tally', { authorize: () => true, snapshot: () => ({ count }) })
  const said: unknown[] = []
  app.channel('/realtime', {
    http: true,
    subscribe: [room, board, tally],
    presence: true,
    messages: {
      say: { handler: async (data) => ({ said: data }) },
      fail: { handler: () => { throw Object.assign(new Error('no'), { code: 'OUTBID', statusCode: 409 }) } },
      note: { handler: (data) => { said.push(data) } },
      cursor: { relay: { topic: room } }
    },
    binary: (bytes) => { said.push(Buffer.from(bytes).toString()) }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = new FakeBrowser()
  const open = ({ key = 'ada', patience = 10_000, recent = 500, page = browser.page(), ...own }: OpenOptions = {}) => {
    const client: Any = connect(`${url}/realtime`, {
      WebSocket: page.WebSocket, firstDelay: 20, tabs: sharedBy({ key, patience, recent }, () => page.browser), ...own
    })
    t.teardown(() => client.close())
    return { page, client, room: client.topic('rooms/:room', { room: '1' }) }
  }
  return {
    app,
    room,
    board,
    tally,
    said,
    open,
    url,
    publish: async (n: number) => { await room.publish({ room: '1' }, 'n', n) },
    count: async () => { await tally.publish({}, 'counted', { count: ++count }) },
    connections: () => app.realtime.stats().connections.websocket,
    topics: () => app.realtime.connections().map(({ topics }) => [...topics].sort())
  }
}

const isOpen = async ({ client }: { client: Any }) => await until('open', () => client.state.get().is === 'open')

function listen (topic: ReturnType<Any['topic']>) {
  const heard: unknown[] = []
  const leave = topic.on('*', ({ event, data }: { event: string, data: unknown }) => heard.push(event === 'n' ? data : [event, data]))
  return { heard, leave }
}

t.test('over HTTP too: one stream, which changes with what tabs want, and nothing is lost or repeated', async (t) => {
  const { app, open, publish } = await start(t)
  const [one, two] = [open({ wire: http }), open({ wire: http })]
  const first = listen(one.room)
  await isOpen(one)
  await until('the topic', () => app.realtime.countLocal('rooms/1') === 1)
  await publish(1)
  const board = listen(two.client.topic('boards/:board', { board: '1' }))
  await until('the other topic', () => app.realtime.countLocal('boards/1') === 1)
  await publish(2)
  const late = listen(two.room)
  await app.realtime.publish('boards/1', 'set', 'x', { key: 'k' })
  await until('the state', () => board.heard.some((one) => JSON.stringify(one) === '["set","x"]'))
  t.same(await two.client.send('say', 'hello'), { said: 'hello' })
  await publish(3)
  await until('the last', () => first.heard.includes(3) && late.heard.includes(3))
  t.same(first.heard, [1, 2, 3])
  t.same(new Set(late.heard).size, late.heard.length)
  t.equal(app.realtime.connections().length, 1)
})

t.test('several tabs have one connection, each hears its topics, and each topic is joined once', async (t) => {
  const { open, publish, connections, topics } = await start(t)
  const tabs = Array.from({ length: 4 }, () => open())
  const told = tabs.map(({ room }) => listen(room))
  for (const tab of tabs) await isOpen(tab)
  await until('the topic', () => topics()[0]?.length === 1)
  await publish(1)
  await until('all of them', () => told.every(({ heard }) => heard.length === 1))
  t.equal(connections(), 1)
  t.same(topics(), [['rooms/1']])
  for (const { leave } of told.slice(1)) leave()
  await publish(2)
  await until('the one that is left', () => told[0]?.heard.length === 2)
  t.same(told.map(({ heard }) => heard), [[1, 2], [1], [1], [1]])
  told[0]?.leave()
  await until('nobody', () => connections() === 0)
})

t.test('a follower is answered, refused with the handler\'s code, and sends bytes', async (t) => {
  const { open, said, connections } = await start(t)
  const [first, second] = [open(), open()]
  listen(first.room)
  await isOpen(first)
  listen(second.room)
  await isOpen(second)
  const when = new Date(0)
  t.same(await Promise.all([first, second].map(({ client }, n) => client.send('say', { n, when, nothing: undefined, run () {} }))),
    [0, 1].map((n) => ({ said: { n, when: when.toJSON() } })), 'as JSON has it, whoever leads')
  await t.rejects(second.client.send('fail', {}), { name: 'RealtimeError', code: 'OUTBID' })
  await t.rejects(second.client.send('none', {}), { code: 'UNKNOWN_MESSAGE' })
  second.client.sendBytes(new TextEncoder().encode('bytes'))
  await until('the bytes', () => said.length === 1)
  t.same(said, ['bytes'])
  t.equal(connections(), 1)
})

t.test('a late tab sees the members, the state of a keyed topic and the snapshot, and nothing twice', async (t) => {
  const { open, board, count, connections } = await start(t)
  const watch = ({ client, room }: ReturnType<typeof open>) => {
    const keyed = client.topic('boards/:board', { board: '1' })
    room.members.subscribe(() => {})
    keyed.state.subscribe(() => {})
    return { ...listen(client.topic('tally')), room, keyed }
  }
  await count()
  await board.publish({ board: '1' }, 'note', 'one', { key: 'a' })
  const first = watch(open())
  await until('the first', () => first.heard.length === 1 && first.room.members.get().length === 1 && first.keyed.state.get().size === 1)
  await count()
  await board.publish({ board: '1' }, 'note', 'two', { key: 'b' })
  await board.publish({ board: '1' }, 'note', new Uint8Array([1, 2]), { key: 'c' })
  await board.remove({ board: '1' }, 'a')
  await until('what followed', () => first.heard.length === 2 && first.keyed.state.get().size === 2 && !first.keyed.state.get().has('a'))
  const late = watch(open())
  await until('the late one', () => late.heard.length === 1 && late.room.members.get().length === 1 && late.keyed.state.get().size === 2)
  await count()
  await until('the last', () => first.heard.length === 3 && late.heard.length === 2)
  t.same(first.heard, [['snapshot', { count: 1 }], ['counted', { count: 2 }], ['counted', { count: 3 }]])
  t.same(late.heard, [['snapshot', { count: 2 }], ['counted', { count: 3 }]], 'what it would have been told alone')
  t.same([...late.keyed.state.get()], [...first.keyed.state.get()])
  t.same(late.room.members.get(), first.room.members.get())
  await until('one connection', () => connections() === 1)
})

t.test('a late tab that lacks more than is kept is given it by the server, and shares the connection then', async (t) => {
  const { open, count, board, connections } = await start(t)
  const first = open({ recent: 4 })
  const told = listen(first.client.topic('tally'))
  await until('the first', () => told.heard.length === 1)
  for (let n = 1; n <= 9; n++) await count()
  await until('nine', () => told.heard.length === 10)
  const late = open({ recent: 4 })
  const { heard } = listen(late.client.topic('tally'))
  await until('its snapshot', () => heard.length === 1)
  await count()
  await until('the tenth', () => heard.length === 2 && told.heard.length === 11)
  t.same(heard, [['snapshot', { count: 9 }], ['counted', { count: 10 }]])
  await until('one connection', () => connections() === 1)
  await board.publish({ board: '1' }, 'note', 1, { key: 'a' })
  const keyed = late.client.topic('boards/:board', { board: '1' }).state
  keyed.subscribe(() => {})
  await until('another topic', () => keyed.get().size === 1)
})

t.test('relays reach every tab of the others, and leave out the browser that sends them', async (t) => {
  const { open, url, connections, topics } = await start(t)
  const [first, second] = [open(), open()]
  const told = [listen(first.room), listen(second.room)]
  await isOpen(first)
  await isOpen(second)
  const other: Any = connect(`${url}/realtime`, { WebSocket: WebSocket as unknown as SocketClass })
  t.teardown(() => other.close())
  const alone = listen(other.topic('rooms/:room', { room: '1' }))
  await until('two connections', () => connections() === 2 && topics().every((names) => names.length === 1))
  other.topic('rooms/:room', { room: '1' }).relay('cursor', { x: 1 })
  await until('both', () => told.every(({ heard }) => heard.length === 1))
  second.room.relay('cursor', { x: 2 })
  await until('the other', () => alone.heard.length === 1)
  t.same([...told, alone].map(({ heard }) => heard), [[['cursor', { x: 1 }]], [['cursor', { x: 1 }]], [['cursor', { x: 2 }]]])
})

for (const how of ['closed', 'crashed', 'frozen', 'frozen without a word'] as const) {
  t.test(`the tab that leads is ${how}: another one takes its place, and nobody misses anything or hears it twice`, async (t) => {
    const { open, publish, connections } = await start(t)
    const tabs = [open({ patience: 50 }), open({ patience: 50 }), open({ patience: 50 })]
    const [leader, ...others] = tabs as [typeof tabs[0], typeof tabs[0], typeof tabs[0]]
    const told = [listen(leader.room)]
    await isOpen(leader)
    for (const tab of others) {
      told.push(listen(tab.room))
      await isOpen(tab)
    }
    await publish(1)
    await until('the first', () => told.every(({ heard }) => heard.length === 1))
    if (how === 'closed') leader.client.close()
    else if (how === 'crashed') leader.page.crash()
    else leader.page.freeze({ silent: how !== 'frozen' })
    await publish(2)
    // It calls, is not answered, and takes the lead: those that follow are told.
    if (how === 'frozen without a word') tabs.push(open({ patience: 50 }))
    if (tabs[3]) told.push(listen(tabs[3].room))
    await until('the others', () => told.slice(1, 3).every(({ heard }) => heard.length === 2))
    await publish(3)
    await until('the others again', () => told.slice(1, 3).every(({ heard }) => heard.length === 3))
    t.same(told.slice(1, 3).map(({ heard }) => heard), [[1, 2, 3], [1, 2, 3]])
    if (how === 'frozen' || how === 'frozen without a word') {
      leader.page.thaw()
      await until('what it has missed', () => told[0]?.heard.length === 3)
      await until('one connection', () => connections() === 1)
      await publish(4)
      await until('all of them', () => told.slice(0, 3).every(({ heard }) => heard.length === 4))
      t.same(told[0]?.heard, [1, 2, 3, 4])
    }
    await until('one connection', () => connections() === 1)
  })
}

t.test('what a follower has said to a tab that is frozen is not done when that thaws', async (t) => {
  const { open, said, connections } = await start(t)
  const [leader, follower] = [open({ patience: 50 }), open({ patience: 50 })]
  listen(leader.room)
  await isOpen(leader)
  listen(follower.room)
  await isOpen(follower)
  leader.page.freeze({ silent: true })
  const gone = follower.client.send('note', 'too late')
  const third = open({ patience: 50 })
  listen(third.room)
  await t.rejects(gone, { code: 'DISCONNECTED' })
  const now = Date.now
  t.teardown(() => { Date.now = now })
  Date.now = () => now() + 60_000
  leader.page.thaw()
  await isOpen(third)
  await third.client.send('note', 'in time')
  await until('one connection', () => connections() === 1)
  t.same(said, ['in time'])
})

t.test('a tab that goes without a word is forgotten, and its topics are left', async (t) => {
  const { open, topics } = await start(t)
  const [leader, follower] = [open(), open()]
  listen(leader.room)
  await isOpen(leader)
  listen(follower.client.topic('rooms/:room', { room: '2' }))
  await until('both topics', () => topics()[0]?.length === 2)
  follower.page.crash()
  await until('one topic', () => topics()[0]?.length === 1)
  t.same(topics(), [['rooms/1']])
})

t.test('two keys share nothing, and neither do two URLs', async (t) => {
  const { open, connections } = await start(t)
  const tabs = [open({ key: 'ada' }), open({ key: 'ada' }), open({ key: 'bob' })]
  for (const tab of tabs) {
    listen(tab.room)
    await isOpen(tab)
  }
  t.equal(connections(), 2)
})

t.test('the server\'s word reaches every tab: cut off, sent away, and not let in', async (t) => {
  const { app, open, publish, connections } = await start(t)
  const tabs = [open(), open(), open()]
  const told = tabs.map(({ room }) => listen(room))
  const states = tabs.map(({ client }) => {
    const all: string[] = []
    client.state.subscribe(() => all.push(client.state.get().is))
    return all
  })
  for (const tab of tabs) await isOpen(tab)
  await publish(1)
  await until('the first', () => told.every(({ heard }) => heard.length === 1))
  await app.realtime.disconnect({ identity: 'ada' }, { reconnect: true })
  await publish(2)
  await until('the second', () => told.every(({ heard }) => heard.length === 2))
  t.ok(states.every((all) => all.includes('waiting')))
  t.equal(connections(), 1)
  await app.realtime.disconnect({ identity: 'ada' }, { reconnect: false })
  for (const { client } of tabs) await until('refused', () => client.state.get().is === 'refused')
  t.equal(new Set(tabs.map(({ client }) => JSON.stringify(client.state.get()))).size, 1)
})

t.test('where a browser has no locks or no channels, or forbids them, each tab has its own connection', async (t) => {
  const { open, publish, connections } = await start(t)
  const forbidden = (): never => { throw new DOMException('no', 'SecurityError') }
  const ways: Array<(page: FakePage) => ReturnType<typeof sharedTabs>> = [
    () => sharedTabs({ key: 'ada' }), // in Node there is no page
    ({ browser }) => sharedBy({ key: 'ada' }, () => ({ ...browser, channel: forbidden })),
    ({ browser }) => sharedBy({ key: 'ada' }, () => ({ ...browser, locks: { request: forbidden } })),
    ({ browser }) => sharedBy({ key: 'ada' }, () => ({ ...browser, locks: { request: async () => forbidden() } }))
  ]
  const page = new FakeBrowser().page()
  const tabs = ways.map((tabs) => open({ page, tabs: tabs(page) }))
  const told = tabs.map(({ room }) => listen(room))
  for (const tab of tabs) await isOpen(tab)
  await until('the topic', () => connections() === 4)
  t.same(await tabs[3]?.client.send('say', 1), { said: 1 })
  await publish(1)
  await until('all of them', () => told.every(({ heard }) => heard.length === 1))
  for (const { client } of tabs) client.close()
  await until('nobody', () => connections() === 0)
})

t.test('what another release says is not heard, nor what is no post at all', async (t) => {
  const { open, publish, connections, url } = await start(t)
  const page = new FakeBrowser().page()
  const [leader, follower] = [open({ page }), open({ page })]
  const told = [listen(leader.room), listen(follower.room)]
  await isOpen(leader)
  await isOpen(follower)
  const stranger = page.browser.channel(`fastify-realtime/1 ${JSON.stringify([`${url}/realtime`, 'ada'])}`)
  const heard: unknown[] = []
  stranger.onmessage = ({ data }: { data: unknown }) => heard.push(data)
  const wrong: unknown[] = [
    null, 'over', { say: 'over' }, { v: 2, from: 'x', say: 'lead' }, { v: 1, say: 'lead' }, { v: 1, from: 'x', say: 'constructor' },
    { v: 1, from: 'x', say: 'lead', to: 'all' }, { v: 1, from: 'x', say: 'down' }, { v: 1, from: 'x', say: 'heard', frame: null },
    { v: 1, from: 'x', say: 'heard', frame: { op: 'bye' } }, { v: 1, from: 'x', say: 'said', at: Date.now(), frame: '{"op":"ping"}' }
  ]
  for (const data of wrong) stranger.postMessage(data)
  await publish(1)
  await until('both', () => told.every(({ heard }) => heard.length === 1))
  t.match(heard, [{ v: 1, say: 'heard' }], 'nobody has answered')
  t.equal(connections(), 1)
})

t.test('a wrong option is an error', async (t) => {
  for (const none of [undefined, {}]) t.throws(() => sharedTabs(none as unknown as { key: string }), { name: 'TypeError', message: /"key"/ })
  t.throws(() => sharedTabs({ key: '' }), { name: 'TypeError', message: /"key"/ })
  t.throws(() => sharedTabs({ key: 'ada', lock: true } as { key: string }), { name: 'TypeError', message: /unknown option "lock"/ })
  for (const patience of [0, -1, NaN, Infinity, '5', true, null]) t.throws(() => sharedTabs({ key: 'ada', patience: patience as number }), { message: /"patience"/ })
  for (const recent of [0, 1.5, NaN, '5', null]) t.throws(() => sharedTabs({ key: 'ada', recent: recent as number }), { message: /"recent"/ })
})

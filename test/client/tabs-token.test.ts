/** Tabs that share a connection, and the token that it goes by: that of the tab that leads. */
import t, { type Test } from 'tap'
import { connect, type ConnectOptions, type TokenReason } from '../../lib/client/index.ts'
import { sharedBy } from '../../lib/client/tabs.ts'
import { live } from '../helpers/app.ts'
import { FakeBrowser } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'

type Give = (reason: TokenReason, times: number) => string | Promise<string>

async function start (t: Test, expiryGrace = 10_000) {
  const app = await live(t, { retry: 20, expiryGrace, tokens: { secret: 'a secret of at least thirty-two bytes' } })
  const room = app.topic('room', { authorize: 'token' })
  app.channel('/realtime', { subscribe: room })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = new FakeBrowser()
  const sign = (expiresIn = 3_600_000): string => app.realtime.sign({ sub: 'ada', subscribe: room, expiresIn })
  /** `give`: by the reason, and how often it was asked before. */
  const open = (give: Give, options: Partial<ConnectOptions> = {}) => {
    const page = browser.page()
    const asked: TokenReason[] = []
    const client = connect(`${url}/realtime`, {
      WebSocket: page.WebSocket,
      firstDelay: 10,
      longestDelay: 20,
      tabs: sharedBy({ key: 'ada', patience: 10_000, recent: 500 }, () => page.browser),
      token: ({ reason }) => give(reason, asked.push(reason) - 1),
      ...options
    })
    t.teardown(() => client.close())
    const told: unknown[] = []
    client.topic('room').on('*', ({ event, data }) => told.push(event === 'n' ? data : [event, (data as { code?: string }).code]))
    return { page, client, asked, told, is: () => client.state.get().is }
  }
  let last = 0
  return {
    app,
    sign,
    open,
    publish: async () => { await room.publish({}, 'n', ++last) },
    joined: async () => await until('the topic', () => app.realtime.countLocal('room') === 1)
  }
}

const open = async ({ is }: { is: () => string }) => await until('open', () => is() === 'open')

t.test('the one that leads renews it, for all of them, and nobody else does', async (t) => {
  const { app, sign, open: tab, publish, joined } = await start(t)
  const renewed = (reason: TokenReason): string => sign(reason === 'open' ? 1000 : 3_600_000)
  const leader = tab(renewed)
  await open(leader)
  const follower = tab(renewed)
  await open(follower)
  await joined()
  await until('a newer one', () => leader.asked.includes('expiring'))
  await publish()
  await until('both', () => leader.told.length === 1 && follower.told.length === 1)
  t.same([leader.asked, follower.asked], [['open', 'expiring'], ['open']])
  t.equal(app.realtime.connections().length, 1)
})

t.test('one that is refused is asked for once more in each tab, and then none of them tries', async (t) => {
  const { open: tab } = await start(t)
  const tabs = [tab(() => 'nonsense'), tab(() => 'nonsense')]
  await until('the end', () => tabs.every(({ is }) => is() === 'refused'))
  for (const { asked, client } of tabs) {
    t.match(asked, ['open', 'refused'])
    t.match(client.state.get(), { code: '4403' })
  }
})

t.test('a leader whose source throws, or gives nothing, leaves the lead to who has a token', async (t) => {
  let release = (): void => {}
  t.teardown(() => release())
  const faults: Give[] = [() => { throw new Error('no') }, async () => await new Promise<string>((resolve) => { release = () => resolve('') })]
  for (const fault of faults) {
    const { sign, open: tab, publish, joined } = await start(t)
    // It has led once, and has no token when it is to come back.
    const leader = tab((_reason, times) => times === 0 ? sign() : fault(_reason, times), { tokenTimeout: 60_000 })
    await open(leader)
    const follower = tab(() => sign())
    await open(follower)
    await joined()
    await publish()
    await until('both', () => leader.told.length === 1 && follower.told.length === 1)
    leader.page.freeze()
    leader.page.thaw()
    await until('another leads', () => leader.is() !== 'open')
    await publish()
    await until('the follower', () => follower.told.length === 2)
    t.same(follower.told, [1, 2])
    t.equal(follower.is(), 'open')
    leader.client.close()
  }
})

t.test('a renewal that throws, or gives nothing, ends nothing before the token does; then there is another', async (t) => {
  const { sign, open: tab, publish, joined } = await start(t, 1000)
  const leader = tab((reason, times) => {
    if (reason === 'expiring' && times === 1) throw new Error('not now')
    return sign(times === 0 ? 1000 : 3_600_000)
  })
  await open(leader)
  const follower = tab(() => sign())
  await open(follower)
  await joined()
  await publish()
  await until('both', () => leader.told.length === 1 && follower.told.length === 1)
  await until('another token', () => leader.asked.length >= 3)
  await open(leader)
  await open(follower)
  await joined()
  await publish()
  await until('both', () => leader.told.length === 2 && follower.told.length === 2)
  t.same([leader.told, follower.told], [[1, 2], [1, 2]])
})

t.test('the lead changes while a newer token is on its way: the next one goes by its own, and what comes late is nobody\'s', async (t) => {
  const { app, sign, open: tab, publish, joined } = await start(t)
  let late = (): void => {}
  const leader = tab((reason) => {
    if (reason === 'open') return sign(1000)
    return new Promise((resolve) => { late = () => resolve('too late') })
  })
  await open(leader)
  const follower = tab(() => sign())
  await open(follower)
  await joined()
  await publish()
  await until('both', () => leader.told.length === 1 && follower.told.length === 1)
  await until('it is on its way', () => leader.asked.length === 2)
  leader.client.close()
  late()
  await until('the next one', () => app.realtime.connections().length === 1 && follower.is() === 'open')
  await publish()
  await until('the second', () => follower.told.length === 2)
  t.same(follower.told, [1, 2])
  t.same(follower.asked.filter((reason) => reason !== 'open'), [], 'its own was never refused')
})

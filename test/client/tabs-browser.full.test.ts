/** Windows of one real browser that share a connection, under a strict CSP: many, closed, crashed, frozen and thawed. */
import t, { type Test } from 'tap'
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import type { Client } from '../../lib/client/index.ts'
import type { Untyped } from '../../lib/client/types.ts'
import { live } from '../helpers/app.ts'
import { bareTabs, type BareTab } from '../helpers/bare-tabs.ts'
import { launchChromium } from '../helpers/chromium.ts'
import { root } from '../helpers/docs.ts'
import { until } from '../helpers/redis.ts'

t.setTimeout(240_000)
const browser = await launchChromium()
t.teardown(() => browser.close())
const openBare = await bareTabs(browser)

interface Shared { rt: Client<Untyped>, heard: unknown[] }

const PAGE = '<!doctype html><title>tabs</title><script type="module" src="/page.js"></script>'
/** `silent`: the page is told by nobody that it is about to be frozen. */
const SCRIPT = `
import { connect } from '/client/index.js'
import { sharedTabs } from '/client/tabs.js'
const query = new URLSearchParams(location.search)
if (query.has('silent')) document.addEventListener('freeze', (event) => event.stopImmediatePropagation(), true)
const rt = connect('/realtime', { firstDelay: 50, tabs: sharedTabs({ key: query.get('key') ?? 'ada' }) })
const room = rt.topic('rooms/:room', { room: '1' })
const tally = rt.topic('tally')
const board = rt.topic('board')
const heard = []
room.on('n', ({ data }) => heard.push(data))
Object.assign(globalThis, { rt, room, tally, board, heard })
`

async function start (t: Test) {
  const app = await live(t, { identify: () => ({ id: 'ada' }), retry: 20 })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  let count = 0
  const tally = app.topic('tally', { authorize: () => true, snapshot: () => ({ count }) })
  const board = app.topic('board', { authorize: () => true, keyed: true })
  let dials = 0
  app.channel('/realtime', {
    subscribe: [room, tally, board],
    presence: true,
    messages: { say: { handler: (data) => ({ said: data }) } },
    onConnect: () => { dials++ }
  })
  const csp = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
  app.get('/', (_request, reply) => { reply.header('content-security-policy', csp).type('text/html').send(PAGE) })
  app.get('/page.js', (_request, reply) => { reply.type('text/javascript').send(SCRIPT) })
  app.get<{ Params: { file: string } }>('/client/:file', ({ params }, reply) => {
    reply.type('text/javascript').send(readFileSync(`${root}dist/client/${params.file}`, 'utf8'))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const complaints: string[] = []
  t.teardown(() => { if (complaints.length > 0) throw new Error(complaints.join('\n')) })
  const open = async (query = ''): Promise<Page> => {
    const page = await context.newPage()
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('console', (message) => { if (/Content Security/.test(message.text())) complaints.push(message.text()) })
    await page.goto(`${url}/${query}`)
    await page.waitForFunction(() => (globalThis as unknown as Partial<Shared>).rt?.state.get().is === 'open')
    return page
  }
  const bare = async (query = ''): Promise<BareTab> => {
    const tab = await openBare(`${url}/${query}`)
    t.teardown(() => tab.close())
    await tab.until('globalThis.rt?.state.get().is === "open"')
    return tab
  }
  let n = 0
  return {
    app,
    bare,
    tally,
    board,
    open,
    context,
    publish: async (times: number) => { for (let i = 0; i < times; i++) await room.publish({ room: '1' }, 'n', n++) },
    /** Each page has heard all that was published. */
    async heard (t: Test, pages: Page[]) {
      for (const page of pages) {
        await page.waitForFunction((n) => (globalThis as unknown as Shared).heard.length >= n, n)
        t.same(await page.evaluate('heard'), Array.from({ length: n }, (_, i) => i))
      }
    },
    async heardBy (t: Test, tabs: BareTab[]) {
      for (const tab of tabs) {
        await tab.until(`heard.length >= ${n}`)
        t.same(await tab.evaluate('heard'), Array.from({ length: n }, (_, i) => i))
      }
    },
    count: async () => { await tally.publish({}, 'counted', { count: ++count }) },
    connections: () => app.realtime.stats().connections.websocket,
    joined: async () => await until('the topic', () => app.realtime.connections()[0]?.topics.length),
    dials: () => dials
  }
}

t.test('ten windows, one connection', async (t) => {
  const { open, publish, heard, joined, connections, dials, app } = await start(t)
  const pages: Page[] = []
  for (let i = 0; i < 10; i++) pages.push(await open())
  await joined()
  await publish(3)
  await heard(t, pages)
  t.equal(connections(), 1)
  t.equal(dials(), 1)
  t.same(app.realtime.connections().map(({ topics }) => topics), [['rooms/1']])
  const said = await Promise.all(pages.map(async (page, i) => await page.evaluate((i) => (globalThis as unknown as Shared).rt.send('say', i), i)))
  t.same(said, pages.map((_, i) => ({ said: i })), 'and each gets its own answer')
  t.equal(dials(), 1)
})

t.test('the window that leads is closed: the others go on, by one other connection', async (t) => {
  const { open, publish, heard, joined, connections, dials } = await start(t)
  const [leader, ...others] = [await open(), await open(), await open()] as [Page, Page, Page]
  await joined()
  await publish(2)
  await heard(t, [leader, ...others])
  await leader.close()
  await publish(3)
  await heard(t, others)
  await until('one connection', () => connections() === 1)
  t.equal(dials(), 2)
})

t.test('the window that leads crashes: the others go on', async (t) => {
  const { open, publish, heard, joined, connections, context } = await start(t)
  const [leader, ...others] = [await open(), await open(), await open()] as [Page, Page, Page]
  await joined()
  await publish(2)
  await heard(t, [leader, ...others])
  const crashed = leader.waitForEvent('crash')
  const cdp = await context.newCDPSession(leader)
  cdp.send('Page.crash').catch(() => {}) // it has no time to answer
  await crashed
  await publish(3)
  await heard(t, others)
  await until('one connection', () => connections() === 1)
})

const freeze = ({ send }: BareTab) => send('Page.setWebLifecycleState', { state: 'frozen' })
const thaw = ({ send }: BareTab) => send('Page.setWebLifecycleState', { state: 'active' })

/** Nothing of the page runs any more, and its locks stay its own. */
async function hang ({ send, evaluate }: BareTab): Promise<void> {
  await send('Debugger.enable')
  await evaluate('setTimeout(() => { debugger }), 0')
}

/** What stops a tab, and what lets it go on. */
const stops: Record<string, [silent: boolean, stop: (tab: BareTab) => Promise<unknown>, goOn: (tab: BareTab) => Promise<unknown>]> = {
  'is frozen': [false, freeze, thaw],
  'is frozen, and nobody has told it before': [true, freeze, thaw],
  hangs: [false, hang, ({ send }) => send('Debugger.resume')]
}

for (const [what, [silent, stop, goOn]] of Object.entries(stops)) {
  t.test(`the tab that leads ${what}: the others go on, and it follows when it does`, async (t) => {
    const { bare, publish, heardBy, joined, connections } = await start(t)
    const [leader, hidden, seen] = [await bare(silent ? '?silent' : ''), await bare(), await bare()]
    await joined()
    await publish(2)
    await heardBy(t, [leader, hidden, seen])
    t.equal(await leader.evaluate('document.visibilityState'), 'hidden', 'or it would not be frozen')
    await stop(leader)
    await publish(3)
    await heardBy(t, [seen])
    await goOn(leader)
    for (const tab of [hidden, leader]) {
      await tab.show()
      await heardBy(t, [tab])
    }
    await publish(1)
    await heardBy(t, [leader, hidden, seen])
    await until('one connection', () => connections() === 1)
  })
}

t.test('two identities in one browser do not share', async (t) => {
  const { open, publish, heard, joined, connections } = await start(t)
  const pages = [await open('?key=ada'), await open('?key=bob'), await open('?key=ada')]
  await joined()
  await until('both', () => connections() === 2)
  await publish(2)
  await heard(t, pages.slice(0, 2))
  t.equal(connections(), 2)
})

t.test('a late window sees the members, the state of a keyed topic and the snapshot', async (t) => {
  const { open, count, board, publish, joined, connections } = await start(t)
  const watch = (page: Page) => page.evaluate(`
    globalThis.counted = []
    room.members.subscribe(() => {})
    board.state.subscribe(() => {})
    tally.on('*', ({ event, data }) => counted.push([event, data.count]))
    undefined
  `)
  const look = (page: Page) => page.evaluate('({ members: room.members.get(), state: [...board.state.get()], counted })')
  const complete = (page: Page, counted: number) => until('all of it', () =>
    page.evaluate(`room.members.get().length === 1 && board.state.get().size === 2 && counted.length === ${counted}`))
  await board.publish({}, 'note', 'one', { key: 'a' })
  await board.publish({}, 'note', 'two', { key: 'b' })
  const first = await open()
  await watch(first)
  await complete(first, 1)
  await count()
  await board.publish({}, 'note', 'three', { key: 'a' })
  await complete(first, 2)
  const late = await open()
  await watch(late)
  await complete(late, 1)
  const [of, also] = [await look(first), await look(late)] as Array<{ members: unknown, state: unknown, counted: unknown }>
  t.same(also?.members, of?.members)
  t.match(also?.state, [['a', { event: 'note', data: 'three' }], ['b', { data: 'two' }]])
  t.same(of?.counted, [['snapshot', 0], ['counted', 1]])
  t.same(also?.counted, [['snapshot', 1]])
  await joined()
  await publish(1)
  await until('one connection', () => connections() === 1)
})

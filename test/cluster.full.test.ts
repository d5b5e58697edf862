/** The pet store on several nodes: its two stores under one contract, and the cluster example as its users have it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import { MemoryStore } from '../examples/petstore/memory-store.ts'
import { RedisStore } from '../examples/petstore/redis-store.ts'
import type { Store } from '../examples/petstore/store.ts'
import { launchChromium, openWindow, type Window } from './helpers/chromium.ts'
import { RedisServer, until } from './helpers/redis.ts'

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

const auctionId = '019b4132'
const program = fileURLToPath(new URL('../.cache/examples/cluster/server.js', import.meta.url))

// --- the stores ----------------------------------------------------------------

/** Two nodes' views of one shop. */
type Open = (t: Test) => Promise<[Store, Store]>

const openMemory: Open = async () => {
  const store = new MemoryStore()
  return [store, store]
}

const openRedis: Open = async t => {
  const { url } = await RedisServer.start(t)
  const stores = await Promise.all([RedisStore.open(url), RedisStore.open(url)]) as [Store, Store]
  t.teardown(() => stores.forEach(store => store.close()))
  return stores
}

for (const [name, open] of [['memory', openMemory], ['Redis', openRedis]] as const) {
  t.test(`${name}: pets, orders and items are one shop for all nodes`, async t => {
    const [a, b] = await open(t)
    t.match(await b.changePet(auctionId, { price: 99.5 }), { petId: auctionId, price: 99.5, status: 'AVAILABLE' })
    t.match(await a.changePet(auctionId, { status: 'PENDING' }), { price: 99.5, status: 'PENDING' })
    t.same(await a.pets(), await b.pets())
    t.same((await a.pets()).find(({ petId }) => petId === auctionId), await b.pet(auctionId))

    const adoptions = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => (i % 2 ? a : b).adopt('019b4127')))
    t.equal(adoptions.filter(({ status }) => status === 'fulfilled').length, 1, 'a pet is adopted once')
    t.match(await a.pet('019b4127'), { status: 'ADOPTED' })
    await t.rejects(a.adopt('019b4127'), { code: 'PET_ADOPTED', statusCode: 409 })

    const { orderId } = await a.placeOrder('ada', auctionId)
    t.same(await b.order(orderId), { orderId, userId: 'ada', petId: auctionId, status: 'placed' })
    t.match(await b.advanceOrder(orderId, 'shipped'), { status: 'shipped' })
    await t.rejects(a.advanceOrder(orderId, 'shipped'), { code: 'ORDER_GOES_FORWARD' })
    t.match(await a.advanceOrder(orderId, 'delivered'), { orderId, status: 'delivered' })

    t.match(await a.setStock('hay', 0), { itemId: 'hay', name: 'Meadow hay', stock: 0 })
    t.match((await b.items()).find(({ itemId }) => itemId === 'hay'), { stock: 0 })

    t.same(await Promise.all([a.sessions('ada'), b.sessions('ada')]), [0, 0])
    await Promise.all([a.endSessions('ada'), b.endSessions('ada')])
    t.same(await Promise.all([a.sessions('ada'), b.sessions('ada'), a.sessions('ben')]), [2, 2, 0])

    const unknown: Array<[string, Array<() => Promise<unknown>>]> = [
      ['PET_NOT_FOUND', [() => a.pet('x'), () => a.changePet('x', { price: 1 }), () => a.adopt('x'), () => a.placeOrder('ada', 'x')]],
      ['ORDER_NOT_FOUND', [() => a.order('x'), () => a.advanceOrder('x', 'shipped')]],
      ['ITEM_NOT_FOUND', [() => a.setStock('x', 1)]]
    ]
    for (const [code, asked] of unknown) for (const ask of asked) await t.rejects(async () => { await ask() }, { code, statusCode: 404 })
  })
}

t.test('Redis: while it is away everything is refused, and afterwards all is as it was', async t => {
  const server = await RedisServer.start(t, ['--appendonly', 'yes'])
  const store = await RedisStore.open(server.url)
  t.teardown(() => store.close())
  await store.setStock('hay', 50)
  await server.kill()
  for (const ask of [() => store.pets(), () => store.setStock('hay', 60), () => store.adopt('019b4127')]) {
    await t.rejects(async () => { await ask() }, { code: 'STORE_AWAY', statusCode: 503 })
  }
  await t.rejects(RedisStore.open(server.url), { code: 'STORE_AWAY' })
  await server.up()
  await until('the store', async () => await store.items())
  t.match((await store.items()).find(({ itemId }) => itemId === 'hay'), { stock: 50 })
})

// --- the cluster -----------------------------------------------------------------

interface Cluster {
  url: string
  /** Presses a key, which is a line where there is no terminal. */
  press (key: string): void
  /** Resolves when a line that fits is printed after this call. */
  says (line: RegExp): Promise<void>
  ended: Promise<unknown[]>
}

async function startCluster (t: Test): Promise<Cluster> {
  if (!existsSync(program)) throw new Error('Build the examples first: npm run build:examples')
  const child = spawn(process.execPath, [program], { env: { ...process.env, PORT: '0' }, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await ended
  })
  const printed: string[] = []
  createInterface({ input: child.stdout }).on('line', line => printed.push(line))
  const says = async (wanted: RegExp): Promise<string> => {
    const from = printed.length
    const fits = (): string | undefined => printed.slice(from).find(line => wanted.test(line))
    await until(`a line that fits ${wanted}`, fits, 60_000)
    return fits()!
  }
  const [line] = await Promise.all([says(/^Pet store on three nodes: /), says(/^Keys: /)])
  return {
    url: line.slice(line.indexOf('http')),
    press: key => child.stdin.write(`${key}\n`),
    says: async wanted => { await says(wanted) },
    ended
  }
}

/** Bids ever more, over whichever node answers, until it is stopped. Knows which of its bids were heard. */
function startBidder (url: string) {
  const heard: number[] = []
  let amount = 100
  const stop = new AbortController()

  async function bidOn (socket: WebSocket): Promise<void> {
    const inbox = createInbox(socket)
    for (; !stop.signal.aborted; await pause(10)) {
      const mine = ++amount
      socket.send(JSON.stringify({ type: 'bid', amount: mine }))
      if (await inbox.find(({ type, amount }) => type === 'error' || amount === mine)) heard.push(mine)
    }
  }

  const running = (async () => {
    while (!stop.signal.aborted) {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/auctions/${auctionId}?userId=bidder`)
      try {
        await once(socket, 'open')
        await bidOn(socket)
      } catch {
        await pause(50)
      }
      socket.on('error', () => {}).terminate()
    }
  })()

  return {
    heard,
    /** Resolves when so many more of its bids were heard. */
    goesOn: (more = 10): Promise<void> => {
      const enough = heard.length + more
      return until('a bid', () => heard.length >= enough, 60_000)
    },
    async stop () {
      stop.abort()
      await running
    }
  }
}

type Frame = Record<string, unknown>

function createInbox (socket: WebSocket) {
  /** False: the first frame that fits is an error. Throws when the socket is lost. */
  const find = (wanted: (frame: Frame) => boolean): Promise<boolean> => new Promise((resolve, reject) => {
    const lost = () => reject(new Error('lost'))
    // It may have been lost since the last answer: then nobody says so any more.
    if (socket.readyState !== WebSocket.OPEN) return lost()
    socket.once('close', lost)
    socket.on('message', function look (data) {
      const frame = JSON.parse(String(data)) as Frame
      if (!wanted(frame)) return
      socket.off('message', look).off('close', lost)
      resolve(frame.type !== 'error')
    })
  })
  return { find }
}

t.test('a node is killed, Redis is restarted, and no window misses a bid or hears one twice', async t => {
  const cluster = await startCluster(t)
  const browser = await launchChromium()
  t.teardown(() => browser.close())

  const open = async (userId: string): Promise<Window> => {
    const window = await openWindow(browser, `${cluster.url}/?userId=${userId}`)
    t.teardown(window.close)
    for (const panel of ['auction', 'notifications', 'inventory', 'support']) await served(window, panel)
    return window
  }
  const served = ({ page }: Window, panel: string) => page.locator(`#${panel} .wire[data-state="live"]`, { hasText: /^node-[123]$/ }).waitFor()
  const nodeOf = async ({ page }: Window) => await page.locator('#proof-node').textContent() ?? ''
  const counted = async ({ page }: Window, what: string) => Number(await page.locator(`#proof [data-count="${what}"]`).textContent())
  const bidsOf = ({ frames }: Window) => frames.filter(({ event }) => event === 'bid').map(({ data }) => (data as { amount: number }).amount)
  const notes: string[] = []
  const note = async (when: string) => {
    const text = `Note ${notes.length + 1}, sent ${when}`
    notes.push(text)
    await until('the note', async () => (await fetch(`${cluster.url}/v1/notifications`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ text })
    })).status === 202)
  }

  const windows = [await open('Ada'), await open('Ben')] as [Window, Window]
  const [ada, ben] = windows
  const bidder = startBidder(cluster.url)
  t.teardown(bidder.stop)
  await bidder.goesOn()

  const kill = async (window: Window) => {
    // Behind a restart of Redis a window may be on its way to a node.
    await served(window, 'auction')
    const name = await nodeOf(window)
    const killed = cluster.says(new RegExp(`^${name} has ended`))
    const again = cluster.says(new RegExp(`^${name} is running`))
    cluster.press(name.at(-1)!)
    await killed
    await note(`while ${name} was away`)
    await bidder.goesOn()
    await Promise.all([again, ...windows.map(each => served(each, 'auction'))])
  }

  await kill(ada)
  t.ok(await counted(ada, 'reconnects') > 0, 'the window came back')

  const back = cluster.says(/^Redis is running again/)
  cluster.press('r')
  await back
  await bidder.goesOn()
  await note('after the restart')
  await kill(ben)
  await bidder.stop()

  // From a window too; and when all have heard the last bid, they have heard all.
  for (const window of windows) await served(window, 'auction')
  await ben.page.locator('#auction-form input').fill('100000')
  await ben.page.locator('#auction-form').getByRole('button', { name: 'Bid' }).click()
  for (const { page } of windows) await page.locator('#auction-bids li', { hasText: '$100,000' }).waitFor()

  const [first, second] = [bidsOf(ada), bidsOf(ben)]
  t.same(first.slice(first.indexOf(second[0]!)), second, 'both windows heard the same')
  t.same(first, [...new Set(first)].sort((x, y) => x - y), 'in the order in which it was decided, and nothing twice')
  t.same(bidder.heard.filter(amount => !first.includes(amount)), [], `all of ${bidder.heard.length} bids that the bidder knows of`)
  for (const window of windows) {
    for (const what of ['missed', 'doubled', 'resets']) t.equal(await counted(window, what), 0, `${what}: 0`)
    t.ok(await counted(window, 'heard') >= bidder.heard.length, 'the page shows what it heard')
    for (const text of notes) {
      await window.page.locator('#feed li', { hasText: text }).first().waitFor()
      t.equal(await window.page.locator('#feed li', { hasText: text }).count(), 1, `"${text}" came once`)
    }
  }

  await t.test('what is lost for good is said', async t => {
    const empty = cluster.says(/^Redis is running again/)
    cluster.press('e')
    await empty
    for (const { page } of windows) {
      await page.locator('#proof [data-count="resets"]', { hasText: /^[1-9]/ }).waitFor()
      await page.locator('#auction-amount', { hasText: /^\$10$/ }).waitFor()
    }
    for (const window of windows) await served(window, 'auction')
    await ada.page.locator('#auction-form input').fill('77')
    await ada.page.locator('#auction-form').getByRole('button', { name: 'Bid' }).click()
    await ben.page.locator('#auction-bids li', { hasText: 'Ada bid $77' }).waitFor()
    for (const window of windows) t.same([await counted(window, 'missed'), await counted(window, 'doubled')], [0, 0])
  })

  for (const width of [1280, 768, 390, 320]) {
    await ada.page.setViewportSize({ width, height: 800 })
    t.ok(await ada.page.evaluate(() => document.documentElement.scrollWidth) <= width, `nothing is wider than ${width} px`)
  }
  // A browser says of each lost connection that it was lost; nothing else is to be complained of.
  t.same(windows.flatMap(({ complaints }) => complaints).filter(text => !/WebSocket connection|Failed to load resource|net::ERR/.test(text)), [])

  cluster.press('q')
  t.same(await cluster.ended, [0, null])
})

t.test('without a Redis server the example says what to install', async t => {
  const run = async (env: Record<string, string>): Promise<[unknown, string]> => {
    const child = spawn(process.execPath, [program], { env: { PATH: '', ...env }, stdio: ['ignore', 'ignore', 'pipe'] })
    let words = ''
    child.stderr.setEncoding('utf8').on('data', text => { words += text })
    const [code] = await once(child, 'close')
    return [code, words]
  }
  t.match(await run({}), [1, /needs a redis-server \(7 or newer\)[^]*apt-get install redis-server/])
  t.match(await run({ REDIS_SERVER_BIN: '/nowhere/redis-server' }), [1, /REDIS_SERVER_BIN is '\/nowhere\/redis-server', which is not a program/])
})

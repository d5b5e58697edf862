/** The pet store's dashboard on two nodes: three people, their pointers, and what becomes of them when a node dies. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { createBalancer } from '../examples/cluster/balancer.ts'
import { connectChannel, type ChannelClient } from '../lib/testing/index.ts'
import { openWindow, type Window } from './helpers/chromium.ts'
import { browser, startShop, wire } from './helpers/petstore.ts'
import { RedisServer } from './helpers/redis.ts'

// A browser on a busy machine takes its time.
t.setTimeout(240_000)
t.teardown(() => browser.close())

const program = fileURLToPath(new URL('../.cache/examples/petstore/server.js', import.meta.url))

interface Node { child: ChildProcess, port: number }

async function startNode (t: Test, name: string, redisUrl: string): Promise<Node> {
  const env = { ...process.env, NODE_NAME: name, PORT: '0', REDIS_URL: redisUrl, SESSION_SECRET: 'the same for both of the nodes' }
  const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  return { child, port: Number(/:(\d+)$/.exec(line)?.[1]) }
}

async function startTwo (t: Test) {
  if (!existsSync(program)) throw new Error('Build the examples first: npm run build:examples')
  const { url: redisUrl } = await RedisServer.start(t)
  const nodes = new Map(await Promise.all(['node-1', 'node-2'].map(async name => [name, await startNode(t, name, redisUrl)] as const)))
  const balancer = createBalancer(() => [...nodes.values()].map(({ port }) => port)).listen(0, '127.0.0.1')
  await once(balancer, 'listening')
  t.teardown(() => balancer.close())
  const url = `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`

  return {
    url,
    nodes,
    async open (userId: string): Promise<Window> {
      const window = await openWindow(browser, `${url}/?userId=${userId}`)
      t.teardown(window.close)
      await wire(window, 'dashboard', 'live')
      return window
    },
    async kill (name: string) {
      const { child } = nodes.get(name)!
      nodes.delete(name)
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
}

const person = ({ page }: Window, id: string) => page.locator(`#dashboard-people [data-person="${id}"]`)
const pointer = ({ page }: Window, id: string) => page.locator(`#dashboard [data-pointer="${id}"]`)
const nodeOf = async ({ page }: Window) => await page.locator('#dashboard .wire').textContent() ?? ''
const leaves = ({ frames }: Window) => frames.map(({ data }) => data as { topic?: string, type?: string, ids?: string[] } | undefined)
  .filter(said => said?.topic === 'presence-dashboard' && said.type === 'leave').flatMap(said => said?.ids ?? [])

/** Moves the mouse in one window until the others see it there: a relay is kept for nobody who comes later. */
async function point (window: Window, id: string, others: Window[], x: number): Promise<void> {
  const box = (await window.page.locator('#dashboard').boundingBox())!
  for (let tries = 0; ; tries++) {
    await window.page.mouse.move(box.x + box.width * x + tries % 2, box.y + box.height / 2)
    const places = await Promise.all(others.map(async other =>
      await pointer(other, id).evaluate(node => parseFloat((node as HTMLElement).style.left), undefined, { timeout: 500 }).catch(() => -1)))
    if (places.every(place => Math.abs(place - x * 100) < 2)) return
    if (tries === 60) throw new Error(`${id}'s pointer was never seen at ${x * 100} %: ${places.join()}`)
    await window.page.waitForTimeout(50)
  }
}

t.test('three people on two nodes see each other and their pointers, also when one of the nodes is killed', async t => {
  const shop = await startTwo(t)
  const windows = [await shop.open('Ada'), await shop.open('Ben'), await shop.open('Cleo')] as const
  const [ada, ben, cleo] = windows
  const twin = await shop.open('Ada')
  const all = [...windows, twin]
  const everybodySees = async (...ids: string[]) => {
    for (const window of all.filter(({ page }) => !page.isClosed())) {
      for (const id of ids) await person(window, id).waitFor()
      await window.page.waitForFunction(count => document.querySelectorAll('#dashboard-people li').length === count, ids.length)
    }
  }
  await everybodySees('Ada', 'Ben', 'Cleo')

  await point(ada, 'Ada', [ben, cleo], 0.25)
  await point(ben, 'Ben', [ada, cleo, twin], 0.5)
  t.equal(await pointer(twin, 'Ada').count(), 0, 'one\'s own pointer is not shown')

  const killed = await nodeOf(ada)
  t.match(killed, /^node-[12]$/)
  await shop.kill(killed)
  const [survivor] = shop.nodes.keys()
  for (const window of all) await window.page.locator('#dashboard .wire[data-state="live"]', { hasText: survivor! }).waitFor()
  await everybodySees('Ada', 'Ben', 'Cleo')
  await point(ada, 'Ada', [ben, cleo], 0.7)
  await point(cleo, 'Cleo', [ada, ben, twin], 0.3)

  // The figures go on as well, from whichever node is left.
  const { port } = shop.nodes.get(survivor!)!
  await fetch(`http://127.0.0.1:${port}/v1/pets/019b4127/adopt`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ userId: 'Ben' })
  })
  for (const { page } of all) await page.locator('[data-figure="adopted"]', { hasText: /^1$/ }).waitFor()

  // Ada stays where one of her windows is; Ben leaves with his only one, once his grace is over.
  await ada.page.close()
  await ben.page.close()
  await everybodySees('Ada', 'Cleo')
  for (const window of [cleo, twin]) {
    t.equal(await pointer(window, 'Ben').count(), 0, 'his pointer has gone with him')
    t.same(leaves(window), ['Ben'], 'nobody else was ever told to have left')
  }
})

t.test('signed out everywhere: every window of that person, on whatever node, and nobody else\'s', async t => {
  const shop = await startTwo(t)
  const [phone, laptop, ben] = [await shop.open('Ada'), await shop.open('Ada'), await shop.open('Ben')]
  await person(ben, 'Ada').waitFor()

  await phone.page.locator('#sign-out').click()
  for (const { page } of [phone, laptop]) {
    await page.locator('#signed-out').waitFor()
    for (const panel of ['dashboard', 'auction', 'support', 'notifications']) {
      await page.locator(`#${panel} .wire[data-state="idle"]`).waitFor({ state: 'attached' })
    }
  }
  await person(ben, 'Ada').waitFor({ state: 'detached' })
  await wire(ben, 'dashboard', 'live')
  t.equal(await ben.page.locator('#signed-out').isVisible(), false)

  await laptop.page.locator('#sign-in').click()
  await wire(laptop, 'dashboard', 'live')
  await person(ben, 'Ada').waitFor()
  t.equal(await phone.page.locator('#signed-out').isVisible(), true, 'the other one stays out')
})

t.test('only a token of the login opens the dashboard, and each person has their own', async t => {
  const shop = await startShop(t)
  const login = async (userId: string) => {
    const response = await fetch(`${shop.url}/v1/session`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ userId })
    })
    const { token } = await response.json() as { token: string }
    return { token, cookie: response.headers.getSetCookie()[0]!.split(';')[0]! }
  }
  const ask = async (method: string, path: string, cookie?: string) => {
    const response = await fetch(shop.url + path, { method, headers: cookie === undefined ? {} : { cookie } })
    return [response.status, (await response.json() as { code?: string }).code]
  }
  const [ada, ben] = [await login('Ada'), await login('Ben')]
  const dashboard = async (token?: string, headers = {}) =>
    await connectChannel(shop.app, '/presence-dashboard', { t, format: 'envelope', headers, ...token !== undefined && { token } })
  const refused = async (client: ChannelClient) => (await client.ended).code

  t.equal(await refused(await dashboard()), 4403, 'without a token')
  t.equal(await refused(await dashboard(ada.token.slice(0, -2))), 4403, 'with a broken one')
  t.equal(await refused(await dashboard(ben.token, { cookie: ada.cookie })), 4403, 'with another one than the cookie\'s')

  const client = await dashboard(ada.token, { cookie: ada.cookie })
  const other = await dashboard(ben.token)
  await other.next('realtime:presence')
  client.send('cursor', { x: 0.1, y: 0.2 })
  t.match(await other.next('cursor'), { data: { userId: 'Ada', x: 0.1, y: 0.2 } }, 'the server says whose it is')

  t.same(await ask('GET', '/v1/session?userId=Ada'), [401, 'NO_SESSION'], 'a name is no login')
  t.same(await ask('DELETE', '/v1/sessions?userId=Ada'), [401, 'NO_SESSION'])
  t.same(await ask('DELETE', '/v1/sessions?userId=Ada', ben.cookie), [401, 'NO_SESSION'])
  t.same(await ask('DELETE', '/v1/sessions?userId=Ada', ada.cookie), [200, undefined])
  t.same(await ask('GET', '/v1/session?userId=Ada', ada.cookie), [401, 'SIGNED_OUT'])
  t.same(await ask('GET', '/v1/pets?userId=Ada', ada.cookie), [401, 'SIGNED_OUT'])
  t.same(await ask('GET', '/v1/pets', ada.cookie), [200, undefined], 'as a guest she may look around')
  t.equal(await refused(await dashboard(ada.token)), 4403, 'a token from before')
  const again = await dashboard((await login('Ada')).token)
  t.ok(await again.next('realtime:presence'))
})

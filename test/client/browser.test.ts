/** The client in a real browser, without a bundler, under a strict CSP: offline, hidden, frozen, and redrawn. */
import t, { type Test } from 'tap'
import type { Client } from '../../lib/client/index.ts'
import { portOf } from '../helpers/app.ts'
import { bareTabs } from '../helpers/bare-tabs.ts'
import { launchChromium } from '../helpers/chromium.ts'
import { servePage } from '../helpers/client-page.ts'
import { HttpProxy } from '../helpers/http-proxy.ts'
import { until } from '../helpers/redis.ts'

t.setTimeout(180_000)
const browser = await launchChromium()
t.teardown(() => browser.close())

interface Shared { rt: Client<unknown>, heard: number[] }

/** `blocked`: behind a proxy that refuses upgrades, by the wire `auto`. */
async function open (t: Test, blocked = false) {
  const { app, published, ...server } = await servePage(t, {}, blocked ? 'auto' : 'websocket')
  const proxy = await HttpProxy.start(t, portOf(app))
  if (blocked) proxy.upgrades = 403
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => { if (message.type() === 'error' && /Content Security/.test(message.text())) complaints.push(message.text()) })
  t.teardown(() => { if (complaints.length > 0) throw new Error(complaints.join('\n')) })
  await page.goto(proxy.url)
  await page.waitForFunction(() => (globalThis as unknown as Partial<Shared>).rt?.state.get().is === 'open')
  await until('the topic', () => app.realtime.connections()[0]?.topics.length)
  return {
    ...server,
    page,
    proxy,
    cdp: await context.newCDPSession(page),
    async all () {
      const all = published()
      await page.waitForFunction((n) => (globalThis as unknown as Shared).heard.length >= n, all.length)
      t.same(await page.evaluate('heard'), all)
    }
  }
}

t.test('offline: it says so, does not dial, and is back at once with all that was missed', async (t) => {
  const { page, cdp, publish, all } = await open(t)
  await publish(3)
  await all()
  const network = (offline: boolean) => cdp.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 })
  await network(true)
  await page.evaluate('rt.state.get().is') // the page is told before what follows
  await publish(3)
  await network(false)
  await publish(3)
  await all()
})

t.test('hidden for long: the connection is let go; seen again: it is back, with all that was missed', async (t) => {
  const { page, publish, all, connections } = await open(t)
  await publish(2)
  await all()
  const show = async (state: string) => await page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, state)
  await show('hidden')
  await until('nobody', () => connections() === 0)
  await publish(3)
  await show('visible')
  await all()
})

t.test('a frozen tab whose socket is open goes on where it was', async (t) => {
  const { url, publish, published, connections } = await servePage(t)
  // A tab of Playwright's is never frozen; another one is, where it is not in front.
  const openTab = await bareTabs(browser)
  const tab = await openTab(`${url}/?hiddenTimeout=600000`)
  t.teardown(async () => await tab.close())
  const heardAll = async (): Promise<void> => {
    await tab.until(`heard.length >= ${published().length}`)
    t.same(await tab.evaluate('heard'), published())
  }
  await until('the topic', () => connections() === 1)
  await tab.until("rt.state.get().is === 'open'")
  await publish(2)
  await heardAll()
  const front = await openTab('about:blank')
  t.teardown(async () => await front.close())
  await front.show()
  await tab.until("document.visibilityState === 'hidden'")
  await tab.send('Page.setWebLifecycleState', { state: 'frozen' })
  await tab.until('freezes === 1')
  await publish(5)
  t.equal(connections(), 1)
  await tab.send('Page.setWebLifecycleState', { state: 'active' })
  await tab.show()
  await publish(1)
  await heardAll()
})

t.test('left and heard again in the same turn, as React\'s StrictMode does: one connection, one subscription', async (t) => {
  const { page, publish, all, dials } = await open(t)
  await publish(1)
  await all()
  await page.evaluate('leave(); globalThis.leave = hear()')
  await publish(2)
  await all()
  t.equal(dials(), 1)
  await page.evaluate('leave()')
  await page.waitForFunction(() => (globalThis as unknown as Shared).rt.state.get().is === 'idle')
})

t.test('behind a proxy that blocks upgrades: HTTP, under the same CSP, and from the beginning after a reload', async (t) => {
  const { page, proxy, publish, all } = await open(t, true)
  await publish(2)
  await all()
  t.same(await page.evaluate("rt.send('say', 'hello')"), { said: 5 })
  t.equal(proxy.asked, 1)
  proxy.cut()
  await publish(2)
  await all()
  t.same(await page.evaluate('Object.entries(sessionStorage)'), [[`fastify-realtime:${proxy.url}/realtime`, 'http']])
  await page.reload()
  await page.waitForFunction(() => (globalThis as unknown as Partial<Shared>).rt?.state.get().is === 'open')
  t.equal(proxy.asked, 1)
})

t.test('over HTTP, hidden for long: the stream is let go; seen again: it is back, with all that was missed', async (t) => {
  const { page, publish, all, connections } = await open(t, true)
  await publish(2)
  await all()
  const show = async (state: string) => await page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, state)
  await show('hidden')
  await until('nobody', () => connections() === 0)
  await publish(3)
  await show('visible')
  await all()
})

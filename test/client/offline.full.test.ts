/** Half a minute without a network, in Chromium: what is to be shown is that nothing is tried meanwhile. */
import t from 'tap'
import { launchChromium } from '../helpers/chromium.ts'
import { servePage } from '../helpers/client-page.ts'
import { until } from '../helpers/redis.ts'

t.setTimeout(180_000)
const OFFLINE_MS = 30_000

t.test('30 s offline: no dial, a state that says so, and all that was missed, once and in order', async (t) => {
  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const { app, url, publish, published, connections, dials } = await servePage(t, { heartbeat: 500 })
  const page = await browser.newPage()
  await page.goto(url)
  const hears = async (count: number) => await until(`${count} events`, async () => (await page.evaluate('heard.length') as number) >= count)
  await until('the topic', () => app.realtime.connections()[0]?.topics.length)
  await publish(3)
  await hears(3)

  // Chromium lets nothing through then, and tells the page nothing of its socket: silence does.
  await page.context().setOffline(true)
  await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
  await until('offline', async () => await page.evaluate('rt.state.get().is') === 'offline')
  await until('nobody', () => connections() === 0)
  await page.evaluate('globalThis.tried = states.length')
  for (let i = 0; i < 10; i++) {
    await page.evaluate(`new Promise((resolve) => setTimeout(resolve, ${OFFLINE_MS / 10}))`)
    await publish(1)
  }
  t.same(await page.evaluate('states.slice(tried)'), [], 'nothing was tried')
  t.equal(dials(), 1)

  await page.context().setOffline(false)
  await publish(2)
  await hears(published().length)
  t.same(await page.evaluate('heard'), published())
  t.equal(dials(), 2)
})

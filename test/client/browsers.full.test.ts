/** The client in Firefox and WebKitGTK, on the page that test/client/browser.test.ts has in Chromium. */
import t from 'tap'
import { servePage } from '../helpers/client-page.ts'
import { firefox, webkit } from '../helpers/drivers.ts'
import { until } from '../helpers/redis.ts'

t.setTimeout(120_000)
t.jobs = 2

for (const [name, launch] of Object.entries({ firefox, webkit })) {
  t.test(`${name}: in order behind a cut, answered, let go while hidden, and idle when nobody listens`, async (t) => {
    const { app, url, publish, published, connections, dials } = await servePage(t)
    const browser = await launch(t)
    await browser.goto(url)
    const all = async () => {
      await until('all of them', async () => (await browser.evaluate('heard.length') as number) >= published().length)
      t.same(await browser.evaluate('heard'), published())
    }
    await until('the topic', () => app.realtime.connections()[0]?.topics.length)
    await publish(3)
    await all()
    t.same(await browser.evaluate("rt.send('say', 'hello')"), { said: 5 })

    await app.realtime.disconnect({ topic: 'rooms/1' }, { reconnect: true })
    await publish(3)
    await all()
    t.ok((await browser.evaluate('states') as string[]).includes('waiting'))

    const show = async (state: string) => await browser.evaluate(
      `(Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true }), document.dispatchEvent(new Event('visibilitychange')))`)
    await show('hidden')
    await until('nobody', () => connections() === 0)
    await publish(3)
    await show('visible')
    await all()

    await browser.evaluate('(leave(), globalThis.leave = hear(), 0)')
    await publish(2)
    await all()
    t.equal(dials(), 3, 'one connection at first, one behind the cut, and one when it was seen again')
    await browser.evaluate('leave()')
    await until('idle', async () => await browser.evaluate('rt.state.get().is') === 'idle')
    await until('nobody', () => connections() === 0)
  })
}

/** The inspector's page in Chromium: two nodes on Redis, under helmet's default policy, light and dark, narrow and wide. */
import { readFileSync } from 'node:fs'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import type { Page } from 'playwright-core'
import realtime from 'fastify-realtime'
import inspector from 'fastify-realtime/inspector'
import { redis } from 'fastify-realtime/redis'
import { connectChannel, connectStream } from 'fastify-realtime/testing'
import t, { type Test } from 'tap'
import { launchChromium } from '../helpers/chromium.ts'
import { root } from '../helpers/docs.ts'
import { RedisServer, until } from '../helpers/redis.ts'

t.setTimeout(240_000)
const server = await RedisServer.start(t)
const browser = await launchChromium()
t.teardown(() => browser.close())

const EVIL = '<img src=x onerror=alert(1)>'
const AXE = readFileSync(`${root}node_modules/axe-core/axe.min.js`, 'utf8')
const said = { type: 'object', properties: { text: { type: 'string', minLength: 2 }, by: { type: 'string' } }, required: ['text'] }
/** What Chromium itself says of a response that is cut: there is no way to be cut without it. */
const CUT = /ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET/

async function nodeOf (t: Test, prefix: string) {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(helmet)
  await app.register(realtime, {
    adapter: redis({ url: server.url, prefix }),
    closeTimeout: 500,
    retry: 50,
    // So that what does not fit its schema is sent.
    validate: false,
    identify: (request) => request.headers.user ? { id: String(request.headers.user) } : null
  })
  await app.register(inspector)
  const room = app.topic('rooms/:room', { authorize: () => true, events: { said } })
  const short = app.topic('short/:id', { authorize: () => true, history: { limit: 2 } })
  const prices = app.topic('prices', { authorize: () => true, keyed: true, presence: true })
  app.stream('/rooms/:room/events', { topics: room, schema: { querystring: { type: 'object', properties: { since: { type: 'string' } } } } })
  app.channel('/rooms/:room', { topics: room, subscribe: prices, messages: { say: { schema: said, handler: async (data, { params }) => { await room.publish(params, 'said', data); return { ok: true } } } } })
  app.stream('/short/:id', { topics: short })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url, room, short, prices }
}

async function open (t: Test, url: string, options: { width?: number, scheme?: 'light' | 'dark' } = {}) {
  const { width = 1600, scheme = 'light' } = options
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } })
  t.teardown(() => context.close())
  context.setDefaultTimeout(30_000)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !CUT.test(message.text())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`)
    dialog.dismiss().catch(() => {})
  })
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => console.error(`CSP: ${violatedDirective} ${blockedURI}`))
  })
  await page.goto(`${url}/realtime/inspector`)
  await page.getByText('connected to').waitFor()
  return { page, complaints }
}

/** What is seen of one tried client. */
function clientIn (page: Page, at: number) {
  const client = page.locator('.client').nth(at)
  return {
    press: async (name: string) => await client.getByRole('button', { name, exact: true }).click(),
    sees: async (text: string | RegExp) => await client.getByText(text).first().waitFor(),
    open: async () => await client.locator('.state[data-state="open"]').waitFor(),
    cut: async () => await client.locator('.state[data-state="cut"]').waitFor(),
    located: async () => await client.getByText(/^Connection /).waitFor(),
    marks: async () => await client.locator('.marks .tag').allTextContents(),
    report: async (text: string | RegExp) => await client.locator('.report').getByText(text).waitFor()
  }
}

async function tryRoute (page: Page, route: string, params: string, format?: 'flat') {
  await page.getByRole('link', { name: 'Try it' }).click()
  await page.getByLabel('Stream or channel').selectOption({ label: route })
  await page.locator('.opener fieldset input').first().fill(params)
  if (format) await page.getByLabel('Format').selectOption(format)
  await page.locator('.opener').getByRole('button', { name: 'Open', exact: true }).click()
  const client = clientIn(page, 0)
  await client.open()
  await client.located()
  return client
}

t.test('one node sees the clients of both, drops one of the other\'s, and it comes back to what it missed', async (t) => {
  const [one, other] = [await nodeOf(t, 'both:'), await nodeOf(t, 'both:')]
  const near = await connectStream(one.app, '/rooms/1/events', { t, headers: { user: 'near' } })
  const far = await connectChannel(other.app, '/rooms/1', { t, format: 'envelope', headers: { user: 'far' } })
  await far.next('realtime:subscribed')
  const { page, complaints } = await open(t, one.url)
  await page.locator('td[data-label="Node"]').nth(1).waitFor()
  await page.getByRole('link', { name: 'Connections' }).click()
  await page.locator('tr', { hasText: 'near' }).waitFor()
  await page.locator('tr', { hasText: 'far' }).getByRole('button', { name: 'Drop' }).click()
  t.match(await far.ended, { code: 1006 })
  await page.locator('tr', { hasText: 'far' }).waitFor({ state: 'detached' })
  await one.room.publish({ room: '1' }, 'said', { text: 'missed' })
  await far.resume()
  t.match(await far.next('said'), { data: { text: 'missed' } })
  t.match(await near.next('said'), { data: { text: 'missed' } })
  await page.locator('tr', { hasText: 'far' }).waitFor()
  await page.getByRole('link', { name: 'Overview' }).click()
  await page.locator('.figure', { hasText: 'Resumes' }).getByText('1', { exact: true }).waitFor()
  t.same(complaints, [])
})

t.test('a stream that is tried: dropped, resumed with what was replayed, stalled, and reset with its reason', async (t) => {
  const { url, room, short } = await nodeOf(t, 'stream:')
  const { page, complaints } = await open(t, url)
  const client = await tryRoute(page, 'stream GET /rooms/:room/events', EVIL)
  await room.publish({ room: EVIL }, 'said', { text: EVIL })
  await client.sees('"fits"'.replaceAll('"', ''))
  await client.press('Drop')
  await client.cut()
  await room.publish({ room: EVIL }, 'said', { text: 'bb' })
  await room.publish({ room: EVIL }, 'said', { text: 'cc' })
  await client.press('Resume')
  await client.report('Resumed: 2 missed, 2 replayed')
  t.equal((await client.marks()).filter((mark) => mark === 'replayed').length, 2)
  await room.publish({ room: EVIL }, 'said', { text: 'x' })
  await client.sees(/^fault: .*text must NOT have fewer/)
  await client.press('Stall')
  await page.locator('.state[data-state="stalled"]').waitFor()
  await room.publish({ room: EVIL }, 'said', { text: 'held back' })
  await client.press('Release')
  await client.sees(/held back/)

  const other = await tryRoute(page, 'stream GET /short/:id', '1')
  await short.publish({ id: '1' }, 'n', 0)
  await other.sees('n')
  await other.press('Drop')
  await other.cut()
  for (let n = 1; n < 6; n++) await short.publish({ id: '1' }, 'n', n)
  await other.press('Resume')
  await other.report('Reset: short/1 (expired)')
  t.equal(await page.locator('img').count(), 0, 'what is hostile is text')
  t.same(complaints, [])
})

t.test('channels that are tried: messages and replies, a topic joined, expired, dropped in both formats, restarted', async (t) => {
  const { url, room } = await nodeOf(t, 'channel:')
  const { page, complaints } = await open(t, url)
  const client = await tryRoute(page, 'channel /rooms/:room', '1')
  const shown = page.locator('.client').first()
  await shown.getByText('Send', { exact: true }).first().click()
  await shown.getByLabel('text *').fill(EVIL)
  await shown.getByRole('button', { name: 'Send', exact: true }).click()
  await client.sees('reply')
  await shown.getByLabel('Topic to join').fill('prices')
  await shown.getByRole('button', { name: 'Join' }).click()
  await page.getByText('prices', { exact: true }).first().waitFor()
  await client.press('Expire')
  await client.sees(/^closed: 4401/)
  await room.publish({ room: '1' }, 'said', { text: 'away' })
  await client.press('Resume')
  await client.report('Resumed: 1 missed, 1 replayed')

  const flat = await tryRoute(page, 'channel /rooms/:room', '1', 'flat')
  await flat.press('Drop')
  await flat.sees(/^closed: 1006/)
  t.equal(await clientIn(page, 1).marks().then((marks) => marks.includes('twice')), false)

  await clientIn(page, 1).located()
  await clientIn(page, 1).press('Restart')
  await clientIn(page, 1).press('Restart: sure?')
  await clientIn(page, 1).sees(/^closed: 1012/)
  await page.getByText('connected to').waitFor()
  await clientIn(page, 1).press('Resume')
  await clientIn(page, 1).report(/^Resumed/)
  t.same(complaints, [])
})

t.test('topics: declared and heard ones, history, state, members and a live tail, all as text', async (t) => {
  const { app, url, room, prices } = await nodeOf(t, 'topics:')
  await connectStream(app, `/rooms/${encodeURIComponent(EVIL)}/events`, { t })
  await room.publish({ room: EVIL }, 'said', { text: EVIL })
  await prices.publish({}, 'price', { cents: 1 }, { key: EVIL })
  const { page, complaints } = await open(t, url)
  await page.getByRole('link', { name: 'Topics' }).click()
  await page.getByRole('button', { name: /^rooms\/%3Cimg/ }).click()
  await page.getByRole('button', { name: 'History' }).click()
  await page.locator('.looked pre', { hasText: 'onerror' }).waitFor()
  await page.getByRole('button', { name: 'Live' }).click()
  await page.getByText('Live: the newest first.').waitFor()
  await room.publish({ room: EVIL }, 'said', { text: `live ${EVIL}` })
  await page.locator('.looked pre', { hasText: 'live <img' }).waitFor()
  await page.getByLabel('Look into').fill('prices')
  await page.getByRole('button', { name: 'Open', exact: true }).click()
  await page.getByRole('button', { name: 'State' }).click()
  await page.locator('.looked .tag', { hasText: EVIL }).waitFor()
  await page.getByRole('button', { name: 'Members' }).click()
  await page.getByText('Nobody is there.').waitFor()
  t.equal(await page.locator('img').count(), 0)
  t.same(complaints, [])
})

for (const scheme of ['light', 'dark'] as const) {
  for (const width of [390, 1600]) {
    t.test(`${scheme}, ${width} pixels: nothing overflows, and axe finds no serious fault`, async (t) => {
      const { app, url, room } = await nodeOf(t, `${scheme}${width}:`)
      await connectChannel(app, '/rooms/1', { t, format: 'envelope', headers: { user: 'somebody-with-a-long-name@a-long-domain.example' } })
      const { page, complaints } = await open(t, url, { scheme, width })
      const look = async (what: string): Promise<void> => {
        t.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0, `${what}: nothing to scroll sideways`)
        // Helmet lets no script of elsewhere in: this one comes as the test's own.
        await page.evaluate(AXE)
        const { violations } = await page.evaluate(async () => await (globalThis as unknown as { axe: { run (): Promise<{ violations: Array<{ id: string, impact: string, nodes: Array<{ html: string }> }> }> } }).axe.run())
        t.same(violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => [id, nodes[0]?.html]), [], what)
      }
      await page.locator('td[data-label="Node"]').first().waitFor()
      await look('overview')
      await page.getByRole('link', { name: 'Topics' }).click()
      await page.getByRole('button', { name: 'rooms/1' }).click()
      await page.locator('summary', { hasText: 'rooms/:room' }).click()
      await look('topics')
      await page.getByRole('link', { name: 'Connections' }).click()
      await page.locator('tr', { hasText: 'somebody' }).waitFor()
      await look('connections')
      const client = await tryRoute(page, 'channel /rooms/:room', '1')
      await client.sees('subscribed')
      await room.publish({ room: '1' }, 'said', { text: 'x' })
      await client.sees(/^fault/)
      await page.locator('.client summary').click()
      await look('try it')
      t.same(complaints, [])
    })
  }
}

t.test('an app that declares nothing has something to say for itself', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime, { closeTimeout: 500 })
  await app.register(inspector)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { page, complaints } = await open(t, url)
  for (const [tab, text] of [['Topics', 'The app declares no topics.'], ['Connections', 'Nobody is connected.'], ['Try it', 'The app declares no streams and no channels.']] as const) {
    await page.getByRole('link', { name: tab }).click()
    await page.getByText(text).first().waitFor()
  }
  await until('no complaint', () => complaints.length === 0)
  t.same(complaints, [])
})

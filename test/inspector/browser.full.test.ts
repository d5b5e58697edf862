/** The inspector's page in Chromium: two nodes on Redis, under helmet's default policy, light and dark, narrow and wide. */
import { spawn } from 'node:child_process'
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
  app.channel('/rooms/:room', { topics: room, subscribe: prices, http: true, messages: { say: { schema: said, handler: async (data, { params }) => { await room.publish(params, 'said', data); return { ok: true } } } } })
  app.stream('/short/:id', { topics: short })
  app.channel('/short/:id/ws', { topics: short })
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

async function tryRoute (page: Page, route: string, params: string, how?: 'flat' | 'http') {
  await page.getByRole('link', { name: 'Try it' }).click()
  await page.getByLabel('Stream or channel').selectOption({ label: route })
  await page.locator('.opener fieldset input').first().fill(params)
  if (how === 'flat') await page.getByLabel('Format').selectOption(how)
  if (how === 'http') await page.getByLabel('Wire').selectOption(how)
  await page.locator('.opener').getByRole('button', { name: 'Open client' }).click()
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
  await page.locator('tr', { hasText: 'far' }).getByRole('button', { name: 'Drop connection' }).click()
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

t.test('what is done to a client is told to whoever looks, with what and to whom', async (t) => {
  const { app, url } = await nodeOf(t, 'told:')
  const client = await connectChannel(app, '/rooms/1', { t, format: 'envelope', headers: { user: 'ada' } })
  const { data: { connection } } = await client.next('realtime:open') as { data: { connection: string } }
  const whom = `connection ${connection.slice(0, 8)}`
  const { page, complaints } = await open(t, url)
  const onlooker = await open(t, url)
  await page.getByRole('link', { name: 'Connections' }).click()
  const row = page.locator('tr', { hasText: 'ada' })
  const press = async (name: string, told: string): Promise<void> => {
    await row.getByRole('button', { name }).click()
    for (const each of [page, onlooker.page]) await each.locator('#told').getByText(told, { exact: true }).waitFor()
  }
  await press('Stall client', `An inspector stalled ${whom}: the server holds back what is for it.`)
  await press('Release client', `An inspector released ${whom}: it gets what was held back.`)
  await press('Revoke topic', `An inspector revoked the topic rooms/1 from ${whom}.`)
  t.match((await client.next('realtime:unsubscribed')).data, { topic: 'rooms/1' })
  await row.getByRole('button', { name: 'End connection' }).click()
  await press('End connection: sure?', `An inspector ended ${whom}: it is not to come back.`)
  t.match(await client.ended, { code: 1000 })
  t.same([...complaints, ...onlooker.complaints], [])
})

t.test('a stream that is tried: dropped, resumed with what was replayed, stalled, and reset with its reason', async (t) => {
  const { url, room, short } = await nodeOf(t, 'stream:')
  const { page, complaints } = await open(t, url)
  const client = await tryRoute(page, 'stream GET /rooms/:room/events', EVIL)
  await room.publish({ room: EVIL }, 'said', { text: EVIL })
  await client.sees('fits its schema')
  await client.press('Drop connection')
  await client.cut()
  await room.publish({ room: EVIL }, 'said', { text: 'bb' })
  await room.publish({ room: EVIL }, 'said', { text: 'cc' })
  await client.press('Resume client')
  await client.report('Resumed: 2 missed, 2 replayed')
  t.equal((await client.marks()).filter((mark) => mark === 'replayed').length, 2)
  await room.publish({ room: EVIL }, 'said', { text: 'x' })
  await client.sees(/^does not fit its schema: .*text must NOT have fewer/)
  await client.press('Stall client')
  await page.locator('.state[data-state="stalled"]').waitFor()
  await room.publish({ room: EVIL }, 'said', { text: 'held back' })
  await client.press('Release client')
  await client.sees(/held back/)

  const other = await tryRoute(page, 'stream GET /short/:id', '1')
  await short.publish({ id: '1' }, 'n', 0)
  await other.sees('n')
  await other.press('Drop connection')
  await other.cut()
  for (let n = 1; n < 6; n++) await short.publish({ id: '1' }, 'n', n)
  await other.press('Resume client')
  await other.report('Events were lost, reset: short/1 (expired)')
  t.equal(await page.locator('img').count(), 0, 'what is hostile is text')
  t.same(complaints, [])
})

t.test('channels that are tried: messages and replies, a topic joined, expired, dropped in both formats, restarted', async (t) => {
  const { url, room } = await nodeOf(t, 'channel:')
  const { page, complaints } = await open(t, url)
  const client = await tryRoute(page, 'channel /rooms/:room', '1')
  const shown = page.locator('.client').first()
  await shown.locator('summary').click()
  await shown.getByLabel('text *').fill(EVIL)
  await shown.getByRole('button', { name: 'Send message' }).click()
  await client.sees('reply')
  await shown.getByLabel('Topic to join').fill('prices')
  await shown.getByRole('button', { name: 'Join topic' }).click()
  await page.getByText('prices', { exact: true }).first().waitFor()
  await client.press('Expire access')
  await client.sees(/^closed: 4401/)
  await room.publish({ room: '1' }, 'said', { text: 'away' })
  await client.press('Resume client')
  await client.report('Resumed: 1 missed, 1 replayed')

  const flat = await tryRoute(page, 'channel /rooms/:room', '1', 'flat')
  await flat.press('Drop connection')
  await flat.sees(/^closed: 1006/)
  t.equal(await clientIn(page, 1).marks().then((marks) => marks.includes('received twice')), false)

  await clientIn(page, 1).located()
  await clientIn(page, 1).press('Simulate restart')
  await clientIn(page, 1).press('Simulate restart: sure?')
  await clientIn(page, 1).sees(/^closed: 1012/)
  await page.getByText('connected to').waitFor()
  await clientIn(page, 1).press('Resume client')
  await clientIn(page, 1).report(/^Resumed/)
  t.same(complaints, [])
})

t.test('a channel over HTTP that is tried: messages, a topic joined, bytes, dropped, resumed, expired, and copied as curl that runs', async (t) => {
  const { url, room, prices } = await nodeOf(t, 'http:')
  const { page, complaints } = await open(t, url)
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  const asked: string[] = []
  page.on('request', (request) => { if (request.method() === 'POST') asked.push(`${new URL(request.url()).pathname} ${String(request.postData())}`) })
  const sockets: string[] = []
  page.on('websocket', (socket) => sockets.push(socket.url()))
  const client = await tryRoute(page, 'channel /rooms/:room', '1', 'http')
  const shown = page.locator('.client').first()
  await shown.locator('summary').click()
  await shown.getByLabel('text *').fill(EVIL)
  await shown.getByRole('button', { name: 'Send message' }).click()
  await client.sees('reply')
  await client.sees('{"ok":true}')
  await client.sees('fits its schema')
  await shown.getByLabel('text *').fill('x')
  await shown.getByRole('button', { name: 'Send message' }).click()
  await client.sees(/^error: 4\d\d$/)
  await shown.getByLabel('Topic to join').fill('nowhere')
  await shown.getByRole('button', { name: 'Join topic' }).click()
  await client.sees(/UNKNOWN_TOPIC/)
  await client.located()
  await client.press('Stall client')
  await page.locator('.state[data-state="stalled"]').waitFor()
  await shown.getByLabel('Topic to join').fill('prices')
  await shown.getByRole('button', { name: 'Join topic' }).click()
  await client.open()
  await shown.locator('[data-kind="frame"]', { hasText: 'prices' }).filter({ hasText: 'subscribed' }).first().waitFor()
  await prices.publish({}, 'price', { cents: 1 }, { key: 'cat' })
  await shown.locator('[data-kind="in"]', { hasText: 'price' }).first().waitFor()
  await room.publish({ room: '1' }, 'said', new Uint8Array([1, 2, 3]))
  await client.sees('{"bytes":3}')

  await shown.getByText(/^Connection /).waitFor()
  await client.press('Drop connection')
  await client.cut()
  for (const text of ['bb', 'cc']) await room.publish({ room: '1' }, 'said', { text })
  await prices.publish({}, 'price', { cents: 2 }, { key: 'cat' })
  await client.press('Resume client')
  await client.report('Resumed: 3 missed, 3 replayed')
  t.notOk((await client.marks()).includes('received twice'))
  await client.located()
  await client.press('Stall client')
  await page.locator('.state[data-state="stalled"]').waitFor()
  await room.publish({ room: '1' }, 'said', { text: 'held back' })
  await client.press('Release client')
  await client.sees(/held back/)
  await client.press('Expire access')
  await client.sees(/^closed: 4401/)
  await client.press('Resume client')
  await client.report('Resumed: nothing was missed')
  await shown.getByLabel('Show raw frames').check()
  await client.sees(/^POST \/rooms\/1\s+\{"op":"open","cursors":\{.*"topics":\["prices"\]\}$/)
  await client.sees(/^data: \{"op":"open"/)
  t.same(sockets.filter((one) => one.endsWith('/rooms/1')), [], 'no WebSocket is among it')
  t.ok(asked.every((one) => one.startsWith('/rooms/1 ')), asked.join())

  await client.press('Copy as curl')
  await page.getByText('Copied to the clipboard, as curl.').first().waitFor()
  const [copied = '', message = ''] = (await page.evaluate(async () => await navigator.clipboard.readText())).split('\n\n')
  const curl = spawn('sh', ['-c', `exec ${copied}`], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => { curl.kill() })
  let heard = ''
  for await (const part of curl.stdout.setEncoding('utf8')) {
    heard += String(part)
    if (heard.includes('"op":"snapshot"') || heard.includes('"subscribed","topic":"prices"')) break
  }
  t.match(heard, '"op":"subscribed","topic":"rooms/1"')
  t.match(message, /"event":"say"/)
  // Chromium reports each answer that is no 2xx: that of the message that does not fit.
  t.same(complaints.filter((line) => !/status of 4\d\d/.test(line)), [])
})

t.test('a channel that is not declared with `http: true` is tried by WebSocket alone; bytes move it on as other events do', async (t) => {
  const { app, url } = await nodeOf(t, 'bytes:')
  const { page, complaints } = await open(t, url)
  const client = await tryRoute(page, 'channel /short/:id/ws', '1')
  t.equal(await page.getByLabel('Wire').count(), 0)
  await app.realtime.publish('short/1', 'n', new Uint8Array([1, 2, 3, 4]))
  await client.sees('{"bytes":4}')
  await client.press('Drop connection')
  await client.cut()
  await app.realtime.publish('short/1', 'n', 'after')
  await client.press('Resume client')
  await client.report('Resumed: 1 missed, 1 replayed')
  t.notOk((await client.marks()).includes('received twice'))
  t.same(complaints, [])
})

t.test('over HTTP a token and headers go with the stream and with each message; what is refused is shown', async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(realtime, { closeTimeout: 500, retry: 50 })
  await app.register(inspector)
  const room = app.topic('rooms/:room')
  app.channel('/rooms/:room', {
    topics: room,
    http: true,
    messages: { say: { handler: (_data, { connection }) => ({ by: connection?.identity.id ?? 'nobody' }) } },
    preHandler: async ({ headers }, reply) => {
      if (headers.authorization !== 'Bearer secret' || headers['x-odd'] !== 'a: b') await reply.code(401).send({ message: 'who are you' })
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { page } = await open(t, url)
  await page.getByRole('link', { name: 'Try it' }).click()
  await page.locator('.opener fieldset input').first().fill('1')
  t.equal(await page.getByLabel('Other headers').isVisible(), false, 'a WebSocket has none')
  await page.getByLabel('Wire').selectOption('http')
  t.equal(await page.getByLabel('Format').isVisible(), false)
  const press = async (): Promise<void> => await page.locator('.opener').getByRole('button', { name: 'Open client' }).click()
  await press()
  await clientIn(page, 0).sees('answered 401')
  await clientIn(page, 0).sees(/who are you/)
  await page.getByLabel('Other headers').fill('X-Odd: a: b')
  await page.getByLabel('Token').fill('secret')
  await press()
  const client = clientIn(page, 0)
  await client.open()
  await page.locator('.client').first().locator('summary').click()
  await page.locator('.client').first().getByRole('button', { name: 'Send message' }).click()
  await client.sees(/"by":/)
})

t.test('topics: declared and heard ones, history, state, members and a live tail, all as text', async (t) => {
  const { app, url, room, prices } = await nodeOf(t, 'topics:')
  await connectStream(app, `/rooms/${encodeURIComponent(EVIL)}/events`, { t })
  await room.publish({ room: EVIL }, 'said', { text: EVIL })
  await prices.publish({}, 'price', { cents: 1 }, { key: EVIL })
  const { page, complaints } = await open(t, url)
  await page.getByRole('link', { name: 'Topics' }).click()
  await page.getByRole('button', { name: /^rooms\/%3Cimg/ }).click()
  await page.getByRole('button', { name: 'Show history' }).click()
  await page.locator('.looked pre', { hasText: 'onerror' }).waitFor()
  await page.getByText('The history has 1 event, the newest first.').waitFor()
  await page.getByRole('button', { name: 'Follow live' }).click()
  await page.getByText('Live: new events appear here, the newest first.').waitFor()
  await room.publish({ room: EVIL }, 'said', { text: `live ${EVIL}` })
  await page.locator('.looked pre', { hasText: 'live <img' }).waitFor()
  await page.getByLabel('Topic by name').fill('prices')
  await page.getByRole('button', { name: 'Open topic' }).click()
  await page.getByRole('button', { name: 'Show state' }).click()
  await page.locator('.looked .tag', { hasText: EVIL }).waitFor()
  await page.getByText('The state has 1 key.').waitFor()
  await page.getByRole('button', { name: 'Show members' }).click()
  await page.getByText('The topic has no members now.').waitFor()
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
      await client.sees(/^does not fit/)
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
  for (const [tab, text] of [['Topics', 'The app declares no topics.'], ['Connections', 'No client is connected.'], ['Try it', 'The app declares no streams and no channels.']] as const) {
    await page.getByRole('link', { name: tab }).click()
    await page.getByText(text).first().waitFor()
  }
  await until('no complaint', () => complaints.length === 0)
  t.same(complaints, [])
})

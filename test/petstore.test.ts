/** The pet store as its users have it: a real server, a real browser, and other people's clients. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import { createEventSource } from 'eventsource-client'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import { buildApp, type PetStoreOptions } from '../examples/petstore/app.ts'
import { launchChromium, openWindow, type Window } from './helpers/chromium.ts'

type Json = Record<string, unknown>

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

const browser = await launchChromium()
t.teardown(() => browser.close())

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

async function startShop (t: Test, options: PetStoreOptions = {}) {
  const app = await buildApp(options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const windows: Window[] = []

  async function send (method: string, path: string, body?: Json): Promise<{ status: number, body: Json }> {
    const response = await fetch(url + path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    })
    return { status: response.status, body: await response.json() as Json }
  }

  async function open (userId: string): Promise<Window> {
    const window = await openWindow(browser, `${url}/?userId=${encodeURIComponent(userId)}`)
    windows.push(window)
    t.teardown(window.close)
    for (const panel of ['notifications', 'inventory', 'auction', 'support']) await wire(window, panel, 'live')
    await window.page.locator('#pet-list li').first().waitFor()
    return window
  }

  const consolesAreEmpty = () => t.same(windows.flatMap(({ complaints }) => complaints), [], 'no console has a complaint')

  return { app, url, send, open, consolesAreEmpty }
}

const wire = ({ page }: Window, panel: string, state: string) =>
  page.locator(`#${panel} .wire[data-state="${state}"]`).waitFor({ state: 'attached' })

const seen = ({ page }: Window, selector: string, hasText: string | RegExp) =>
  page.locator(selector, { hasText }).first().waitFor()

async function bid ({ page }: Window, amount: number) {
  await page.locator('#auction-form input').fill(String(amount))
  await page.locator('#auction-form').getByRole('button', { name: 'Bid' }).click()
}

/** What came, and a way to wait for what has not. */
function inbox<T> () {
  const all: T[] = []
  const waiting = new Set<() => void>()
  return {
    all,
    push (item: T) {
      all.push(item)
      for (const look of waiting) look()
    },
    find (wanted: (item: T) => boolean): Promise<T> {
      return new Promise(resolve => {
        const look = () => {
          const found = all.find(wanted)
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      })
    }
  }
}

/** A WebSocket of the npm package `ws`. */
async function socket (t: Test, url: string) {
  const client = new WebSocket(url.replace('http', 'ws'))
  const texts = inbox<Json>()
  const pictures = inbox<Buffer>()
  client.on('message', (data, isBinary) => {
    if (isBinary) pictures.push(data as Buffer)
    else texts.push(JSON.parse(String(data)))
  })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  return {
    texts,
    pictures,
    send: (message: Json | string) => client.send(typeof message === 'string' ? message : JSON.stringify(message)),
    sendBytes: (bytes: Buffer) => client.send(bytes)
  }
}

interface Sse { event: string, data: string, id: string }

/** Reads an event stream by hand. */
function parser (push: (event: Sse) => void) {
  let rest = ''
  return (chunk: string) => {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1]
      if (field('data') !== undefined) push({ event: field('event') ?? 'message', data: field('data')!, id: field('id') ?? '' })
    }
  }
}

/** undici's fetch, as a phone's HTTP client would read a stream. */
async function stream (t: Test, url: string, headers: Record<string, string> = {}) {
  const events = inbox<Sse>()
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const response = await fetch(url, { headers: { accept: 'text/event-stream', ...headers }, signal: stop.signal })
  const parse = parser(events.push)
  const decoder = new TextDecoder()
  const reading = (async () => {
    for await (const chunk of response.body!) parse(decoder.decode(chunk as Uint8Array, { stream: true }))
  })().catch(() => {})
  return {
    response,
    events,
    async leave () {
      stop.abort()
      await reading
    }
  }
}

t.test('an auction in two windows', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const ben = await shop.open('Ben')

  await bid(ada, 500)
  await seen(ben, '#auction-bids li', 'Ada bid $500')
  await bid(ben, 600)
  await seen(ada, '#auction-bids li', 'Ben bid $600')
  await seen(ada, '#auction-banner', 'You have been outbid: $600')
  await seen(ben, '#auction-banner', 'You are in the lead')
  await bid(ada, 700)
  await seen(ben, '#auction-banner', 'You have been outbid: $700')

  const outbids = ({ frames }: Window) => frames.filter(({ event }) => event === 'outbid').map(({ data }) => data)
  t.same(outbids(ada), [{ newAmount: 600 }])
  t.same(outbids(ben), [{ newAmount: 700 }])

  await bid(ben, 650)
  await seen(ben, '#auction-banner', 'A bid has to be more than 700')
  t.same(await ben.page.locator('#auction-amount').textContent(), '$700')

  await ben.page.locator('#auction-watch').click()
  await seen(ben, '#auction-watch', 'Watching')
  // Messages are handled one after the other: when this one is, the one before it has been.
  await bid(ben, 800)
  await seen(ben, '#auction-bids li', 'You bid $800')
  await shop.send('PATCH', '/v1/pets/019b4132', { price: 99 })
  await seen(ben, '#auction-bids li', 'Whiskers now costs $99')

  await ada.page.locator('#auction-end').click()
  await seen(ada, '#auction-banner', 'Sold to Ben for $800')
  await seen(ben, '#auction-banner', 'It is yours for $800!')
  t.same(await ada.page.locator('#auction-bids li', { hasText: 'costs' }).count(), 0, 'only who watches is told')
  shop.consolesAreEmpty()
})

t.test('notifications reach whom they concern', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const ben = await shop.open('Ben')

  t.equal((await shop.send('POST', '/v1/pets/019b4132/adopt', { userId: 'Ada' })).status, 200)
  await seen(ada, '#feed li', 'Whiskers has found a home with Ada')
  await seen(ben, '#feed li', 'Whiskers is adopted')
  await seen(ben, '[data-pet="019b4132"] .adopt:disabled', 'Adopt')

  await shop.send('POST', '/v1/notifications', { text: 'We close at six <b>sharp</b>' })
  await seen(ben, '#feed li', 'We close at six <b>sharp</b>')
  t.same(await ben.page.locator('#feed li', { hasText: 'found a home' }).count(), 0)

  await ben.page.locator('[data-pet="019b4127"]').getByRole('button', { name: 'Dearer' }).click()
  await seen(ada, '#feed li', 'Biscuit costs $245')
  await seen(ada, '[data-pet="019b4127"] output', '$245')
  shop.consolesAreEmpty()
})

t.test('two windows of one browser are two people', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const other = await ada.page.context().newPage()
  await other.goto(`${shop.url}/?userId=Ben`)
  await other.locator('#notifications .wire[data-state="live"]').waitFor()

  await shop.send('POST', '/v1/notifications', { text: 'for Ben', userId: 'Ben' })
  await other.locator('#feed li', { hasText: 'for Ben' }).waitFor()
  await shop.send('POST', '/v1/notifications', { text: 'for Ada', userId: 'Ada' })
  await seen(ada, '#feed li', 'for Ada')
  t.same(await ada.page.locator('#feed li', { hasText: 'for Ben' }).count(), 0)
  shop.consolesAreEmpty()
})

t.test('a dropped connection misses nothing', async t => {
  const shop = await startShop(t, { realtime: { retry: 500 } })
  const ada = await shop.open('Ada')
  await shop.send('PATCH', '/v1/pets/019b4127', { price: 1 })
  await seen(ada, '#feed li', 'Biscuit costs $1')

  for (const round of [1, 2]) {
    await ada.page.locator('#cut-button').click()
    await seen(ada, '#cut-note', /5 of 5 arrived, in order, none missed and none twice/)
    t.same(await ada.page.locator('#feed li', { hasText: `round ${round}:` }).count(), 5)
    await ada.page.locator('#cut-button:enabled').waitFor()
  }
  t.same(await ada.page.locator('#feed li', { hasText: 'costs' }).count(), 1, 'and nothing came twice')
  shop.consolesAreEmpty()
})

t.test("an order's progress", async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const ben = await shop.open('Ben')

  await ada.page.locator('#order-form').getByRole('button').click()
  await seen(ada, '#order-steps li[data-state="now"]', 'Placed')
  await ada.page.locator('#order-ship').click()
  await seen(ada, '#order-steps li[data-state="now"]', 'Shipped')

  const orderId = await ada.page.locator('#order-follow input').inputValue()
  await ben.page.locator('#order-follow input').fill(orderId)
  await ben.page.locator('#order-follow button').click()
  await seen(ben, '#order-steps li[data-state="now"]', 'Shipped')

  await ben.page.locator('#order-deliver').click()
  for (const window of [ada, ben]) {
    await seen(window, '#order-steps li[data-state="now"]', 'Delivered')
    await wire(window, 'order', 'done')
  }
  shop.consolesAreEmpty()
})

t.test('the inventory board', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const ben = await shop.open('Ben')
  await seen(ada, '[data-item="hay"] output', '7')
  await ada.page.locator('[data-item="hay"]').getByRole('button', { name: 'One more' }).click()
  await seen(ben, '[data-item="hay"] output', '8')
  await shop.send('PATCH', '/v1/inventory/hay', { stock: 40 })
  await seen(ada, '[data-item="hay"] output', '40')
  shop.consolesAreEmpty()
})

t.test('a slow tab gets the newest figure of each item', async t => {
  const name = 'x'.repeat(30_000)
  const items = ['a', 'b', 'c'].map(itemId => ({ itemId, name, stock: 0, full: 10 }))
  const shop = await startShop(t, { items })
  const request = get(`${shop.url}/v1/inventory/stream`, { headers: { accept: 'text/event-stream' } })
  t.teardown(() => request.destroy())
  const [response] = await once(request, 'response') as [IncomingMessage]

  // Not read: far more than the sockets' buffers and the server's bound take together.
  const rounds = 500
  for (let stock = 1; stock <= rounds; stock++) {
    for (const item of items) {
      await shop.app.realtime.publish('inventory', 'stock', { ...item, stock }, { key: item.itemId })
    }
  }

  const events = inbox<Sse>()
  const parse = parser(events.push)
  response.setEncoding('utf8').on('data', parse)
  const figure = ({ data }: Sse) => JSON.parse(data) as { itemId: string, stock: number }
  for (const { itemId } of items) {
    await events.find(event => event.event === 'stock' && figure(event).itemId === itemId && figure(event).stock === rounds)
  }

  const stock = events.all.filter(({ event }) => event === 'stock')
  t.ok(stock.length < rounds * items.length, `${stock.length} of ${rounds * items.length} events were written`)
  for (const { itemId } of items) {
    const figures = stock.map(figure).filter(item => item.itemId === itemId).map(item => item.stock)
    t.same(figures, [...new Set(figures)].sort((a, b) => a - b), `${itemId} only ever goes forward`)
  }

  await shop.send('PATCH', '/v1/inventory/b', { stock: 7 })
  await events.find(event => event.event === 'stock' && figure(event).stock === 7)
})

t.test('a support chat', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Ada')
  const ben = await shop.open('Ben')

  const text = ada.page.locator('#chat-form input[name="text"]')
  await text.pressSequentially('Is Clover')
  await seen(ben, '#chat-typing', 'Ada is typing…')
  await text.fill('Is Clover <i>house-trained</i>?')
  await text.press('Enter')
  await seen(ben, '#chat li', 'Is Clover <i>house-trained</i>?')
  t.equal(await ada.page.locator('#chat-typing').textContent(), '', 'not told of herself')

  await ben.page.locator('#chat-picture').setInputFiles({ name: 'clover.png', mimeType: 'image/png', buffer: png })
  const shown = (selector: string) => {
    const image = document.querySelector<HTMLImageElement>(selector)
    return image !== null && image.complete && image.naturalWidth === 1 && image.src
  }
  const src = await (await ada.page.waitForFunction(shown, '#chat img')).jsonValue()
  t.match(src, /^blob:/, 'came as a binary message')

  const late = await shop.open('Cleo')
  await seen(late, '#chat li', 'Is Clover <i>house-trained</i>?')
  const past = await (await late.page.waitForFunction(shown, '#chat img')).jsonValue()
  t.match(past, '/v1/support/front-desk/pictures/')

  // A photograph as a phone makes it is made small first.
  const large = await late.page.evaluate(async () => {
    const canvas = document.createElement('canvas')
    canvas.width = canvas.height = 400
    const context = canvas.getContext('2d')!
    const noise = context.createImageData(400, 400)
    noise.data.forEach((_, index, data) => { data[index] = index % 4 === 3 ? 255 : Math.random() * 255 })
    context.putImageData(noise, 0, 0)
    return canvas.toDataURL('image/png').split(',')[1]!
  })
  await late.page.locator('#chat-picture').setInputFiles({ name: 'big.png', mimeType: 'image/png', buffer: Buffer.from(large, 'base64') })
  await ben.page.waitForFunction(() => {
    const images = [...document.querySelectorAll<HTMLImageElement>('#chat img')]
    return images.length === 2 && images.every(({ complete, naturalWidth }) => complete && naturalWidth > 0)
  })
  shop.consolesAreEmpty()
})

t.test('the page fits', async t => {
  const shop = await startShop(t)
  const window = await shop.open('Ada Lovelace-of-a-long-name')
  const { page } = window
  await page.locator('#order-form').getByRole('button').click()
  await seen(window, '#order-steps li[data-state="now"]', 'Placed')
  for (const width of [1280, 768, 390, 320]) {
    await page.setViewportSize({ width, height: 800 })
    const wide = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      ...[...document.querySelectorAll('.panel')].map(panel => panel.getBoundingClientRect().right)
    ])
    t.ok(wide.every(right => right <= width), `nothing is wider than ${width} px`)
  }
  shop.consolesAreEmpty()
})

t.test('clients of other people', async t => {
  const shop = await startShop(t)
  const notifications = `${shop.url}/v1/pets/notifications?userId=user-456`
  const adoption = { petId: '019b4132', petName: 'Whiskers', userId: 'user-456' }

  const heard = { eventsource: inbox<Json>(), client: inbox<Json>(), curl: inbox<Sse>() }
  const source = new EventSource(notifications)
  t.teardown(() => source.close())
  const opened = once(source, 'open')
  source.addEventListener('adoption', ({ data }) => heard.eventsource.push(JSON.parse(data)))
  await opened

  const client = createEventSource({
    url: notifications,
    onMessage: ({ event, data }) => { if (event === 'adoption') heard.client.push(JSON.parse(data)) }
  })
  t.teardown(() => client.close())

  const curl = spawn('curl', ['-sN', '-H', 'Accept: text/event-stream', notifications], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => curl.kill())
  curl.stdout.setEncoding('utf8').on('data', parser(heard.curl.push))

  const reader = await stream(t, notifications)
  const stranger = await stream(t, `${shop.url}/v1/pets/notifications?userId=user-789`)
  t.match(Object.fromEntries(reader.response.headers), {
    'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no'
  })
  await heard.curl.find(({ event }) => event === 'realtime:open')
  while (shop.app.realtime.stats().connections.sse < 5) await new Promise(resolve => setImmediate(resolve))

  await shop.send('POST', '/v1/pets/019b4132/adopt', { userId: 'user-456' })
  t.same(await heard.eventsource.find(() => true), adoption)
  t.same(await heard.client.find(() => true), adoption)
  const isAdoption = ({ event }: Sse) => event === 'adoption'
  t.same(JSON.parse((await heard.curl.find(isAdoption)).data), adoption)
  t.same(JSON.parse((await reader.events.find(isAdoption)).data), adoption)

  const status = await stranger.events.find(({ event }) => event === 'status-change')
  t.same(JSON.parse(status.data), { petId: '019b4132', status: 'ADOPTED' })
  t.same(stranger.events.all.filter(isAdoption), [], "another person's adoption is not heard")

  await t.test('go on from the last id', async t => {
    await shop.send('POST', '/v1/notifications', { text: 'before' })
    const last = await reader.events.find(({ data }) => data.includes('before'))
    t.equal(last.event, 'message')
    await reader.leave()
    for (const price of [1, 2, 3]) await shop.send('PATCH', '/v1/pets/019b4127', { price })

    const expected = [1, 2, 3].map(price => ({ petId: '019b4127', price }))
    const byHeader = await stream(t, notifications, { 'last-event-id': last.id })
    const byQuery = await stream(t, `${notifications}&lastEventId=${encodeURIComponent(last.id)}`)
    for (const { events } of [byHeader, byQuery]) {
      await events.find(({ data }) => data.includes('"price":3'))
      t.same(events.all.filter(({ event }) => !event.startsWith('realtime:')).map(({ data }) => JSON.parse(data)), expected)
    }
  })
})

t.test('an auction for any WebSocket', async t => {
  const shop = await startShop(t)
  const url = `${shop.url}/auctions/019b4132`
  const [ada, ben] = [await socket(t, `${url}?userId=user-456`), await socket(t, `${url}?userId=user-789`)]
  const answered = async (message: Json | string, code: string) => {
    const before = ada.texts.all.length
    ada.send(message)
    const answer = await ada.texts.find(frame => ada.texts.all.indexOf(frame) >= before && frame.type === 'error')
    t.equal(answer.code, code, `${JSON.stringify(message)} → ${code}`)
    t.type(answer.message, 'string')
  }

  await answered('{"type":', 'INVALID_JSON')
  await answered({ type: 'bit', amount: 600 }, 'UNKNOWN_MESSAGE')
  await answered({ type: 'bid', amount: 'a lot' }, 'INVALID_DATA')
  await answered({ type: 'bid', amount: 1 }, 'BID_TOO_LOW')
  await answered({ type: 'watch', petId: 'nobody' }, 'PET_NOT_FOUND')

  ada.send({ type: 'bid', amount: 550 })
  t.same(await ben.texts.find(({ type }) => type === 'bid'), { type: 'bid', userId: 'user-456', amount: 550 })
  await answered({ type: 'bid', amount: 550 }, 'BID_TOO_LOW')

  for (let amount = 600; amount <= 700; amount += 5) (amount % 2 === 0 ? ada : ben).send({ type: 'bid', amount })
  await ada.texts.find(({ amount }) => amount === 700)
  const amounts = ada.texts.all.filter(({ type }) => type === 'bid').map(({ amount }) => amount as number)
  t.same(amounts, [...amounts].sort((a, b) => a - b), 'bids come in the order they were decided')

  await shop.send('POST', '/v1/auctions/019b4132/end')
  const end = { type: 'auction-end', winner: 'user-456' }
  t.same(await ben.texts.find(({ type }) => type === 'auction-end'), end)
  await answered({ type: 'bid', amount: 10_000 }, 'AUCTION_OVER')
  t.equal((await shop.send('POST', '/v1/auctions/019b4132/end')).status, 409)
  t.equal((await shop.send('POST', '/v1/auctions/019b4132/open')).status, 200)
  await ben.texts.find(({ type }) => type === 'auction-open')
})

t.test('an auction ends by itself', async t => {
  const shop = await startShop(t, { auctionMs: 50 })
  const ada = await socket(t, `${shop.url}/auctions/019b4127?userId=user-456`)
  ada.send({ type: 'bid', amount: 20 })
  t.same(await ada.texts.find(({ type }) => type === 'auction-end'), { type: 'auction-end', winner: 'user-456' })
})

t.test('a chat for any WebSocket', async t => {
  const shop = await startShop(t)
  const url = `${shop.url}/support/front-desk`
  const ada = await socket(t, `${url}?userId=user-456`)
  t.same(await ada.texts.find(() => true), { type: 'history', messages: [] })
  ada.send({ type: 'message', text: 'hello' })
  t.match(await ada.texts.find(({ type }) => type === 'message'), { userId: 'user-456', text: 'hello', at: Number })
  ada.sendBytes(png)
  const picture = await ada.texts.find(({ type }) => type === 'picture')
  t.match(picture, { userId: 'user-456', size: png.length, picture: String })
  t.same(ada.pictures.all, [png])
  ada.sendBytes(Buffer.from('<svg onload="alert(1)">'))
  t.match(await ada.texts.find(({ type }) => type === 'error'), { code: 'NOT_A_PICTURE' })

  const ben = await socket(t, `${url}?userId=user-789`)
  const { messages } = await ben.texts.find(({ type }) => type === 'history') as { messages: Json[] }
  t.match(messages, [{ text: 'hello' }, { picture: picture.picture }])
  const response = await fetch(shop.url + String(picture.picture))
  t.equal(response.headers.get('content-type'), 'image/png')
  t.same(Buffer.from(await response.arrayBuffer()), png)
  ada.send({ type: 'typing', userId: 'user-456' })
  t.same(await ben.texts.find(({ type }) => type === 'typing'), { type: 'typing', userId: 'user-456' })
})

t.test('refusals are ordinary answers', async t => {
  const shop = await startShop(t)
  const cases: Array<[number, string, string, Json?]> = [
    [404, 'PATCH', '/v1/pets/nobody', { price: 1 }],
    [404, 'POST', '/v1/pets/nobody/adopt', { userId: 'a' }],
    [404, 'POST', '/v1/orders', { userId: 'a', petId: 'nobody' }],
    [404, 'PATCH', '/v1/orders/none', { status: 'shipped' }],
    [404, 'GET', '/v1/orders/none/events'],
    [404, 'PATCH', '/v1/inventory/none', { stock: 1 }],
    [404, 'GET', '/v1/auctions/none'],
    [404, 'GET', '/v1/support/front-desk/pictures/none'],
    [400, 'PATCH', '/v1/pets/019b4132', {}],
    [400, 'PATCH', '/v1/pets/019b4132', { status: 'LOST' }],
    [400, 'POST', '/v1/pets/019b4132/adopt', {}],
    [400, 'POST', '/v1/orders', { userId: 'a' }],
    [400, 'PATCH', '/v1/inventory/hay', { stock: -1 }],
    [400, 'POST', '/v1/session', { userId: '<script>' }],
    [400, 'GET', '/v1/pets?userId=%00'],
    [401, 'POST', '/v1/connections/drop']
  ]
  for (const [status, method, path, body] of cases) {
    t.equal((await shop.send(method, path, body)).status, status, `${method} ${path} ${JSON.stringify(body) ?? ''} → ${status}`)
  }
  await shop.send('POST', '/v1/pets/019b4132/adopt', { userId: 'user-456' })
  t.equal((await shop.send('POST', '/v1/pets/019b4132/adopt', { userId: 'user-456' })).status, 409)
  const { body: order } = await shop.send('POST', '/v1/orders', { userId: 'user-456', petId: '019b4127' })
  await shop.send('PATCH', `/v1/orders/${String(order.orderId)}`, { status: 'delivered' })
  t.equal((await shop.send('PATCH', `/v1/orders/${String(order.orderId)}`, { status: 'shipped' })).status, 409)

  for (const [path, status] of [['/auctions/019b4132', 401], ['/auctions/none?userId=a', 404], ['/support/a%20b?userId=a', 400]] as const) {
    const client = new WebSocket(shop.url.replace('http', 'ws') + path)
    client.on('error', () => {})
    const [, response] = await once(client, 'unexpected-response') as [unknown, IncomingMessage]
    t.equal(response.statusCode, status, `${path} → ${status}`)
    response.resume()
  }

  const login = await fetch(`${shop.url}/v1/session`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ userId: 'Ada' })
  })
  const cookie = login.headers.getSetCookie()[0]!.split(';')[0]!
  const as = async (userId: string, header = cookie) =>
    (await fetch(`${shop.url}/v1/pets?userId=${userId}`, { headers: { cookie: header } })).status
  t.equal(await as('Ada'), 200)
  t.equal(await as('Ben'), 403, 'who has a cookie is who it says')
  t.equal(await as('Ben', cookie.slice(0, -2)), 200, 'a cookie that nobody signed is none')
})

t.test('the server says where it is, or that its port is in use', async t => {
  const server = fileURLToPath(new URL('../.cache/examples/petstore/server.js', import.meta.url))
  if (!existsSync(server)) throw new Error('Build the examples first: npm run build:examples')
  const run = (port: number) => {
    const child = spawn(process.execPath, [server], { env: { ...process.env, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    return child
  }

  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const refused = run(port)
  let words = ''
  refused.stderr.setEncoding('utf8').on('data', text => { words += text })
  const [code] = await once(refused, 'close')
  t.equal(code, 1)
  t.equal(words, `Port ${port} is in use; choose another with PORT=${port + 1} npm start\n`)

  const child = run(0)
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data') as [string]
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)![0]
  t.match(await (await fetch(url)).text(), '<title>Pet store</title>')
  const open = await stream(t, `${url}/v1/pets/notifications`)
  await open.events.find(({ event }) => event === 'realtime:open')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
})

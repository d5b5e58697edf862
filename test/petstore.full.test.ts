/** The pet store as its users have it: a real server and a real browser. */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import t from 'tap'
import type { Window } from './helpers/chromium.ts'
import { browser, startShop, wire, inbox, type Sse, parser, png } from './helpers/petstore.ts'

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

t.teardown(() => browser.close())

const seen = ({ page }: Window, selector: string, hasText: string | RegExp) =>
  page.locator(selector, { hasText }).first().waitFor()

async function bid ({ page }: Window, amount: number) {
  await page.locator('#auction-form input').fill(String(amount))
  await page.locator('#auction-form').getByRole('button', { name: 'Bid' }).click()
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
  await seen(ben, '#auction-banner', 'A bid must be more than 700')
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

t.test('ten windows of one browser are ten people, and all of them hear everything', async t => {
  const shop = await startShop(t)
  const ada = await shop.open('Person 0')
  const others = []
  for (let n = 1; n < 10; n++) others.push(await shop.openBeside(ada, `Person ${n}`))
  const windows = [ada, ...others]
  t.same(shop.streams(), 1, 'on one stream, since a browser has six connections for a site under HTTP/1.1')

  await shop.send('POST', '/v1/notifications', { text: 'for everybody' })
  await shop.send('PATCH', '/v1/inventory/hay', { stock: 33 })
  for (const [n, window] of windows.entries()) {
    await shop.send('POST', '/v1/notifications', { text: `for ${n} alone`, userId: `Person ${n}` })
    await seen(window, '#feed li', `for ${n} alone`)
    await seen(window, '#feed li', 'for everybody')
    await seen(window, '[data-item="hay"] output', '33')
  }
  for (const { page } of windows) t.equal(await page.locator('#feed li', { hasText: 'alone' }).count(), 1, 'nobody hears what is for another')

  await others[8]!.page.locator('#order-form').getByRole('button').click()
  await seen(others[8]!, '#order-steps li[data-state="now"]', 'Placed')
  const orderId = await others[8]!.page.locator('#order-follow input').inputValue()
  await ada.page.locator('#order-follow input').fill(orderId)
  await ada.page.locator('#order-follow button').click()
  await seen(ada, '#order-steps li[data-state="now"]', 'Placed')
  t.equal(await others[0]!.page.locator('#order-steps li[data-state="now"]').count(), 0)

  await ada.page.locator('#cut-button').click()
  await seen(ada, '#cut-note', /5 of 5 arrived, in order, none missed and none twice/)
  for (const window of windows) await wire(window, 'notifications', 'live')

  // A window that leaves takes its person along, and no more.
  await others[0]!.page.close()
  await others[8]!.page.locator('#order-ship').click()
  for (const window of [ada, others[8]!]) await seen(window, '#order-steps li[data-state="now"]', 'Shipped')
  t.same(shop.streams(), 1)
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

  await ada.page.locator('[data-item="hay"] .price').click()
  await seen(ben, '[data-item="hay"] .price', '$11')
  t.equal((await shop.send('PATCH', '/v1/inventory/seed/price', { price: 2.5 })).status, 200)
  t.equal((await shop.send('DELETE', '/v1/inventory/hay')).status, 200)
  t.equal((await shop.send('DELETE', '/v1/inventory/hay')).status, 404)
  t.equal((await shop.send('PATCH', '/v1/inventory/none/price', { price: 1 })).status, 404)
  const late = await shop.open('Cleo')
  for (const window of [ada, ben, late]) {
    await seen(window, '[data-item="seed"] .price', '$2.5')
    await window.page.locator('[data-item="hay"]').waitFor({ state: 'detached' })
  }
  await shop.send('PATCH', '/v1/inventory/hay', { stock: 3 })
  for (const window of [ada, ben, late]) {
    await seen(window, '[data-item="hay"] output', '3')
    await seen(window, '[data-item="hay"] .price', '$11')
  }
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

  const people = ({ page }: Window) => page.locator('#chat-people li')
  for (const window of [ada, ben]) for (const id of ['Ada', 'Ben']) await window.page.locator(`#chat-people [data-person="${id}"]`).waitFor()
  t.same(await people(ada).allTextContents(), ['AYou', 'BBen'], 'who is in the room')

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

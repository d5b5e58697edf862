/** The pet store's other clients: any EventSource, any WebSocket, any HTTP. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import { createEventSource } from 'eventsource-client'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import { browser, startShop, type Json, inbox, type Sse, parser, png } from './helpers/petstore.ts'

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

t.teardown(() => browser.close())

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

t.test('a hand scanner speaks a protocol of its own', async t => {
  const shop = await startShop(t)
  const [item] = (await (await fetch(`${shop.url}/v1/inventory`)).json() as { items: Json[] }).items
  const board = await stream(t, `${shop.url}/v1/inventory/stream`)
  await board.events.find(({ event }) => event === 'inventory')
  const scanner = new WebSocket(`${shop.url.replace('http', 'ws')}/v1/inventory/scanner?userId=warehouse`)
  t.teardown(() => scanner.terminate())
  await once(scanner, 'open')
  const answers: string[] = []
  for (const line of [`${String(item?.itemId)} 17`, 'nothing 3', 'nonsense']) {
    scanner.send(line)
    const [answer] = await once(scanner, 'message') as [Buffer]
    answers.push(String(answer))
  }
  t.same(answers, ['ok 17', 'unknown', 'unknown'])
  const { data } = await board.events.find(({ event }) => event === 'stock')
  t.match(JSON.parse(data), { itemId: item?.itemId, stock: 17 })
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
  ben.send({ type: 'typing', userId: 'user-456' })
  t.same(await ada.texts.find(({ type }) => type === 'typing'), { type: 'typing', userId: 'user-789' }, 'nobody types as another')

  const said = (wanted: string) => ({ type, data }: Json) => type === 'realtime:presence' && (data as Json).type === wanted
  t.match(await ada.texts.find(said('join')), { data: { members: [{ id: 'user-789' }] } })
  // Whoever comes is in the list, or joins right behind it.
  await ben.texts.find(frame => ['members', 'join'].some(type => said(type)(frame)) && JSON.stringify(frame).includes('"id":"user-789"'))
  const list = (await ben.texts.find(said('members'))).data as { members: Json[] }
  t.ok(list.members.some(({ id }) => id === 'user-456'), 'a late joiner sees who was there')
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
  const live = async (query: string, header: string) => (await fetch(`${shop.url}/v1/live?${query}`, { headers: { cookie: header } })).status
  t.equal(await live('people=Ada&people=Ben', cookie), 403, 'nobody listens in on another')
  t.equal(await live(Array.from({ length: 17 }, (_, n) => `people=P${n}`).join('&'), ''), 400, 'too many people')
  t.equal(await live(Array.from({ length: 33 }, (_, n) => `orders=${n}`).join('&'), ''), 400, 'too many orders')
  t.equal(await as('Ben', cookie.slice(0, -2)), 200, 'a cookie that nobody signed is none')
  t.equal((await fetch(`${shop.url}/v1/sessions?userId=Ada`, { method: 'DELETE', headers: { cookie } })).status, 200)
  t.equal(await live('people=Ada', cookie), 401, 'nor after signing out everywhere')
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
  let greeting = ''
  child.stdout.setEncoding('utf8').on('data', text => { greeting += text })
  while (!greeting.includes('Ctrl+C')) await once(child.stdout, 'data')
  t.match(greeting, /^Pet store: http:\/\/127\.0\.0\.1:\d+\n/)
  t.match(greeting, /\nOpen it in two windows: each is another person\. Ctrl\+C ends it\.\n$/)
  const url = /http:\S+/.exec(greeting)![0]
  t.match(await (await fetch(url)).text(), '<title>Pet store · fastify-realtime</title>')
  const open = await stream(t, `${url}/v1/pets/notifications`)
  await open.events.find(({ event }) => event === 'realtime:open')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
})

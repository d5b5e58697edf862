/** The pet store's URLs for clients that are not ours: each hears everything, once and in order, over cut connections. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { EventSource } from 'eventsource'
import { createEventSource } from 'eventsource-client'
import t, { type Test } from 'tap'
import * as undici from 'undici'
import { WebSocket } from 'ws'
import { buildApp } from '../examples/petstore/app.ts'
import { Inbox, readEventStream, EventStreamReader, type Json } from './conformance/clients.ts'

t.setTimeout(120_000)

interface Heard { event: string, data: Json }

/** Listens to these events until `close`. */
type Listen = (t: Test, url: string, events: string[], heard: (one: Heard) => void) => unknown

interface EventSourceLike {
  addEventListener (event: string, listener: (message: { data: string }) => void): void
  close (): void
}

const native = (Source: new (url: string) => EventSourceLike): Listen => (t, url, events, heard) => {
  const source = new Source(url)
  t.teardown(() => source.close())
  for (const event of events) source.addEventListener(event, ({ data }) => heard({ event, data: JSON.parse(data) as Json }))
}

/** Comes back with the last id whenever its stream ends, as a client by hand would. */
const byHand = (read: (t: Test, url: string, lastEventId: string, push: (text: string) => void) => Promise<unknown>): Listen => (t, url, events, heard) => {
  const left = { test: false }
  t.teardown(() => { left.test = true })
  const follow = async (lastEventId: string): Promise<void> => {
    const reader = new EventStreamReader()
    reader.lastEventId = lastEventId
    reader.onEvent = ({ type, data }) => { if (events.includes(type)) heard({ event: type, data: JSON.parse(data) as Json }) }
    await read(t, url, lastEventId, (text) => reader.push(text)).catch(() => {})
    if (!left.test) await follow(reader.lastEventId)
  }
  follow('').catch((error: unknown) => t.fail(String(error)))
}

const listeners: Record<string, Listen> = {
  'npm eventsource': native(EventSource as never),
  'npm eventsource-client' (t, url, events, heard) {
    const client = createEventSource({
      url,
      onMessage: ({ event = 'message', data }) => { if (events.includes(event)) heard({ event, data: JSON.parse(data) as Json }) }
    })
    t.teardown(() => client.close())
  },
  'undici EventSource': native(undici.EventSource as never),
  'undici fetch': byHand(async (t, url, lastEventId, push) => {
    const stop = new AbortController()
    t.teardown(() => stop.abort())
    const response = await undici.fetch(url, { headers: { accept: 'text/event-stream', ...lastEventId && { 'last-event-id': lastEventId } }, signal: stop.signal })
    const decoder = new TextDecoder()
    for await (const part of response.body as AsyncIterable<Uint8Array>) push(decoder.decode(part, { stream: true }))
  }),
  'curl -N': byHand(async (t, url, lastEventId, push) => {
    const curl = spawn(process.env.CURL_BIN ?? 'curl', ['-sN', ...lastEventId ? ['-H', `Last-Event-ID: ${lastEventId}`] : [], url], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => curl.kill())
    curl.on('error', (error) => t.fail(`curl is needed for this test: ${error.message}`))
    curl.stdout.setEncoding('utf8').on('data', push)
    await once(curl.stdout, 'close')
  })
}

async function openShop (t: Test) {
  const app = await buildApp({ realtime: { retry: 10 } })
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return {
    app,
    url,
    async send (method: 'PATCH' | 'POST', path: string, payload: object): Promise<Json> {
      const response = await app.inject({ method, url: path, payload })
      if (response.statusCode >= 400) throw new Error(`${method} ${path}: ${response.body}`)
      return response.json()
    },
    /** Resolves when so many are connected. */
    async attended (count: number): Promise<void> {
      while (app.realtime.connections().filter(({ topics }) => topics.length > 0).length < count) await new Promise(setImmediate)
    },
    /** By turns as a server ends a response, and as a network breaks: undici's EventSource gives up on the latter. */
    cut (politely: boolean): void {
      if (politely) for (const connection of app.realtime.connections()) connection.close()
      else for (const socket of sockets) socket.destroy()
    }
  }
}

for (const [name, listen] of Object.entries(listeners)) {
  t.test(`${name}: the shop's three streams, over ends and cuts`, async (t) => {
    const shop = await openShop(t)
    const { orderId } = await shop.send('POST', '/v1/orders', { userId: 'ann', petId: '019b4127' })
    const inboxes = { pets: new Inbox<Heard>(), board: new Inbox<Heard>(), order: new Inbox<Heard>() }
    await listen(t, `${shop.url}/v1/pets/notifications?userId=ann`, ['price-change', 'adoption', 'message'], (one) => inboxes.pets.push(one))
    await listen(t, `${shop.url}/v1/inventory/stream`, ['inventory', 'stock'], (one) => inboxes.board.push(one))
    await listen(t, `${shop.url}/v1/orders/${String(orderId)}/events`, ['placed', 'shipped', 'delivered'], (one) => inboxes.order.push(one))
    t.match(await inboxes.board.take(), { event: 'inventory', data: { items: Array } }, 'the state comes first')
    t.match(await inboxes.order.take(), { event: 'placed', data: { orderId } })

    const ROUNDS = 6
    for (let round = 0; round < ROUNDS; round++) {
      await shop.attended(3)
      await shop.send('PATCH', '/v1/pets/019b4127', { price: round * 10 })
      // What goes out in the turn of the cut may be lost on its way, and what is published after it is missed.
      shop.cut(name === 'undici EventSource' || round % 2 === 0)
      for (let n = 1; n < 10; n++) await shop.send('PATCH', '/v1/pets/019b4127', { price: round * 10 + n })
      await shop.send('PATCH', '/v1/inventory/hay', { stock: round })
      if (round === 1) await shop.send('PATCH', `/v1/orders/${String(orderId)}`, { status: 'shipped' })
    }
    await shop.send('POST', '/v1/pets/019b4132/adopt', { userId: 'ann' })
    await shop.send('POST', '/v1/notifications', { text: 'the end', userId: 'ann' })
    await shop.send('PATCH', `/v1/orders/${String(orderId)}`, { status: 'delivered' })
    await shop.send('PATCH', '/v1/inventory/hay', { stock: 999 })

    t.match(await inboxes.pets.take(({ event }) => event === 'adoption'), { data: { petId: '019b4132', userId: 'ann' } })
    t.same((await inboxes.pets.take(({ event }) => event === 'message')).data, { text: 'the end', userId: 'ann' })
    t.same(inboxes.pets.all.filter(({ event }) => event === 'price-change').map(({ data }) => data.price), Array.from({ length: ROUNDS * 10 }, (_, n) => n))
    await inboxes.order.take(({ event }) => event === 'delivered')
    t.same(inboxes.order.all.map(({ event }) => event), ['placed', 'shipped', 'delivered'])
    await inboxes.board.take(({ data }) => data.stock === 999)
    t.same(inboxes.board.all.filter(({ event }) => event === 'stock').map(({ data }) => data.stock), [...Array(ROUNDS).keys(), 999])
    t.equal(inboxes.board.all.filter(({ event }) => event === 'inventory').length, 1, 'who resumes needs no snapshot')
  })
}

// --- WebSockets ---------------------------------------------------------------------------

interface Talker { frames: Inbox<Json>, bytes: Inbox<Buffer>, protocol: string, say: (text: string | Uint8Array<ArrayBuffer>) => void, cut: () => void }

const talkers: Record<string, (t: Test, url: string, protocols: string[]) => Promise<Talker>> = {
  async 'npm ws' (t, url, protocols) {
    const socket = new WebSocket(url, protocols)
    t.teardown(() => socket.terminate())
    const [frames, bytes] = [new Inbox<Json>(), new Inbox<Buffer>()]
    socket.on('message', (data, binary) => binary ? bytes.push(data as Buffer) : frames.push(JSON.parse(String(data)) as Json))
    await once(socket, 'open')
    return { frames, bytes, protocol: socket.protocol, say: (text) => socket.send(text), cut: () => socket.terminate() }
  },
  // The WebSocket of browsers, on Node.
  async 'undici WebSocket' (t, url, protocols) {
    const socket = new undici.WebSocket(url, protocols)
    socket.binaryType = 'arraybuffer'
    t.teardown(() => socket.close())
    const [frames, bytes] = [new Inbox<Json>(), new Inbox<Buffer>()]
    socket.addEventListener('message', ({ data }: { data: unknown }) => {
      if (typeof data === 'string') frames.push(JSON.parse(data) as Json)
      else bytes.push(Buffer.from(data as ArrayBuffer))
    })
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', () => resolve())
      socket.addEventListener('error', () => reject(new Error('the socket failed')))
    })
    return { frames, bytes, protocol: socket.protocol, say: (text) => socket.send(text), cut: () => socket.close() }
  }
}

const png = Buffer.from('89504e470d0a1a0a0000', 'hex')

for (const [name, connect] of Object.entries(talkers)) {
  t.test(`${name}: an auction and a chat in plain JSON`, async (t) => {
    const shop = await openShop(t)
    const url = shop.url.replace('http', 'ws')
    const [ann, ben] = [await connect(t, `${url}/auctions/019b4132?userId=ann`, []), await connect(t, `${url}/auctions/019b4132?userId=ben`, [])]
    t.equal(ann.protocol, '')
    await shop.attended(2)
    ann.say('{"type":"bid","amount":550}')
    for (const one of [ann, ben]) t.same(await one.frames.take(), { type: 'bid', userId: 'ann', amount: 550 })
    ben.say('{"type":"bid","amount":600}')
    t.same(await ann.frames.take(({ type }) => type === 'outbid'), { type: 'outbid', newAmount: 600 })
    ann.say('{"type":"bid","amount":"lots"}')
    t.match(await ann.frames.take(({ type }) => type === 'error'), { code: 'INVALID_DATA' })
    const chat = await connect(t, `${url}/support/desk?userId=ann`, [])
    t.same(await chat.frames.take(), { type: 'history', messages: [] })
    chat.say(Uint8Array.from(png))
    t.same(await chat.bytes.take(), png)
    let frame = await chat.frames.take()
    // Who is there is told beside it.
    while (frame.type === 'realtime:presence') frame = await chat.frames.take()
    t.match(frame, { type: 'picture', size: png.length })
    await t.rejects(connect(t, `${url}/auctions/019b4132`, []), 'a guest is refused before the upgrade')
    await t.rejects(connect(t, `${url}/auctions/019b4132?userId=ann`, ['mqtt']), 'a subprotocol that nobody speaks')
  })

  t.test(`${name}: an auction in fastify-realtime.v1, resumed from its cursors`, async (t) => {
    const shop = await openShop(t)
    const url = `${shop.url.replace('http', 'ws')}/auctions/019b4132?userId=ann`
    const cursors: Record<string, string> = {}
    const amounts: unknown[] = []
    const open = async (): Promise<Talker> => {
      const talker = await connect(t, url, ['mqtt', 'fastify-realtime.v1'])
      t.equal(talker.protocol, 'fastify-realtime.v1')
      talker.say(JSON.stringify({ op: 'open', cursors }))
      return talker
    }
    const note = ({ op, topic, id, prev, event, data }: Json): void => {
      if (op === 'reset') t.fail(`nothing was lost: ${String(topic)}`)
      if (op === undefined && topic) t.equal(prev, cursors[String(topic)], 'each links to the one before')
      if (topic && id) cursors[String(topic)] = String(id)
      if (event === 'bid') amounts.push((data as Json).amount)
    }
    const ben = await connect(t, url.replace('ann', 'ben'), [])
    for (let round = 0; round < 4; round++) {
      const ann = await open()
      while (ann.frames.all.filter(({ op }) => op === 'subscribed').length < 2) await new Promise(setImmediate)
      await shop.attended(2)
      ann.say(JSON.stringify({ event: 'bid', data: { amount: 1000 + round * 100 }, ref: round }))
      await ben.frames.take(({ amount }) => amount === 1000 + round * 100)
      for (let n = 1; n <= 5; n++) ben.say(JSON.stringify({ type: 'bid', amount: 1000 + round * 100 + n }))
      // Somewhere in these.
      await ben.frames.take(({ amount }) => amount === 1002 + round * 100)
      ann.cut()
      // What it has not taken by now it never had.
      for (const frame of ann.frames.drain()) note(frame)
      await ben.frames.take(({ amount }) => amount === 1005 + round * 100)
      const back = await open()
      while (amounts.at(-1) !== 1005 + round * 100) note(await back.frames.take())
      back.cut()
    }
    t.same(amounts, [0, 1, 2, 3].flatMap((round) => [0, 1, 2, 3, 4, 5].map((n) => 1000 + round * 100 + n)))
  })
}

t.test('a stream of the shop is an event stream to the letter', async (t) => {
  const shop = await openShop(t)
  const response = await undici.request(`${shop.url}/v1/inventory/stream`, { headers: { accept: '*/*' } })
  t.teardown(() => { response.body.destroy() })
  t.equal(response.headers['content-type'], 'text/event-stream')
  let text = ''
  for await (const part of response.body.setEncoding('utf8')) {
    text += String(part)
    if (text.includes('event: inventory') && text.includes('event: price-list') && text.endsWith('\n\n')) break
  }
  t.same(readEventStream(text).events.map(({ type }) => type).sort(), ['inventory', 'price-list', 'realtime:open'])
  t.notOk(text.includes('\r'))
})

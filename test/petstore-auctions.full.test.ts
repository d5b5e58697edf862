/** The pet store's auctions: what is accepted is an event, in an order that all nodes agree on. */
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { redis } from 'fastify-realtime/redis'
import { fetch } from 'undici'
import { buildApp, type PetStoreOptions } from '../examples/petstore/app.ts'
import { Bidder } from './helpers/auction.ts'
import { hasten } from './helpers/hasten.ts'
import { RedisServer, until } from './helpers/redis.ts'

t.setTimeout(120_000)

/** So long that it only passes when the test says so. */
const PATIENT_MS = 600_000
const auctionId = '019b4132'
const topic = `auctions/${auctionId}`
const fresh = { auctionId, startingPrice: 10, amount: null, leader: null, endsAt: null, over: false }

interface Shop {
  app: FastifyInstance
  url: string
  bidder (userId: string): Promise<Bidder>
  send (method: string, path?: string): Promise<{ status: number, body: Record<string, unknown> }>
}

async function start (t: Test, options: PetStoreOptions = {}): Promise<Shop> {
  const app = await buildApp(options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return {
    app,
    url,
    bidder: async (userId) => await Bidder.open(t, url, auctionId, userId),
    async send (method, path = '') {
      const response = await fetch(`${url}/v1/auctions/${auctionId}${path}`, { method })
      return { status: response.status, body: await response.json() as Record<string, unknown> }
    }
  }
}

/** Two nodes of one shop; in memory there is one. */
type Open = (t: Test, options?: PetStoreOptions) => Promise<[Shop, Shop]>

const openMemory: Open = async (t, options) => {
  const shop = await start(t, options)
  return [shop, shop]
}

const openRedis: Open = async (t, options) => {
  const { url: redisUrl } = await RedisServer.start(t)
  return await Promise.all([start(t, { ...options, redisUrl }), start(t, { ...options, redisUrl })])
}

const eventsOf = async ({ app }: Shop, name = topic) => (await app.realtime.history(name, { limit: 10_000 })).events
const namesOf = async (shop: Shop) => (await eventsOf(shop)).map(({ event }) => event)
const bidsOf = async (shop: Shop) => (await eventsOf(shop)).filter(({ event }) => event === 'bid').map(({ data }) => data as { userId: string, amount: number })

for (const [name, open] of [['memory', openMemory], ['Redis', openRedis]] as const) {
  t.test(`${name}: the highest bid wins, whatever the interleaving`, async (t) => {
    const [a, b] = await open(t)
    const people = await Promise.all(Array.from({ length: 7 }, async (_, i) => await (i % 2 ? a : b).bidder(`bidder-${i}`)))
    t.same(await people[0]!.bid(9.99), { refused: 'BID_TOO_LOW' })
    t.same((await a.send('GET')).body, fresh)

    const amounts = Array.from({ length: 60 }, (_, i) => 10 + (i * 37) % 60)
    const answers = await Promise.all(amounts.map(async (amount, i) => await people[i % 7]!.bid(amount)))
    t.match((await b.send('GET')).body, { amount: 69, leader: `bidder-${amounts.indexOf(69) % 7}`, over: false })
    t.same(await people[0]!.bid(69), { refused: 'BID_TOO_LOW' })

    const bids = await bidsOf(b)
    const accepted = amounts.filter((_, i) => answers[i] === 'accepted').sort((x, y) => x - y)
    t.same(bids.map(({ amount }) => amount), accepted, 'each accepted bid is an event, once, and amounts rise')
    for (const { userId } of people) {
      const expected = bids.filter((_, i) => bids[i - 1]?.userId === userId && bids[i]!.userId !== userId).map(({ amount }) => amount)
      const told = async () => (await eventsOf(a, `${topic}/users/${userId}`)).map(({ data }) => (data as { newAmount: number }).newAmount)
      await until(`what ${userId} is told`, async () => (await told()).length >= expected.length)
      t.same(await told(), expected, `${userId} is told of each loss of the lead, once`)
    }
  })

  t.test(`${name}: an auction ends once, and opens again`, async (t) => {
    const [a, b] = await open(t)
    const [ada, ben] = [await a.bidder('ada'), await b.bidder('ben')]
    t.match(await a.send('POST', '/open'), { status: 409, body: { code: 'AUCTION_RUNS' } })
    t.equal(await ada.bid(20.25), 'accepted')
    const ends = await Promise.all([a, b, a, b].map(async (shop) => await shop.send('POST', '/end')))
    t.same(ends.map(({ status }) => status).sort(), [200, 409, 409, 409])
    t.match(ends.find(({ status }) => status === 200)?.body, { amount: 20.25, leader: 'ada', over: true })
    t.same(await ben.bid(1000), { refused: 'AUCTION_OVER' })
    t.same((await b.send('POST', '/open')).body, fresh)
    t.equal(await ben.bid(10), 'accepted')
    t.match((await a.send('GET')).body, { amount: 10, leader: 'ben' })
    const events = (await eventsOf(a)).filter(({ event }) => event !== 'auction-clock').map(({ event, data }) => [event, data])
    t.same(events, [
      ['bid', { userId: 'ada', amount: 20.25 }],
      ['auction-end', { winner: 'ada' }],
      ['auction-open', { startingPrice: 10 }],
      ['bid', { userId: 'ben', amount: 10 }]
    ])
    t.same(await eventsOf(a, `${topic}/users/ada`), [], 'who won is not outbid by the next auction')
  })

  t.test(`${name}: the first bid starts the clock, and the auction ends once`, async (t) => {
    const [a, b] = await open(t, { auctionMs: 30 })
    const ada = await a.bidder('ada')
    t.equal(await ada.bid(20), 'accepted')
    t.match(await ada.find(({ event }) => event === 'auction-end'), { data: { winner: 'ada' } })
    t.match((await b.send('GET')).body, { over: true, leader: 'ada', amount: 20, endsAt: Number })
    t.equal((await b.send('POST', '/open')).status, 200)
    t.same(await namesOf(b), ['bid', 'auction-clock', 'auction-end', 'auction-open'])
  })
}

t.test('a node that starts later knows the auction, and ends what another began', async (t) => {
  const { url: redisUrl } = await RedisServer.start(t)
  const first = await start(t, { redisUrl })
  const [ada, ben] = [await first.bidder('ada'), await first.bidder('ben')]
  for (const [bidder, amount] of [[ada, 100], [ben, 200]] as const) t.equal(await bidder.bid(amount), 'accepted')
  await ada.find(({ event }) => event === 'auction-clock')
  const { body } = await first.send('GET')
  await first.app.close()

  const second = await start(t, { redisUrl })
  t.same((await second.send('GET')).body, body)
  const cleo = await second.bidder('cleo')
  t.same(await cleo.bid(200), { refused: 'BID_TOO_LOW' })
  t.equal(await cleo.bid(201), 'accepted')
  await until('what ben is told', async () => (await eventsOf(second, `${topic}/users/ben`)).length > 0)
  t.same((await eventsOf(second, `${topic}/users/ada`)).map(({ data }) => data), [{ newAmount: 200 }], 'and tells nothing twice')
})

t.test('while Redis is away nothing is decided, and afterwards all is as it was', async (t) => {
  const pass = hasten(t)
  // Else what was answered may still be unwritten when the server is killed.
  const server = await RedisServer.start(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
  const adapter = redis({ url: server.url, publishTimeout: PATIENT_MS })
  const shop = await start(t, { redisUrl: server.url, realtime: { adapter } })
  const ada = await shop.bidder('ada')
  t.equal(await ada.bid(50), 'accepted')
  await ada.find(({ event }) => event === 'auction-clock')
  await server.kill()
  const answers: unknown[] = []
  ada.bid(60).then((answer) => answers.push(answer), t.fail)
  // What is published waits, and is published again.
  while (answers.length === 0) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    if (Number(shop.app.realtime.stats().adapter.pendingBytes) > 0) pass(PATIENT_MS)
  }
  t.same(answers, ['unknown'])
  for (const [method, path] of [['GET', ''], ['POST', '/end']] as const) t.equal((await shop.send(method, path)).status, 503)
  await server.up()
  await until('the shop', async () => (await shop.send('GET')).status === 200)
  t.match((await shop.send('GET')).body, { amount: 50, leader: 'ada', over: false })
  t.equal(await ada.bid(60), 'accepted')
  t.same((await bidsOf(shop)).map(({ amount }) => amount), [50, 60])
})

t.test('in an empty Redis every auction is as new, for all nodes', async (t) => {
  const server = await RedisServer.start(t)
  const [a, b] = await Promise.all([start(t, { redisUrl: server.url }), start(t, { redisUrl: server.url })])
  const ada = await a.bidder('ada')
  t.equal(await ada.bid(500), 'accepted')
  t.match((await b.send('GET')).body, { amount: 500 })
  await server.kill()
  await server.up()
  for (const shop of [a, b]) {
    await until('the shop', async () => (await shop.send('GET')).status === 200)
    t.same((await shop.send('GET')).body, fresh)
  }
  // A node that was cut off from Redis sends its clients away once, whenever it finds out: so each bid is made on a new connection.
  await until('a bid', async () => {
    await (await b.bidder('ben')).bid(10)
    return (await a.send('GET')).body.leader === 'ben'
  })
  t.match((await a.send('GET')).body, { amount: 10, leader: 'ben', over: false })
  await until('a refusal', async () => {
    const answer = await (await a.bidder('ada')).bid(10)
    return typeof answer === 'object' && answer.refused === 'BID_TOO_LOW'
  })
})

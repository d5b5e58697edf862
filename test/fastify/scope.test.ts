/** Scopes and prefixes: what Fastify users expect of anything they register. */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import realtime from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, codeOf, live, refusalOf, talkTo } from '../helpers/app.ts'

t.test('a child\'s prefix may hold the topic\'s param, and one with "/" makes both routes', async (t) => {
  const app = await live(t)
  const auction = app.topic('auctions/:auctionId')
  await app.register(async (child) => {
    child.stream('/', { topics: auction })
    child.stream('/bids', { topics: auction })
    child.channel('/live', { topics: 'auctions/:auctionId' })
  }, { prefix: '/auctions/:auctionId' })

  const clients = [
    await connectStream(app, '/auctions/42', { t }),
    await connectStream(app, '/auctions/42/', { t }),
    await connectStream(app, '/auctions/42/bids', { t }),
    await talkTo(app, '/auctions/42/live', { t })
  ]
  await auction.publish({ auctionId: '42' }, 'bid', { amount: 7 })
  for (const client of clients) t.same((await client.next('bid')).data, { amount: 7 })
})

t.test('prefixes nest, and a channel at a prefix with "/" is reached both ways', async (t) => {
  const app = await live(t)
  const room = app.topic('rooms/:roomId')
  await app.register(async (v1) => {
    await v1.register(async (rooms) => {
      rooms.channel('/', { topics: room })
    }, { prefix: '/rooms/:roomId' })
  }, { prefix: '/v1' })

  const short = await talkTo(app, '/v1/rooms/a', { t })
  const long = await talkTo(app, '/v1/rooms/a/', { t })
  await room.publish({ roomId: 'a' }, 'said', { text: 'hello' })
  t.same((await short.next('said')).data, { text: 'hello' })
  t.same((await long.next('said')).data, { text: 'hello' })
})

t.test('hooks, decorators and `this` are those of the scope that declares the route', async (t) => {
  const app = await live(t)
  app.topic('news')
  const heard: string[] = []
  await app.register(async (inner) => {
    inner.decorate('shop', 'inner shop')
    inner.addHook('onRequest', async (request) => { heard.push(`inner ${request.url}`) })
    inner.stream('/inner', {
      topics: 'news',
      handler (this: FastifyInstance & { shop?: string }) { return { from: this.shop } }
    })
    inner.channel('/talk', {
      messages: {
        shop: { handler (this: FastifyInstance & { shop?: string }) { return { type: 'shop', name: this.shop } } }
      }
    })
  })
  app.stream('/outer', { topics: 'news', handler: () => ({ from: 'outer' }) })

  const inner = await app.inject({ url: '/inner', headers: { accept: 'application/json' } })
  t.same(inner.json(), { from: 'inner shop' })
  const outer = await app.inject({ url: '/outer', headers: { accept: 'application/json' } })
  t.same(outer.json(), { from: 'outer' })
  const talk = await connectChannel(app, '/talk', { t })
  talk.send('shop')
  t.same((await talk.next('shop')).data, { name: 'inner shop' })
  t.same(heard, ['inner /inner', 'inner /talk'], 'the outer route ran no hook of the inner scope')
})

t.test('config and constraints of a route are its own', async (t) => {
  const app = await live(t)
  app.topic('one')
  app.topic('two')
  let tag: unknown
  app.addHook('onRequest', async (request) => { tag = (request.routeOptions.config as { tag?: string }).tag })
  app.stream('/news', { topics: 'one', config: { tag: 'first' } as object, constraints: { host: 'one.example' } })
  app.stream('/news', { topics: 'two', config: { tag: 'second' } as object, constraints: { host: 'two.example' } })
  app.channel('/talk', { topics: 'one', constraints: { host: 'one.example' } })
  app.channel('/talk', { topics: 'two', constraints: { host: 'two.example' } })

  const two = await connectStream(app, '/news', { t, headers: { host: 'two.example' } })
  t.equal(tag, 'second')
  const one = await talkTo(app, '/talk', { t, headers: { host: 'one.example' } })
  await app.realtime.publish('two', 'said', { by: 'two' })
  await app.realtime.publish('one', 'said', { by: 'one' })
  t.same((await two.next('said')).data, { by: 'two' })
  t.same((await one.next('said')).data, { by: 'one' })
})

t.test('a plugin whose onRoute hook declares routes of its own does not confuse ours', async (t) => {
  const app = await live(t)
  const seen = new Set<string>()
  app.addHook('onRoute', function (route) {
    if (route.url.endsWith('-options') || seen.has(route.url)) return
    seen.add(route.url)
    this.route({ method: 'OPTIONS', url: '/all-options' + seen.size + '-options', handler: async () => 'fine' })
  })
  const item = app.topic('items/:id')
  app.stream('/items/:id', { topics: item })
  app.channel('/items/:id/talk', { topics: item })
  const stream = await connectStream(app, '/items/1', { t })
  const channel = await talkTo(app, '/items/1/talk', { t })
  await item.publish({ id: '1' }, 'sold', { to: 'Ann' })
  t.same((await stream.next('sold')).data, { to: 'Ann' })
  t.same((await channel.next('sold')).data, { to: 'Ann' })
  t.equal((await app.inject({ method: 'OPTIONS', url: '/all-options1-options' })).body, 'fine')
})

t.test('registered twice, here or in a child, it says so', async (t) => {
  const app = await live(t)
  t.equal(await codeOf(() => app.register(realtime)), 'FST_ERR_REALTIME_ALREADY_REGISTERED')
  const other = await live(t)
  t.equal(await codeOf(() => other.register(async (child) => { await child.register(realtime) })), 'FST_ERR_REALTIME_ALREADY_REGISTERED')
})

t.test('registered in a child, the rest of the app knows nothing of it', async (t) => {
  const app = bare(t)
  await app.register(async (child) => {
    await child.register(realtime)
    child.topic('news')
    child.stream('/news', { topics: 'news' })
  })
  for (const name of ['stream', 'channel', 'topic', 'realtime']) t.notOk(app.hasDecorator(name), name)
  const client = await connectStream(app, '/news', { t })
  t.ok(await client.next('realtime:open'))
})

t.test('two children may each have their own', async (t) => {
  const app = bare(t)
  for (const name of ['left', 'right']) {
    await app.register(async (child) => {
      await child.register(realtime, { closeTimeout: 1000 })
      child.topic('news')
      child.stream('/news', { topics: 'news' })
      child.channel('/talk', { topics: 'news' })
      child.post('/publish', async () => await child.realtime.publish('news', 'said', { by: name }))
    }, { prefix: `/${name}` })
  }
  const left = await connectStream(app, '/left/news', { t })
  const right = await connectStream(app, '/right/news', { t })
  const leftTalk = await talkTo(app, '/left/talk', { t })
  const rightTalk = await talkTo(app, '/right/talk', { t })
  await app.inject({ method: 'POST', url: '/left/publish' })
  await app.inject({ method: 'POST', url: '/right/publish' })
  for (const client of [left, leftTalk]) t.same((await client.next('said')).data, { by: 'left' })
  for (const client of [right, rightTalk]) t.same((await client.next('said')).data, { by: 'right' })
  t.equal((await refusalOf(connectChannel(app, '/nowhere', { t }))).statusCode, 404, 'an upgrade that neither knows is answered once')
})

/** Topics: params from the pattern, event data from the schemas of whatever type provider the app has. */
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import type { JsonSchemaToTsProvider } from '@fastify/type-provider-json-schema-to-ts'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  AnyItem, AnyTopic, EventId, HistoryPage, Member, Published, PublishOptions, RealtimeClaims, RealtimeItem, Snapshot, StateItem, StatePage, StatePart,
  SubscribeOptions, Topic, TopicItem, TopicOptions, TopicRef, TopicSubscription
} from 'fastify-realtime'
import { describe, expect, test } from 'tstyche'
import { Type } from 'typebox'

const app = Fastify()
const typebox = app.withTypeProvider<TypeBoxTypeProvider>()
const jsonSchema = app.withTypeProvider<JsonSchemaToTsProvider>()

describe('params of the pattern', () => {
  test('a segment with ":" is a param, by its name', () => {
    expect(app.topic('auctions/:auctionId').name).type.toBe<(params: { auctionId: string }) => string>()
    expect(app.topic(':tenant/users/:userId/notes').name).type.toBe<(params: { tenant: string, userId: string }) => string>()
  })

  test('a final "*" is a param of that name', () => {
    expect(app.topic('files/:volume/*').name).type.toBe<(params: { volume: string, '*': string }) => string>()
    expect(app.topic('*').name).type.toBe<(params: { '*': string }) => string>()
  })

  test('a pattern without params takes an empty object', () => {
    const pets = app.topic('pets')
    expect(pets.publish).type.toBeCallableWith({}, 'fed', { by: 'u1' })
    expect(pets.publish).type.not.toBeCallableWith({ petId: '1' }, 'fed')
  })

  test('a pattern known only at run time takes any params', () => {
    const pattern = 'auctions/:auctionId' as string
    expect(app.topic(pattern).name).type.toBe<(params: Record<string, string>) => string>()
  })

  test('params that are missing, misspelt or no strings are refused', () => {
    const auction = app.topic('auctions/:auctionId')
    for (const method of [auction.name, auction.at, auction.history]) {
      expect(method).type.toBeCallableWith({ auctionId: '42' })
      expect(method).type.not.toBeCallableWith({})
      expect(method).type.not.toBeCallableWith({ auction: '42' })
      expect(method).type.not.toBeCallableWith({ auctionId: 42 })
      expect(method).type.not.toBeCallableWith()
    }
  })

  test('at() is a reference with these params', () => {
    const at = app.topic('auctions/:auctionId').at({ auctionId: '42' })
    expect(at).type.toBe<TopicRef<{ auctionId: string }>>()
    expect(at.params.auctionId).type.toBe<string>()
    expect(at.name).type.toBe<string>()
  })

  test('snapshot and authorize get them', () => {
    app.topic('orders/:orderId', {
      snapshot: (params) => { expect(params).type.toBe<{ orderId: string }>() },
      authorize: (request, context) => {
        expect(request).type.toBe<FastifyRequest>()
        expect(context.params).type.toBe<{ orderId: string }>()
        expect(context.topic).type.toBe<string>()
        expect(context.action).type.toBe<'subscribe' | 'publish' | 'presence'>()
        expect(context.claims).type.toBe<RealtimeClaims | undefined>()
        return true
      }
    })
    app.topic('files/*', { snapshot: async ({ '*': path }): Promise<Snapshot> => ({ data: path, at: '1-0.x', event: 'listing' }) })
  })
})

describe('events with TypeBox', () => {
  const auction = typebox.topic('auctions/:auctionId', {
    events: {
      bid: Type.Object({ userId: Type.String(), amount: Type.Number() }),
      'auction-end': Type.Object({ winner: Type.Optional(Type.String()) })
    }
  })
  const params = { auctionId: '42' }

  test('data has the type of its schema', () => {
    expect(auction).type.toBe<Topic<{ auctionId: string }, {
      readonly bid: { userId: string, amount: number }
      readonly 'auction-end': { winner?: string }
    }, Member, 'auctions/:auctionId'>>()
    expect(auction.publish).type.toBeCallableWith(params, 'bid', { userId: 'u1', amount: 500 })
    expect(auction.publish).type.toBeCallableWith(params, 'auction-end', {})
  })

  test('bytes are taken for any event', () => {
    expect(auction.publish).type.toBeCallableWith(params, 'bid', new Uint8Array(3))
    expect(auction.publish).type.toBeCallableWith(params, 'bid', Buffer.from('abc'))
  })

  test('an unknown event is refused', () => {
    expect(auction.publish).type.not.toBeCallableWith(params, 'bidd', { userId: 'u1', amount: 500 })
    expect(auction.publish).type.not.toBeCallableWith(params, '', {})
  })

  test('data of another shape is refused', () => {
    expect(auction.publish).type.not.toBeCallableWith(params, 'bid', { userId: 'u1' })
    expect(auction.publish).type.not.toBeCallableWith(params, 'bid', { userId: 'u1', amount: '500' })
    expect(auction.publish).type.not.toBeCallableWith(params, 'bid', { winner: 'u1' })
    expect(auction.publish).type.not.toBeCallableWith(params, 'bid', 'u1')
    expect(auction.publish).type.not.toBeCallableWith(params, 'bid')
  })

  test('schemas without params, and params without schemas', () => {
    const pets = typebox.topic('pets', { events: { fed: Type.Object({ by: Type.String() }) } })
    expect(pets.publish).type.toBeCallableWith({}, 'fed', { by: 'u1' })
    expect(pets.publish).type.not.toBeCallableWith({}, 'fed', { by: 1 })
    const free = typebox.topic('notes/:id', { history: false })
    expect(free).type.toBe<Topic<{ id: string }, Record<string, unknown>, Member, 'notes/:id'>>()
    expect(free.publish).type.toBeCallableWith({ id: '1' }, 'anything', 1)
  })
})

describe('events with plain JSON schema', () => {
  const order = jsonSchema.topic('orders/:orderId', {
    events: {
      placed: { type: 'object', properties: { total: { type: 'number' }, note: { type: 'string' } }, required: ['total'], additionalProperties: false },
      status: { type: 'string', enum: ['packed', 'shipped'] }
    }
  })
  const params = { orderId: '7' }

  test('data has the type of its schema, without "as const"', () => {
    expect(order).type.toBe<Topic<{ orderId: string }, {
      readonly placed: { total: number, note?: string }
      readonly status: 'packed' | 'shipped'
    }, Member, 'orders/:orderId'>>()
    expect(order.publish).type.toBeCallableWith(params, 'placed', { total: 9.5 })
    expect(order.publish).type.toBeCallableWith(params, 'status', 'shipped')
  })

  test('an unknown event and data of another shape are refused', () => {
    expect(order.publish).type.not.toBeCallableWith(params, 'paid', { total: 9.5 })
    expect(order.publish).type.not.toBeCallableWith(params, 'placed', { total: '9.5' })
    expect(order.publish).type.not.toBeCallableWith(params, 'placed', { note: 'no total' })
    expect(order.publish).type.not.toBeCallableWith(params, 'status', 'lost')
  })
})

describe('events without a type provider', () => {
  const order = app.topic('orders/:orderId', { events: { placed: Type.Object({ total: Type.Number() }) } })

  test('data is unknown, TypeBox or not', () => {
    expect<Parameters<typeof order.publish<'placed'>>[2]>().type.toBe<unknown>()
    expect(order.publish).type.toBeCallableWith({ orderId: '7' }, 'placed', 'not an object')
  })

  test('their names are known all the same', () => {
    expect(order.publish).type.not.toBeCallableWith({ orderId: '7' }, 'paid', {})
  })
})

describe('publishing and reading', () => {
  const auction = app.topic('auctions/:auctionId')

  test('publish resolves with an id, or with undefined for a topic without history', () => {
    expect(auction.publish({ auctionId: '42' }, 'bid', 1)).type.toBe<Promise<Published>>()
    expect<Published>().type.toBe<{ id: EventId | undefined }>()
  })

  test('publish options', () => {
    expect(auction.publish).type.toBeCallableWith({ auctionId: '42' }, 'bid', 1, { dedupe: 'request-7', key: 'item-3' })
    expect(auction.publish).type.not.toBeCallableWith({ auctionId: '42' }, 'bid', 1, { dedupe: 7 })
    expect(auction.publish).type.not.toBeCallableWith({ auctionId: '42' }, 'bid', 1, { dedup: 'request-7' })
    expect(auction.publish).type.not.toBeCallableWith({ auctionId: '42' }, 'bid', 1, 'request-7')
    expect(auction.publish).type.not.toBeCallableWith({ auctionId: '42' }, 'bid', 1, null)
    expect<PublishOptions>().type.toBe<{ dedupe?: string, key?: string, except?: string, expect?: EventId | null }>()
  })

  test('history', () => {
    expect(auction.history({ auctionId: '42' }, { after: '1-0.x', limit: 10 })).type.toBe<Promise<HistoryPage>>()
    expect(auction.history).type.not.toBeCallableWith({ auctionId: '42' }, { before: '1-0.x' })
    expect<HistoryPage['events'][number]['data']>().type.toBe<unknown>()
  })

  test('a topic of any kind is an AnyTopic', () => {
    expect(auction).type.toBeAssignableTo<AnyTopic>()
    expect(typebox.topic('a/:b', { events: { c: Type.String() } })).type.toBeAssignableTo<AnyTopic>()
  })
})

describe('topic options', () => {
  test('what is right is taken', () => {
    expect(app.topic).type.toBeCallableWith('a')
    expect(app.topic).type.toBeCallableWith('a', {})
    expect(app.topic).type.toBeCallableWith('a', { history: false })
    expect(app.topic).type.toBeCallableWith('a', { history: { limit: 10, maxAge: 1000, maxBytes: 1000 } })
    expect(app.topic).type.toBeCallableWith('a', { authorize: async () => false })
    expect(app.topic).type.toBeCallableWith('a', { authorize: () => true })
    expect(app.topic).type.toBeCallableWith('a', { authorize: 'anyone' })
  })

  test('what is wrong is refused', () => {
    expect(app.topic).type.not.toBeCallableWith()
    expect(app.topic).type.not.toBeCallableWith(7)
    expect(app.topic).type.not.toBeCallableWith('a', { history: true })
    expect(app.topic).type.not.toBeCallableWith('a', { history: { limit: '10' } })
    expect(app.topic).type.not.toBeCallableWith('a', { history: { size: 10 } })
    expect(app.topic).type.not.toBeCallableWith('a', { events: [] })
    expect(app.topic).type.not.toBeCallableWith('a', { snapshot: {} })
    expect(app.topic).type.not.toBeCallableWith('a', { authorise: () => true })
  })

  test('an authorize that may say anything but true or false is refused', () => {
    const user = undefined as { rooms: string[] } | undefined
    expect(app.topic).type.not.toBeCallableWith('a/:id', { authorize: (_request: unknown, { params }: { params: { id: string } }) => user?.rooms.includes(params.id) })
    expect(app.topic).type.toBeCallableWith('a/:id', { authorize: (_request: unknown, { params }: { params: { id: string } }) => user?.rooms.includes(params.id) ?? false })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: async () => user?.rooms.includes('a') })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: async () => {} })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: () => user })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: () => ({ allow: false }) })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: () => ({ allow: true as const, expiresAt: new Date() }) })
    expect(app.topic).type.toBeCallableWith('a', { authorize: () => ({ allow: true as const, expiresAt: 1, info: { name: 'Ada' } }) })
    expect(app.topic).type.toBeCallableWith('a', { authorize: async () => ({ allow: true as const }) })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: () => 1 })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: 'everybody' })
    expect(app.topic).type.not.toBeCallableWith('a', { authorize: true })
  })
})

describe('subscribe()', () => {
  const bids = typebox.topic('auctions/:auctionId', {
    events: { bid: Type.Object({ amount: Type.Number() }), sold: Type.Object({ to: Type.String() }) }
  })

  test('an item is one of the declared events, or what the protocol says', async () => {
    for await (const item of bids.subscribe({ auctionId: '42' })) {
      expect(item.id).type.toBe<EventId | undefined>()
      if (item.event === 'bid') expect(item.data).type.toBe<{ amount: number }>()
      else if (item.event === 'sold') expect(item.data).type.toBe<{ to: string }>()
      else expect(item).type.toBe<RealtimeItem>()
      if (item.event === 'realtime:reset') expect(item.data.topic).type.toBe<string>()
    }
  })

  test('map changes what it yields', () => {
    const amounts = bids.subscribe({ auctionId: '42' }).map((item) => item.event === 'bid' ? item.data.amount : 0)
    expect(amounts).type.toBe<TopicSubscription<number>>()
    expect(bids.subscribe({ auctionId: '42' }).map(async ({ event }) => event)).type
      .toBe<TopicSubscription<'bid' | 'sold' | 'realtime:removed' | 'realtime:reset' | 'realtime:snapshot'>>()
  })

  test('ready is where it stands', () => {
    expect(bids.subscribe({ auctionId: '42' }).ready).type.toBe<Promise<{ id: EventId | undefined }>>()
  })

  test('params and options are checked', () => {
    expect(bids.subscribe).type.toBeCallableWith({ auctionId: '42' }, { after: null })
    expect(bids.subscribe).type.not.toBeCallableWith({})
    expect(bids.subscribe).type.not.toBeCallableWith({ auctionId: '42' }, { sinec: 'x' })
    expect<{ slow: 'wait' }>().type.not.toBeAssignableTo<SubscribeOptions>()
  })

  test('by name it is untyped', () => {
    expect(app.realtime.subscribe('auctions/42')).type.toBe<TopicSubscription<AnyItem>>()
  })
})

describe('keyed topics', () => {
  const prices = typebox.topic('prices/:market', { keyed: true, events: { price: Type.Object({ amount: Type.Number() }) } })

  test('options of keyed', () => {
    expect<{ keyed: true }>().type.toBeAssignableTo<TopicOptions<object, object>>()
    expect<{ keyed: { maxKeys: 5, maxBytes: 100, lifetime: 1000, event: 'all' } }>().type.toBeAssignableTo<TopicOptions<object, object>>()
    expect<{ keyed: 'yes' }>().type.not.toBeAssignableTo<TopicOptions<object, object>>()
    expect<{ keyed: { maxKeys: '5' } }>().type.not.toBeAssignableTo<TopicOptions<object, object>>()
  })

  test('state() gives pages, remove() what was published', () => {
    expect(prices.state({ market: 'eu' }, { after: 'a', limit: 10 })).type.toBe<Promise<StatePage>>()
    expect<StatePage['items']>().type.toBe<StateItem[]>()
    expect(prices.state).type.not.toBeCallableWith({})
    expect(prices.state).type.not.toBeCallableWith({ market: 'eu' }, { after: 1 })
    expect(prices.remove({ market: 'eu' }, 'a', { dedupe: 'once', expect: null })).type.toBe<Promise<Published>>()
    expect(prices.remove).type.not.toBeCallableWith({ market: 'eu' })
    expect(prices.remove).type.not.toBeCallableWith({ market: 'eu' }, 'a', { except: 'c' })
    expect(app.realtime.state('prices/eu')).type.toBe<Promise<StatePage>>()
    expect(app.realtime.remove('prices/eu', 'a')).type.toBe<Promise<Published>>()
  })

  test('items narrow by their names, and have a key', () => {
    for (const item of [] as Array<TopicItem<{ price: { amount: number } }>>) {
      if (item.event === 'realtime:removed') expect(item.data).type.toBe<{ topic: string, key: string }>()
      if (item.event === 'price') expect(item.data).type.toBe<{ amount: number }>()
      if (item.event === 'price') expect(item.key).type.toBe<string | undefined>()
    }
  })

  test('a part of the state', () => {
    expect<StatePart['items'][number]>().type.toBe<{ key: string, event: string, data: unknown, encoding?: 'base64' }>()
    expect<StatePart>().type.toBeAssignableTo<{ part: number, more: boolean }>()
  })
})

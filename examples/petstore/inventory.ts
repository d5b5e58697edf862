/**
 * A dashboard's feed: stock and prices. Both are keyed topics: who opens the board is sent the newest figure of each item,
 * and then what changes. Only the newest matters to a client that cannot keep up.
 */
import { Type, type Static } from 'typebox'
import type { Topic } from 'fastify-realtime'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import { ItemNotFound } from './store.ts'

const Figure = Type.Object({
  itemId: Type.String(),
  name: Type.String(),
  stock: Type.Integer(),
  full: Type.Integer()
})
const Price = Type.Object({ itemId: Type.String(), price: Type.Number() })

const OneItem = Type.Object({ itemId: Type.String({ maxLength: 64 }) })
const FIRST_PRICE = 10

export const inventory: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
  // The page shows: inventory
  const board = app.topic('inventory', { events: { stock: Figure }, keyed: { event: 'inventory' } })
  // The topic is where prices are kept: nothing else has them.
  const prices = app.topic('prices', { events: { price: Price }, keyed: { event: 'price-list' } })
  // The page shows: until here

  app.addHook('onReady', async () => {
    const items = await store.items()
    await fill(board, 'stock', items)
    await fill(prices, 'price', items.map(({ itemId }) => ({ itemId, price: FIRST_PRICE })))
  })

  app.stream('/v1/inventory/stream', { topics: [board, prices], slow: 'latest', ...introducing(node) })

  app.get('/v1/inventory', async () => ({ items: await store.items() }))
  app.get('/v1/inventory/prices', async () => {
    const { items } = await prices.state({}, { limit: 1000 })
    return { prices: items.map(({ data }) => data as Static<typeof Price>) }
  })

  app.patch('/v1/inventory/:itemId', {
    schema: { params: OneItem, body: Type.Object({ stock: Type.Integer({ minimum: 0, maximum: 1e6 }) }) }
  }, async request => {
    const item = await store.setStock(request.params.itemId, request.body.stock)
    await board.publish({}, 'stock', item, { key: item.itemId })
    return item
  })

  app.patch('/v1/inventory/:itemId/price', {
    schema: { params: OneItem, body: Type.Object({ price: Type.Number({ minimum: 0, maximum: 1e6 }) }) }
  }, async request => {
    const { itemId } = request.params
    if (!(await store.items()).some(item => item.itemId === itemId)) throw new ItemNotFound(itemId)
    const priced = { itemId, price: request.body.price }
    await prices.publish({}, 'price', priced, { key: itemId })
    return priced
  })

  /** Off the board, until its stock is counted again. */
  app.delete('/v1/inventory/:itemId', { schema: { params: OneItem } }, async request => {
    const { itemId } = request.params
    const { id } = await board.remove({}, itemId)
    if (id === undefined) throw new ItemNotFound(itemId)
    return { itemId }
  })
}

interface Keyed { itemId: string }

/** What the topic lacks, and no more: another node may be at the same, or ahead. */
async function fill<E> (topic: Topic<Record<never, string>, E>, event: keyof E & string, all: Array<Keyed & E[keyof E & string]>) {
  for (;;) {
    const { items, id } = await topic.state({}, { limit: 1000 })
    const missing = all.find(({ itemId }) => !items.some(({ key }) => key === itemId))
    if (missing === undefined) return
    await topic.publish({}, event, missing, { key: missing.itemId, expect: id }).catch((error: { code?: string }) => {
      if (error.code !== 'FST_ERR_REALTIME_CONFLICT') throw error
    })
  }
}

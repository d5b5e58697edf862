/** A dashboard's feed. Only the newest figure of each item matters to a client that cannot keep up. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'

const Figure = Type.Object({
  itemId: Type.String(),
  name: Type.String(),
  stock: Type.Integer(),
  full: Type.Integer()
})

export const inventory: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
  const board = app.topic('inventory', {
    events: { stock: Figure, inventory: Type.Object({ items: Type.Array(Figure) }) },
    snapshot: async () => ({ event: 'inventory', data: { items: await store.items() } })
  })

  app.stream('/v1/inventory/stream', { topics: board, slow: 'latest', ...introducing(node) })

  app.get('/v1/inventory', async () => ({ items: await store.items() }))

  app.patch('/v1/inventory/:itemId', {
    schema: {
      params: Type.Object({ itemId: Type.String({ maxLength: 64 }) }),
      body: Type.Object({ stock: Type.Integer({ minimum: 0, maximum: 1e6 }) })
    }
  }, async request => {
    const item = await store.setStock(request.params.itemId, request.body.stock)
    await board.publish({}, 'stock', item, { key: item.itemId })
    return item
  })
}

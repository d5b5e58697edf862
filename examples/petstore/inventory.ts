/** A dashboard's feed. Only the newest figure of each item matters to a client that cannot keep up. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Store } from './store.ts'

const Figure = Type.Object({
  itemId: Type.String(),
  name: Type.String(),
  stock: Type.Integer(),
  full: Type.Integer()
})

export const inventory: FastifyPluginAsyncTypebox<{ store: Store }> = async (app, { store }) => {
  const board = app.topic('inventory', {
    events: { stock: Figure, inventory: Type.Object({ items: Type.Array(Figure) }) },
    snapshot: () => ({ event: 'inventory', data: { items: store.items() } })
  })

  app.stream('/v1/inventory/stream', { topics: board, slow: 'latest' })

  app.get('/v1/inventory', async () => ({ items: store.items() }))

  app.patch('/v1/inventory/:itemId', {
    schema: {
      params: Type.Object({ itemId: Type.String({ maxLength: 64 }) }),
      body: Type.Object({ stock: Type.Integer({ minimum: 0, maximum: 1e6 }) })
    }
  }, async request => {
    const item = store.setStock(request.params.itemId, request.body.stock)
    await board.publish({}, 'stock', item, { key: item.itemId })
    return item
  })
}

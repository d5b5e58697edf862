/** All that a browser hears by SSE, on one stream: the public topics, and what is for the people and orders of its windows. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import { mostPeople, signedInHere, UserId } from './session.ts'
import { OrderNotFound, type Store } from './store.ts'

const mostOrders = 32
const Heard = Type.Object({
  people: Type.Optional(Type.Array(UserId, { maxItems: mostPeople })),
  orders: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: mostOrders }))
})

export const live: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
  // The page shows: notifications
  app.stream('/v1/live', {
    schema: { querystring: Heard },
    preHandler: signedInHere(store),
    topics: async ({ query: { people = [], orders = [] } }) => [
      'pets', 'inventory', 'prices',
      ...people.map(id => `users/${encodeURIComponent(id)}/notifications`),
      ...(await known(store, orders)).map(id => `orders/${encodeURIComponent(id)}`)
    ],
    ...introducing(node)
  })
  // The page shows: until here
}

/** An order that the shop has lost does not take the whole stream with it. */
async function known (store: Store, orderIds: string[]): Promise<string[]> {
  const found = await Promise.all(orderIds.map(async id => await store.order(id).then(() => [id], (error: unknown) => {
    if (error instanceof OrderNotFound) return []
    throw error
  })))
  return found.flat()
}

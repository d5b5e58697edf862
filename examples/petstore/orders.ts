/** An order's way to its buyer: the present state first, to whoever opens the stream, then each step. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import { UserId } from './session.ts'
import { orderStatuses, type Order } from './store.ts'

const OrderParams = Type.Object({ orderId: Type.String({ maxLength: 64 }) })
const OrderState = Type.Object({
  orderId: Type.String(),
  userId: Type.String(),
  petId: Type.String(),
  status: Type.Enum([...orderStatuses])
})

export const orders: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
  // The page shows: order
  const progress = app.topic('orders/:orderId', {
    events: { placed: OrderState, shipped: OrderState, delivered: OrderState },
    snapshot: async ({ orderId }) => {
      const order = await store.order(orderId)
      return { event: order.status, data: order }
    }
  })
  // The page shows: until here

  app.stream('/v1/orders/:orderId/events', {
    schema: { params: OrderParams },
    // An ordinary hook, so an ordinary 404, before any stream has started.
    preHandler: async request => { await store.order((request.params as { orderId: string }).orderId) },
    topics: progress,
    ...introducing(node)
  })

  app.post('/v1/orders', {
    schema: { body: Type.Object({ userId: UserId, petId: Type.String({ maxLength: 64 }) }) }
  }, async (request, reply) => {
    const order = await store.placeOrder(request.body.userId, request.body.petId)
    await tell(order)
    return reply.code(201).send(order)
  })

  app.get('/v1/orders/:orderId', { schema: { params: OrderParams } }, async request =>
    await store.order(request.params.orderId))

  app.patch('/v1/orders/:orderId', {
    schema: { params: OrderParams, body: Type.Object({ status: Type.Enum([...orderStatuses]) }) }
  }, async request => {
    const order = await store.advanceOrder(request.params.orderId, request.body.status)
    await tell(order)
    return order
  })

  async function tell (order: Order): Promise<void> {
    await progress.publish({ orderId: order.orderId }, order.status, order)
  }
}

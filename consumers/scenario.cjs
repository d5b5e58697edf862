// What each consumer does with the package: a topic, a stream, an event, and the end.
'use strict'

module.exports = async function scenario ({ Fastify, realtime, connectStream }) {
  const app = Fastify()
  await app.register(realtime)
  const orders = app.topic('orders/:orderId')
  app.stream('/orders/:orderId/events', { topics: orders })
  try {
    const client = await connectStream(app, '/orders/42/events')
    await orders.publish({ orderId: '42' }, 'status', { status: 'shipped' })
    const { event, data } = await client.next()
    await client.close()
    return { event, data }
  } finally {
    await app.close()
  }
}

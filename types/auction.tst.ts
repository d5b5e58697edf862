/** A whole small app, as it would be written: everything in it infers. */
import Fastify from 'fastify'
import type { preHandlerAsyncHookHandler } from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import realtime, { type Published } from 'fastify-realtime'
import { expect, test } from 'tstyche'
import { Type } from 'typebox'

declare module 'fastify' {
  interface FastifyInstance {
    authenticate: preHandlerAsyncHookHandler
  }
}

test('an auction', async () => {
  const app = Fastify({ logger: true }).withTypeProvider<TypeBoxTypeProvider>()
  await app.register(realtime)

  const auction = app.topic('auctions/:auctionId', {
    history: { limit: 1000, maxAge: 600_000 },
    events: {
      bid: Type.Object({ userId: Type.String(), amount: Type.Number() }),
      'auction-end': Type.Object({ winner: Type.String() })
    }
  })

  app.stream('/auctions/:auctionId/events', { topics: auction })

  app.channel('/auctions/:auctionId', {
    preHandler: app.authenticate,
    topics: auction,
    messages: {
      bid: {
        schema: Type.Object({ amount: Type.Number({ exclusiveMinimum: 0 }) }),
        async handler (data, { connection, params }) {
          expect(data).type.toBe<{ amount: number }>()
          await auction.publish(params, 'bid', { userId: connection.identity.id, amount: data.amount })
          return { accepted: true }
        }
      }
    }
  })

  expect(await auction.publish({ auctionId: '42' }, 'bid', { userId: 'u1', amount: 500 })).type.toBe<Published>()
})
